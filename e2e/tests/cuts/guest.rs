//! What a guest fsyncs: told durable in the guest, it is there after the host lost its power.

use e2e::cut::{Kind, Mounted, Place};
use e2e::{Host, seed};
use rustix::process::{Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The disk; sparse.
const DISK: u64 = 8 << 30;
/// How many cuts; each is a boot or two.
const CUTS: u64 = 4;

/// Writes numbered records to root and data volume, and says a number once both are flushed.
const RECORDS: &str = "i=$1; while :; do i=$((i + 1)); \
     echo \"record $i\" >> /root/records && sync /root/records && \
     echo \"record $i\" >> /mnt/data/records && sync /mnt/data/records && echo $i || exit 1; done";

/// A file's records are those from 1 to at least `told`, each whole, in their order.
fn check(host: &Host, file: &str, told: u64) -> u64 {
    let text = host.sh("web", &format!("cat {file}"));
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in (1..=told).zip(&lines) {
        assert_eq!(*line, format!("record {n}"), "{file}");
    }
    assert!(lines.len() as u64 >= told, "{file}: {} of {told} records", lines.len());
    lines.len() as u64
}

fn records_survive(kind: Kind) {
    let place = Place::new().unwrap();
    place.format(kind, DISK).unwrap();
    let data = place.data().join("sistemo");
    {
        // Without a drive in between: what is on it now was there long before.
        let _mounted = Mounted::new(kind, &place.disk(), &place.data()).unwrap();
        seed::copy_to(&data);
    }
    let log = place.disk().with_file_name("daemon.log");
    let mut host = Host::lent(&data, &log, &[]);
    let mut powered = place.power(kind, false).unwrap();
    host.up();
    host.ok("volume create 256M --name data");
    host.ok("machine deploy debian --name web --attach data");
    let mut told = 0;
    for cut in 1..=CUTS {
        let begin = told;
        let mut writer =
            host.begin(&["machine", "exec", "web", "--", "sh", "-c", RECORDS, "sh", &begin.to_string()]);
        let heard = AtomicU64::new(begin);
        std::thread::scope(|scope| {
            let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
            let heard = &heard;
            scope.spawn(move || {
                for line in lines.map_while(Result::ok) {
                    heard.store(line.trim().parse().unwrap(), SeqCst);
                }
            });
            // Not by failing here: the scope would wait for what the guest writes for ever.
            let end = Instant::now() + e2e::PATIENCE;
            while heard.load(SeqCst) < begin + 5 * cut && Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(37 * cut));
            powered.cut(cut);
            // Who is told something from now on was told too much.
            std::thread::sleep(Duration::from_millis(300));
            kill_process(host.pid(), Signal::KILL).unwrap();
            let _ = writer.kill();
            let _ = writer.stderr.take().map(|mut e| e.read_to_string(&mut String::new()));
            writer.wait().unwrap();
        });
        told = heard.into_inner();
        assert!(told >= begin + 5 * cut, "the guest has written {begin} to {told} only");
        host.crash();
        // Hypervisors outlive their daemon, not the host: they go with the disk.
        drop(powered);
        powered = place.power(kind, false).unwrap();
        crate::check::database(&data);
        host.up();
        e2e::until("the machine is seen as what it is", Duration::from_secs(60), || {
            (host.json("machine show web")["phase"] == "stopped").then_some(())
        });
        host.ok("machine start web");
        let there = ["/root/records", "/mnt/data/records"].map(|file| check(&host, file, told));
        println!("    {kind:?}: {told} records told durable, {there:?} there");
        // The next ones are numbered on from here, in both.
        host.sh("web", &format!("sed -i '{told}q' /root/records /mnt/data/records && sync"));
    }
    host.ok("machine delete web -y");
    host.ok("volume delete data -y");
}

#[test]
fn what_a_guest_was_told_is_durable_survives_the_power() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        records_survive(kind);
    }
    println!("power cuts under a guest survived: {}", 2 * CUTS);
}
