//! Copying a sparse file: shared where the file system can, else its data only.
//!
//! Invariant: holes are never read and never written, so that a copy occupies no more than its
//! source; never more than the agreed length is copied, however the source grows meanwhile.

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

/// Bytes for one call: few enough for progress, many enough not to matter.
const CHUNK: u64 = 8 << 20;
/// Bytes for one call where the kernel cannot copy by itself: what stays in a processor's cache.
const BUFFER: usize = 256 << 10;

/// Lets something happen at most a few times a second.
pub struct Pace(Option<Instant>);

impl Pace {
    /// The first call is let through.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether it is time again.
    pub fn due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= Duration::from_millis(300));
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Fills the empty file `to` with the first `length` bytes of `from` and gives it the length
/// `size`. `tell` hears, at most a few times a second, how many bytes of how many are copied.
///
/// # Errors
/// Those of the file systems; `UnexpectedEof` if `from` is shorter than `length`; `StorageFull`
/// before anything is written if there is certainly no room.
pub fn content(
    from: &File,
    to: &File,
    length: u64,
    size: u64,
    tell: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    match ioctl_ficlone(to, from) {
        // The source may have grown, or be shorter: only what was agreed is taken.
        Ok(()) if to.metadata()?.len() < length => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(()) => to.set_len(length)?,
        Err(e) if cannot_share(e) => data(from, to, length, tell)?,
        Err(e) => return Err(e.into()),
    }
    to.set_len(size)
}

/// Whether the file system says that it cannot share blocks, or not these.
fn cannot_share(e: Errno) -> bool {
    matches!(
        e,
        Errno::OPNOTSUPP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::NOTTY
            | Errno::NOSYS
            | Errno::PERM
            | Errno::TXTBSY
    )
}

/// Whether an error says that blocks cannot be shared.
pub fn unshared(e: &io::Error) -> bool {
    e.raw_os_error().is_some_and(|raw| cannot_share(Errno::from_raw_os_error(raw)))
}

/// Copies the data ranges below `length`.
fn data(from: &File, to: &File, length: u64, tell: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let seen = from.metadata()?;
    if seen.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let total = length.min(seen.blocks() * 512);
    let room = rustix::fs::fstatvfs(to)?;
    if total > room.f_bavail.saturating_mul(room.f_frsize) {
        return Err(Errno::NOSPC.into());
    }
    let (mut done, mut pace) = (0, Pace::new());
    let mut on = |copied: u64| {
        done += copied;
        if pace.due() {
            tell(done.min(total), total);
        }
    };
    let mut at = 0;
    while let Some((start, end)) = next_range(from, at, length)? {
        range(from, to, start, end, &mut on)?;
        at = end;
    }
    tell(total, total);
    Ok(())
}

/// The next range of data at `at` or behind it, cut at `length`.
pub(crate) fn next_range(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < length => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?.min(length);
    Ok(Some((start, end)))
}

/// Gives back what was only set aside: it reads as zeros with and without it. Nobody may write to it.
///
/// # Errors
/// Those of the file.
pub fn give_back(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let (start, end) = next_range(file, at, length)?.unwrap_or((length, length));
        if start > at {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, flags, at, start - at) {
                // Then it stays set aside.
                Err(Errno::OPNOTSUPP) => return Ok(()),
                other => other?,
            }
        }
        at = end;
    }
    Ok(())
}

/// Copies one range, in the kernel if it can.
fn range(from: &File, to: &File, start: u64, end: u64, on: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let (mut source, mut target) = (at, at);
        let want = (end - at).min(CHUNK) as usize;
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            Ok(0) => return by_hand(from, to, at, end, on),
            Ok(n) => {
                // Writing out while the next chunk is read makes the fsync at the end short.
                write_out(to, at, n as u64);
                at += n as u64;
                on(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                return by_hand(from, to, at, end, on);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn by_hand(from: &File, to: &File, start: u64, end: u64, on: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER.min((end - start) as usize)];
    let mut at = start;
    while at < end {
        let want = (end - at).min(BUFFER as u64) as usize;
        from.read_exact_at(&mut buffer[..want], at)?;
        to.write_all_at(&buffer[..want], at)?;
        at += want as u64;
        on(want as u64);
    }
    Ok(())
}

/// Asks for write-back to begin; a mere hint, so failures do not matter: fsync tells them.
fn write_out(file: &File, at: u64, length: u64) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the call's length, and no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, length as i64, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Calls `each` with the data of the first `length` bytes in order, and with how many zeros stand
/// before it where there is a hole.
pub fn read_sparse(file: &File, length: u64, each: &mut dyn FnMut(u64, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while let Some((start, end)) = next_range(file, at, length)? {
        let mut hole = start - at;
        at = start;
        while at < end {
            let want = (end - at).min(BUFFER as u64) as usize;
            file.read_exact_at(&mut buffer[..want], at)?;
            each(hole, &buffer[..want]);
            hole = 0;
            at += want as u64;
        }
    }
    if at < length {
        each(length - at, &[]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sparse(dir: &std::path::Path, pieces: &[(u64, u8, usize)], length: u64) -> File {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(dir.join("from"))
            .unwrap();
        file.set_len(length).unwrap();
        for &(at, byte, n) in pieces {
            let at = at % length;
            let n = n.min((length - at) as usize);
            file.write_all_at(&vec![byte; n], at).unwrap();
        }
        file
    }

    fn whole(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// How many of the first `length` bytes are data.
    fn occupied(file: &File, length: u64) -> u64 {
        let (mut at, mut sum) = (0, 0);
        while let Some((start, end)) = next_range(file, at, length).unwrap() {
            sum += end - start;
            at = end;
        }
        sum
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_copy_is_the_same_and_no_larger(
            pieces in prop::collection::vec((0u64..(4 << 20), any::<u8>(), 1usize..200_000), 0..6),
            length in 1u64..(4 << 20),
            more in 0u64..(4 << 20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let from = sparse(dir.path(), &pieces, length);
            let to = File::options().read(true).write(true).create_new(true)
                .open(dir.path().join("to")).unwrap();
            let mut last = (0, 0);
            content(&from, &to, length, length + more, &mut |done, total| last = (done, total)).unwrap();
            prop_assert_eq!(last.0, last.1);
            let mut wanted = whole(&from);
            wanted.resize((length + more) as usize, 0);
            prop_assert!(whole(&to) == wanted);
            to.sync_all().unwrap();
            from.sync_all().unwrap();
            // Not `st_blocks`: a file of more than four extents has a block for their index as well, and into
            // how many pieces the data falls is the file system's choice.
            prop_assert!(occupied(&to, length) <= occupied(&from, length));
            let mut read = Vec::new();
            read_sparse(&from, length, &mut |hole, bytes| {
                read.resize(read.len() + hole as usize, 0);
                read.extend_from_slice(bytes);
            }).unwrap();
            prop_assert!(read == whole(&from));
        }
    }

    #[test]
    fn by_hand_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let from = sparse(dir.path(), &[(100, 7, 3_000_000)], 4 << 20);
        let to = File::options().read(true).write(true).create_new(true).open(dir.path().join("to")).unwrap();
        let mut copied = 0;
        by_hand(&from, &to, 0, 4 << 20, &mut |n| copied += n).unwrap();
        assert!(whole(&to) == whole(&from));
        assert_eq!(copied, 4 << 20);
    }

    #[test]
    fn a_source_that_is_too_short_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let from = sparse(dir.path(), &[], 1000);
        let to = File::options().read(true).write(true).create_new(true).open(dir.path().join("to")).unwrap();
        let ended = content(&from, &to, 2000, 2000, &mut |_, _| ());
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
