//! Removing directories with all that is in them.
//!
//! Invariant: never across a mount, not even a bind mount of the same file system, and never through
//! a symbolic link: what is below them is somebody else's.

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Removes `path`, whatever it is, if it is there.
///
/// # Errors
/// `CrossesDevices` where something is mounted below; the file system's.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match File::open(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match entry(parent.as_fd(), &CString::new(name.as_encoded_bytes())?) {
        Err(Errno::NOENT) => Ok(()),
        ended => Ok(ended?),
    }
}

fn entry(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match unlinkat(at, name, AtFlags::empty()) {
        // A directory: EISDIR on Linux, EPERM by POSIX.
        Err(Errno::ISDIR | Errno::PERM) => {}
        ended => return ended,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat2(at, name, flags, Mode::empty(), ResolveFlags::NO_XDEV)?;
    let mut entries = Vec::new();
    for found in Dir::read_from(&dir)? {
        let name = found?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            entries.push(name);
        }
    }
    entries.iter().try_for_each(|name| entry(dir.as_fd(), name))?;
    unlinkat(at, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    #[test]
    fn all_of_it_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("kept"), b"").unwrap();
        fs::write(tree.join("a/b/c"), b"").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        remove(&tree.join("x/y")).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
    }

    #[test]
    fn a_mount_below_stops_it() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("at")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("kept"), b"").unwrap();
        let at = tree.join("at");
        assert!(Command::new("mount").arg("--bind").args([&other, &at]).status().unwrap().success());
        let ended = remove(&tree);
        assert!(Command::new("umount").arg(&at).status().unwrap().success());
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::CrossesDevices);
        assert!(other.join("kept").exists());
        remove(&tree).unwrap();
    }
}
