//! The way of guests into the world, and who else is on it.

use super::{Finding, Subject};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;

pub(super) fn tun(_: &Subject) -> Vec<Finding> {
    let path = "/dev/net/tun";
    vec![match File::options().read(true).write(true).open(path) {
        Ok(_) => Finding::ok("tun", format!("{path} opens")),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Finding::fail("tun", format!("there is no {path}, so machines have no network"), "modprobe tun")
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Finding::unseen("tun", e),
        Err(e) => Finding::fail("tun", format!("{path} does not open: {e}"), "modprobe tun"),
    }]
}

pub(super) fn bridge(subject: &Subject) -> Vec<Finding> {
    let device = Path::new("/sys/class/net").join(&subject.bridge);
    let ports = |dir: &Path| -> Vec<String> {
        let Ok(read) = fs::read_dir(dir.join("brif")) else { return vec![] };
        read.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
    };
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    vec![judge_bridge(subject, device.exists(), device.join("bridge").exists(), &ports(&device), &routes)]
}

fn judge_bridge(subject: &Subject, exists: bool, bridge: bool, ports: &[String], routes: &str) -> Finding {
    let name = &subject.bridge;
    let fix = format!("set network.bridge to another name, or take {name} away from its owner");
    if !exists {
        return Finding::ok("bridge", format!("{name} is free; it is made with the first machine"));
    }
    if !bridge {
        return Finding::fail("bridge", format!("{name} is there and is no bridge"), fix);
    }
    if let Some(port) = ports.iter().find(|p| !is_tap(p)) {
        return Finding::warn("bridge", format!("{name} has a port that is none of ours: {port}"), fix);
    }
    let theirs = |r: &Route| r.interface == *name && !r.is(subject);
    match self::routes(routes).into_iter().find(theirs) {
        Some(r) => {
            let (net, prefix) = (r.destination, r.mask.count_ones());
            Finding::warn("bridge", format!("{name} has a subnet that is not ours: {net}/{prefix}"), fix)
        }
        None => Finding::ok("bridge", format!("{name} is there, with {} of our ports", ports.len())),
    }
}

/// Whether it is a tap of ours: `st` or `s<n>`, and a machine's random tail.
fn is_tap(name: &str) -> bool {
    let mut rest = name.chars();
    rest.next() == Some('s')
        && rest.next().is_some_and(|c| c == 't' || c.is_ascii_digit())
        && rest.clone().count() == 12
        && rest.all(|c| c.is_ascii_hexdigit())
}

/// A line of the routing table.
#[derive(Debug)]
struct Route {
    interface: String,
    destination: Ipv4Addr,
    mask: u32,
}

impl Route {
    fn overlaps(&self, subject: &Subject) -> bool {
        let both = self.mask & mask(subject.prefix);
        u32::from(self.destination) & both == u32::from(subject.gateway) & both
    }

    fn is(&self, subject: &Subject) -> bool {
        self.mask == mask(subject.prefix) && self.overlaps(subject)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The main table but the default routes (`/proc/net/route`: hexadecimal, bytes as in memory).
fn routes(text: &str) -> Vec<Route> {
    let number = |field: Option<&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let interface = fields.next()?.to_owned();
            let destination = Ipv4Addr::from(number(fields.next())?);
            let mask = number(fields.nth(5))?;
            Some(Route { interface, destination, mask })
        })
        .filter(|r| r.mask != 0)
        .collect()
}

pub(super) fn subnet(subject: &Subject) -> Vec<Finding> {
    match fs::read_to_string("/proc/net/route") {
        Ok(text) => vec![judge_subnet(subject, &text)],
        Err(e) => vec![Finding::unseen("subnet", e)],
    }
}

