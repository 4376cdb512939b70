//! Making file systems, in user space, always with our own profile.
//!
//! Invariant: what is made does not depend on the host's configuration or on the version of its tools:
//! block size, inode size, journal and every feature are named.

mod btrfs;
mod xfs;

use crate::child::{self, Failed, Version};
use crate::{copy, fault, tool};
use engine::port::Fault;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use types::fs::FileSystem;
use types::{ByteSize, Code, Problem};
use uuid::Uuid;

/// Makes an empty file system of `size` with this UUID, or none, in `to`, a file that is there and empty.
///
/// # Errors
/// `tool-missing`, `pool-full`, `code`.
pub fn fresh(
    (to, path): (&File, &Path),
    size: ByteSize,
    (fs, uuid): (FileSystem, Uuid),
    doing: &str,
    code: Code,
) -> Result<(), Fault> {
    if fs == FileSystem::Ext4 {
        return blank((to, path), size, uuid, doing, code);
    }
    to.set_len(size.bytes()).map_err(|e| fault::io(doing, path, &e))?;
    match fs {
        FileSystem::Ext4 | FileSystem::None => Ok(()),
        FileSystem::Xfs => xfs::make((to, path), uuid, doing, code),
        FileSystem::Btrfs => btrfs::make(path, uuid, doing, code),
    }
}

/// What making it takes at once, at the least.
pub fn needs(fs: FileSystem, size: ByteSize) -> ByteSize {
    match fs {
        FileSystem::Ext4 => least(size),
        FileSystem::Xfs => xfs::NEEDS,
        FileSystem::Btrfs => btrfs::NEEDS,
        FileSystem::None => ByteSize::default(),
    }
}

/// Whether the tool is there that makes it.
///
/// # Errors
/// `tool-missing`.
pub fn ready(fs: FileSystem) -> Result<(), Problem> {
    let (name, package) = match fs {
        FileSystem::Ext4 => ("mkfs.ext4", "e2fsprogs"),
        FileSystem::Xfs => xfs::TOOL,
        FileSystem::Btrfs => btrfs::TOOL,
        FileSystem::None => return Ok(()),
    };
    if tool::find(name).is_absolute() { Ok(()) } else { Err(tool::missing(name, package).problem) }
}

/// The features of an ext4 that every kernel since 4.4 mounts and grows. `orphan_file` and
/// `metadata_csum_seed` are not among them: e2fsprogs before 1.47 cannot read the first.
const FEATURES: &str = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
    large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
/// A tool that works on files says nothing for long, but not for this long.
const QUIET: Duration = Duration::from_secs(30 * 60);

/// What to make, in a file that is there, all holes, of the length it shall have.
pub struct Mkfs<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its length.
    pub size: ByteSize,
    /// The file system's UUID; `None`: random.
    pub uuid: Option<Uuid>,
    /// A directory whose content to put in.
    pub content: Option<&'a Path>,
    /// Whether it is written to once it is made; if not, a journal would be wasted.
    pub journal: bool,
    /// At least so many inodes; `None`: one for each 16 KiB.
    pub inodes: Option<u64>,
}

/// Block size and size of the journal in MiB. With blocks of 1 KiB, which the defaults take for
/// small ones, growing far takes minutes; a journal has at least 1024 blocks and at most half of all.
fn shape(size: ByteSize) -> (u32, u32) {
    match size.bytes() / ByteSize::MIB {
        0..9 => (2048, 2),
        9..64 => (4096, 4),
        64..128 => (4096, 8),
        128..256 => (4096, 16),
        _ => (4096, 64),
    }
}

/// What an empty file system of this size occupies at the least: measured from 8 MiB (56 KiB) to 4 TiB
/// (56 MiB).
pub fn least(size: ByteSize) -> ByteSize {
    ByteSize((48 << 10) + (size.bytes() >> 17))
}

/// What is made in memory first takes at most about so much of it.
const MEMORY: ByteSize = ByteSize::mib(16);

