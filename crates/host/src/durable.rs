//! Files that are there as a whole or not at all.
//!
//! Invariant: what these functions return from is on the disk: data, then name, then directory
//! (fsync(2): a file's fsync does not cover its directory entry).

use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes the entries of `dir` durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| ErrorKind::InvalidInput.into())
}

/// Makes `dir` and what is missing above it, each durable and of mode 0711.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o711).create(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make_dir(parent(dir)?)?;
            return make_dir(dir);
        }
        Err(e) => return Err(e),
    }
    // The umask may have taken bits away.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
    sync_dir(parent(dir)?)
}

/// Gives a finished temporary its name: fsync, rename, fsync of the directory.
pub fn publish(temporary: &File, from: &Path, to: &Path) -> io::Result<()> {
    temporary.sync_all()?;
    rename(from, to)
}

/// Renames durably; both names are in one file system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let (source, target) = (parent(from)?, parent(to)?);
    sync_dir(target)?;
    if source != target {
        sync_dir(source)?;
    }
    Ok(())
}

/// Replaces a small file by `bytes`, through a temporary beside it (`.<name>.new`).
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    // A killed writer's may be read-only, and whatever has that name is not written through.
    remove(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    // The umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    publish(&file, &temporary, path)
}

/// Removes a file of any size. When this returns, its room can be had, unless it has another name: XFS gives back
/// what was removed only after a while, and whoever looks for room meanwhile sees too little of it.
pub fn discard(path: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    remove(path)?;
    // Whatever cannot be opened is gone all the same.
    let Ok(file) = file else { return Ok(()) };
    let left = file.metadata()?;
    if left.is_file() && left.nlink() == 0 {
        // Nobody can have it any more, so what fails here goes with its last descriptor.
        let _ = file.set_len(0);
    }
    Ok(())
}

/// Removes a file, if it is there; durable with the next [`sync_dir`].
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        make_dir(path.parent().unwrap()).unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o711);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn what_is_discarded_is_whole_under_its_other_name() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        fs::write(&one, b"content").unwrap();
        fs::hard_link(&one, &other).unwrap();
        let open = File::open(&one).unwrap();
        discard(&one).unwrap();
        assert_eq!((one.exists(), fs::read(&other).unwrap()), (false, b"content".to_vec()));
        discard(&other).unwrap();
        discard(&other).unwrap();
        assert_eq!(open.metadata().unwrap().blocks(), 0, "its room can be had");
    }
}
