//! Judging a file that somebody wants to be an image.
//!
//! Invariant: of the file only its superblock is read, a bounded number of bytes with nothing in them
//! followed; a file that is none (a device, a fifo) is never waited for.

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use types::{ByteSize, Code, Problem};

/// Where the superblock is (Linux, `Documentation/filesystems/ext4/super.rst`).
pub const SUPERBLOCK: u64 = 1024;
/// ext2, ext3 and ext4.
const MAGIC: u16 = 0xef53;
/// `INCOMPAT_EXTENTS`, by which an ext4 is told from its ancestors.
const EXTENTS: u32 = 0x40;
/// `INCOMPAT_64BIT`: block numbers have a high half.
const WIDE: u32 = 0x80;
/// The largest block is of 64 KiB: the logarithm counts from 1 KiB.
const LARGEST_BLOCK: u32 = 6;
/// `INCOMPAT_JOURNAL_DEV`: holds a journal and nothing else.
const JOURNAL_DEVICE: u32 = 0x8;

/// Opens a regular file for reading, without ever waiting for it.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Opening a fifo would wait for its other end, and opening a device may do anything.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

/// A file that can become an image.
#[derive(Debug)]
pub struct Found {
    /// The open file.
    pub file: File,
    /// Its length.
    pub size: ByteSize,
    /// Changes when the file does; the same by whatever path it is found.
    pub stamp: String,
}

/// Judges whether `path` can become an image.
///
/// # Errors
/// `image-not-found`, `image-invalid`, `no-permission`.
pub fn probe(path: &str) -> Result<Found, Problem> {
    let shown = path.escape_debug();
    let file = open_file(Path::new(path)).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Problem::new(Code::ImageNotFound, format!("there is no file {shown}"))
                .hint("the path is one on the host that runs the daemon")
        }
        ErrorKind::PermissionDenied => {
            Problem::new(Code::NoPermission, format!("the daemon may not read {shown}"))
                .hint("look at the file's owner and mode, and at those of the directories above it")
        }
        ErrorKind::InvalidInput => invalid(format!("{shown} is not a regular file")),
        _ => invalid(format!("{shown} cannot be opened")),
    })?;
    let seen = file.metadata().map_err(|_| invalid(format!("{shown} cannot be read")))?;
    let size = ByteSize(seen.len());
    check(&file, seen.len()).map_err(|why| invalid(format!("{shown} {why}")))?;
    let (dev, ino, at, ns) = (seen.dev(), seen.ino(), seen.mtime(), seen.mtime_nsec());
    Ok(Found { file, size, stamp: format!("{dev}-{ino}-{}-{at}.{ns:09}", size.bytes()) })
}

fn invalid(text: String) -> Problem {
    Problem::new(Code::ImageInvalid, text).hint(
        "an image is a raw file that holds one ext4 file system and no partitions; \
         `mkfs.ext4 -d DIR FILE 2G` makes one of a directory",
    )
}

/// Whether the first `length` bytes of `file` hold a whole ext4 file system; if not, why not, as
/// the rest of a sentence.
pub fn check(file: &File, length: u64) -> Result<(), &'static str> {
    if length > ByteSize::MAX.bytes() {
        return Err("is too large");
    }
    let mut sb = [0; 1024];
    match file.read_exact_at(&mut sb, SUPERBLOCK) {
        Ok(()) => judge(&sb, length),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err("holds no ext4 file system"),
        Err(_) => Err("cannot be read"),
    }
}

/// Whether a superblock is of a whole ext4 within `length` bytes; if not, why not.
///
/// # Errors
/// The rest of a sentence.
pub fn judge(sb: &[u8; 1024], length: u64) -> Result<(), &'static str> {
    let u16_at = |at: usize| u16::from_le_bytes([sb[at], sb[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([sb[at], sb[at + 1], sb[at + 2], sb[at + 3]]);
    if u16_at(0x38) != MAGIC {
        return Err("holds no ext4 file system");
    }
    let incompat = u32_at(0x60);
    if u32_at(0x18) > LARGEST_BLOCK || incompat & JOURNAL_DEVICE != 0 {
        return Err("holds a damaged ext4 file system");
    }
    if incompat & EXTENTS == 0 {
        return Err("holds an ext2 or ext3 file system, not an ext4");
    }
    match ext4_length(sb) {
        None | Some(0) => Err("holds a damaged ext4 file system"),
        Some(needed) if needed > length => Err("is shorter than the ext4 file system in it"),
        Some(_) => Ok(()),
    }
}

/// The bytes that an ext4 says it has, by its superblock; nothing if its numbers make no sense.
pub fn ext4_length(sb: &[u8; 1024]) -> Option<u64> {
    let u32_at = |at: usize| u32::from_le_bytes([sb[at], sb[at + 1], sb[at + 2], sb[at + 3]]);
    let log_block = Some(u32_at(0x18)).filter(|log| *log <= LARGEST_BLOCK)?;
    let high = if u32_at(0x60) & WIDE == 0 { 0 } else { u64::from(u32_at(0x150)) };
    (high << 32 | u64::from(u32_at(0x4))).checked_mul(1024 << log_block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mkfs::{Mkfs, make};
    use proptest::prelude::*;

    fn ext4(file: &Path, size: ByteSize) {
        File::create(file).unwrap().set_len(size.bytes()).unwrap();
        make(
            &Mkfs { file, size, uuid: None, content: None, journal: true, inodes: None },
            "make it",
            Code::FormatFailed,
        )
        .unwrap();
    }

    #[test]
    fn a_whole_ext4_is_taken_and_its_stamp_follows_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("fs");
        ext4(&file, ByteSize::mib(64));
        let found = probe(file.to_str().unwrap()).unwrap();
        assert_eq!(found.size, ByteSize::mib(64));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(probe(link.to_str().unwrap()).unwrap().stamp, found.stamp);
        File::options().write(true).open(&file).unwrap().set_len(65 << 20).unwrap();
        assert_ne!(probe(file.to_str().unwrap()).unwrap().stamp, found.stamp);
    }

    #[test]
    fn what_is_no_image_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let code = |path: &Path| probe(path.to_str().unwrap()).unwrap_err().code;
        ext4(&path("cut"), ByteSize::mib(64));
        File::options().write(true).open(path("cut")).unwrap().set_len(63 << 20).unwrap();
        std::fs::write(path("empty"), b"").unwrap();
        std::fs::write(path("text"), vec![b'x'; 5000]).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for name in ["cut", "empty", "text", "fifo"] {
            assert_eq!(code(&path(name)), Code::ImageInvalid, "{name}");
        }
        assert_eq!(code(dir.path()), Code::ImageInvalid);
        for device in ["/dev/urandom", "/dev/zero", "/dev/tty"] {
            assert_eq!(code(Path::new(device)), Code::ImageInvalid, "{device}");
        }
        assert_eq!(code(&path("missing")), Code::ImageNotFound);
        assert_eq!(code(&path("text/below")), Code::ImageNotFound);
    }

    proptest! {
        #[test]
        fn no_superblock_makes_it_panic(
            mut sb in prop::collection::vec(any::<u8>(), 1024),
            log_block in prop_oneof![0u32..8, any::<u32>()],
            length in any::<u64>(),
        ) {
            sb[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
            sb[0x18..0x1c].copy_from_slice(&log_block.to_le_bytes());
            sb[0x60] |= 0x40;
            let sb: [u8; 1024] = sb.try_into().unwrap();
            let _ = judge(&sb, length);
        }
    }
}
