//! A disk that is full: what needs room fails and says so, leaves nothing, and everything else goes on.

use e2e::Host;
use e2e::cut::{Kind, Mounted, Place};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
/// Small; XFS has no less than 300 MiB.
const SIZE: u64 = 320 * MIB;

/// Takes room until at most `left` bytes are free; for none, every byte that can be had.
fn leave(ballast: &mut File, at: &Mounted, left: u64) {
    for size in [MIB, 64 << 10, 4096, 1] {
        let chunk = vec![0x5a; size as usize];
        while left == 0 || at.free() > left + size {
            match ballast.write(&chunk).and_then(|_| ballast.sync_data()) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => break,
                Err(e) => panic!("{e}"),
            }
        }
        if left > 0 {
            return;
        }
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn volumes(host: &Host) -> BTreeSet<String> {
    let list = host.json("volume list");
    list["items"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect()
}

/// The newest entry of the history about this name.
fn last_about(host: &Host, name: &str) -> Value {
    let history = host.json("history");
    let found = history["items"].as_array().unwrap().iter().find(|e| e["target"]["name"] == name);
    found.unwrap_or_else(|| panic!("nothing about {name} in {history}")).clone()
}

#[test]
fn what_finds_no_room_fails_and_leaves_nothing() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        println!("    {kind:?}");
        let place = Place::new().unwrap();
        let mounted = place.plain(kind, SIZE).unwrap();
        let data = place.data().join("sistemo");
        let mut host = Host::lent(&data, &place.disk().with_file_name("daemon.log"), &[]);
        host.up();
        host.ok("volume create 64M --name kept");
        let image = place.disk().with_file_name("small.raw");
        make_image(&image);
        host.ok(&format!("image pull {}", image.display()));

        let mut ballast = File::create(place.data().join("ballast")).unwrap();
        leave(&mut ballast, &mounted, 24 * MIB);
        let pool = data.join("pools/default/volumes");
        let before = names(&pool);
        host.refused("machine deploy small --name web --storage 128M", "pool-full", 4);
        assert_eq!(names(&pool), before, "something is left");
        assert_eq!(volumes(&host), BTreeSet::from(["kept".to_owned()]));
        assert_eq!(host.json("machine list")["items"], Value::Array(vec![]));
        let entry = last_about(&host, "web");
        // ext4 cannot share what is in the image, so that is seen beforehand; what XFS finds is not.
        let seen = if kind == Kind::Ext4 { "refused" } else { "failed" };
        assert_eq!((&entry["outcome"], &entry["problem"]["code"]), (&seen.into(), &"pool-full".into()));
        // A file of holes takes no room: growing goes on, up to what the file system can address.
        host.ok("volume resize kept 1T");

        leave(&mut ballast, &mounted, 0);
        println!("    {} bytes are free", mounted.free());
        host.refused("volume create 64M --name blank", "pool-full", 4);
        // What the database keeps for itself is given to it bit by bit: it lasts, and each time some of
        // it is free the fill finds it and must leave it.
        for n in 0..20 {
            host.refused(&format!("machine deploy small --name no{n} --storage 128M"), "pool-full", 4);
        }
        assert_eq!(last_about(&host, "blank")["outcome"], "refused");
        assert_eq!(last_about(&host, "no19")["outcome"], "refused");
        host.refused("image pull debian", "pool-full", 4);
        let other = image.with_file_name("other.raw");
        std::fs::copy(&image, &other).unwrap();
        host.refused(&format!("image pull {}", other.display()), "pool-full", 4);
        let images = names(&data.join("images"));
        assert_eq!(images.len(), 2, "of one image its content and its record: {images:?}");
        assert_eq!(names(&pool), before, "something is left");
        host.refused("volume resize kept 8M", "cannot-shrink", 4);
        // A few blocks are all that it takes, and these were kept for it.
        host.ok("volume resize kept 2T");
        host.ok("volume delete kept -y");
        host.crash();
        host.up();
        assert_eq!(volumes(&host), BTreeSet::new());
        // With room again, the same commands work.
        ballast.set_len(0).unwrap();
        ballast.sync_all().unwrap();
        host.ok("volume create 128M --name blank");
        host.ok("volume delete blank -y");
        host.crash();
    }
}

/// A file that can be an image: ext4 with 40 MiB in it.
fn make_image(path: &Path) {
    let content = tempfile::tempdir().unwrap();
    let mut file = File::create(content.path().join("content")).unwrap();
    let chunk: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    (0..40).for_each(|_| file.write_all(&chunk).unwrap());
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-d"]).arg(content.path()).arg(path).arg("64M");
    assert!(mkfs.status().unwrap().success());
}
