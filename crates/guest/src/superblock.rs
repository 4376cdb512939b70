//! What stands at the beginning of a disk.
//!
//! Invariant: no bytes make it panic; nonsense is no file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A kind of file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ext4, and what it can mount of its ancestors.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl Kind {
    /// The kernel's name, which is also its module's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

// Where each has its magic, and what it is.
const MAGICS: [(Kind, u64, &[u8]); 3] = [
    (Kind::Ext4, 1024 + 0x38, &[0x53, 0xef]),
    (Kind::Xfs, 0, b"XFSB"),
    (Kind::Btrfs, 65536 + 0x40, b"_BHRfS_M"),
];

/// The file system on the disk that the kernel calls `disk`.
///
/// # Errors
/// When the disk cannot be read or holds none that is known.
pub fn detect(disk: &str) -> io::Result<Kind> {
    let file = File::open(format!("/dev/{disk}"))?;
    for (kind, at, magic) in MAGICS {
        let mut found = [0; 8];
        let found = &mut found[..magic.len()];
        match file.read_exact_at(found, at) {
            Ok(()) if found == magic => return Ok(kind),
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            _ => {}
        }
    }
    Err(io::Error::other("it holds neither ext4 nor XFS nor Btrfs"))
}

/// What growing needs to know of an ext4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ext4 {
    /// Its size in blocks.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks of a group.
    pub group: u64,
    /// Groups of a flexible group.
    pub flex: u64,
    /// The most blocks it can have.
    pub most: u64,
}

/// Reads the superblock of the ext4 on a disk. On a mounted one the kernel keeps it current.
///
/// # Errors
/// When the disk cannot be read or holds no ext4.
pub fn ext4(disk: &str) -> io::Result<Ext4> {
    let mut bytes = [0; 1024];
    File::open(format!("/dev/{disk}"))?.read_exact_at(&mut bytes, 1024)?;
    parse_ext4(&bytes).ok_or_else(|| io::Error::other("its ext4 superblock is not understood"))
}

/// Reads an ext4 superblock (`fs/ext4/ext4.h`, `struct ext4_super_block`).
pub fn parse_ext4(bytes: &[u8; 1024]) -> Option<Ext4> {
    const INCOMPAT_64BIT: u32 = 0x80;
    const INCOMPAT_FLEX_BG: u32 = 0x200;
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[0x38..0x3a] != [0x53, 0xef] {
        return None;
    }
    let incompat = u32_at(0x60);
    let wide = incompat & INCOMPAT_64BIT != 0;
    let log_block = u32_at(0x18);
    // 64 KiB are the largest blocks that ext4 knows; more than 2^24 groups in one are no flex_bg.
    if log_block > 6 || bytes[0x174] > 24 {
        return None;
    }
    let group = u64::from(u32_at(0x20));
    let high = if wide { u64::from(u32_at(0x150)) << 32 } else { 0 };
    let flex = if incompat & INCOMPAT_FLEX_BG != 0 { 1 << bytes[0x174] } else { 1 };
    (group > 0).then_some(Ext4 {
        blocks: high | u64::from(u32_at(4)),
        block_size: 1024 << log_block,
        group,
        flex,
        most: if wide { u64::MAX } else { u64::from(u32::MAX) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_mkfs_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(300 << 20).unwrap();
        let made =
            std::process::Command::new("mkfs.ext4").args(["-q", "-b", "4096"]).arg(&image).status().unwrap();
        assert!(made.success());
        let mut bytes = [0; 1024];
        File::open(&image).unwrap().read_exact_at(&mut bytes, 1024).unwrap();
        let found = parse_ext4(&bytes).unwrap();
        let wanted =
            Ext4 { blocks: 76800, block_size: 4096, group: 32768, flex: 16, most: u64::from(u32::MAX) };
        assert_eq!(Ext4 { most: wanted.most, ..found }, wanted);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(seed in prop::collection::vec(any::<u8>(), 1024)) {
            let mut bytes: [u8; 1024] = seed.try_into().unwrap();
            let _ = parse_ext4(&bytes);
            bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
            let _ = parse_ext4(&bytes);
        }
    }
}
