//! Pipes and terminals without blocking.
//!
//! Invariant: a terminal that nobody has open any more (`EIO`) has ended like a pipe.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One end of a pipe, or the master of a terminal.
pub struct End(AsyncFd<OwnedFd>);

impl End {
    /// Makes `fd` non-blocking and watches it for what the end is used for.
    pub fn new(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        crate::watched(fd, interest).map(Self)
    }

    /// Reads some bytes; 0 at the end.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut *buffer)?)).await;
        match read {
            Err(e) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
            other => other,
        }
    }

    /// Writes some of the bytes.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await
    }

    /// How many bytes can be read at once.
    pub fn waiting(&self) -> u64 {
        rustix::io::ioctl_fionread(self.0.get_ref()).unwrap_or(0)
    }

    /// The descriptor.
    pub fn fd(&self) -> impl AsFd {
        self.0.get_ref()
    }
}
