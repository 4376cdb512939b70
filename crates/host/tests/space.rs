//! What is measured of real files: on ext4, which shares nothing, and on XFS, which does.

mod common;
#[path = "common/mount.rs"]
mod mount;

use engine::port::{Footprint, Kept, Pools, Space};
use host::Layout;
use host::pools::HostPools;
use mount::Mount;
use rustix::fs::ioctl_ficlone;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};
use types::{ByteSize, Timestamp, VolumeId};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// A pool on a file system of its own.
struct Place {
    pools: HostPools,
    layout: Layout,
    _disk: Mount,
}

impl Place {
    fn new(kind: &str) -> Self {
        let disk = Mount::new(kind, 400);
        let layout = Layout::new(disk.path(), disk.path().join("run"));
        Self { pools: HostPools::open(layout.clone()).unwrap(), layout, _disk: disk }
    }

    fn look(&self) -> Space {
        let mut found = self.pools.space(&["default".into()]);
        assert_eq!(found.len(), 1);
        let space = found.remove(0);
        adds_up(&space);
        space
    }

    fn volume(&self, id: VolumeId) -> Footprint {
        let listed = of(&self.look(), Kept::Volume(id));
        let alone = self.pools.get("default").unwrap().footprint(id).unwrap();
        assert_eq!(Some(listed), alone, "both ways tell the same");
        listed
    }
}

fn of(space: &Space, kept: Kept) -> Footprint {
    space.files.iter().find(|(k, _)| *k == kept).expect("it is there").1
}

fn own(seen: &Footprint) -> u64 {
    seen.sharing.unwrap().exclusive.bytes()
}

fn shared(seen: &Footprint) -> u64 {
    seen.sharing.unwrap().shared.bytes()
}

fn adds_up(space: &Space) {
    let sum: u64 = space.files.iter().map(|(_, f)| own(f)).sum::<u64>() + space.shared.bytes();
    assert!(sum <= space.used.bytes(), "{sum} of {space:?}");
    for (_, f) in &space.files {
        assert_eq!(own(f) + shared(f), f.allocated.bytes());
    }
}

fn write(path: &Path, at: u64, mib: u64) {
    let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
    for n in 0..mib {
        file.write_all_at(&vec![7; MIB as usize], at + n * MIB).unwrap();
    }
    file.sync_all().unwrap();
}

/// Files that were removed are gone in the background.
fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it is never so");
        std::thread::yield_now();
    }
}

fn clone(from: &Path, to: &Path) {
    ioctl_ficlone(File::create_new(to).unwrap(), File::open(from).unwrap()).unwrap();
}

fn id(n: u128) -> VolumeId {
    VolumeId(Uuid::from_u128(n))
}

#[test]
fn without_reflink_all_is_its_own() {
    let place = Place::new("ext4");
    let path = place.layout.volume(id(1));
    write(&path, 0, 20);
    File::options().write(true).open(&path).unwrap().set_len(1 << 34).unwrap();
    let seen = place.volume(id(1));
    assert_eq!(seen.size, ByteSize(1 << 34));
    assert_eq!(own(&seen), path.metadata().unwrap().blocks() * 512);
    assert!(own(&seen) >= 20 * MIB && own(&seen) < 22 * MIB, "{seen:?}");
    let space = place.look();
    assert!(space.dedicated && space.shared == ByteSize(0));

    // What else there is, by what it is for.
    fs::create_dir_all(place.layout.images()).unwrap();
    write(&place.layout.image_content(&"00".repeat(32)), 0, 3);
    write(&place.layout.volumes().join(format!(".{}.raw.part", id(2))), 0, 2);
    write(&place.layout.pool_image("other"), 0, 4);
    write(&place.layout.volumes().join("notes.raw"), 0, 5);
    fs::hard_link(&path, place.layout.volume(id(3))).unwrap();
    place.pools.get("default").unwrap().trash(id(1), Timestamp::from_millis(5)).unwrap();
    assert_eq!(common::names(&place.layout.trash()), [format!("5.{}.raw", id(1))]);
    let space = place.look();
    let kinds = |wanted: fn(&Kept) -> bool| -> u64 {
        space.files.iter().filter(|(k, _)| wanted(k)).map(|(_, f)| f.allocated.bytes() / MIB).sum()
    };
    assert_eq!(kinds(|k| *k == Kept::Image), 3);
    assert_eq!(kinds(|k| *k == Kept::Unfinished), 2);
    assert_eq!(kinds(|k| *k == Kept::Pool), 4);
    assert!(kinds(|k| *k == Kept::System) >= 2, "the room that is kept");
    let twice = kinds(|k| matches!(k, Kept::Volume(_) | Kept::Deleted(_)));
    assert!((20..22).contains(&twice), "a file with two names takes its room once: {twice}");

    // Not there, a link, a pipe: none of them spoils the rest.
    std::os::unix::fs::symlink(&path, place.layout.volume(id(4))).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.layout.volume(id(5)),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let space = place.look();
    for n in [4, 5] {
        assert!(space.files.iter().all(|(k, _)| *k != Kept::Volume(id(n))));
        assert!(place.pools.get("default").unwrap().footprint(id(n)).is_err());
    }
    assert_eq!(place.pools.get("default").unwrap().footprint(id(6)), Ok(None));
    assert!(place.pools.space(&["nowhere".into()]).is_empty());
}

