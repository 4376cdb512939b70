//! Shutting the machine down.
//!
//! Invariant: an init is asked in its own way, again and again, since a signal that comes before it
//! listens is lost; where there is no root there is nothing to lose.

use crate::exec::Commands;
use crate::inside::Inside;
use crate::log;
use rustix::system::RebootCommand;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long commands may take to end. One that hangs in the kernel does not end at all, and the init has to
/// be asked before the host loses its patience.
const COMMANDS: Duration = Duration::from_secs(10);
/// Between two requests.
const AGAIN: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_millis(200);
/// How long a system may take until its init can be told apart.
const BOOTING: u32 = 100;

/// The first real-time signal, as systemd counts: glibc keeps two of the kernel's to itself. The musl that we
/// are built with keeps three, so that its own `SIGRTMIN` is another.
const RTMIN: i32 = 34;

/// Asks systemd for its `poweroff.target` (`systemd(1)`, SIGNALS), and our own PID 1 for the same.
pub fn signal() -> i32 {
    RTMIN + 4
}

/// Who PID 1 is.
#[derive(PartialEq, Eq, Debug)]
enum Init {
    /// This program: it runs an application, or nothing.
    Ours,
    /// systemd, ready to be asked.
    Systemd,
    /// systemd, not ready yet.
    Starting,
    /// Another.
    Other,
}

/// Shuts the machine down in order; `root` if it is mounted.
pub async fn off(root: Option<Arc<Inside>>, commands: Arc<Commands>) {
    // An init would wait for those that do not mind SIGTERM, as interactive shells do not.
    if timeout(COMMANDS, commands.end()).await.is_err() {
        log::complain("not all commands of the host end; the machine shuts down all the same");
    }
    let Some(root) = root else {
        rustix::fs::sync();
        let refused = rustix::system::reboot(RebootCommand::PowerOff);
        return log::complain(&format!("cannot power off: {refused:?}"));
    };
    let mut asked_other = false;
    for round in 0u32.. {
        match init(&root) {
            Init::Ours | Init::Systemd => {
                send(signal());
                sleep(AGAIN).await;
            }
            Init::Starting if round < BOOTING => sleep(SOON).await,
            Init::Starting | Init::Other => {
                if !asked_other {
                    ask(&root).await;
                    asked_other = true;
                }
                sleep(AGAIN).await;
            }
        }
    }
}

fn init(root: &Inside) -> Init {
    // Not by its path: an image may call its own init as ours is called.
    let program = |who: &str| std::fs::metadata(format!("/proc/{who}/exe")).map(|m| (m.dev(), m.ino())).ok();
    if program("1").is_some_and(|it| program("self") == Some(it)) {
        return Init::Ours;
    }
    let exe = std::fs::read_link("/proc/1/exe").unwrap_or_default();
    let comm = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    match exe.ends_with("systemd") || comm.trim() == "systemd" {
        true if root.exists("/run/systemd/system") => Init::Systemd,
        true => Init::Starting,
        false => Init::Other,
    }
}

fn send(signal: i32) {
    // SAFETY: it passes two numbers to the kernel.
    unsafe { libc::kill(1, signal) };
}

/// How long the image's own program may take to ask.
const ASKING: Duration = Duration::from_secs(20);

/// Runs the image's own `poweroff`; without one, or if it fails, asks like busybox's would.
async fn ask(root: &Inside) {
    for argv in [&["poweroff"][..], &["halt", "-p"], &["busybox", "poweroff"]] {
        let mut command = std::process::Command::new(argv[0]);
        command.args(&argv[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if root.enter(&mut command, "/").is_err() {
            break;
        }
        let Ok(mut child) = tokio::process::Command::from(command).spawn() else { continue };
        let ended = timeout(ASKING, child.wait()).await;
        if ended.is_ok_and(|ended| ended.is_ok_and(|status| status.success())) {
            return;
        }
    }
    // busybox, init/init.c: SIGUSR2 is poweroff.
    send(libc::SIGUSR2);
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn the_signal_is_the_one_that_systemd_means() {
        assert_eq!(signal(), libc::SIGRTMIN() + 4);
    }
}
