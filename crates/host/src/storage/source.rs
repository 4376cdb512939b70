//! Content that copies are made of, and whether they cost anything.
//!
//! Invariant: what is opened is a regular file of ours and is only read.

use crate::fault;
use engine::port::Fault;
use rustix::fs::{Mode, OFlags, ioctl_ficlone, open as open_at};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use types::{ByteSize, Code};

/// Opens the content at `path`; tells its length.
///
/// # Errors
/// `volume-lost` if there is none, `io-error`.
pub fn open(path: &Path) -> Result<(File, ByteSize), Fault> {
    let failed = |e: io::Error| match e.kind() {
        ErrorKind::NotFound => Fault::lasting(Code::VolumeLost, "the file of what is copied is gone")
            .hint(format!("put it back as {}", path.display())),
        _ => fault::io("read what is copied", path, &e),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open_at(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
    let seen = file.metadata().map_err(failed)?;
    if !seen.is_file() {
        return Err(failed(ErrorKind::InvalidInput.into()));
    }
    Ok((file, ByteSize(seen.len())))
}

/// Whether files in `dir` can share their blocks: tried, since for XFS it was decided when it was made.
pub fn shares(dir: &Path) -> bool {
    if let Some(known) = crate::filesystem::of(dir).ok().and_then(|fs| fs.reflink) {
        return known;
    }
    let try_it = || -> io::Result<()> {
        let (from, to) = (tempfile_in(dir)?, tempfile_in(dir)?);
        from.write_all_at(&[1; 4096], 0)?;
        Ok(ioctl_ficlone(&to, &from)?)
    };
    try_it().is_ok()
}

/// A file without a name, which is gone once it is closed.
fn tempfile_in(dir: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(File::from(open_at(dir, flags, Mode::RUSR | Mode::WUSR)?))
}
