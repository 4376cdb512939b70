//! Files in the machine's root, from outside it.
//!
//! The root belongs to the guest: any component of any path may be a symbolic link to anywhere.
//!
//! Invariant: every path is resolved by the kernel within the root (`RESOLVE_IN_ROOT`); what is read
//! is a regular file and bounded; what is written appears whole or not at all.

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, fsync, mkdirat, openat, openat2,
    readlinkat, renameat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The longest file that is read.
const LONGEST: u64 = 4 << 20;

/// A directory that is the root of a machine.
#[derive(Debug)]
pub struct Inside(OwnedFd);

impl Inside {
    /// The root at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn at(path: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// The root directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens `path`, which begins at the root.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut patience = 32;
        loop {
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // openat2(2): something was renamed meanwhile and the kernel could not be sure.
                Err(Errno::AGAIN) if patience > 0 => patience -= 1,
                other => return Ok(other?),
            }
        }
    }

    fn dir(&self, path: &str) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Whether `path` leads to something.
    pub fn exists(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH, Mode::empty()).is_ok()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there, no regular file or longer than 4 MiB.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        // NONBLOCK: opening a FIFO that a guest put there must not wait for its other end.
        let fd = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let mut out = Vec::new();
        File::from(fd).take(LONGEST + 1).read_to_end(&mut out)?;
        if out.len() as u64 > LONGEST {
            return Err(Errno::FBIG.into());
        }
        Ok(out)
    }

    /// Reads a file of text; what is no UTF-8 is replaced; a file that is not there is empty.
    ///
    /// # Errors
    /// As [`Inside::read`].
    pub fn text(&self, path: &str) -> io::Result<String> {
        match self.read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(e),
        }
    }

    /// Where `path` points, if its last component is a symbolic link.
    pub fn link(&self, path: &str) -> Option<String> {
        let (parent, name) = split(path)?;
        let target = readlinkat(self.dir(parent).ok()?, name, Vec::new()).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    /// The names in a directory; none if it cannot be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = || -> io::Result<Vec<String>> {
            let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let names = rustix::fs::Dir::new(fd)?.flatten();
            Ok(names.map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        };
        entries().unwrap_or_default()
    }

    /// Makes a directory and what is missing above it; answers it, opened for its place only.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_dir(&self, path: &str, mode: u32) -> io::Result<OwnedFd> {
        let mut at = String::new();
        let mut dir = self.dir("/")?;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = format!("{at}/{name}");
            dir = match self.dir(&at) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    match mkdirat(&dir, name, Mode::from_raw_mode(mode)) {
                        // Somebody else made it meanwhile.
                        Ok(()) | Err(Errno::EXIST) => self.dir(&at)?,
                        Err(e) => return Err(e.into()),
                    }
                }
                other => other?,
            };
        }
        Ok(dir)
    }

    /// Makes the file at `path` hold `bytes`; a symbolic link there is replaced. Nothing is written
    /// when it holds them already.
    ///
    /// # Errors
    /// When it cannot be written; then what was there stays.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        if self.link(path).is_none() && self.read(path).is_ok_and(|now| now == bytes) {
            return Ok(());
        }
        let (parent, name) = split(path).ok_or(Errno::INVAL)?;
        let dir = self.open(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let fresh = format!(".{name}.sistemo");
        match unlinkat(&dir, &fresh, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&dir, &fresh, flags, Mode::from_raw_mode(0o600))?);
        let mut publish = || -> io::Result<()> {
            file.write_all(bytes)?;
            fchmod(&file, Mode::from_raw_mode(mode))?;
            file.sync_all()?;
            renameat(&dir, &fresh, &dir, name)?;
            Ok(fsync(&dir)?)
        };
        publish().inspect_err(|_| {
            let _ = unlinkat(&dir, &fresh, AtFlags::empty());
        })
    }

    /// Makes `command` run with this as its root, in the directory `cwd`.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn enter(&self, command: &mut Command, cwd: &str) -> io::Result<()> {
        let root = self.0.try_clone()?;
        let cwd = self.dir(cwd)?;
        let enter = move || {
            rustix::process::fchdir(&root)?;
            rustix::process::chroot(".")?;
            Ok(rustix::process::fchdir(&cwd)?)
        };
        // SAFETY: between fork and exec it makes three system calls on descriptors it owns, and
        // allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

impl From<OwnedFd> for Inside {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// The directory and the name in it.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!matches!(name, "" | "." | "..")).then_some((if parent.is_empty() { "/" } else { parent }, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Inside) {
        let dir = tempfile::tempdir().unwrap();
        let inside = Inside::at(dir.path().to_str().unwrap()).unwrap();
        (dir, inside)
    }

    #[test]
    fn links_of_the_guest_do_not_lead_out() {
        let (dir, inside) = root();
        let out = tempfile::tempdir().unwrap();
        symlink(out.path(), dir.path().join("etc")).unwrap();
        symlink("../../../../../../..", dir.path().join("up")).unwrap();
        assert!(inside.write("/etc/hostname", b"x", 0o644).is_err());
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
        // The way up ends at the root.
        inside.write("/up/file", b"x", 0o600).unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"x");
        assert!(!inside.exists("/up/proc/self"));
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let (dir, inside) = root();
        std::fs::write(dir.path().join("other"), "theirs").unwrap();
        symlink("other", dir.path().join("file")).unwrap();
        inside.write("/file", b"ours", 0o644).unwrap();
        assert_eq!(std::fs::read(dir.path().join("other")).unwrap(), b"theirs");
        assert_eq!(inside.read("/file").unwrap(), b"ours");
        assert_eq!(inside.link("/file"), None);
    }

    #[test]
    fn a_fifo_is_no_file_and_keeps_nobody_waiting() {
        let (dir, inside) = root();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(inside.read("/fifo").is_err());
        assert_eq!(inside.text("/absent").unwrap(), "");
    }

    #[test]
    fn directories_are_made_through_links_within_the_root() {
        let (dir, inside) = root();
        std::fs::create_dir(dir.path().join("usr")).unwrap();
        symlink("/usr", dir.path().join("lib")).unwrap();
        inside.make_dir("/lib/modules/x/", 0o755).unwrap();
        assert!(dir.path().join("usr/modules/x").is_dir());
        assert!(inside.make_dir("/lib/modules/x", 0o755).is_ok());
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        assert!(inside.make_dir("/dangling/x", 0o755).is_err());
    }
}
