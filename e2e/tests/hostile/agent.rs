//! An agent that is no good.

use crate::daemon::Meter;
use e2e::{Host, Ran, until};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("guest.pl");
/// All that it does.
const MODES: &[&str] = &[
    "gone",
    "silence",
    "garbage",
    "answers",
    "handshake",
    "frame-huge",
    "headers-endless",
    "pings",
    "settings",
    "hello-endless",
    "hello-huge",
    "news-endless",
    "news-flood",
    "exec-nonsense",
    "exec-silent",
    "exec-flood",
];
/// How long each is borne.
const BORNE: Duration = Duration::from_secs(4);
/// What the daemon may grow by meanwhile, in KiB.
const GROWN: u64 = 30 << 10;
/// What it may take of the processors. It reads as fast as the guest writes, so a guest that floods
/// costs the host about what it takes itself.
const LOAD: f64 = 1.2;
/// How long a command in another machine may take, on a busy host without KVM.
const OTHERS: Duration = Duration::from_secs(15);

/// What the guest is told how to be hostile by, as its agent is gone soon: a login by ssh takes ten seconds
/// without KVM. The script ends whatever has its path among its arguments, so this has not.
const TOLD: &str = r#"use IO::Socket::INET;
    my $all = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die;
    while (my $one = $all->accept) {
        chomp(my $mode = <$one>);
        system("systemd-run", "--quiet", "perl", "/root/guest" . ".pl", $mode) == 0 and print $one "well\n";
        close $one;
    }"#;

/// Makes the guest hostile, and waits until it is.
fn turn(host: &Host, mode: &str) {
    let machine = host.json("machine show evil");
    let address: IpAddr = machine["address"].as_str().unwrap().parse().unwrap();
    let patience = e2e::PATIENCE;
    let mut guest = until("it listens", patience, || TcpStream::connect((address, 7000)).ok());
    guest.set_read_timeout(Some(patience)).unwrap();
    writeln!(guest, "{mode}").unwrap();
    let mut said = String::new();
    guest.read_to_string(&mut said).unwrap();
    assert_eq!(said, "well\n", "{mode}: {}", host.log_tail());
    until(&format!("{mode} has begun"), Duration::from_secs(120), || {
        host.run("machine logs evil").out.contains(&format!("hostile: {mode}\r")).then_some(())
    });
}

/// Gives the guest what it becomes hostile with.
pub fn arm(host: &Host) {
    until("systemd is up", Duration::from_secs(180), || {
        let state = host.run("machine exec evil -- systemctl is-system-running --wait").out;
        matches!(state.as_str(), "running\n" | "degraded\n").then_some(())
    });
    let mut child = host.begin(&["machine", "exec", "evil", "--", "sh", "-c", "cat > /root/guest.pl"]);
    child.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    host.ok_args(&["machine", "exec", "evil", "--", "systemd-run", "--quiet", "perl", "-e", TOLD]);
}

/// The other machine is as quick as ever, and so is the daemon.
fn others(host: &Host, mode: &str) -> Duration {
    let began = Instant::now();
    let ran = host.run("machine exec good -- echo well");
    assert_eq!((ran.code, ran.out.as_str()), (0, "well\n"), "{mode}: {ran:?}\n{}", host.log_tail());
    let ran = host.run("machine list");
    assert_eq!(ran.code, 0, "{mode}: {ran:?}");
    let took = began.elapsed();
    assert!(took < OTHERS, "{mode}: the others waited for {took:?}");
    took
}

#[test]
fn an_agent_that_is_no_good_costs_its_own_machine_only() {
    let host = Host::seeded_with("hostile", &[("SISTEMO_STOP_TIMEOUT", "5s")]);
    host.ok("machine deploy debian --name good --memory 256M");
    host.ok("machine deploy debian --name evil --memory 256M");
    arm(&host);
    others(&host, "before");
    let first = Meter::new(&host);
    for mode in MODES {
        turn(&host, mode);
        let meter = Meter::new(&host);
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        // Until its agent has said hello again, that waits.
        let asked = mode.starts_with("exec").then(|| host.begin(&["machine", "exec", "evil", "--", "true"]));
        while began.elapsed() < BORNE {
            slowest = slowest.max(others(&host, mode));
        }
        let taken = meter.read();
        let s = slowest.as_secs_f32();
        println!("    {mode}: grew by {} KiB, load {:.2}, others within {s:.1} s", taken.grown, taken.load);
        assert!(taken.grown < GROWN, "{mode}: the daemon grew by {} KiB", taken.grown);
        assert!(taken.load < LOAD, "{mode}: the daemon took {:.2} processors", taken.load);
        if let Some(mut child) = asked {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Its hypervisor runs, and it was up before.
        assert_eq!(host.json("machine show evil")["phase"], "running");
    }
    // Of the last mode alone, since each resets the peak; but from what was resident at first.
    let grown = first.read().grown;
    println!("    in all: grew by {grown} KiB");
    assert!(grown < GROWN, "the daemon grew by {grown} KiB");

    turn(&host, "silence");
    let began = Instant::now();
    // Its last session may not be known to be over yet: then its agent stops answering meanwhile.
    let ran = host.run("machine exec evil -- true");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("error[guest-") && ran.err.contains("hint: "), "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
    stops(&host);
    // A start makes its agent anew.
    host.ok("machine start evil");
    assert_eq!(host.sh("evil", "echo well"), "well");
}

/// Nobody answers: the plug is pulled after the timeout, and that is said.
pub fn stops(host: &Host) {
    let began = Instant::now();
    let ran = host.run("machine stop evil");
    let took = began.elapsed();
    println!("    stopped after {:.1} s: {}", took.as_secs_f32(), ran.err.trim());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("warning: "), "{ran:?}");
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(60), "{took:?}");
    let machine = host.json("machine show evil");
    assert_eq!(machine["phase"], "stopped");
    let id = machine["id"].as_str().unwrap();
    until("its process is gone", Duration::from_secs(10), || e2e::hypervisor(id).is_none().then_some(()));
}
