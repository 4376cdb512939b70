//! Settings of the default network.
//!
//! Invariant: what passes here can be given to the kernel: a subnet with a host's address in it, servers
//! that are addresses.

use super::Setting;
use super::parse::{bad, list};
use std::net::{IpAddr, Ipv4Addr};
use types::Problem;

/// resolv.conf(5): MAXNS.
const MOST_SERVERS: usize = 3;

/// The name of a bridge.
pub(super) fn bridge(setting: &Setting) -> Result<String, Problem> {
    let name = &setting.value;
    let fits = (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    fits.then(|| name.clone()).ok_or_else(|| {
        bad(setting, "is no name of an interface").hint("it has 1 to 15 letters, digits, - and _")
    })
}

/// The host's address in the subnet, and the length of its prefix.
pub(super) fn subnet(setting: &Setting) -> Result<(Ipv4Addr, u8), Problem> {
    let wrong = || bad(setting, "is no subnet").hint("write it like 10.200.0.0/16");
    let (address, prefix) = setting.value.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&prefix) {
        return Err(bad(setting, "has a prefix that is not 8 to 30").hint("write it like 10.200.0.0/16"));
    }
    if address.is_loopback() || address.is_multicast() || address.octets()[0] == 0 || address.is_broadcast() {
        return Err(bad(setting, "is no subnet that hosts can have")
            .hint("take a private one, such as 10.200.0.0/16 or 192.168.77.0/24"));
    }
    let hosts = u32::MAX >> prefix;
    match u32::from(address) & hosts {
        0 => Ok((Ipv4Addr::from(u32::from(address) + 1), prefix)),
        host if host == hosts => Err(bad(setting, "is the subnet's last address, which nobody can have")
            .hint("write the subnet itself or another address in it, such as 10.200.0.0/16")),
        _ => Ok((address, prefix)),
    }
}

/// The name servers that guests are told; none if they are to have the host's.
pub(super) fn servers(setting: &Setting) -> Result<Vec<IpAddr>, Problem> {
    let wrong = || bad(setting, "is no list of addresses").hint("write it like 9.9.9.9, 2620:fe::fe");
    let all: Vec<IpAddr> =
        list(&setting.value).map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    if all.len() > MOST_SERVERS {
        return Err(bad(setting, &format!("has more than {MOST_SERVERS} addresses")));
    }
    // To a guest, its own loopback is no server of ours.
    match all.iter().find(|a| a.is_loopback() || a.is_unspecified() || a.is_multicast()) {
        Some(address) => Err(bad(setting, &format!("names {address}, which guests cannot reach")).hint(
            "name servers that answer beyond this host, or leave it out: guests then get the host's own",
        )),
        None => Ok(all),
    }
}
