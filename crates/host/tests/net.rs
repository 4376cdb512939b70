//! Bridges, taps and nftables, each test in a network namespace of its own. Needs root, iproute2
//! and nftables.

use engine::port::{Net, NicPlan};
use host::net::{HostNet, open_tap};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};
use types::network::NetworkSpec;
use types::{Code, MachineId, NetworkId};
use uuid::Uuid;

/// A runtime, driven by a thread of its own, and the calling thread in an empty namespace.
struct World {
    net: HostNet,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn world() -> World {
    // SAFETY: only this thread's network namespace changes; it shares no memory or descriptors less.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("root");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let (_stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || runtime.block_on(async { drop(stopped.await) }));
    World { net: HostNet::new(handle), _stop }
}

fn run(line: &str) -> (bool, String) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn must(line: &str) -> String {
    let (well, said) = run(line);
    assert!(well, "{line}: {said}");
    said
}

fn network() -> NetworkSpec {
    NetworkSpec {
        id: NetworkId(Uuid::now_v7()),
        name: "default".parse().unwrap(),
        created_at: types::Timestamp(jiff::Timestamp::UNIX_EPOCH),
        bridge: "sistemo0".into(),
        gateway: Ipv4Addr::new(10, 200, 0, 1),
        prefix: 16,
    }
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

fn nic() -> NicPlan {
    NicPlan {
        machine: MachineId(Uuid::now_v7()),
        tap: "st0123456789ab".into(),
        uid: 64_321,
        mac: "52:54:00:01:02:03".into(),
        address: Ipv4Addr::new(10, 200, 0, 2),
    }
}

#[test]
fn made_found_restored_and_removed() {
    let w = world();
    let (network, nic) = (network(), nic());
    must("nft add table inet theirs");
    must("nft add chain inet theirs forward { type filter hook forward priority 0 ; policy drop ; }");
    let theirs = must("nft list table inet theirs");

    assert!(!w.net.has_nic(&network, &nic).unwrap());
    let ensure = || {
        w.net.ensure_network(&network).unwrap();
        w.net.ensure_nic(&network, &nic).unwrap();
        assert!(w.net.has_nic(&network, &nic).unwrap());
    };
    ensure();
    let rules = must("nft list ruleset");
    let (bridge, tap) = (must("ip addr show sistemo0"), must("ip -d link show st0123456789ab"));
    assert!(bridge.contains("inet 10.200.0.1/16 brd 10.200.255.255") && bridge.contains(",UP"), "{bridge}");
    assert!(!bridge.contains("inet6"), "{bridge}");
    assert!(tap.contains("master sistemo0") && tap.contains("persist on"), "{tap}");
    assert!(tap.contains("user 64321") && tap.contains("vnet_hdr on") && tap.contains(",UP"), "{tap}");
    assert_eq!(must("cat /proc/sys/net/ipv4/ip_forward"), "1\n");

    // Again: nothing changes.
    ensure();
    assert_eq!(must("nft list ruleset"), rules);
    assert_eq!(must("ip addr show sistemo0"), bridge);

    // Whatever somebody takes away is missed, and comes back.
    for loss in [
        "nft delete table inet sistemo_sistemo0",
        "nft delete table bridge sistemo_sistemo0",
        "nft flush chain bridge sistemo_sistemo0 guard",
        "nft flush chain inet sistemo_sistemo0 postrouting",
        "nft flush set bridge sistemo_sistemo0 nics",
        "nft flush set bridge sistemo_sistemo0 taps",
        "ip link set st0123456789ab nomaster",
        "ip link set st0123456789ab down",
        "ip link del st0123456789ab",
        "ip addr flush dev sistemo0",
        "ip link set sistemo0 down",
        "ip link del sistemo0",
    ] {
        must(loss);
        assert!(!w.net.has_nic(&network, &nic).unwrap(), "{loss}");
        ensure();
        // Elements and order aside, which nft keeps.
        assert_eq!(must("nft list table inet sistemo_sistemo0").lines().count(), 12, "{loss}");
    }
    assert_eq!(must("nft list table inet theirs"), theirs);

    for _ in 0..2 {
        w.net.remove_nic(&nic).unwrap();
        assert!(!run("ip link show st0123456789ab").0);
        assert!(!must("nft list table bridge sistemo_sistemo0").contains("st0123456789ab"));
        assert!(!w.net.has_nic(&network, &nic).unwrap());
    }
    // A tap that somebody else removed leaves nothing in the tables either.
    ensure();
    must("ip link del st0123456789ab");
    w.net.remove_nic(&nic).unwrap();
    assert!(!must("nft list table bridge sistemo_sistemo0").contains("st0123456789ab"));
    assert_eq!(must("nft list table inet theirs"), theirs);
}

#[test]
fn what_is_somebody_elses_is_refused() {
    let w = world();
    must("ip link add sistemo0 type bridge");
    // A bridge without an address may be our own unfinished work.
    w.net.ensure_network(&network()).unwrap();
    must("ip addr flush dev sistemo0");
    must("ip addr add 192.0.2.1/24 dev sistemo0");
    let fault = w.net.ensure_network(&network()).unwrap_err();
    assert_eq!(fault.problem.code, Code::NetworkFailed);
    assert!(fault.problem.message.contains("192.0.2.1/24"), "{fault}");
    assert!(fault.problem.hint.is_some());
    assert!(!must("ip addr show sistemo0").contains("10.200"));

    must("ip link del sistemo0");
    must("ip link add sistemo0 type veth peer name sistemo1");
    let fault = w.net.ensure_network(&network()).unwrap_err();
    assert!(fault.problem.message.contains("no bridge"), "{fault}");
    must("ip link del sistemo0");

    must("ip link add lan0 type bridge");
    must("ip addr add 10.200.7.7/24 dev lan0");
    let fault = w.net.ensure_network(&network()).unwrap_err();
    assert!(fault.problem.message.contains("lan0 of this host has 10.200.7.7/24"), "{fault}");
    assert!(!run("ip link show sistemo0").0, "nothing is left of what was refused");
}

/// An Ethernet frame as the guest's hypervisor writes it: behind an empty virtio header.
fn frame(from: [u8; 6], to: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[0; 10][..], &to, &from, &kind, payload].concat()
}

fn arp(sender: [u8; 6], claims: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let payload = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &claims, &address, &[0; 6], &[10, 200, 0, 1]].concat();
    frame(sender, [0xff; 6], [8, 6], &payload)
}

