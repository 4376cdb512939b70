//! Networks: a bridge with the host's address, taps in it, and nftables (see [`nft`]).
//!
//! Invariant: everything is found again by its name and put right where it differs; nothing that is
//! not ours (a bridge with foreign addresses, a link of another kind, another's table) is changed.

mod bridge;
mod link;
mod nft;
mod tap;

use engine::port::{Fault, Net, NicPlan};
use link::{Kind, Links};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use types::Code;
use types::network::NetworkSpec;

/// The networks of this host, or of the network namespace of the calling thread.
pub struct HostNet {
    tokio: tokio::runtime::Handle,
    /// Several machines start at once; two of them would make the same bridge.
    one: Mutex<()>,
}

/// Opens a machine's tap, for its hypervisor.
///
/// # Errors
/// `network-failed`, `no-permission`.
pub fn open_tap(name: &str) -> Result<OwnedFd, Fault> {
    tap::open(name).map_err(|e| refused(&format!("open the tap {name}"), &e))
}

fn failed(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::lasting(Code::NetworkFailed, format!("cannot {what}: {why}"))
}

fn no_root(what: &str) -> Fault {
    Fault::lasting(Code::NoPermission, format!("only root may {what}"))
        .hint("run the daemon as root: `sudo sistemo up`")
}

/// What the kernel refused.
fn refused(what: &str, e: &io::Error) -> Fault {
    tracing::error!(error = %e, "cannot {what}");
    match e.kind() {
        io::ErrorKind::PermissionDenied => no_root(what),
        io::ErrorKind::TimedOut => {
            Fault::passing(Code::NetworkFailed, format!("cannot {what}: the kernel did not answer in time"))
        }
        io::ErrorKind::ResourceBusy => failed(what, "another process uses it"),
        io::ErrorKind::NotFound => failed(what, "it does not exist"),
        _ => failed(what, e.to_string().split(" (os error").next().unwrap_or_default().to_lowercase())
            .hint("the daemon's log says more"),
    }
}

impl HostNet {
    /// The networks of this host. `tokio` carries the netlink sockets.
    pub fn new(tokio: tokio::runtime::Handle) -> Self {
        Self { tokio, one: Mutex::new(()) }
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> Result<Links, Fault> {
        Links::open(&self.tokio).map_err(|e| refused("ask the kernel about links", &e))
    }
}

impl Net for HostNet {
    fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Fault> {
        let _alone = self.alone();
        bridge::ensure(&self.links()?, network)?;
        bridge::set("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| refused("turn on forwarding", &e))?;
        nft::ensure_network(network)
    }

    fn ensure_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<(), Fault> {
        let _alone = self.alone();
        let what = format!("make the tap {}", nic.tap);
        let refused = |e: io::Error| refused(&what, &e);
        let links = self.links()?;
        let bridge = links
            .find(&network.bridge)
            .map_err(refused)?
            .ok_or_else(|| failed(&what, format!("the bridge {} is gone", network.bridge)))?;
        let tap = match links.find(&nic.tap).map_err(refused)? {
            Some(tap) if tap.kind != Kind::Tun => {
                return Err(failed(&what, "a link of this name exists and is no tap"));
            }
            Some(tap) => tap,
            None => {
                tap::create(&nic.tap, nic.uid).map_err(refused)?;
                links.find(&nic.tap).map_err(refused)?.ok_or_else(|| failed(&what, "it went away at once"))?
            }
        };
        bridge::no_ipv6(&nic.tap);
        // First the guard, then the wire.
        nft::ensure_nic(network, nic)?;
        if tap.bridge != Some(bridge.index) || !tap.up {
            links.enslave(tap.index, bridge.index).map_err(refused)?;
        }
        Ok(())
    }

    fn has_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<bool, Fault> {
        let what = format!("look at the tap {}", nic.tap);
        let refused = |e: io::Error| refused(&what, &e);
        let links = self.links()?;
        let Some(bridge) = links.find(&network.bridge).map_err(refused)? else { return Ok(false) };
        let Some(tap) = links.find(&nic.tap).map_err(refused)? else { return Ok(false) };
        let addresses = links.addresses().map_err(refused)?;
        let addressed = addresses
            .iter()
            .any(|a| (a.index, a.address, a.prefix) == (bridge.index, network.gateway, network.prefix));
        let linked = bridge.up && tap.up && tap.bridge == Some(bridge.index);
        Ok(addressed && linked && nft::has_nic(network, nic)?)
    }

    fn remove_nic(&self, nic: &NicPlan) -> Result<(), Fault> {
        let _alone = self.alone();
        let what = format!("remove the tap {}", nic.tap);
        let refused = |e: io::Error| refused(&what, &e);
        // First what is found through the tables: a second try finds them again, tap or no tap.
        nft::remove_nic(nic)?;
        let links = self.links()?;
        match links.find(&nic.tap).map_err(refused)? {
            Some(tap) if tap.kind == Kind::Tun => links.delete(tap.index).map_err(refused),
            _ => Ok(()),
        }
    }
}