#[test]
fn what_copies_share_counts_once_and_comes_back_with_the_last() {
    let place = Place::new("xfs");
    let path = |n| place.layout.volume(id(n));
    write(&path(1), 0, 40);
    assert_eq!((shared(&place.volume(id(1))), place.look().shared), (0, ByteSize(0)));

    // A copy that was made after the first look.
    clone(&path(1), &path(2));
    clone(&path(1), &path(3));
    for n in 1..=3 {
        let seen = place.volume(id(n));
        assert!(own(&seen) < MIB && shared(&seen) >= 40 * MIB, "{n}: {seen:?}");
    }
    let once = place.look().shared.bytes();
    assert!((40 * MIB..41 * MIB).contains(&once), "{once}");

    // What is written to one of them is its own, and the others still share.
    write(&path(2), 0, 10);
    let seen = place.volume(id(2));
    assert!((10 * MIB..11 * MIB).contains(&own(&seen)), "{seen:?}");
    assert!(own(&place.volume(id(1))) < MIB);
    let before = place.look().used;
    // The last but one goes: what only two shared is now one's own.
    fs::remove_file(path(3)).unwrap();
    until(|| {
        let space = place.look();
        let seen = of(&space, Kept::Volume(id(1)));
        (10 * MIB..11 * MIB).contains(&own(&seen))
            && (shared(&seen), space.shared.bytes()) == (30 * MIB, 30 * MIB)
    });
    fs::remove_file(path(2)).unwrap();
    until(|| {
        let space = place.look();
        let seen = of(&space, Kept::Volume(id(1)));
        own(&seen) >= 40 * MIB && shared(&seen) == 0 && before.bytes() - space.used.bytes() >= 10 * MIB
    });

    // A snapshot and the trash share, too.
    let snapshot = types::SnapshotId(Uuid::from_u128(9));
    clone(&path(1), &place.layout.snapshot(snapshot));
    place.pools.get("default").unwrap().trash(id(1), Timestamp::from_millis(5)).unwrap();
    let space = place.look();
    for kept in [Kept::Snapshot(snapshot), Kept::Deleted(id(1))] {
        let seen = of(&space, kept);
        assert!(own(&seen) < MIB && shared(&seen) >= 40 * MIB, "{seen:?}");
    }
    assert_eq!(space.shared.bytes() / MIB, 40);
}

#[test]
fn it_adds_up_while_files_are_written_torn_and_removed() {
    let place = Place::new("xfs");
    let mut seed = 1u64;
    let mut random = move |n: u64| {
        // Knuth's MMIX generator: the same walk every time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for step in 0..120 {
        let (a, b) = (place.layout.volume(id(u128::from(random(6)) + 1)), random(6) + 1);
        let b = place.layout.volume(id(u128::from(b)));
        match random(5) {
            0 | 1 => write(&a, random(20) * MIB, 1 + random(3)),
            2 if a.exists() && !b.exists() => clone(&a, &b),
            3 if a.exists() => {
                // Not in whole blocks of what is shared, and not written out yet.
                let file = File::options().write(true).open(&a).unwrap();
                (0..20).for_each(|_| file.write_all_at(&[3; 5000], random(20 * MIB)).unwrap());
            }
            4 if step % 3 == 0 && a.exists() => {
                // Emptied first: what only goes with its name goes in the background.
                File::options().write(true).open(&a).unwrap().set_len(0).unwrap();
                fs::remove_file(&a).unwrap();
            }
            _ => {}
        }
        // What is remembered is what a fresh look finds, once the file system has taken back what it had set
        // aside behind the end of a file, which it does in the background (XFS, speculative preallocation).
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let space = place.look();
            let fresh = HostPools::open(place.layout.clone()).unwrap().space(&["default".into()]).remove(0);
            adds_up(&fresh);
            if (space.shared, &space.files) == (fresh.shared, &fresh.files) {
                break;
            }
            assert!(Instant::now() < end, "step {step}: {space:#?}\nis not {fresh:#?}");
        }
    }
}