fn judge_subnet(subject: &Subject, table: &str) -> Finding {
    let ours =
        format!("{}/{}", Ipv4Addr::from(u32::from(subject.gateway) & mask(subject.prefix)), subject.prefix);
    match routes(table).into_iter().find(|r| r.interface != subject.bridge && r.overlaps(subject)) {
        None => Finding::ok("subnet", format!("nothing else on this host uses {ours}")),
        Some(r) => Finding::fail(
            "subnet",
            format!("{}/{} on {} overlaps our {ours}", r.destination, r.mask.count_ones(), r.interface),
            "set network.subnet to one that is free, such as 10.201.0.0/16",
        ),
    }
}

pub(super) fn forwarding(_: &Subject) -> Vec<Finding> {
    vec![match fs::read_to_string("/proc/sys/net/ipv4/ip_forward") {
        Ok(text) if text.trim() == "1" => Finding::ok("forwarding", "the host forwards packets"),
        Ok(_) => Finding::ok("forwarding", "off; the daemon turns it on with the first machine"),
        Err(e) => Finding::unseen("forwarding", e),
    }]
}

pub(super) fn port(subject: &Subject) -> Vec<Finding> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let port = subject.port;
    if port == 0 {
        return vec![Finding::ok("port", "TCP is off, or listened on by the daemon itself")];
    }
    vec![if tables.iter().any(|table| listens(table, port)) {
        let fix = format!("`ss -ltnp 'sport = :{port}'` shows who; set `listen` to another port");
        Finding::warn("port", format!("somebody listens on TCP port {port}"), fix)
    } else {
        Finding::ok("port", format!("TCP port {port} is free"))
    }]
}

/// Whether a socket in the table listens on the port (state 0A, `include/net/tcp_states.h`).
fn listens(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|f| f.rsplit(':').next()).map(|p| u16::from_str_radix(p, 16));
        local == Some(Ok(port)) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";

    fn subject(gateway: [u8; 4], prefix: u8) -> Subject {
        Subject {
            data: "/x".into(),
            accel: "auto".into(),
            bridge: "sistemo0".into(),
            gateway: gateway.into(),
            prefix,
            port: 7777,
            reserve: engine::Reserve::Bytes(types::ByteSize(0)),
            built: 0,
        }
    }

    #[test]
    fn a_subnet_of_somebody_else_is_seen() {
        let state = |gateway, prefix| judge_subnet(&subject(gateway, prefix), TABLE).state;
        assert_eq!(state([10, 200, 0, 1], 16), State::Ok);
        assert_eq!(state([172, 17, 5, 1], 24), State::Fail);
        assert_eq!(state([172, 16, 0, 1], 12), State::Fail);
        assert_eq!(routes(TABLE)[0].destination, Ipv4Addr::new(172, 17, 0, 0));
        let mine = TABLE.replace("eth0\t000011AC", "sistemo0\t000011AC");
        assert_eq!(judge_subnet(&subject([172, 17, 5, 1], 16), &mine).state, State::Ok);
    }

    #[test]
    fn a_bridge_of_somebody_else_is_seen() {
        let us = subject([172, 17, 0, 1], 16);
        let ours = TABLE.replace("eth0\t000011AC", "sistemo0\t000011AC");
        let tap = |n: &str| vec![n.to_owned()];
        let state =
            |bridge, ports: &[String], table: &str| judge_bridge(&us, true, bridge, ports, table).state;
        assert_eq!(judge_bridge(&us, false, false, &[], TABLE).state, State::Ok);
        assert_eq!(state(false, &[], TABLE), State::Fail);
        assert_eq!(state(true, &tap("st0123456789ab"), &ours), State::Ok);
        assert_eq!(state(true, &tap("veth1234"), &ours), State::Warn);
        let other = ours.replace("000011AC\t00000000", "000012AC\t00000000");
        assert_eq!(state(true, &[], &other), State::Warn);
    }

    #[test]
    fn a_listener_is_seen() {
        let line = "  sl  local_address rem_address   st\n   0: 0100007F:1E61 00000000:0000 0A 0:0\n";
        assert!(listens(line, 7777) && !listens(line, 7778));
        assert!(!listens(&line.replace(" 0A ", " 01 "), 7777));
    }
}
