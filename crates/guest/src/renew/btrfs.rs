//! Another UUID for a Btrfs that is not mounted.
//!
//! Its trees go on to carry the UUID that it was made with, which the superblock then names beside the new
//! one, as `btrfstune -M` does.
//!
//! Invariant: the superblock that counts changes last, and at once; a log that is still to be replayed stays
//! one. No bytes make it panic, or read or write without bound.

use crate::superblock::crc32c;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a superblock.
const LENGTH: usize = 4096;
/// Where they are, the one that counts first.
const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

// `struct btrfs_super_block` of `include/uapi/linux/btrfs_tree.h`.
const FSID: usize = 32;
const BYTENR: usize = 48;
const FLAGS: usize = 56;
const MAGIC: usize = 64;
const DEVICES: usize = 136;
const INCOMPAT: usize = 188;
const CHECKSUM_KIND: usize = 196;
const METADATA_UUID: usize = 571;
const INCOMPAT_METADATA_UUID: u64 = 1 << 10;
/// Seed devices, and those whose UUID somebody is in the middle of changing.
const FLAGS_IN_THE_WAY: u64 = 1 << 32 | 1 << 35 | 1 << 36;

/// Gives the one of `size` bytes the UUID `wanted`.
///
/// # Errors
/// When it cannot be read or written, or is of a kind that keeps its UUID.
pub fn renew(device: &impl FileExt, size: u64, wanted: &[u8; 16]) -> io::Result<()> {
    let mut bytes = [0; LENGTH];
    for place in PLACES.into_iter().rev().filter(|place| place + LENGTH as u64 <= size) {
        device.read_exact_at(&mut bytes, place)?;
        match change(&mut bytes, place, wanted) {
            Ok(true) => device.write_all_at(&bytes, place)?,
            Ok(false) => {}
            // A mirror that is no good is nobody's any more; the one that counts has to be good.
            Err(why) if place == PLACES[0] => return Err(io::Error::other(why)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Gives the superblock that belongs at `place` another UUID; whether that changed it.
///
/// # Errors
/// Why it cannot be done.
pub fn change(bytes: &mut [u8; LENGTH], place: u64, wanted: &[u8; 16]) -> Result<bool, &'static str> {
    let le64 = |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    if &bytes[MAGIC..MAGIC + 8] != b"_BHRfS_M" {
        return Err("it holds no Btrfs");
    }
    if bytes[CHECKSUM_KIND..CHECKSUM_KIND + 2] != [0; 2] {
        return Err("its checksums are of a kind that is not known here");
    }
    if le64(BYTENR) != place || bytes[..4] != checksum(bytes) {
        return Err("its superblock is damaged");
    }
    if le64(DEVICES) != 1 || le64(FLAGS) & FLAGS_IN_THE_WAY != 0 {
        return Err("it is one of several, or in the middle of a change");
    }
    if bytes[FSID..FSID + 16] == *wanted {
        return Ok(false);
    }
    let incompat = le64(INCOMPAT);
    if incompat & INCOMPAT_METADATA_UUID == 0 {
        bytes.copy_within(FSID..FSID + 16, METADATA_UUID);
        bytes[INCOMPAT..INCOMPAT + 8].copy_from_slice(&(incompat | INCOMPAT_METADATA_UUID).to_le_bytes());
    }
    bytes[FSID..FSID + 16].copy_from_slice(wanted);
    let sum = checksum(bytes);
    bytes[..4].copy_from_slice(&sum);
    Ok(true)
}

fn checksum(bytes: &[u8; LENGTH]) -> [u8; 4] {
    (!crc32c(!0, &bytes[FSID..])).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::process::Command;

    #[test]
    fn a_renewed_one_is_whole_to_btrfs_check_and_can_be_renewed_again() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let size = 256 << 20;
        File::create(&image).unwrap().set_len(size).unwrap();
        let made = Command::new("mkfs.btrfs").args(["-q", "-K"]).arg(&image).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let file = File::options().read(true).write(true).open(&image).unwrap();
        for wanted in [b"0123456789abcdef", b"0123456789abcdef", b"fedcba9876543210"] {
            renew(&file, size, wanted).unwrap();
            file.sync_all().unwrap();
            let checked = Command::new("btrfs").args(["check", "--readonly"]).arg(&image).output().unwrap();
            assert!(checked.status.success(), "{checked:?}");
            let mut dump = Command::new("btrfs");
            let told = dump.args(["inspect-internal", "dump-super", "-a"]).arg(&image).output().unwrap();
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            let uuid = super::super::text(*wanted);
            assert_eq!(told.matches(&format!("fsid\t\t\t{uuid}")).count(), 2, "{told}");
            assert_eq!(told.matches("[match]").count(), 6, "{told}");
        }
        let mut front = [0; LENGTH];
        file.read_exact_at(&mut front, PLACES[0]).unwrap();
        front[1000] ^= 1;
        file.write_all_at(&front, PLACES[0]).unwrap();
        assert!(renew(&file, size, b"0123456789abcdef").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(seed in prop::collection::vec(any::<u8>(), LENGTH), place in any::<u64>()) {
            let mut bytes: [u8; LENGTH] = seed.try_into().unwrap();
            bytes[MAGIC..MAGIC + 8].copy_from_slice(b"_BHRfS_M");
            bytes[CHECKSUM_KIND..CHECKSUM_KIND + 2].fill(0);
            bytes[BYTENR..BYTENR + 8].copy_from_slice(&place.to_le_bytes());
            let sum = checksum(&bytes);
            bytes[..4].copy_from_slice(&sum);
            if change(&mut bytes, place, b"0123456789abcdef") == Ok(true) {
                prop_assert_eq!(change(&mut bytes, place, b"0123456789abcdef"), Ok(false));
            }
        }
    }
}
