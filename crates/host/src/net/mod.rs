//! Networks: a bridge with the host's address, taps in it, and nftables (see [`nft`]).
//!
//! Invariant: everything is found again by its name and put right where it differs; nothing that is
//! not ours (a bridge with foreign addresses, a link of another kind, another's table) is changed.

mod link;
mod nft;
mod tap;

use engine::port::{Fault, Net, NicPlan};
use link::{Kind, Link, Links};
use std::io;
use std::net::Ipv4Addr;
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

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn overlap(a: (Ipv4Addr, u8), b: (Ipv4Addr, u8)) -> bool {
    let mask = mask(a.1.min(b.1));
    u32::from(a.0) & mask == u32::from(b.0) & mask
}

/// Locally administered, and the same whenever the bridge is made anew.
fn bridge_mac(network: &NetworkSpec) -> [u8; 6] {
    let tail = network.id.0.as_bytes();
    [0x02, tail[11], tail[12], tail[13], tail[14], tail[15]]
}

/// Writes a setting of the kernel's, unless it has the value already.
fn set(path: &str, value: &str) -> io::Result<()> {
    if std::fs::read_to_string(path)?.trim() == value { Ok(()) } else { std::fs::write(path, value) }
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

    /// Refuses what is not ours, and says whether the bridge still lacks its address.
    fn judge(&self, links: &Links, network: &NetworkSpec, bridge: Option<Link>) -> Result<bool, Fault> {
        let name = &network.bridge;
        let choose = "choose other values with `network.bridge` and `network.address`";
        if bridge.is_some_and(|b| b.kind != Kind::Bridge) {
            let why = "a link of this name exists and is no bridge";
            return Err(failed(&format!("make the bridge {name}"), why).hint(choose));
        }
        let all = links.addresses().map_err(|e| refused("list this host's addresses", &e))?;
        let own = |index: u32| bridge.is_some_and(|b| b.index == index);
        let ours = (network.gateway, network.prefix);
        if all.iter().any(|a| own(a.index) && (a.address, a.prefix) == ours) {
            return Ok(false);
        }
        if let Some(foreign) = all.iter().find(|a| own(a.index)) {
            let why = format!(
                "it exists with address {}/{}, so it is somebody else's",
                foreign.address, foreign.prefix
            );
            return Err(failed(&format!("take the bridge {name}"), why).hint(choose));
        }
        if let Some(other) = all.iter().find(|a| !own(a.index) && overlap((a.address, a.prefix), ours)) {
            let device = links.name(other.index).ok().flatten().unwrap_or_default();
            let why = format!("{device} of this host has {}/{} already", other.address, other.prefix);
            let what = format!("use {}/{} for network \"{}\"", network.gateway, network.prefix, network.name);
            return Err(failed(&what, why).hint(choose));
        }
        Ok(true)
    }

    fn ensure_bridge(&self, links: &Links, network: &NetworkSpec) -> Result<(), Fault> {
        let name = &network.bridge;
        let what = format!("make the bridge {name}");
        let refused = |e: io::Error| refused(&what, &e);
        let found = links.find(name).map_err(refused)?;
        let lacks_address = self.judge(links, network, found)?;
        let bridge = match found {
            Some(bridge) => bridge,
            None => {
                links.add_bridge(name, bridge_mac(network)).map_err(refused)?;
                links.find(name).map_err(refused)?.ok_or_else(|| failed(&what, "it went away at once"))?
            }
        };
        no_ipv6(name);
        if lacks_address {
            links.add_address(bridge.index, network.gateway, network.prefix).map_err(refused)?;
        }
        if !bridge.up {
            links.up(bridge.index).map_err(refused)?;
        }
        Ok(())
    }
}

/// The networks are IPv4 only. Without this the host would talk IPv6 to its guests on a link-local
/// address that no guard knows, and believe the routers they claim to be.
fn no_ipv6(link: &str) {
    for (setting, value) in [("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", "1")] {
        match set(&format!("/proc/sys/net/ipv6/conf/{link}/{setting}"), value) {
            // The host has no IPv6 at all.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => tracing::warn!(%link, %setting, error = %e, "IPv6 is not off"),
            Ok(()) => {}
        }
    }
}

impl Net for HostNet {
    fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Fault> {
        let _alone = self.alone();
        self.ensure_bridge(&self.links()?, network)?;
        set("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| refused("turn on forwarding", &e))?;
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
        no_ipv6(&nic.tap);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let of = |a: &str, p| (a.parse::<Ipv4Addr>().unwrap(), p);
        assert!(overlap(of("10.200.0.1", 16), of("10.200.3.4", 24)));
        assert!(overlap(of("10.200.0.1", 16), of("10.0.0.1", 8)));
        assert!(!overlap(of("10.200.0.1", 16), of("10.201.0.1", 16)));
        assert!(!overlap(of("10.200.0.1", 16), of("127.0.0.1", 8)));
    }
}
