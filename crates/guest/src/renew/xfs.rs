//! Another UUID for an XFS that is not mounted and was unmounted in order.
//!
//! Its metadata goes on to carry the UUID that it was made with, which the superblock then names beside the
//! new one, as `xfs_admin -U` does.
//!
//! Invariant: cut short anywhere, it can be mounted and renewed again: the superblock in front changes last,
//! and until then the log is one that belongs to whoever mounts it. No bytes make it panic, or read or write
//! without bound.

use crate::superblock::crc32c;
use std::io;
use std::os::unix::fs::FileExt;

/// What is written and read as one, whatever the disk's own sectors are.
const BLOCK: usize = 512;
/// At most so many allocation groups: what 16 TiB have when they were grown from the smallest there is.
const MOST_GROUPS: u32 = 1 << 19;
/// In bytes.
const LARGEST_GROUP: u64 = 1 << 40;
/// The longest log that there can be, in bytes.
const LONGEST_LOG: u64 = 2 << 30;
/// Of the log, what is read at a time.
const PIECE: usize = 1 << 20;

// `struct xfs_dsb` of `fs/xfs/libxfs/xfs_format.h`.
const UUID: usize = 32;
const INCOMPAT: usize = 216;
const CHECKSUM: usize = 224;
const META_UUID: usize = 248;
const INCOMPAT_META_UUID: u32 = 1 << 2;

/// What a superblock tells, as far as it matters; all of it within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes of a sector, which a superblock has.
    sector: usize,
    /// Bytes of an allocation group.
    group: u64,
    /// How many of those there are.
    groups: u32,
    /// Where the log begins, in bytes.
    log: u64,
    /// How long it is, in bytes.
    log_length: u64,
}

/// Gives it the UUID `wanted`.
///
/// # Errors
/// When it cannot be read or written, or is of a kind that keeps its UUID.
pub fn renew(device: &impl FileExt, wanted: &[u8; 16]) -> io::Result<()> {
    let mut front = vec![0; BLOCK];
    device.read_exact_at(&mut front, 0)?;
    let shape = parse(&front).map_err(io::Error::other)?;
    let mut front = superblock(device, &shape, 0)?;
    if uuid(&front) == wanted {
        return Ok(());
    }
    disown_log(device, &shape, &front)?;
    for group in 1..shape.groups {
        let at = u64::from(group) * shape.group;
        let mut copy = superblock(device, &shape, at)?;
        change(&mut copy, wanted);
        device.write_all_at(&copy, at)?;
    }
    change(&mut front, wanted);
    device.write_all_at(&front, 0)
}

/// Reads the beginning of a superblock.
///
/// # Errors
/// Why nothing can be made of it.
pub fn parse(bytes: &[u8]) -> Result<Shape, &'static str> {
    if bytes.len() < BLOCK || &bytes[..4] != b"XFSB" {
        return Err("it holds no XFS");
    }
    let be32 = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let be16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    if be16(100) & 0xf != 5 {
        return Err("its format is older than checksums, and keeps its UUID");
    }
    let (block, sector) = (u64::from(be32(4)), usize::from(be16(102)));
    let (blocks, groups) = (u64::from(be32(84)), be32(88));
    let damaged = "its superblock is damaged";
    if !(512..=65536).contains(&block) || !block.is_power_of_two() {
        return Err(damaged);
    }
    if !(BLOCK..=32768).contains(&sector) || !sector.is_power_of_two() {
        return Err(damaged);
    }
    let (bits, log_blocks) = (u32::from(bytes[124]), u64::from(be32(96)));
    let start = u64::from(be32(48)) << 32 | u64::from(be32(52));
    if !(1..=MOST_GROUPS).contains(&groups) || blocks == 0 || bits > 32 || blocks > 1 << bits {
        return Err(damaged);
    }
    if blocks * block > LARGEST_GROUP {
        return Err(damaged);
    }
    if start == 0 {
        return Err("its log is on another device");
    }
    let (group, within) = (start >> bits, start & ((1 << bits) - 1));
    let log_length = log_blocks * block;
    if group >= u64::from(groups) || within >= blocks || !(BLOCK as u64..=LONGEST_LOG).contains(&log_length) {
        return Err(damaged);
    }
    Ok(Shape { sector, group: blocks * block, groups, log: (group * blocks + within) * block, log_length })
}

fn uuid(superblock: &[u8]) -> &[u8] {
    &superblock[UUID..UUID + 16]
}

/// Reads one of the superblocks, which has to be whole.
fn superblock(device: &impl FileExt, shape: &Shape, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; shape.sector];
    device.read_exact_at(&mut bytes, at)?;
    let sum = checksum(&bytes, CHECKSUM);
    if &bytes[..4] != b"XFSB" || bytes[CHECKSUM..CHECKSUM + 4] != sum {
        return Err(io::Error::other("one of its superblocks is damaged"));
    }
    Ok(bytes)
}

