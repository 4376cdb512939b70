//! Links and addresses, by netlink.
//!
//! Netlink rather than `ip`: its answers are numbers (`ENODEV`, `EPERM`) instead of text in some
//! language, there is nothing to parse, and looking at a machine costs no process.
//!
//! Invariant: every call has a deadline; a socket lives for one operation and belongs to the network
//! namespace of the thread that opened it.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{LinkBridge, LinkUnspec};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The kernel answers in microseconds, or waits for another's `rtnl_lock`.
const DEADLINE: Duration = Duration::from_secs(20);

/// What kind of link it is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// A tun or tap.
    Tun,
    /// Anything else.
    Other,
}

/// A link as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its kind.
    pub kind: Kind,
    /// It is administratively up.
    pub up: bool,
    /// The bridge it is a port of.
    pub bridge: Option<u32>,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            kind: Kind::Other,
            up: message.header.flags.contains(LinkFlags::Up),
            bridge: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Controller(index) if index != 0 => link.bridge = Some(index),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
                            LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tun,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

/// An IPv4 address of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The link's number.
    pub index: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
}

/// A netlink socket.
pub struct Links {
    handle: rtnetlink::Handle,
    tokio: Handle,
    task: AbortHandle,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn error(e: rtnetlink::Error) -> io::Error {
    match e {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

impl Links {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(tokio: &Handle) -> io::Result<Self> {
        let _context = tokio.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let task = tokio.spawn(connection).abort_handle();
        Ok(Self { handle, tokio: tokio.clone(), task })
    }

    /// Waits for `request` on a thread that is none of the runtime's.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, rtnetlink::Error>> + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = mpsc::sync_channel(1);
        let task = self.tokio.spawn(async move {
            // Nobody listens any more only after the deadline.
            let _ = tell.send(request.await);
        });
        told.recv_timeout(DEADLINE)
            .map_err(|_| {
                task.abort();
                io::Error::from(ErrorKind::TimedOut)
            })?
            .map_err(error)
    }

    /// The link of this name.
    pub fn find(&self, name: &str) -> io::Result<Option<Link>> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let found = self.wait(async move { Box::pin(request.execute()).try_next().await });
        match found {
            Ok(message) => Ok(message.map(Link::from)),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The name of a link.
    pub fn name(&self, index: u32) -> io::Result<Option<String>> {
        let request = self.handle.link().get().match_index(index);
        let found = self.wait(async move { Box::pin(request.execute()).try_next().await })?;
        Ok(found.and_then(|m| {
            m.attributes.into_iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        }))
    }

    /// Makes a bridge with a fixed address: without one, it takes the lowest of its ports', and the
    /// guests' gateway would change its address whenever a machine comes or goes.
    pub fn add_bridge(&self, name: &str, mac: [u8; 6]) -> io::Result<()> {
        let message = LinkBridge::new(name).address(mac.to_vec()).build();
        let request = self.handle.link().add(message);
        self.wait(request.execute())
    }

    /// Takes a link up.
    pub fn up(&self, index: u32) -> io::Result<()> {
        let request = self.handle.link().set(LinkUnspec::new_with_index(index).up().build());
        self.wait(request.execute())
    }

    /// Makes a link a port of a bridge, and takes it up.
    pub fn enslave(&self, index: u32, bridge: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        let request = self.handle.link().set(message);
        self.wait(request.execute())
    }

    /// Removes a link.
    pub fn delete(&self, index: u32) -> io::Result<()> {
        let request = self.handle.link().del(index);
        self.wait(request.execute())
    }

    /// All IPv4 addresses of this host.
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        let request = self.handle.address().get();
        let messages = self.wait(async move { request.execute().try_collect::<Vec<_>>().await })?;
        Ok(messages
            .into_iter()
            .filter_map(|m| {
                // On a point-to-point link `Address` is the peer's.
                let local = m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                    _ => None,
                })?;
                Some(Address { index: m.header.index, address: local, prefix: m.header.prefix_len })
            })
            .collect())
    }

    /// Gives a link an address; having it already is no error.
    pub fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let request = self.handle.address().add(index, address.into(), prefix);
        match self.wait(request.execute()) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }
}
