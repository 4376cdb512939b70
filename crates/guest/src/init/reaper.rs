//! An init's work: signals, orphans, and the end.
//!
//! Invariant: once it waits, no signal is lost: all are blocked and taken one by one. Children get
//! their signals back before they run.

use crate::agent::shutdown_signal;
use crate::log;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::system::RebootCommand;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long everybody has to end after SIGTERM at the end of the machine.
const GRACE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(3600);

/// Holds back all signals of this process, so that [`next`] gets them.
pub fn hold() {
    // SAFETY: the set is filled before it is used, and both calls only read or write it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Gives a child the signals back that its parent holds.
pub fn release(command: &mut Command) {
    let release = || {
        // SAFETY: as in `hold`; both are async-signal-safe.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: the closure makes two async-signal-safe calls.
    unsafe { command.pre_exec(release) };
}

/// The next signal within `patience`.
pub fn next(patience: Duration) -> Option<i32> {
    let timeout = libc::timespec { tv_sec: patience.as_secs() as _, tv_nsec: patience.subsec_nanos() as _ };
    // SAFETY: the set is filled before it is read; no information about the signal is asked for.
    let signal = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigtimedwait(&raw const all, std::ptr::null_mut(), &raw const timeout)
    };
    (signal > 0).then_some(signal)
}

/// Takes one child that has ended. `Err`: there are no children any more.
pub fn reap() -> io::Result<Option<(Pid, WaitStatus)>> {
    Ok(wait(WaitOptions::NOHANG)?)
}

/// Does nothing else until the machine shall end.
pub fn idle() -> ! {
    hold();
    loop {
        while let Ok(Some(_)) = reap() {}
        if next(LONG) == Some(shutdown_signal()) {
            power_off();
        }
    }
}

/// Ends everybody, leaves the file systems clean and switches the machine off.
pub fn power_off() -> ! {
    log::say("powering off");
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        // SAFETY: it passes two numbers to the kernel; -1 is everybody but PID 1.
        unsafe { libc::kill(-1, signal) };
        let end = Instant::now() + GRACE;
        // Orphans become PID 1's children, so without children it is alone.
        while reap_all() && Instant::now() < end {
            next(end.saturating_duration_since(Instant::now()));
        }
    }
    rustix::fs::sync();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points: Vec<&str> = mounts.lines().filter_map(|l| l.split(' ').nth(1)).collect();
    for point in points.iter().rev().filter(|point| comes_off(point)) {
        // proc(5), mounts: blanks and the like are escaped, our own paths seldom have any.
        let point = point.replace("\\040", " ");
        if unmount(&point, UnmountFlags::NOFOLLOW).is_err() {
            let _ = mount_remount(&point, MountFlags::RDONLY, "");
        }
    }
    let _ = mount_remount("/", MountFlags::RDONLY, "");
    rustix::fs::sync();
    loop {
        let refused = rustix::system::reboot(RebootCommand::PowerOff);
        log::complain(&format!("cannot power off: {refused:?}"));
        next(LONG);
    }
}

/// Whether what is mounted there is unmounted at the end: it is neither the root nor the kernel's own. Names
/// count as a whole: a volume may be mounted at `/devel`.
fn comes_off(point: &str) -> bool {
    point != "/" && !["/proc", "/sys", "/dev"].iter().any(|kernels| Path::new(point).starts_with(kernels))
}

fn reap_all() -> bool {
    loop {
        match reap() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_come_off_whatever_their_names_begin_with() {
        for point in ["/devel", "/sysdata", "/procurement", "/mnt/dev", "/device/sys", "/data"] {
            assert!(comes_off(point), "{point}");
        }
        for point in ["/", "/dev", "/dev/pts", "/proc", "/proc/sys/fs/binfmt_misc", "/sys/fs/cgroup"] {
            assert!(!comes_off(point), "{point}");
        }
    }
}