/// The checksum of what has it at `at`.
fn checksum(bytes: &[u8], at: usize) -> [u8; 4] {
    let sum = crc32c(!0, &bytes[..at]);
    let sum = crc32c(sum, &[0; 4]);
    (!crc32c(sum, &bytes[at + 4..])).to_le_bytes()
}

/// Gives a superblock another UUID.
fn change(bytes: &mut [u8], wanted: &[u8; 16]) {
    let at = INCOMPAT;
    let incompat = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if incompat & INCOMPAT_META_UUID == 0 {
        bytes.copy_within(UUID..UUID + 16, META_UUID);
        bytes[at..at + 4].copy_from_slice(&(incompat | INCOMPAT_META_UUID).to_be_bytes());
    }
    bytes[UUID..UUID + 16].copy_from_slice(wanted);
    let sum = checksum(bytes, CHECKSUM);
    bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
}

// `struct xlog_rec_header` of `fs/xfs/libxfs/xfs_log_format.h`.
const RECORD: [u8; 4] = 0xfeed_babe_u32.to_be_bytes();
const RECORD_LENGTH: usize = 12;
const RECORD_LSN: usize = 16;
const RECORD_CHECKSUM: usize = 32;
const RECORD_OPERATIONS: usize = 40;
const RECORD_UUID: usize = 304;
const RECORD_SIZE: usize = 320;
/// What of it is checksummed.
const RECORD_END: usize = 328;
/// A header of one block tells of at most so much.
const LARGEST_RECORD: u32 = 32 << 10;
/// `XLOG_UNMOUNT_TRANS`, in the first operation's flags.
const UNMOUNT: u8 = 0x20;
const OPERATION_FLAGS: usize = 9;

/// Takes the UUID out of the last record of the log, which tells that it was unmounted: a log without is
/// taken to be of whatever it is found in; all that is older is not looked at.
fn disown_log(device: &impl FileExt, shape: &Shape, front: &[u8]) -> io::Result<()> {
    let unclean = || io::Error::other("its log is not as it is after an unmount");
    let at = last_record(device, shape)?.ok_or_else(unclean)?;
    let mut header = read_log(device, shape, at, BLOCK)?;
    let be32 = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, size) = (be32(RECORD_LENGTH), be32(RECORD_SIZE));
    if be32(RECORD_OPERATIONS) != 1 || size > LARGEST_RECORD || !(16..=LARGEST_RECORD).contains(&length) {
        return Err(unclean());
    }
    let data = read_log(device, shape, at + BLOCK as u64, length as usize)?;
    let owner = &header[RECORD_UUID..RECORD_UUID + 16];
    let known = owner == uuid(front) || *owner == [0; 16];
    let place = RECORD_CHECKSUM..RECORD_CHECKSUM + 4;
    // What mkfs wrote has none.
    let summed = header[place.clone()] != [0; 4];
    let right = !summed || header[place.clone()] == record_checksum(&header, &data);
    if data[OPERATION_FLAGS] != UNMOUNT || !known || !right {
        return Err(unclean());
    }
    header[RECORD_UUID..RECORD_UUID + 16].fill(0);
    if summed {
        let sum = record_checksum(&header, &data);
        header[place].copy_from_slice(&sum);
    }
    device.write_all_at(&header, shape.log + at)
}

fn record_checksum(header: &[u8], data: &[u8]) -> [u8; 4] {
    let sum = crc32c(!0, &header[..RECORD_CHECKSUM]);
    let sum = crc32c(sum, &[0; 4]);
    let sum = crc32c(sum, &header[RECORD_CHECKSUM + 4..RECORD_END]);
    (!crc32c(sum, data)).to_le_bytes()
}

/// Where in the log its latest record begins.
fn last_record(device: &impl FileExt, shape: &Shape) -> io::Result<Option<u64>> {
    let mut last: Option<(u64, u64)> = None;
    let mut at = 0;
    while at < shape.log_length {
        let piece = read_log(device, shape, at, PIECE.min((shape.log_length - at) as usize))?;
        for (n, block) in piece.chunks_exact(BLOCK).enumerate() {
            // Every other block begins with the number of its cycle, which is never this.
            if block[..4] == RECORD {
                let lsn = block[RECORD_LSN..RECORD_LSN + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b));
                last = last.max(Some((lsn, at + (n * BLOCK) as u64)));
            }
        }
        at += PIECE as u64;
    }
    Ok(last.map(|(_, at)| at))
}

