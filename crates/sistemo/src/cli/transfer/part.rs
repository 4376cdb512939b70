//! A file on its way.
//!
//! Invariant: it has no name before it gets its final one, so that whatever ends the command leaves nothing;
//! where the file system knows no files without names (NFS, FAT), it has one that only a kill leaves behind.

use super::io;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// A file without its final name; gone, unless it gets that.
pub struct Part {
    /// What it will be called, or what that is made of.
    target: PathBuf,
    /// The name it has meanwhile, where it must have one.
    named: Option<PathBuf>,
    /// Open for reading and writing.
    pub file: File,
}

impl Part {
    /// Makes one in the directory of `target`.
    ///
    /// # Errors
    /// `io-error`.
    pub fn beside(target: &Path) -> Result<Self, Problem> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory(target), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { target: target.to_owned(), named: None, file: file.into() }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Self::named(target),
            Err(e) => Err(io("write", target, &e.into())),
        }
    }

    /// Makes one with a name.
    fn named(target: &Path) -> Result<Self, Problem> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|e| io("make", &path, &e))?;
        Ok(Self { target: target.to_owned(), named: Some(path), file })
    }

    /// What it will be called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where programs that this one runs find it.
    pub fn path(&self) -> PathBuf {
        let fd = || format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into();
        self.named.clone().unwrap_or_else(fd)
    }

    /// Makes it durable and gives it its name, which nothing may have.
    ///
    /// # Errors
    /// `name-taken`, `io-error`.
    pub fn publish(self, target: &Path) -> Result<(), Problem> {
        self.file.sync_all().map_err(|e| io("write", target, &e))?;
        let given = match &self.named {
            None => linkat(CWD, self.path(), CWD, target, AtFlags::SYMLINK_FOLLOW),
            Some(path) => match renameat_with(CWD, path, CWD, target, RenameFlags::NOREPLACE) {
                // Not every file system can.
                Err(Errno::INVAL | Errno::NOSYS) if target.exists() => Err(Errno::EXIST),
                Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(path, target),
                other => other,
            },
        };
        given.map_err(|e| match e {
            Errno::EXIST => taken(target),
            e => io("name", target, &e.into()),
        })?;
        let dir = directory(target);
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io("write", dir, &e))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The directory that it is in.
fn directory(target: &Path) -> &Path {
    target.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The refusal of a name that something has.
pub fn taken(target: &Path) -> Problem {
    Problem::new(Code::NameTaken, format!("there is a file {} already", target.display()))
        .hint("choose another name, or remove it first")
}

/// Something that is whole.
pub struct Kept {
    /// Where it is; `None` if it went to a pipe.
    pub part: Option<Part>,
    /// Of the bytes as they are there, in hexadecimal.
    pub sha256: String,
    /// What it takes.
    pub bytes: u64,
}

impl Kept {
    /// Gives it its name, and its checksum, as `sha256sum -c` reads it, a name beside it.
    ///
    /// # Errors
    /// `name-taken`, `io-error`.
    pub fn publish(self, target: &Path) -> Result<(), Problem> {
        let Some(part) = self.part else { return Ok(()) };
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sum = checksum_of(target);
        let beside = Part::beside(&sum)?;
        std::io::Write::write_all(&mut &beside.file, format!("{}  {name}\n", self.sha256).as_bytes())
            .map_err(|e| io("write", &sum, &e))?;
        part.publish(target)?;
        // One of an earlier file of this name tells nothing any more.
        let _ = std::fs::remove_file(&sum);
        beside.publish(&sum)
    }
}

/// Where the checksum of a file is.
pub fn checksum_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".sha256");
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn it_has_no_name_before_its_own_and_takes_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        type Make = fn(&Path) -> Result<Part, Problem>;
        for (make, meanwhile) in [(Part::beside as Make, 0), (Part::named, 1)] {
            let part = make(&target).unwrap();
            assert_eq!(names(dir.path()), meanwhile);
            std::fs::write(part.path(), "by another program").unwrap();
            drop(part);
            assert_eq!(names(dir.path()), 0);
            let part = make(&target).unwrap();
            std::fs::write(part.path(), "whole").unwrap();
            part.publish(&target).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"whole");
            assert_eq!(make(&target).unwrap().publish(&target).unwrap_err().code, Code::NameTaken);
            assert_eq!((names(dir.path()), std::fs::read(&target).unwrap()), (1, b"whole".to_vec()));
            std::fs::remove_file(&target).unwrap();
        }
        let nowhere = dir.path().join("missing/out");
        let problem = Part::beside(&nowhere).err().unwrap();
        assert_eq!((problem.code, problem.hint.is_some()), (Code::IoError, true));
    }
}
