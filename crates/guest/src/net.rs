//! Network interfaces, by the kernel's old but sufficient calls (`netdevice(7)`).
//!
//! Invariant: an interface is known by its Ethernet address; setting what is set already changes
//! nothing.

use proto::Nic;
use rustix::net::{AddressFamily, SocketType, socket};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Brings the loopback interface up.
///
/// # Errors
/// When the kernel has no IPv4.
pub fn loopback() -> io::Result<()> {
    Interface::named("lo")?.up()
}

/// Gives an interface its address and, if it has a gateway, the default route.
///
/// # Errors
/// When it does not appear within 10 s or the kernel refuses.
pub fn configure(nic: &Nic) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let name = loop {
        if let Some(name) = find(&nic.mac) {
            break name;
        }
        if Instant::now() >= end {
            return Err(io::Error::other("no such interface appeared"));
        }
        std::thread::sleep(PAUSE);
    };
    let interface = Interface::named(&name)?;
    interface.set(libc::SIOCSIFADDR, nic.address)?;
    interface.set(libc::SIOCSIFNETMASK, mask(nic.prefix))?;
    interface.up()?;
    nic.gateway.map_or(Ok(()), |gateway| interface.default_route(gateway))
}

fn find(mac: &str) -> Option<String> {
    std::fs::read_dir("/sys/class/net").ok()?.flatten().find_map(|entry| {
        let said = std::fs::read_to_string(entry.path().join("address")).ok()?;
        let name = entry.file_name().into_string().ok()?;
        said.trim().eq_ignore_ascii_case(mac).then_some(name)
    })
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

struct Interface {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Interface {
    fn named(text: &str) -> io::Result<Self> {
        let mut name = [0; libc::IFNAMSIZ];
        if text.len() >= name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self { socket: socket(AddressFamily::INET, SocketType::DGRAM, None)?, name })
    }

    fn call<T>(&self, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
        // SAFETY: every caller passes the structure that its request reads or fills, and the socket
        // is open.
        let answer = unsafe { libc::ioctl(self.socket.as_raw_fd(), request as _, argument) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn set(&self, request: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
        let value = libc::__c_anonymous_ifr_ifru { ifru_addr: sockaddr(address) };
        self.call(request, &mut libc::ifreq { ifr_name: self.name, ifr_ifru: value })
    }

    fn up(&self) -> io::Result<()> {
        let value = libc::__c_anonymous_ifr_ifru { ifru_flags: 0 };
        let mut request = libc::ifreq { ifr_name: self.name, ifr_ifru: value };
        self.call(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has filled this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        self.call(libc::SIOCSIFFLAGS, &mut request)
    }

    fn default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut name = self.name;
        // SAFETY: a route is numbers and one pointer, for all of which zeros are valid.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = sockaddr(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        route.rt_dev = name.as_mut_ptr();
        match self.call(libc::SIOCADDRT, &mut route) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // struct sockaddr_in: the port, then the address in network order.
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_all_prefixes() {
        let masks = [(0, "0.0.0.0"), (8, "255.0.0.0"), (16, "255.255.0.0"), (31, "255.255.255.254")];
        for (prefix, text) in masks.into_iter().chain([(32, "255.255.255.255"), (99, "255.255.255.255")]) {
            assert_eq!(mask(prefix).to_string(), text);
        }
    }
}