/// Reads the log, whose end goes on at its beginning.
fn read_log(device: &impl FileExt, shape: &Shape, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let at = at % shape.log_length;
    let until_end = usize::try_from(shape.log_length - at).unwrap_or(length).min(length);
    device.read_exact_at(&mut bytes[..until_end], shape.log + at)?;
    device.read_exact_at(&mut bytes[until_end..], shape.log)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::path::Path;
    use std::process::Command;

    const WANTED: &[u8; 16] = b"0123456789abcdef";

    fn told(tool: &str, args: &[&str], image: &Path) -> String {
        let output = Command::new(tool).args(args).arg(image).output().unwrap();
        assert!(output.status.success(), "{tool}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn made(image: &Path, sector: &str) -> File {
        File::create(image).unwrap().set_len(320 << 20).unwrap();
        told("mkfs.xfs", &["-q", "-K", "-s", sector], image);
        File::options().read(true).write(true).open(image).unwrap()
    }

    #[test]
    fn a_renewed_one_is_whole_to_xfs_repair_and_can_be_renewed_again() {
        for sector in ["size=512", "size=4096"] {
            let dir = tempfile::tempdir().unwrap();
            let image = dir.path().join("image");
            let file = made(&image, sector);
            for wanted in [WANTED, WANTED, b"fedcba9876543210"] {
                renew(&file, wanted).unwrap();
                file.sync_all().unwrap();
                told("xfs_repair", &["-n"], &image);
                let uuid = super::super::text(*wanted);
                assert!(told("xfs_admin", &["-u"], &image).contains(&uuid), "{sector}");
                for group in 0..4 {
                    let command = format!("sb {group}");
                    let fields = told("xfs_db", &["-r", "-c", &command, "-c", "p uuid crc"], &image);
                    assert!(fields.contains(&uuid) && fields.contains("(correct)"), "{group}: {fields}");
                }
            }
        }
    }

    /// Mounts it as the kernel does, and adds a line to a file.
    fn used(image: &Path, at: &Path) -> String {
        told("mount", &["-o", "loop,nouuid", "--target", at.to_str().unwrap(), "--source"], image);
        let file = at.join("file");
        let text = std::fs::read_to_string(&file).unwrap_or_default() + "line\n";
        std::fs::write(&file, &text).unwrap();
        // A thread that was just forking has the file open in its child until that runs its program.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !Command::new("umount").arg(at).status().unwrap().success() {
            assert!(std::time::Instant::now() < end, "it stays mounted");
        }
        text
    }

    #[test]
    fn one_that_was_cut_short_is_mounted_and_renewed_anew() {
        struct Cut<'a>(&'a File, std::cell::Cell<usize>);
        impl FileExt for Cut<'_> {
            fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
                self.0.read_at(buf, at)
            }
            fn write_at(&self, buf: &[u8], at: u64) -> io::Result<usize> {
                let left = self.1.get().checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
                self.1.set(left);
                self.0.write_at(buf, at)
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        for (sector, writes) in [("size=512", 0), ("size=4096", 1), ("size=512", 3), ("size=4096", 4)] {
            let file = made(&image, sector);
            used(&image, &at);
            assert!(renew(&Cut(&file, writes.into()), WANTED).is_err(), "{writes}");
            file.sync_all().unwrap();
            assert_eq!(used(&image, &at).lines().count(), 2, "{writes}");
            renew(&file, WANTED).unwrap();
            file.sync_all().unwrap();
            assert_eq!(used(&image, &at).lines().count(), 3, "{writes}");
            told("xfs_repair", &["-n"], &image);
        }
    }

    #[test]
    fn what_is_damaged_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let file = made(&image, "size=4096");
        let mut front = vec![0; 4096];
        file.read_exact_at(&mut front, 0).unwrap();
        for at in [40, 1000] {
            let mut wrong = front.clone();
            wrong[at] ^= 1;
            file.write_all_at(&wrong, 0).unwrap();
            assert!(renew(&file, WANTED).is_err());
        }
        file.write_all_at(&front, 0).unwrap();
        let shape = parse(&front).unwrap();
        file.write_all_at(&[0; 4096], shape.log).unwrap();
        assert!(renew(&file, WANTED).unwrap_err().to_string().contains("log"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(seed in prop::collection::vec(any::<u8>(), BLOCK), small in any::<bool>()) {
            let mut bytes = seed;
            bytes[..4].copy_from_slice(b"XFSB");
            bytes[101] = 5;
            if small {
                for at in [4, 5, 48, 49, 50, 51, 84, 85, 88, 89, 96, 97] {
                    bytes[at] = 0;
                }
                bytes[6..8].copy_from_slice(&[16, 0]);
                bytes[102..104].copy_from_slice(&[2, 0]);
                bytes[124] %= 33;
            }
            if let Ok(shape) = parse(&bytes) {
                prop_assert!(shape.group > 0 && shape.log_length <= LONGEST_LOG);
                prop_assert!(shape.log < shape.group * u64::from(shape.groups));
            }
        }
    }
}
