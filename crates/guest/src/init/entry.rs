//! PID 1 of an image without an init: runs its program.
//!
//! Invariant: the machine ends with its program; the program ends before the machine, with time to
//! do so.

use super::{mounts, reaper};
use crate::fact::{Fact, Journal};
use crate::inside::Inside;
use crate::log;
use crate::setup;
use proto::Entry;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the program has to end.
const GRACE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program to its end and switches the machine off; comes back if it cannot be run.
pub fn run(journal: &Journal, entry: &Entry, shutdown: i32) {
    mounts::for_applications();
    let begun = begin(entry);
    let name = entry.argv.first().map_or("", String::as_str);
    let Some(main) = journal.outcome(&format!("the image's program {name}"), begun) else { return };
    log::say(&format!("running {name}"));
    let status = attend(main, shutdown);
    let how = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    };
    let text = format!("the image's program {name} {how}");
    journal.post(&Fact::Note { about: "the image's program".to_owned(), text: Some(text) });
    reaper::power_off()
}

fn begin(entry: &Entry) -> io::Result<Pid> {
    let [program, arguments @ ..] = &entry.argv[..] else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let inside = Inside::at("/")?;
    let ids = setup::ids(&inside, &entry.user)?;
    let cwd = if entry.cwd.is_empty() { "/" } else { &entry.cwd };
    // As container engines do, the working directory is made if it is missing.
    inside.make_dir(cwd, 0o755)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("HOME", &ids.home);
    command.envs(entry.env.iter().filter_map(|v| v.split_once('=')).filter(|(name, _)| !name.is_empty()));
    command.current_dir(cwd).stdin(Stdio::null());
    reaper::hold();
    reaper::release(&mut command);
    let setup::Ids { uid, gid, groups, .. } = ids;
    let become_user = move || {
        rustix::process::setsid()?;
        // SAFETY: three calls with numbers and a list that outlives them, in a process of one thread.
        let refused = unsafe {
            libc::setgroups(groups.len(), groups.as_ptr()) != 0
                || libc::setgid(gid) != 0
                || libc::setuid(uid) != 0
        };
        if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(become_user) };
    Ok(Pid::from_child(&command.spawn()?))
}

/// Reaps, forwards signals and ends the program when it is asked to.
fn attend(main: Pid, shutdown: i32) -> WaitStatus {
    let mut killing_at: Option<Instant> = None;
    loop {
        while let Ok(Some((pid, status))) = reaper::reap() {
            if pid == main {
                return status;
            }
        }
        let patience = killing_at.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
        match reaper::next(patience) {
            Some(libc::SIGCHLD) => {}
            // Asked again: it has been told.
            Some(signal) if signal == shutdown && killing_at.is_some() => {}
            Some(signal) if signal == shutdown => {
                log::say("asking the image's program to end");
                let _ = kill_process(main, Signal::TERM);
                killing_at = Some(Instant::now() + GRACE);
            }
            Some(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    let _ = kill_process(main, signal);
                }
            }
            None if killing_at.is_some() => {
                log::complain("the image's program did not end in time");
                let _ = kill_process(main, Signal::KILL);
                killing_at = Some(Instant::now() + GRACE);
            }
            None => {}
        }
    }
}
