//! Copying volumes where files can share their blocks: what the pool does against `cp`, and whether a
//! whole command's time depends on how much a volume holds.

use super::figure::{line, median, ms, time};
use super::volumes::run;
use e2e::Host;
use engine::port::Pool;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use types::{ByteSize, SnapshotId, VolumeId};
use uuid::Uuid;

/// Of the full volume; another one (`SISTEMO_BENCH_GIB`) is for a trial.
const GIB: u64 = 10;
const EXTENTS: u64 = 100_000;
const BLOCK: u64 = 4096;

fn full(file: &File, gib: u64) {
    let piece = vec![7; 8 << 20];
    for n in 0..gib << 7 {
        file.write_all_at(&piece, n * (8 << 20)).expect("there is room");
    }
}

/// Each block of it lies beside one of another file, so that none can be put together with the next.
fn torn(file: &File, beside: &Path) {
    let other = tempfile::tempfile_in(beside).expect("there is room");
    for n in 0..EXTENTS {
        for file in [file, &other] {
            fallocate(file, FallocateFlags::empty(), n * BLOCK, BLOCK).expect("there is room");
        }
    }
    file.write_all_at(&vec![7; (EXTENTS * BLOCK) as usize], 0).expect("there is room");
}

/// How many extents `filefrag` counts.
fn extents(path: &Path) -> u64 {
    let out = Command::new("filefrag").arg(path).output().expect("filefrag can be run");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let count = said.rsplit(": ").next().and_then(|n| n.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("a count in {said}"))
}

/// `cp --reflink=always`, and the fsync that what is published has had.
fn cp(from: &Path) -> f64 {
    let beside = from.with_file_name("copy");
    let mut cp = Command::new("cp");
    cp.arg("--reflink=always").arg(from).arg(&beside);
    let copied = time(|| {
        run(&mut cp);
        File::open(&beside).and_then(|f| f.sync_all()).expect("it was just made");
    });
    // XFS takes back later what is removed, and whoever comes next would wait for that; ours have given it back.
    File::options().write(true).open(&beside).and_then(|f| f.set_len(0)).expect("it was just made");
    std::fs::remove_file(&beside).expect("it was just made");
    copied.as_secs_f64()
}

/// A clone and a snapshot of a full volume and of one of 100,000 extents; then whole commands.
pub fn of_volumes() {
    let gib = std::env::var("SISTEMO_BENCH_GIB").ok().and_then(|n| n.parse().ok()).unwrap_or(GIB);
    let host = Host::empty("bench-copies");
    // With room for what copying 100,000 extents makes the file system write.
    ok(&host, &format!("pool create fast --size {}G", gib + 3));
    let dir = host.data().join("pools/fast/bench");
    let layout = host::Layout::new(&dir, &dir);
    let pool = host::storage::FilePool::open(layout.clone()).expect("the pool opens");
    for (what, rounds) in [(format!("{gib} GB"), 15), ("100,000 extents".to_owned(), 5)] {
        let source = VolumeId(Uuid::now_v7());
        let path = layout.volume(source);
        let file = File::options().write(true).create_new(true).open(&path).expect("there is room");
        file.set_len(gib << 30).expect("there is room");
        match rounds {
            5 => torn(&file, &layout.volumes()),
            _ => full(&file, gib),
        }
        file.sync_all().expect("there is room");
        let count = extents(&path);
        assert!(rounds > 5 || count >= EXTENTS, "{count} extents");
        let (mut clones, mut snapshots, mut bare) = (vec![], vec![], vec![]);
        for _ in 0..rounds {
            let (copy, sidecar) = (VolumeId(Uuid::now_v7()), b"{\"generation\":1}");
            let size = ByteSize::gib(gib);
            let took = time(|| {
                pool.create_copy(copy, ("default", source), size, sidecar, &|_| {}).expect("there is room")
            });
            clones.push(took.as_secs_f64());
            pool.remove(copy).expect("it was just made");
            let snapshot = SnapshotId(Uuid::now_v7());
            let took = time(|| {
                pool.take_snapshot(snapshot, source, false, &|_| {}).expect("there is room");
                pool.settle_snapshot(snapshot).expect("there is room");
                pool.write_snapshot_sidecar(snapshot, sidecar).expect("there is room");
            });
            snapshots.push(took.as_secs_f64());
            pool.remove_snapshot(snapshot).expect("it was just made");
            bare.push(cp(&path));
        }
        for (verb, times) in [("clone", clones), ("snapshot", snapshots)] {
            let ratios = times.iter().zip(&bare).map(|(own, bare)| own / bare).collect();
            let [own, bare] = [times, bare.clone()].map(|of| ms(median(of)));
            let measured = format!("{own} / {bare}, {count} extents");
            line(
                &format!("{verb} of {what} on xfs / cp --reflink and fsync"),
                median(ratios),
                2.0,
                &measured,
            );
        }
        if rounds > 5 {
            commands(&host, &path, gib);
        }
        pool.remove(source).expect("it was just made");
    }
}

/// Whole commands, of a volume that is full and of one that is empty.
fn commands(host: &Host, content: &Path, gib: u64) {
    for name in ["full", "empty"] {
        ok(host, &format!("volume create {gib}G --name {name} --pool fast --fs none"));
    }
    let mut cp = Command::new("cp");
    run(cp.arg("--reflink=always").arg(content).arg(host.file_of("full")));
    for verb in ["clone", "snapshot"] {
        let of = |name: &str| {
            let took = time(|| ok(host, &format!("volume {verb} {name} --name copy"))).as_secs_f64();
            match verb {
                "clone" => ok(host, "volume delete copy --now -y"),
                _ => ok(host, "snapshot delete copy -y"),
            }
            took
        };
        let (full, empty): (Vec<_>, Vec<_>) = (0..21).map(|_| (of("full"), of("empty"))).unzip();
        let ratios = full.iter().zip(&empty).map(|(full, empty)| full / empty).collect();
        let measured = format!("{} / {}", ms(median(full)), ms(median(empty)));
        line(&format!("sistemo volume {verb}: {gib} GB full / empty"), median(ratios), 1.3, &measured);
    }
}

fn ok(host: &Host, line: &str) {
    let ran = host.run(line);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
}
