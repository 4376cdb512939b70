//! Letting go of a disk, so that it can be taken out.
//!
//! Invariant: without force nothing is taken from anybody: the disk is free in the end, or whoever
//! uses it is named and can go on.

use crate::fact::{Fact, Journal};
use crate::inside::Inside;
use crate::{disk, log, mounted, volumes};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long somebody may use the disk who may be about to end.
const PASSING: Duration = Duration::from_secs(2);
/// How long udev may, which looks at what was unmounted, and is busy with everything at a boot.
const LOOKING: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// The exit code of the helper that says who uses the disk.
pub const BUSY: u8 = 3;

/// What was done so far.
#[derive(Default)]
struct Release {
    /// The device numbers of what was found mounted.
    file_systems: BTreeSet<String>,
    /// Something was unmounted.
    begun: bool,
}

/// The helper: the machine's root is its standard input, what is in the way its standard output.
///
/// # Errors
/// When something else than a user is in the way.
pub fn run(serial: &str, force: bool) -> io::Result<ExitCode> {
    let Some(disk) = disk::find(serial) else { return Ok(ExitCode::SUCCESS) };
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let mut release = Release::default();
    // A trim is in the way as long as it goes on, and nothing is lost with it.
    mounted::end_helpers("trim", serial);
    let kept = release.within(&inside, &disk, force);
    if matches!(kept, Ok(None)) || release.begun {
        // What was unmounted and yet stays is mounted again with the configuration that follows.
        Journal::open().post(&Fact::Unmounted { serial: serial.to_owned() });
    }
    if let Some(users) = kept? {
        io::stdout().write_all(words(&users).as_bytes())?;
        return Ok(ExitCode::from(BUSY));
    }
    log::say(&format!("let go of disk {serial}"));
    Ok(ExitCode::SUCCESS)
}

fn words(users: &[String]) -> String {
    match users {
        [] => "it is swap, or part of another device, or mounted elsewhere in the guest".to_owned(),
        named => named.join(", "),
    }
}

impl Release {
    /// Lets go of a disk, of which others may be just looking at it; who keeps it, if somebody does.
    fn within(&mut self, inside: &Inside, disk: &str, force: bool) -> io::Result<Option<Vec<String>>> {
        let begun = Instant::now();
        while let Some(users) = self.take_off(inside, disk, force)? {
            let looked_at = !users.is_empty() && users.iter().all(|who| who.contains("udev"));
            if begun.elapsed() >= if looked_at { LOOKING } else { PASSING } {
                return Ok((!force).then_some(users));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Unmounts a disk everywhere; who is in the way, if somebody is.
    fn take_off(&mut self, inside: &Inside, disk: &str, force: bool) -> io::Result<Option<Vec<String>>> {
        let points = mounted::points(disk)?;
        let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        for point in &points {
            if !mounted::is_seen(inside, &point.path, disk)? {
                // What is over it is somebody else's, and would go in its place.
                match force {
                    true => continue,
                    false => return Ok(Some(vec![format!("what is mounted over {}", point.path)])),
                }
            }
            // Once it is unmounted, what is there has another number.
            self.file_systems.extend(mounted::numbers(point));
            match volumes::unmount_from(inside, &point.path, flags) {
                Ok(()) => self.begun = true,
                Err(e) if e.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                    return Ok(Some(mounted::users(disk, &self.file_systems)));
                }
                Err(e) => return Err(e),
            }
        }
        // Whoever wrote to the bare device has written.
        if let Ok(file) = File::open(format!("/dev/{disk}")) {
            file.sync_all()?;
        }
        let open = mounted::users(disk, &BTreeSet::new());
        if !open.is_empty() {
            return Ok(Some(open));
        }
        if mounted::is_free(disk) {
            return Ok(None);
        }
        // Somebody has it mounted who is not seen from here; the numbers are for words only.
        let mut users = mounted::users(disk, &self.file_systems);
        let viewers = mounted::viewers(disk).into_iter().filter(|who| !users.contains(who));
        users.extend(viewers.collect::<Vec<_>>());
        Ok(Some(users))
    }
}
