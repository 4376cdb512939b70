//! What stands on disks, and what files in the pool are called.

use guest::renew::{btrfs, xfs};
use guest::superblock::parse_ext4;
use std::cell::RefCell;
use std::io;
use std::os::unix::fs::FileExt;

/// An ext4's superblock: as the host judges an image, and as the agent reads it before it grows one.
/// The first eight bytes are the length of the file that it is in.
pub fn superblock(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<8>() else { return };
    let length = u64::from_le_bytes(*length);
    let mut sb = [0; 1024];
    let n = rest.len().min(sb.len());
    sb[..n].copy_from_slice(&rest[..n]);
    let read = parse_ext4(&sb);
    if host::fuzzing::superblock(&sb, length).is_ok() {
        let blocks = u64::from(u32::from_le_bytes([sb[4], sb[5], sb[6], sb[7]]));
        assert!(length >= 1024 && length >= blocks << 10, "an image is taken that is not whole");
    }
    if let Some(ext4) = read {
        assert!(ext4.block_size >= 1024 && ext4.group > 0 && ext4.flex > 0);
    }
}

/// A disk in memory, which does not grow.
struct Disk(RefCell<Vec<u8>>);

impl FileExt for Disk {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let all = self.0.borrow();
        let rest = usize::try_from(at).ok().and_then(|at| all.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        let mut all = self.0.borrow_mut();
        let rest = usize::try_from(at).ok().and_then(|at| all.get_mut(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        rest[..n].copy_from_slice(&buf[..n]);
        Ok(n)
    }
}

/// A copy of an XFS or a Btrfs, as the agent gives it another UUID.
pub fn identity(data: &[u8]) {
    const WANTED: &[u8; 16] = b"0123456789abcdef";
    let disk = Disk(RefCell::new(data.to_vec()));
    if xfs::renew(&disk, WANTED).is_ok() {
        assert!(xfs::renew(&disk, WANTED).is_ok(), "what was renewed is no longer understood");
    }
    // Its superblock comes 64 KiB later.
    let disk = Disk(RefCell::new([&vec![0; 64 << 10], data].concat()));
    let size = 1 << 40;
    if btrfs::renew(&disk, size, WANTED).is_ok() {
        assert!(btrfs::renew(&disk, size, WANTED).is_ok(), "what was renewed is no longer understood");
    }
}

/// A file's name in the pool or its trash.
pub fn pool_name(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    if let Some(volume) = host::fuzzing::pool_name(name) {
        assert!(name.contains(&volume.to_string()), "it is a file of another volume");
    }
    if let Some((until, volume)) = host::fuzzing::trash_name(name) {
        assert!(name.contains(&volume.to_string()));
        let _ = until.to_string();
    }
}
