//! What of the disks is in use, as their file systems say.
//!
//! Invariant: nothing is opened for its content, and file systems that are not on our disks are not asked:
//! one of the guest's own may hang.

use crate::inside::Inside;
use crate::{disk, mounted};
use proto::{DiskUsage, UsedDisk};
use rustix::fs::{Mode, OFlags, fstatvfs};
use std::collections::BTreeSet;
use std::path::Path;

/// Asks the file systems of all disks.
pub fn all(inside: &Inside) -> DiskUsage {
    DiskUsage { disks: disk::all().filter_map(|disk| one(inside, &disk)).collect() }
}

fn one(inside: &Inside, disk: &str) -> Option<UsedDisk> {
    let serial = std::fs::read_to_string(Path::new("/sys/block").join(disk).join("serial")).ok()?;
    let serial = serial.trim().to_owned();
    // Btrfs has a device number for each subvolume, and says the same of all of them.
    let mut known = BTreeSet::new();
    let mut used = None;
    for point in mounted::points(disk).ok()? {
        if known.contains(&point.dev) || known.contains(&point.source) {
            continue;
        }
        let Ok(dir) = inside.open(&point.path, OFlags::PATH, Mode::empty()) else { continue };
        let Ok(said) = fstatvfs(&dir) else { continue };
        let blocks = said.f_blocks.saturating_sub(said.f_bfree);
        used = Some(used.unwrap_or(0u64).saturating_add(blocks.saturating_mul(said.f_frsize)));
        known.extend([point.dev, point.source]);
    }
    (!serial.is_empty()).then_some(UsedDisk { serial, used: used? })
}
