//! The virtio-serial port.
//!
//! `read() == 0` means that no host is there, which also is so for a moment after it has connected;
//! a poll of such a port is always ready (`EPOLLHUP`), and tokio never forgets a hang-up. So the port
//! sits in an epoll of its own, edge-triggered, and tokio watches that epoll, which never hangs up.
//!
//! Invariant: nobody spins while the host is away, and no edge is lost: whoever waits is polled once
//! more after every edge.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const PORTS: &str = "/sys/class/virtio-ports";
const PAUSE: Duration = Duration::from_millis(20);

/// The open port.
pub struct Port {
    fd: OwnedFd,
    edges: AsyncFd<OwnedFd>,
}

/// Waits for the port and opens it.
///
/// # Errors
/// When it cannot be opened.
pub async fn find() -> io::Result<Port> {
    let (name, number) = loop {
        if let Some(found) = look(Path::new(PORTS)) {
            break found;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let path = format!("/dev/{name}");
    let (major, minor) = number;
    match mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(major, minor)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Port::new(openat(CWD, &path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

/// Name and device number of our port.
fn look(ports: &Path) -> Option<(String, (u32, u32))> {
    std::fs::read_dir(ports).ok()?.flatten().find_map(|entry| {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
        let dev = read("dev")?;
        let (major, minor) = dev.trim().split_once(':')?;
        let number = (major.parse().ok()?, minor.parse().ok()?);
        (read("name")?.trim() == proto::PORT).then_some((entry.file_name().into_string().ok()?, number))
    })
}

impl Port {
    /// Takes a non-blocking descriptor.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let edges = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&edges, &fd, EventData::new_u64(0), flags)?;
        Ok(Self { fd, edges: crate::watched(edges, Interest::READABLE)? })
    }

    /// Waits for the next edge: something may have changed.
    pub fn poll_edge(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.edges.poll_read_ready(context))?;
            let mut events = [MaybeUninit::<Event>::uninit(); 4];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let (seen, _) = epoll::wait(self.edges.get_ref(), &mut events, Some(&now))?;
            let any = !seen.is_empty();
            guard.clear_ready();
            if any {
                // The edge may be for the other direction, which waits in the same task.
                context.waker().wake_by_ref();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads; 0: no host is there.
    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Err(Errno::AGAIN) => ready!(self.poll_edge(context))?,
                Err(Errno::INTR) => {}
                other => return Poll::Ready(other.map_err(Into::into)),
            }
        }
    }

    /// Writes as much as the port takes; waits while no host is there.
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match rustix::io::write(&self.fd, bytes) {
                Err(Errno::AGAIN) => ready!(self.poll_edge(context))?,
                Err(Errno::INTR) => {}
                other => return Poll::Ready(other.map_err(Into::into)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_port_is_known_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        for (port, name, dev) in [("vport1p1", "other", "248:1"), ("vport1p2", proto::PORT, "248:2")] {
            std::fs::create_dir(dir.path().join(port)).unwrap();
            std::fs::write(dir.path().join(port).join("name"), format!("{name}\n")).unwrap();
            std::fs::write(dir.path().join(port).join("dev"), format!("{dev}\n")).unwrap();
        }
        assert_eq!(look(dir.path()), Some(("vport1p2".into(), (248, 2))));
    }
}