/// Opens the tap, and waits until the bridge forwards for it: the kernel notices a new carrier later.
fn plug(nic: &NicPlan) -> File {
    let tap = File::from(open_tap(&nic.tap).unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while !must("ip link show sistemo0").contains("state UP") {
        assert!(Instant::now() < deadline, "{}", must("ip link show"));
    }
    tap
}

/// Whether an ARP reply comes.
fn answered(tap: &mut File, request: &[u8]) -> bool {
    tap.write_all(request).unwrap();
    let mut buffer = [0; 2048];
    loop {
        let mut poll = [rustix::event::PollFd::new(&*tap, rustix::event::PollFlags::IN)];
        let patience = rustix::time::Timespec::try_from(Duration::from_millis(300)).unwrap();
        if rustix::event::poll(&mut poll, Some(&patience)).unwrap() == 0 {
            return false;
        }
        let n = tap.read(&mut buffer).unwrap();
        if n > 32 && buffer[22..24] == [8, 6] && buffer[30..32] == [0, 2] {
            return true;
        }
    }
}

#[test]
fn a_guest_cannot_forge_its_addresses() {
    let w = world();
    let (network, nic) = (network(), nic());
    w.net.ensure_network(&network).unwrap();
    w.net.ensure_nic(&network, &nic).unwrap();
    let mut tap = plug(&nic);
    // A second hypervisor cannot have it, and a running one does not hinder repair.
    assert_eq!(open_tap(&nic.tap).unwrap_err().problem.code, Code::NetworkFailed);
    w.net.ensure_nic(&network, &nic).unwrap();

    let other = [0x52, 0x54, 0, 9, 9, 9];
    assert!(answered(&mut tap, &arp(MAC, MAC, [10, 200, 0, 2])));
    assert!(!answered(&mut tap, &arp(MAC, MAC, [10, 200, 0, 3])), "another's address");
    assert!(!answered(&mut tap, &arp(other, MAC, [10, 200, 0, 2])), "another's frame");
    assert!(!answered(&mut tap, &arp(MAC, other, [10, 200, 0, 2])), "another's claim");
    assert!(answered(&mut tap, &arp(MAC, MAC, [10, 200, 0, 2])));
    assert!(open_tap("stnothing").unwrap_err().problem.message.contains("does not exist"));
    assert!(!run("ip link show stnothing").0, "opening makes none");
}

#[test]
fn what_leaves_has_the_hosts_address() {
    let w = world();
    let (network, nic) = (network(), nic());
    must("ip link add out0 type veth peer name out1");
    must("ip link set out1 up");
    must("ip addr add 192.0.2.1/24 dev out0");
    must("ip link set out0 up");
    must("ip neigh add 192.0.2.55 lladdr 02:00:00:00:00:01 dev out0");
    w.net.ensure_network(&network).unwrap();
    w.net.ensure_nic(&network, &nic).unwrap();
    let bridge = must("cat /proc/sys/net/ipv4/conf/sistemo0/forwarding");
    assert_eq!(bridge, "1\n");
    let mut tap = plug(&nic);

    // The gateway's address, as a guest learns it.
    let link = must("ip -o link show sistemo0");
    let text = link.split("link/ether ").nth(1).unwrap()[..17].to_owned();
    let mut gateway = [0; 6];
    for (to, from) in gateway.iter_mut().zip(text.split(':')) {
        *to = u8::from_str_radix(from, 16).unwrap();
    }
    let mut header = [0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 200, 0, 2, 192, 0, 2, 55];
    let sum: u32 = header.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [0x10, 0, 0, 9, 0, 12, 0, 0, b'h', b'e', b'l', b'o'];
    let told = frame(MAC, gateway, [8, 0], &[&header[..], &udp].concat());

    must("nft add table ip watch");
    must("nft add chain ip watch out { type filter hook postrouting priority 300 ; }");
    must("nft add rule ip watch out oifname out0 ip saddr 192.0.2.1 ip daddr 192.0.2.55 counter");
    assert!(answered(&mut tap, &arp(MAC, MAC, [10, 200, 0, 2])));
    tap.write_all(&told).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !must("nft list table ip watch").contains("packets 1") {
        assert!(Instant::now() < deadline, "{}", must("nft list table ip watch"));
        std::thread::yield_now();
    }
}
