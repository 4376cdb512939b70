//! Telling disks what is not used of them, so that the host gets it back.
//!
//! Invariant: only file systems that are mounted for writing are touched; a disk that cannot do it is
//! no failure of the weekly round.

use crate::inside::Inside;
use crate::{again, disk, log, mounted};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two rounds.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// The first round comes no earlier: a boot has other things to do.
const LEAST: Duration = Duration::from_secs(3600);

/// `struct fstrim_range` of `linux/fs.h`.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    least: u64,
}

/// The helper: the machine's root is its standard input, the number of bytes its standard output.
/// Without a serial, all disks.
///
/// # Errors
/// When the disk is not there, not mounted for writing, or cannot be trimmed.
pub fn run(serial: Option<&str>) -> io::Result<ExitCode> {
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let bytes = match serial {
        Some(serial) => {
            let name = disk::find(serial).ok_or_else(|| io::Error::other("there is no such disk"))?;
            one(&inside, &name)?
        }
        None => round(&inside),
    };
    io::stdout().write_all(bytes.to_string().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn round(inside: &Inside) -> u64 {
    let trimmed = disk::all().filter_map(|disk| {
        let bytes = one(inside, &disk).ok()?;
        log::say(&format!("trimmed {disk}: {} MiB", bytes >> 20));
        Some(bytes)
    });
    trimmed.sum()
}

/// Trims every file system on a disk once.
fn one(inside: &Inside, disk: &str) -> io::Result<u64> {
    let mut done = BTreeSet::new();
    let mut bytes = 0;
    for point in mounted::points(disk)?.iter().filter(|p| !p.read_only) {
        if done.insert(point.dev.clone()) {
            let dir = inside.open(&point.path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let mut range = Range { start: 0, length: u64::MAX, least: 0 };
            // SAFETY: linux/fs.h: FITRIM is _IOWR('X', 121, struct fstrim_range); it reads the
            // structure and writes the length, which may be any number.
            unsafe {
                ioctl(&dir, Updater::<{ opcode::read_write::<Range>(b'X', 121) }, Range>::new(&mut range))
            }
            .map_err(|e| match e {
                Errno::OPNOTSUPP | Errno::NOTTY => {
                    io::Error::other("its file system or its disk cannot do it")
                }
                other => other.into(),
            })?;
            bytes += range.length;
        }
    }
    match done.is_empty() {
        true => Err(io::Error::other("it is not mounted for writing")),
        false => Ok(bytes),
    }
}

/// Trims everything once a week, at a time that is another in every guest.
pub async fn weekly(root: watch::Receiver<Option<Arc<Inside>>>) {
    let mut pause = first(random());
    loop {
        tokio::time::sleep(pause).await;
        pause = WEEK;
        let Some(inside) = root.borrow().clone() else { continue };
        let Ok(stdin) = inside.fd().try_clone_to_owned() else { continue };
        let mut command = again("trim");
        command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).stderr(Stdio::null());
        match tokio::process::Command::from(command).spawn() {
            Ok(mut child) => drop(child.wait().await),
            Err(e) => log::complain(&format!("the weekly trim cannot begin: {e}")),
        }
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without it all guests of a host would begin at once, which is no harm to correctness.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes)
}

/// When the first round comes: somewhere within a week.
fn first(random: u64) -> Duration {
    LEAST + Duration::from_secs(random % (WEEK - LEAST).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_round_is_within_a_week_and_not_at_once() {
        for random in [0, 1, u64::MAX, 604_799, 12_345_678_901] {
            let first = first(random);
            assert!(first >= LEAST && first < WEEK, "{first:?}");
        }
        assert_ne!(first(1), first(2));
    }
}
