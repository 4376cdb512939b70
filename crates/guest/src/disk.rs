//! Finding disks.
//!
//! Invariant: a disk is known by its virtio serial; the kernel's names depend on the order of probing.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// virtio, 5.2.4: what a device can say of its serial.
const LONGEST_SERIAL: usize = 20;
/// Between looks into sysfs. Disks appear a few milliseconds after their driver.
const PAUSE: Duration = Duration::from_millis(10);

/// The kernel's names (`vda`) of all disks that are there.
pub fn all() -> impl Iterator<Item = String> {
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with("vd"))
}

/// The kernel's name (`vda`) of the disk with this serial.
pub fn find(serial: &str) -> Option<String> {
    find_in(Path::new("/sys/block"), serial)
}

fn find_in(dir: &Path, serial: &str) -> Option<String> {
    let wanted = &serial.as_bytes()[..serial.len().min(LONGEST_SERIAL)];
    if wanted.is_empty() {
        return None;
    }
    std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let said = std::fs::read(entry.path().join("serial")).ok()?;
        let name = entry.file_name().into_string().ok()?;
        (said.trim_ascii() == wanted).then_some(name)
    })
}

/// The serial of a disk in sysfs, if it says one that is fit for a name.
pub fn serial(disk: &Path) -> Option<String> {
    let said = std::fs::read_to_string(disk.join("serial")).ok()?;
    let said = said.trim_ascii();
    let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (!said.is_empty() && said.bytes().all(fit)).then(|| said.to_owned())
}

/// Waits for the disk with this serial.
///
/// # Errors
/// `TimedOut` when it has not appeared until `end`.
pub fn wait(serial: &str, end: Instant) -> io::Result<String> {
    loop {
        if let Some(name) = find(serial) {
            return Ok(name);
        }
        if Instant::now() >= end {
            let why = "no disk with this serial has appeared";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The disk's size in bytes.
///
/// # Errors
/// When the disk is gone.
pub fn size(disk: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/sys/block/{disk}/size"))?;
    let sectors: u64 = text.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    // sysfs counts in sectors of 512 bytes whatever the disk's own are.
    Ok(sectors.saturating_mul(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_serial_as_far_as_virtio_can_say_it() {
        let dir = tempfile::tempdir().unwrap();
        for (disk, serial) in [("vda", "root-0123456789"), ("vdb", "x123456789012345678y"), ("vdc", "")] {
            std::fs::create_dir(dir.path().join(disk)).unwrap();
            std::fs::write(dir.path().join(disk).join("serial"), serial).unwrap();
        }
        std::fs::create_dir(dir.path().join("loop0")).unwrap();
        let find = |serial| find_in(dir.path(), serial);
        assert_eq!(find("root-0123456789").as_deref(), Some("vda"));
        assert_eq!(find("x123456789012345678yz").as_deref(), Some("vdb"));
        assert_eq!(find("root"), None);
        assert_eq!(find(""), None);
    }
}
