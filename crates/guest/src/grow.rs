//! Growing a mounted file system to the size of its disk.
//!
//! Invariant: grow only. ext4 grows in small steps that end on whole flexible groups; a step that was not
//! begun is taken by the next run, which only compares sizes again. What makes a growth whole that the power
//! went away in is the journal: it has to be replayed before the mount (`volumes::replay`).

use crate::fact::{Fact, Journal};
use crate::superblock::{self, Ext4, Kind};
use crate::{disk, log};
use proto::Growth;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};
use std::io;
use std::os::fd::BorrowedFd;

/// One step: below a second, so that what is told of the progress is true.
const STEP: u64 = 64 << 30;

/// Grows the file system that is mounted on standard input from the disk `disk`.
///
/// # Errors
/// None: what goes wrong is a note.
pub fn run(serial: &str, disk: &str) -> io::Result<()> {
    let journal = Journal::open();
    let mounted = rustix::stdio::stdin();
    let grown = superblock::detect(disk).and_then(|kind| match kind {
        Kind::Ext4 => ext4(mounted, serial, disk, &journal),
        Kind::Xfs => xfs(mounted, disk),
        Kind::Btrfs => btrfs(mounted),
    });
    journal.outcome(&growing(serial), grown);
    Ok(())
}

/// What a note about a growth is about.
pub fn growing(serial: &str) -> String {
    format!("growing the file system of disk {serial}")
}

fn ext4(mounted: BorrowedFd<'_>, serial: &str, disk: &str, journal: &Journal) -> io::Result<()> {
    let mut begun = false;
    loop {
        // Looked at anew each time: the disk may have grown meanwhile.
        let total = disk::size(disk)?;
        let before = superblock::ext4(disk)?;
        let Some(target) = step(&before, total) else { break };
        let tell = |blocks: u64| {
            let done = blocks.saturating_mul(before.block_size);
            journal.post(&Fact::Growing(Growth { serial: serial.to_owned(), done, total }));
        };
        if !begun {
            tell(before.blocks);
            log::say(&format!("growing the file system of disk {serial} to {} MiB", total >> 20));
            begun = true;
        }
        // SAFETY: linux/ext4.h: EXT4_IOC_RESIZE_FS is _IOW('f', 16, __u64) and only reads the number.
        unsafe { ioctl(mounted, Setter::<{ opcode::write::<u64>(b'f', 16) }, u64>::new(target)) }?;
        let after = superblock::ext4(disk)?.blocks;
        tell(after);
        if after <= before.blocks {
            // The rest is too small for a group of its own; ext4 leaves it unused.
            break;
        }
    }
    if begun {
        log::say(&format!("the file system of disk {serial} has grown"));
    }
    Ok(())
}

/// How many blocks the file system shall have after the next step; `None`: it fills its disk.
fn step(fs: &Ext4, device_bytes: u64) -> Option<u64> {
    let most = (device_bytes / fs.block_size).min(fs.most);
    if most <= fs.blocks {
        return None;
    }
    let unit = fs.group.saturating_mul(fs.flex);
    let units = (STEP / fs.block_size / unit).max(1);
    let end = (fs.blocks / unit).saturating_add(units).saturating_mul(unit);
    Some(end.min(most))
}

/// `struct xfs_fsop_geom_v1` of `fs/xfs/libxfs/xfs_fs.h`, as far as it matters.
#[repr(C)]
struct XfsGeometry {
    block_size: u32,
    before: [u32; 6],
    most_inodes_percent: u32,
    blocks: u64,
    after: [u64; 9],
}

/// `struct xfs_growfs_data` of `fs/xfs/libxfs/xfs_fs.h`.
#[repr(C)]
struct XfsGrow {
    blocks: u64,
    most_inodes_percent: u32,
}

fn xfs(mounted: BorrowedFd<'_>, disk: &str) -> io::Result<()> {
    // SAFETY: XFS_IOC_FSGEOMETRY_V1 is _IOR('X', 100, 112 bytes) and fills the structure, all of
    // whose fields may hold any bits.
    let now =
        unsafe { ioctl(mounted, Getter::<{ opcode::read::<XfsGeometry>(b'X', 100) }, XfsGeometry>::new()) }?;
    let blocks = disk::size(disk)? / u64::from(now.block_size.max(512));
    if blocks <= now.blocks {
        return Ok(());
    }
    let wanted = XfsGrow { blocks, most_inodes_percent: now.most_inodes_percent };
    // SAFETY: XFS_IOC_FSGROWFSDATA is _IOW('X', 110, struct xfs_growfs_data) and only reads it.
    unsafe { ioctl(mounted, Setter::<{ opcode::write::<XfsGrow>(b'X', 110) }, XfsGrow>::new(wanted)) }?;
    log::say(&format!("the file system of {disk} has grown"));
    Ok(())
}

/// `struct btrfs_ioctl_vol_args` of `linux/btrfs.h`.
#[repr(C)]
struct BtrfsArguments {
    fd: i64,
    name: [u8; 4088],
}

fn btrfs(mounted: BorrowedFd<'_>) -> io::Result<()> {
    let mut name = [0; 4088];
    name[..3].copy_from_slice(b"max");
    let wanted = BtrfsArguments { fd: 0, name };
    const RESIZE: rustix::ioctl::Opcode = opcode::write::<BtrfsArguments>(0x94, 3);
    // SAFETY: BTRFS_IOC_RESIZE is _IOW(0x94, 3, struct btrfs_ioctl_vol_args) and only reads it; the
    // name ends with a NUL.
    unsafe { ioctl(mounted, Setter::<RESIZE, BtrfsArguments>::new(wanted)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FS: Ext4 = Ext4 { blocks: 0, block_size: 4096, group: 32768, flex: 16, most: u64::MAX };

    #[test]
    fn a_small_growth_is_one_step() {
        let fs = Ext4 { blocks: (2 << 30) / 4096, ..FS };
        assert_eq!(step(&fs, 10 << 30), Some((10 << 30) / 4096));
        assert_eq!(step(&Ext4 { blocks: (10 << 30) / 4096, ..FS }, 10 << 30), None);
        assert_eq!(step(&Ext4 { blocks: (10 << 30) / 4096, ..FS }, 5 << 30), None);
    }

    proptest! {
        #[test]
        fn steps_are_small_aligned_and_arrive(from in 1u64..1 << 30, to in 1u64..1 << 45) {
            let mut fs = Ext4 { blocks: from, ..FS };
            let mut steps = 0;
            while let Some(next) = step(&fs, to) {
                prop_assert!(next > fs.blocks);
                prop_assert!((next - fs.blocks) * 4096 <= 256 << 30);
                prop_assert!(next == to / 4096 || next % (32768 * 16) == 0);
                fs.blocks = next;
                steps += 1;
                prop_assert!(steps <= to / STEP + 2);
            }
            prop_assert_eq!(fs.blocks, from.max(to / 4096));
        }

        #[test]
        fn strange_file_systems_do_not_overflow(
            blocks in any::<u64>(), log in 0u32..7, group in 1u64..=u64::from(u32::MAX), flex in 0u32..25,
            most in any::<u64>(), device in any::<u64>(),
        ) {
            let fs = Ext4 { blocks, block_size: 1024 << log, group, flex: 1 << flex, most };
            if let Some(next) = step(&fs, device) {
                prop_assert!(next > blocks);
            }
        }
    }
}
