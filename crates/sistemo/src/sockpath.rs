//! Unix sockets below long paths.
//!
//! Invariant: no path given to the kernel exceeds the 107 bytes of `sun_path`: a longer one is
//! reached through its directory's descriptor.

use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What `sun_path` holds besides its closing zero (`unix(7)`).
const MAX: usize = 107;

/// A path that is short enough for as long as this lives.
pub struct Short {
    path: PathBuf,
    _dir: Option<OwnedFd>,
}

impl Short {
    /// Makes `path` short, by its directory's descriptor if need be.
    ///
    /// # Errors
    /// What opening the directory answered.
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= MAX {
            return Ok(Self { path: path.to_owned(), _dir: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let dir = open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }

    /// The short path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_below_a_long_path_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s.sock");
        assert!(UnixListener::bind(&path).is_err());
        let short = Short::new(&path).unwrap();
        let _listener = UnixListener::bind(short.path()).unwrap();
        assert!(UnixStream::connect(Short::new(&path).unwrap().path()).is_ok());
    }
}
