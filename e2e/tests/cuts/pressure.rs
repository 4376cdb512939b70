//! A pool that runs short of its reserve: the trash gives up what was deleted first, as little of it as is
//! enough, and nothing else.

use e2e::cut::{Kind, Mounted, Place};
use e2e::{Host, until};
use rand::RngCore;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 512 * MIB;
const RESERVE: u64 = 96 * MIB;
const VOLUME: u64 = 16 * MIB;
const PATIENCE: Duration = Duration::from_secs(60);

/// Names of what can be taken back, if nothing is on its way out of the trash.
fn kept(host: &Host) -> Option<BTreeSet<String>> {
    let trash: Value = serde_json::from_str(&host.run("trash list -o json").out).unwrap();
    let all = trash["items"].as_array().unwrap();
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    all.iter().map(|item| item["restorable_until"].is_string().then(|| name(item))).collect()
}

/// How often the daemon has looked at everything.
fn passes(host: &Host) -> u64 {
    let mut daemon = UnixStream::connect(host.data().join("sistemo.sock")).unwrap();
    daemon.write_all(b"GET /metrics HTTP/1.1\r\nHost: sistemo\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    daemon.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("sistemo_reconciler_passes_total "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Waits until the daemon has looked at everything once more, from beginning to end.
fn looked_again(host: &Host) {
    let before = passes(host);
    until("it looks again", PATIENCE, || (passes(host) >= before + 2).then_some(()));
}

/// Takes room, in one go, until so much is free.
fn leave(ballast: &File, at: &Mounted, left: u64) {
    let length = ballast.metadata().unwrap().len();
    fallocate(ballast, FallocateFlags::empty(), length, at.free() - left).unwrap();
}

fn content() -> Vec<u8> {
    let mut bytes = vec![0; VOLUME as usize];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[test]
fn a_pool_below_its_reserve_empties_as_much_of_the_trash_as_it_must() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        println!("    {kind:?}");
        let place = Place::new().unwrap();
        let mounted = place.plain(kind, SIZE).unwrap();
        let data = place.data().join("sistemo");
        let reserve = format!("{}M", RESERVE / MIB);
        let settings = [("SISTEMO_POOL_RESERVE", &*reserve), ("SISTEMO_RECONCILER_INTERVAL", "1s")];
        let log = place.disk().with_file_name("daemon.log");
        let mut host = Host::lent(&data, &log, &settings);
        host.up();
        let contents = ["stays", "first", "second", "third", "fourth"].map(|name| (name, content()));
        for (name, content) in &contents {
            let file = place.disk().with_file_name(format!("{name}.raw"));
            std::fs::write(&file, content).unwrap();
            host.ok(&format!("volume import {} --name {name}", file.display()));
            std::fs::remove_file(file).unwrap();
        }
        host.ok("volume snapshot stays --name kept");
        host.ok("volume snapshot first --name early");
        host.ok("snapshot delete early -y");
        for name in ["first", "second", "third", "fourth"] {
            host.ok(&format!("volume delete {name} -y"));
        }
        let ballast = File::create(place.data().join("ballast")).unwrap();
        // Enough is enough, to the last piece.
        leave(&ballast, &mounted, RESERVE + MIB);
        looked_again(&host);
        assert_eq!(kept(&host).unwrap().len(), 5, "there is room");

        // One and a half volumes short. Where the snapshot shares its blocks, it frees nothing by itself.
        leave(&ballast, &mounted, RESERVE - VOLUME * 3 / 2);
        let gone =
            if kind == Kind::Xfs { ["early", "first", "second"].as_slice() } else { &["early", "first"] };
        let left = ["early", "first", "second", "third", "fourth"].into_iter().filter(|n| !gone.contains(n));
        let left: BTreeSet<String> = left.map(str::to_owned).collect();
        let began = Instant::now();
        until("there is room again", PATIENCE, || (mounted.free() >= RESERVE).then_some(()));
        println!("    there was room again after {:.1} s", began.elapsed().as_secs_f32());
        until("nothing is on its way", PATIENCE, || kept(&host));
        looked_again(&host);
        assert_eq!(kept(&host), Some(left));
        // Nobody asked for it; history says who it was, and why.
        let told = host.json("history -n 100");
        let all = told["items"].as_array().unwrap().iter().filter(|line| line["actor"] == "system");
        let names: Vec<_> = all
            .inspect(|line| assert!(line["warnings"][0].as_str().unwrap().contains("its reserve"), "{line}"))
            .map(|line| line["target"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.iter().rev().collect::<Vec<_>>(), gone.iter().collect::<Vec<_>>(), "{told}");

        // What was not to go is whole.
        host.refused("volume restore first", "volume-not-found", 3);
        // The reserve is for what is new; what is taken back is there already.
        host.ok("volume restore fourth");
        host.ok("volume restore third");
        for (name, content) in contents.iter().filter(|(name, _)| ["stays", "third", "fourth"].contains(name))
        {
            assert!(std::fs::read(host.file_of(name)).unwrap() == *content, "{name}");
        }
        assert_eq!(host.json("snapshot show kept")["status"], "ready");
        host.refused("volume create 256M --name none", "pool-full", 4);

        // Further down, all that is left goes; what is in use stays, however short it is.
        leave(&ballast, &mounted, RESERVE / 4);
        until("the rest goes, too", PATIENCE, || kept(&host).filter(BTreeSet::is_empty));
        looked_again(&host);
        assert_eq!(host.json("volume list")["items"].as_array().unwrap().len(), 3);
        assert!(std::fs::read(host.file_of("stays")).unwrap() == contents[0].1);
        host.crash();
    }
}
