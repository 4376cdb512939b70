//! What volumes take, as the host and the guest see it.

use e2e::{Host, PATIENCE, until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A figure of a volume, in MiB.
fn usage(host: &Host, volume: &str, field: &str) -> Option<u64> {
    host.json(&format!("volume show {volume}"))["usage"][format!("{field}_bytes")].as_u64().map(|n| n / MIB)
}

/// A figure that the guest tells, which it does not when it is busy.
fn told(host: &Host, volume: &str, field: &str) -> u64 {
    until("its guest tells", PATIENCE, || usage(host, volume, field))
}

/// The room of a pool once all `guests` of its volumes have told what they use.
fn room_of(host: &Host, pool: &str, guests: u64) -> Value {
    until("its guests tell", PATIENCE, || {
        let room = room(host, pool);
        (room["guests"]["count"] == guests).then_some(room)
    })
}

/// The room of a pool; of each that adds up.
fn room(host: &Host, pool: &str) -> Value {
    let list = host.json("storage df");
    let all = list["items"].as_array().unwrap();
    for seen in all.iter().map(|p| &p["content"]).filter(|c| c.is_object()) {
        let kinds = seen.as_object().unwrap().values().filter_map(|kind| kind["exclusive_bytes"].as_u64());
        let of = |field: &str| seen[field].as_u64().unwrap();
        assert_eq!(
            kinds.sum::<u64>() + of("shared_bytes") + of("overhead_bytes"),
            of("used_bytes"),
            "{seen}"
        );
        assert!(of("used_bytes") <= of("size_bytes"), "{seen}");
    }
    all.iter().find(|p| p["name"] == pool).expect("it is there")["content"].clone()
}

#[test]
fn what_a_guest_writes_deletes_and_trims_is_seen() {
    let host = Host::seeded("space");
    host.ok("pool create fast --size 1500M");
    host.ok("volume create 1G --name data --pool fast");
    host.ok("volume create 64M --name plain");
    host.ok("machine deploy debian --name web --attach data --attach plain");
    let empty = told(&host, "data", "guest_used");
    let blank = usage(&host, "data", "allocated").unwrap();
    assert!(told(&host, "web-root", "guest_used") > 100, "a Debian");
    let before = room_of(&host, "fast", 1);

    host.sh("web", "dd if=/dev/zero of=/mnt/data/x bs=1M count=200 2>/dev/null; sync");
    let (used, allocated) = (told(&host, "data", "guest_used"), usage(&host, "data", "allocated"));
    assert!(used >= empty + 200 && allocated.unwrap() >= blank + 200, "{used:?} {allocated:?}");
    assert_eq!(usage(&host, "data", "exclusive"), allocated, "nothing shares it");
    let after = room_of(&host, "fast", 1);
    for field in ["allocated_bytes", "exclusive_bytes"] {
        let more = after["volumes"][field].as_u64().unwrap() - before["volumes"][field].as_u64().unwrap();
        assert!(more >= 200 * MIB, "{field}: {more}");
    }
    let more =
        after["guests"]["used_bytes"].as_u64().unwrap() - before["guests"]["used_bytes"].as_u64().unwrap();
    assert!(more >= 200 * MIB, "{more}");
    assert!(after["dedicated"] == true && room(&host, "default")["dedicated"] == false);
    let pools = &room(&host, "default")["pools"];
    assert!(pools["count"] == 1 && pools["allocated_bytes"].as_u64().unwrap() >= 1500 * MIB, "{pools}");

    host.sh("web", "rm /mnt/data/x; sync");
    let lost = told(&host, "data", "reclaimable");
    assert!(lost >= 190, "{lost}");
    host.ok("volume trim data");
    let left = told(&host, "data", "reclaimable");
    let less = allocated.unwrap() - usage(&host, "data", "allocated").unwrap();
    println!("    reclaimable: {lost} MiB, after the trim {left} MiB; the host has {less} MiB back");
    assert!(left + 190 <= lost && less >= 190, "{lost} {left} {less}");

    // A guest that stands still holds nobody up.
    let id = host.json("machine show web")["id"].as_str().unwrap().to_owned();
    let (pid, _) = e2e::hypervisor(&id).expect("it runs");
    kill_process(pid, Signal::STOP).unwrap();
    let began = Instant::now();
    let listed = host.json("volume list -w");
    let took = began.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(took < Duration::from_secs(20), "{took:?}");
    for v in listed["items"].as_array().unwrap() {
        assert!(v["usage"]["guest_used_bytes"].is_null() && v["usage"]["allocated_bytes"].is_u64(), "{v}");
    }
    told(&host, "data", "guest_used");

    // A snapshot shares until the volume is written to.
    host.sh("web", "dd if=/dev/zero of=/mnt/data/y bs=1M count=60 2>/dev/null; sync");
    host.ok("volume snapshot data --name before");
    let shared = usage(&host, "data", "shared").unwrap();
    assert!(shared >= 60, "{shared}");
    let once = room(&host, "fast")["shared_bytes"].as_u64().unwrap() / MIB;
    assert!(once.abs_diff(shared) <= 1, "{once} {shared}");
    host.sh("web", "rm /mnt/data/y; sync");
    host.ok("volume trim data");
    let own = room(&host, "fast")["snapshots"]["exclusive_bytes"].as_u64().unwrap() / MIB;
    assert!(own >= 60, "what only the snapshot has left is its own: {own}");

    // What is not there is a dash, and no failure.
    host.ok("machine stop web");
    assert_eq!(usage(&host, "data", "guest_used"), None);
    std::fs::remove_file(host.file_of("plain")).unwrap();
    let list = host.ok("volume list -w");
    let line = list.lines().find(|l| l.starts_with("plain")).unwrap();
    assert_eq!(line.split_whitespace().filter(|cell| *cell == "-").count(), 5, "{list}");
    assert!(Command::new("umount").arg(host.data().join("pools/fast")).status().unwrap().success());
    let list = host.ok("volume list -w");
    let line = list.lines().find(|l| l.starts_with("data")).unwrap();
    assert_eq!(line.split_whitespace().filter(|cell| *cell == "-").count(), 5, "{list}");
    assert!(host.ok("storage df").contains("default"));
}
