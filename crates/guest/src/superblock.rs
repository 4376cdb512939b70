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
    parse_ext4(&ext4_bytes(disk)?).ok_or_else(|| io::Error::other("its ext4 superblock is not understood"))
}

/// `EXT4_ERROR_FS` in `s_state` (ext4's on-disk format, the super block).
const ERROR_FS: u16 = 2;

/// Whether an ext4 is without errors that the kernel has found in it; it is mounted all the same, and nobody
/// checks it on the way. The others refuse to be mounted then.
///
/// # Errors
/// What is to be done about them.
pub fn sound(disk: &str, kind: Kind) -> io::Result<()> {
    if kind != Kind::Ext4 {
        return Ok(());
    }
    let bytes = ext4_bytes(disk)?;
    match u16::from_le_bytes([bytes[0x3a], bytes[0x3b]]) & ERROR_FS {
        0 => Ok(()),
        _ => Err(io::Error::other(
            "the kernel has found errors in it before; clone its volume, attach the clone to another machine with \
             :none, and see there what e2fsck makes of it",
        )),
    }
}

/// `INCOMPAT_RECOVER`: there is something in the journal (ext4's on-disk format, the super block).
const INCOMPAT_RECOVER: u32 = 0x4;

/// Whether the ext4 on a disk that is not mounted has a journal to be replayed.
///
/// # Errors
/// When the disk cannot be read.
pub fn needs_replay(disk: &str) -> io::Result<bool> {
    Ok(u32_at(&ext4_bytes(disk)?, 0x60) & INCOMPAT_RECOVER != 0)
}

fn ext4_bytes(disk: &str) -> io::Result<[u8; 1024]> {
    let mut bytes = [0; 1024];
    File::open(format!("/dev/{disk}"))?.read_exact_at(&mut bytes, 1024)?;
    Ok(bytes)
}

/// The UUID of the file system on a disk.
///
/// # Errors
/// When the disk cannot be read.
pub fn uuid(disk: &str, kind: Kind) -> io::Result<[u8; 16]> {
    let at = match kind {
        Kind::Ext4 => 1024 + UUID as u64,
        Kind::Xfs => 32,
        Kind::Btrfs => 65536 + 32,
    };
    let mut bytes = [0; 16];
    File::open(format!("/dev/{disk}"))?.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Where an ext4 superblock has its UUID.
const UUID: usize = 0x68;

/// Gives the superblock of an ext4 that is not mounted another UUID, as `tune2fs -O
/// metadata_csum_seed -U` does: where checksums are made with the UUID, what they were begun with is
/// written down first, so that all of them stay right.
///
/// # Errors
/// Why it cannot be done.
pub fn renew(bytes: &mut [u8; 1024], uuid: &[u8; 16]) -> Result<(), &'static str> {
    const INCOMPAT_CSUM_SEED: u32 = 0x2000;
    const RO_COMPAT_GDT_CSUM: u32 = 0x10;
    const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
    const SEED: usize = 0x270;
    const CHECKSUM: usize = 0x3fc;
    if bytes[0x38..0x3a] != [0x53, 0xef] {
        return Err("it holds no ext4");
    }
    let (incompat, ro_compat) = (u32_at(bytes, 0x60), u32_at(bytes, 0x64));
    if incompat & INCOMPAT_RECOVER != 0 {
        return Err("its journal has to be replayed first");
    }
    let sums = ro_compat & RO_COMPAT_METADATA_CSUM != 0;
    if sums && (bytes[0x175] != 1 || crc32c(!0, &bytes[..CHECKSUM]) != u32_at(bytes, CHECKSUM)) {
        return Err("its superblock is damaged");
    }
    if !sums && ro_compat & RO_COMPAT_GDT_CSUM != 0 {
        return Err("its checksums are of a kind that is bound to the UUID");
    }
    if sums && incompat & INCOMPAT_CSUM_SEED == 0 {
        let seed = crc32c(!0, &bytes[UUID..UUID + 16]);
        bytes[SEED..SEED + 4].copy_from_slice(&seed.to_le_bytes());
        bytes[0x60..0x64].copy_from_slice(&(incompat | INCOMPAT_CSUM_SEED).to_le_bytes());
    }
    bytes[UUID..UUID + 16].copy_from_slice(uuid);
    if sums {
        let sum = crc32c(!0, &bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    }
    Ok(())
}

fn u32_at(bytes: &[u8; 1024], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// CRC-32C as the kernel counts it (`crc32c_le`): without the inversions.
pub(crate) fn crc32c(begin: u32, bytes: &[u8]) -> u32 {
    let mut sum = begin;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    sum
}

/// Reads an ext4 superblock (`fs/ext4/ext4.h`, `struct ext4_super_block`).
pub fn parse_ext4(bytes: &[u8; 1024]) -> Option<Ext4> {
    const INCOMPAT_64BIT: u32 = 0x80;
    const INCOMPAT_FLEX_BG: u32 = 0x200;
    let u32_at = |at: usize| u32_at(bytes, at);
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

    #[test]
    fn a_renewed_one_is_whole_to_e2fsck() {
        use std::process::Command;
        // With checksums, with their seed written down, and with those that are bound to the UUID.
        for features in
            ["metadata_csum,^metadata_csum_seed", "metadata_csum_seed", "^metadata_csum,^uninit_bg"]
        {
            let dir = tempfile::tempdir().unwrap();
            let image = dir.path().join("image");
            File::create(&image).unwrap().set_len(64 << 20).unwrap();
            let made = Command::new("mkfs.ext4").args(["-q", "-O", features]).arg(&image).status().unwrap();
            assert!(made.success());
            let file = File::options().read(true).write(true).open(&image).unwrap();
            let mut bytes = [0; 1024];
            file.read_exact_at(&mut bytes, 1024).unwrap();
            renew(&mut bytes, b"0123456789abcdef").unwrap();
            file.write_all_at(&bytes, 1024).unwrap();
            let told = Command::new("dumpe2fs").arg("-h").arg(&image).output().unwrap();
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.contains("30313233-3435-3637-3839-616263646566"), "{features}: {told}");
            let checked = Command::new("e2fsck").arg("-fn").arg(&image).output().unwrap();
            assert!(checked.status.success(), "{features}: {}", String::from_utf8_lossy(&checked.stdout));
        }
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