/// Makes an empty file system of `size` with this UUID in `to`, a file that is there and empty, and
/// does not sync it: mkfs syncs three times over what one fsync of the caller's does at once, and
/// waits each time. So it writes to memory, from which only its data is copied.
///
/// # Errors
/// As [`make`].
pub fn blank(
    (to, path): (&File, &Path),
    size: ByteSize,
    uuid: Uuid,
    doing: &str,
    code: Code,
) -> Result<(), Fault> {
    let failed = |e: io::Error| fault::io(doing, path, &e);
    let what = |file| Mkfs { file, size, uuid: Some(uuid), content: None, journal: true, inodes: None };
    if least(size) > MEMORY {
        to.set_len(size.bytes()).map_err(failed)?;
        return make(&what(path), doing, code);
    }
    let memory = File::from(memfd_create("mkfs", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
    memory.set_len(size.bytes()).map_err(failed)?;
    // Of this process: the tool does not inherit it.
    let there = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
    // So short that it needs no leash, which would cost a copy of this process's page tables.
    tool::run(&mut command(&what(&there), tool::find("mkfs.ext4"))?, "e2fsprogs", code)?;
    copy::content(&memory, to, size.bytes(), size.bytes(), &mut |_, _| ()).map_err(failed)
}

/// Makes the file system. `mkfs.ext4` syncs the file itself.
///
/// # Errors
/// `tool-missing`, `pool-full`, `code`.
pub fn make(what: &Mkfs<'_>, doing: &str, code: Code) -> Result<(), Fault> {
    let mut command = command(what, "mkfs.ext4".into())?;
    let made = child::run(&mut command, "e2fsprogs", code, QUIET, &mut |_| ());
    made.map_err(|failed| judge(failed, what.file, doing))
}

/// The command that makes it.
fn command(what: &Mkfs<'_>, program: PathBuf) -> Result<Command, Fault> {
    let (block, journal) = shape(what.size);
    let mut command = Command::new(program);
    command.args(["-F", "-q", "-I", "256", "-i", "16384", "-m", "0"]);
    command.args(["-b", &block.to_string()]);
    if what.journal {
        command.args(["-J", &format!("size={journal}"), "-O", &format!("{FEATURES},has_journal")]);
    } else {
        command.args(["-O", FEATURES]);
    }
    // The file is all holes, so nothing in it needs zeroing: not here, and not in the guest, where
    // lazy tables are otherwise written out in the background, 1.6 % of the volume.
    let zeroed = if version()? >= (1, 47) { ",assume_storage_prezeroed=1" } else { "" };
    command.args(["-E", &format!("nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0{zeroed}")]);
    if let Some(uuid) = what.uuid {
        command.args(["-U", &uuid.to_string()]);
    }
    if let Some(inodes) = what.inodes {
        command.args(["-N", &inodes.to_string()]);
    }
    if let Some(content) = what.content {
        command.arg("-d").arg(content);
    }
    command.arg(what.file);
    Ok(command)
}

/// mkfs tells of a full disk by words only.
fn judge(failed: Failed, file: &Path, doing: &str) -> Fault {
    if failed.tail.contains("No space left on device") || failed.tail.contains("Disk quota exceeded") {
        return crate::fault::full(doing, file.parent().unwrap_or(file), None);
    }
    failed.fault
}

/// The version of e2fsprogs.
fn version() -> Result<Version, Fault> {
    static KNOWN: OnceLock<Version> = OnceLock::new();
    child::version(("mkfs.ext4", "e2fsprogs"), "-V", "mke2fs ", Code::FormatFailed, &KNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn made_in_memory_or_in_place_it_is_the_same_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let uuid = Uuid::from_u128(7);
        // The last is one that is made in place.
        for mib in [8, 9, 512, 2 << 20] {
            let size = ByteSize::mib(mib);
            let path = dir.path().join(mib.to_string());
            let file = File::create_new(&path).unwrap();
            blank((&file, &path), size, uuid, "make it", Code::FormatFailed).unwrap();
            let seen = file.metadata().unwrap();
            assert_eq!(seen.len(), size.bytes());
            let taken = std::os::unix::fs::MetadataExt::blocks(&seen) * 512;
            assert!(
                (least(size).bytes()..2 * least(size).bytes() + (1 << 20)).contains(&taken),
                "{mib}: {taken}"
            );
            let head = Command::new("dumpe2fs").arg("-h").arg(&path).output().unwrap();
            let head = String::from_utf8(head.stdout).unwrap();
            assert!(head.contains("00000000-0000-0000-0000-000000000007"), "{mib}: {head}");
            if mib <= 512 {
                let sound = Command::new("e2fsck").arg("-fn").arg(&path).output().unwrap();
                assert!(sound.status.success(), "{mib}: {sound:?}");
            }
        }
    }

    #[test]
    fn every_size_is_a_sound_file_system_with_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("fs");
        for mib in [8, 9, 16, 63, 64, 127, 128, 255, 256, 512, 3 << 20] {
            let size = ByteSize::mib(mib);
            let _ = std::fs::remove_file(&file);
            File::create(&file).unwrap().set_len(size.bytes()).unwrap();
            let what = Mkfs { file: &file, size, uuid: None, content: None, journal: true, inodes: None };
            make(&what, "make it", Code::FormatFailed).unwrap();
            let taken = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512;
            assert!(taken >= least(size).bytes(), "{mib}: {taken}");
            let head = Command::new("dumpe2fs").arg("-h").arg(&file).output().unwrap();
            let head = String::from_utf8(head.stdout).unwrap();
            assert!(head.contains("has_journal"), "{mib}: {head}");
            if mib <= 512 {
                let sound = Command::new("e2fsck").arg("-fn").arg(&file).output().unwrap();
                assert!(sound.status.success(), "{mib}: {sound:?}");
            }
        }
    }
}
