//! Letting go of a disk, so that it can be taken out.
//!
//! Invariant: without force nothing is taken from anybody: the disk is free in the end, or whoever
//! uses it is named and can go on.

use crate::fact::{Fact, Journal};
use crate::inside::Inside;
use crate::{disk, log, mounted, volumes};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long somebody may use the disk who only looks at it, as udev does when it is unmounted.
const PASSING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
/// The exit code of the helper that says who uses the disk.
pub const BUSY: u8 = 3;

/// The helper: the machine's root is its standard input, what is in the way its standard output.
///
/// # Errors
/// When something else than a user is in the way.
pub fn run(serial: &str, force: bool) -> io::Result<ExitCode> {
    let Some(disk) = disk::find(serial) else { return Ok(ExitCode::SUCCESS) };
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let end = Instant::now() + PASSING;
    while let Some(users) = take_off(&inside, &disk, force)? {
        if Instant::now() >= end {
            if force {
                break;
            }
            io::stdout().write_all(words(&users).as_bytes())?;
            return Ok(ExitCode::from(BUSY));
        }
        std::thread::sleep(PAUSE);
    }
    log::say(&format!("let go of disk {serial}"));
    Journal::open().post(&Fact::Unmounted { serial: serial.to_owned() });
    Ok(ExitCode::SUCCESS)
}

fn words(users: &[String]) -> String {
    match users {
        [] => "it is swap, or part of another device, or mounted elsewhere in the guest".to_owned(),
        named => named.join(", "),
    }
}

/// Unmounts a disk everywhere; who is in the way, if somebody is.
fn take_off(inside: &Inside, disk: &str, force: bool) -> io::Result<Option<Vec<String>>> {
    let points = mounted::points(disk)?;
    let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    for point in &points {
        match volumes::unmount_from(inside, &point.path, flags) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                return Ok(Some(mounted::users(disk, &points)));
            }
            Err(e) => return Err(e),
        }
    }
    // Whoever wrote to the bare device has written.
    if let Ok(file) = File::open(format!("/dev/{disk}")) {
        file.sync_all()?;
    }
    let users = mounted::users(disk, &[]);
    Ok((!users.is_empty() || !mounted::is_free(disk)).then_some(users))
}
