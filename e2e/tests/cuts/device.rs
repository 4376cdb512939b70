//! The proof of the device: what is flushed survives, what is not may vanish, and whoever forgets to
//! flush is found out.

use e2e::cut::{BLOCK, Device, Kind, Place, SECTOR};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// A file system for the proof.
const SIZE: u64 = 320 * MIB;

#[test]
fn the_device_keeps_what_was_flushed_and_nothing_else_for_sure() {
    let place = Place::new().unwrap();
    let drive = place.data().with_file_name("drive");
    let (mut old, mut new) = (0, 0);
    for seed in 0..10 {
        File::create(place.disk()).unwrap().set_len(64 * BLOCK).unwrap();
        let device = Device::on(&place.disk(), &drive, false).unwrap();
        let file = File::options().read(true).write(true).open(device.disk()).unwrap();
        let write = |byte: u8| {
            (0..64).for_each(|n| file.write_all_at(&[byte; BLOCK as usize], n * BLOCK).unwrap());
        };
        write(1);
        file.sync_data().unwrap();
        write(2);
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5 * BLOCK).unwrap();
        assert_eq!(byte, [2]);
        device.cut(seed).unwrap();
        let eio = Some(rustix::io::Errno::IO.raw_os_error());
        assert_eq!(file.read_at(&mut byte, 0).unwrap_err().raw_os_error(), eio);
        assert_eq!(file.write_at(&byte, 0).unwrap_err().raw_os_error(), eio);
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), eio);
        drop(file);
        drop(device);
        for sector in std::fs::read(place.disk()).unwrap().chunks(SECTOR as usize) {
            assert!(sector.iter().all(|b| *b == sector[0]), "a sector is torn");
            match sector[0] {
                1 => old += 1,
                2 => new += 1,
                other => panic!("neither flushed nor written: {other}"),
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

/// What a writer forgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forgets {
    Nothing,
    File,
    Directory,
}

fn record(n: u64) -> Vec<u8> {
    format!("record {n}\n").repeat(2000).into_bytes()
}

/// Publishes a record: temporary file, fsync, rename, fsync of the directory.
fn publish(dir: &Path, n: u64, forgets: Forgets) -> io::Result<()> {
    let temporary = dir.join("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&record(n))?;
    if forgets != Forgets::File {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, dir.join(n.to_string()))?;
    if forgets != Forgets::Directory {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Publishes records until the power goes; returns how many of the acknowledged ones are not whole.
fn missing(place: &Place, kind: Kind, forgets: Forgets, lies: bool, seed: u64) -> usize {
    place.format(kind, SIZE).unwrap();
    let powered = place.power(kind, lies).unwrap();
    let dir = powered.at().to_owned();
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|s| {
        // Without a flush nothing stops it: what is cut must not be a full disk.
        s.spawn(|| {
            while acknowledged.load(Relaxed) < 2000
                && publish(&dir, acknowledged.load(Relaxed), forgets).is_ok()
            {
                acknowledged.fetch_add(1, Relaxed);
            }
        });
        e2e::until("there are records", Duration::from_secs(60), || {
            (acknowledged.load(Relaxed) > 3 * seed).then_some(())
        });
        // Some moment of the next ones.
        std::thread::sleep(Duration::from_micros(seed * 1700));
        powered.cut(seed);
    });
    let acknowledged = acknowledged.into_inner();
    drop(powered);
    let powered = place.power(kind, false).unwrap();
    let bad = (0..acknowledged)
        .filter(|n| std::fs::read(powered.at().join(n.to_string())).ok() != Some(record(*n)))
        .count();
    drop(powered);
    kind.check(&place.disk()).unwrap();
    println!("    {kind:?} forgets {forgets:?} lies {lies}: {acknowledged} acknowledged, {bad} missing");
    bad
}

#[test]
fn who_flushes_loses_nothing_and_who_forgets_is_found_out() {
    let place = Place::new().unwrap();
    for kind in [Kind::Ext4, Kind::Xfs] {
        for seed in 0..5 {
            assert_eq!(missing(&place, kind, Forgets::Nothing, false, seed), 0, "{kind:?} {seed}");
        }
        for forgets in [Forgets::File, Forgets::Directory] {
            let found = (0..10).any(|seed| missing(&place, kind, forgets, false, seed) > 0);
            assert!(found, "{kind:?}: nobody sees that {forgets:?} is not flushed");
        }
    }
}

#[test]
fn a_drive_that_lies_is_found_out() {
    let place = Place::new().unwrap();
    let found = (0..10).any(|seed| {
        // Nothing holds a file system together on such a drive: it may not even mount any more.
        let outcome = std::panic::catch_unwind(|| missing(&place, Kind::Ext4, Forgets::Nothing, true, seed));
        outcome.map_or(true, |n| n > 0)
    });
    assert!(found);
}
