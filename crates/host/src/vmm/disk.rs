//! Volumes' files as descriptors for QEMU.
//!
//! Invariant: a file is opened once for each start and closed right after QEMU has it: the image lock
//! belongs to the open file, and lives as long as anybody holds it.

use engine::port::{Fault, RunDisk};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use types::Code;

/// QEMU locks single bytes of an image: 100 + n for what it does, 200 + n for what it lets no one
/// else do (its `block/file-posix.c`).
const LOCK_BYTES: (i64, i64) = (100, 200);
/// The one of them for writing (`BLK_PERM_WRITE`): those who only read share a file, which several views of
/// one snapshot are.
const WRITES: (i64, i64) = (101, 1);

/// An open file, and whether the host's page cache is passed by.
pub struct Open {
    /// The file.
    pub file: File,
    /// It is open with `O_DIRECT`.
    pub direct: bool,
}

/// Opens the file of a disk.
///
/// # Errors
/// `volume-lost` if there is none, `volume-in-use` if another hypervisor has locked it, `io-error`.
pub fn open(path: &Path, disk: &RunDisk) -> Result<Open, Fault> {
    let failed = |e| crate::fault::io(&format!("open volume \"{}\"", disk.name), path, &e);
    let open = open_direct(path, disk.read_only).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            Fault::lasting(Code::VolumeLost, format!("the file of volume \"{}\" is gone", disk.name))
                .hint(format!("put it back as {}", path.display()))
        }
        _ => failed(e),
    })?;
    if !open.file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    let those = if disk.read_only { WRITES } else { LOCK_BYTES };
    if locked(&open.file, those).map_err(failed)? {
        return Err(in_use(disk.name.as_str()));
    }
    Ok(open)
}

/// The fault of a volume that another process writes to.
pub fn in_use(name: &str) -> Fault {
    Fault::lasting(Code::VolumeInUse, format!("volume \"{name}\" is open in another process"))
        .hint("a hypervisor that no machine of this daemon knows holds its file: `sistemo doctor`, `lsof`")
}

/// With `O_DIRECT` where the file system can (open(2): it says EINVAL where it cannot).
pub fn open_direct(path: &Path, read_only: bool) -> io::Result<Open> {
    let open = |flags| {
        OpenOptions::new().read(true).write(!read_only).custom_flags(libc::O_NOFOLLOW | flags).open(path)
    };
    match open(libc::O_DIRECT) {
        Ok(file) => Ok(Open { file, direct: true }),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(Open { file: open(0)?, direct: false }),
        Err(e) => Err(e),
    }
}

/// Whether anybody has locked any of these bytes of the file. QEMU takes the lock itself and is the judge;
/// this tells which volume it was, and before a process is made.
fn locked(file: &File, (start, len): (i64, i64)) -> io::Result<bool> {
    // SAFETY: `flock` holds integers only, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start;
    lock.l_len = len;
    // SAFETY: F_OFD_GETLK reads and writes a `flock`, which `lock` is and which outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks a byte as QEMU does, until the file is closed.
    fn hold(path: &Path, byte: i64) -> File {
        let file = File::open(path).unwrap();
        // SAFETY: `flock` holds integers only, for which zero is a value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_RDLCK as libc::c_short;
        lock.l_start = byte;
        lock.l_len = 1;
        // SAFETY: F_OFD_SETLK reads a `flock`, which `lock` is and which outlives the call.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) }, 0);
        file
    }

    #[test]
    fn those_who_read_share_a_file_and_those_who_write_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, [0; 512]).unwrap();
        let disk = |read_only| RunDisk {
            volume: types::VolumeId(uuid::Uuid::nil()),
            pool: "default".into(),
            name: types::Name::new("data").unwrap(),
            slot: 1,
            serial: "data".into(),
            role: types::volume::VolumeRole::Data,
            mount: None,
            by_name: false,
            read_only,
            identity: None,
        };
        // It reads, and lets nobody write or change the size.
        let _reader = [100, 201, 203].map(|byte| hold(&path, byte));
        assert!(open(&path, &disk(true)).is_ok());
        assert_eq!(open(&path, &disk(false)).err().unwrap().problem.code, Code::VolumeInUse);
        let _writer = hold(&path, 101);
        assert_eq!(open(&path, &disk(true)).err().unwrap().problem.code, Code::VolumeInUse);
    }
}
