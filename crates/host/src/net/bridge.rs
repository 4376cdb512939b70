//! The bridge of a network, with the host's address.
//!
//! Invariant: a bridge with foreign addresses, a link of another kind and a subnet that this host
//! uses already are refused, and nothing of them is changed.

use super::link::{Kind, Link, Links};
use super::{failed, refused};
use engine::port::Fault;
use std::io;
use std::net::Ipv4Addr;
use types::network::NetworkSpec;

/// The bits of an address that name the subnet.
pub fn mask(prefix: u8) -> u32 {
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
pub fn set(path: &str, value: &str) -> io::Result<()> {
    if std::fs::read_to_string(path)?.trim() == value { Ok(()) } else { std::fs::write(path, value) }
}

/// Refuses what is not ours, and says whether the bridge still lacks its address.
fn judge(links: &Links, network: &NetworkSpec, bridge: Option<Link>) -> Result<bool, Fault> {
    let name = &network.bridge;
    let choose = "choose other values with `network.bridge` and `network.subnet`";
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

/// Makes the bridge, or what is missing of it.
pub fn ensure(links: &Links, network: &NetworkSpec) -> Result<(), Fault> {
    let name = &network.bridge;
    let what = format!("make the bridge {name}");
    let refused = |e: io::Error| refused(&what, &e);
    let found = links.find(name).map_err(refused)?;
    let lacks_address = judge(links, network, found)?;
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

/// The networks are IPv4 only. Without this the host would talk IPv6 to its guests on a link-local
/// address that no guard knows, and believe the routers they claim to be.
pub fn no_ipv6(link: &str) {
    for (setting, value) in [("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", "1")] {
        match set(&format!("/proc/sys/net/ipv6/conf/{link}/{setting}"), value) {
            // The host has no IPv6 at all.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => tracing::warn!(%link, %setting, error = %e, "IPv6 is not off"),
            Ok(()) => {}
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
