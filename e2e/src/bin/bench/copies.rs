//! Copying volumes where files can share their blocks.

use super::figure::{line, median, ms, time};
use super::volumes::{Mounted, run};
use engine::port::Pool;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use types::{ByteSize, VolumeId};
use uuid::Uuid;

/// A volume of 10 GB that is full, and one of 100,000 extents, against `cp --reflink=always`.
pub fn of_volumes() {
    let mounted = Mounted::new("xfs", 13);
    let layout = host::Layout::new(&mounted.1, &mounted.1);
    let pool = host::storage::FilePool::open(layout.clone()).expect("the pool opens");
    let full = |file: &File| {
        let piece = vec![7; 8 << 20];
        for n in 0..1280u64 {
            file.write_all_at(&piece, n * (8 << 20)).expect("there is room");
        }
    };
    // Every other block, so that none can be put together with the next.
    let torn = |file: &File| {
        let block = [7; 4096];
        for n in 0..100_000u64 {
            file.write_all_at(&block, n * 8192).expect("there is room");
        }
    };
    for what in ["10 GB", "100,000 extents"] {
        let source = VolumeId(Uuid::now_v7());
        let path = layout.volume(source);
        let file = File::options().write(true).create_new(true).open(&path).expect("there is room");
        file.set_len(10 << 30).expect("there is room");
        if what == "10 GB" {
            full(&file)
        } else {
            torn(&file)
        }
        file.sync_all().expect("there is room");
        let (mut ratios, mut ours, mut bare) = (vec![], vec![], vec![]);
        for _ in 0..7 {
            let copy = VolumeId(Uuid::now_v7());
            let own = time(|| {
                let (from, size) = (source, ByteSize::gib(10));
                pool.create_copy(copy, ("default", from), size, b"{\"generation\":1}", &|_| {})
                    .expect("there is room");
            });
            pool.remove(copy).expect("it was just made");
            let beside = mounted.1.join("copy");
            let mut cp = Command::new("cp");
            cp.arg("--reflink=always").arg(&path).arg(&beside);
            let copied = time(|| {
                run(&mut cp);
                // What is published is durable, so the baseline has to be too.
                File::open(&beside).and_then(|f| f.sync_all()).expect("it was just made");
            });
            std::fs::remove_file(&beside).expect("it was just made");
            ratios.push(own.as_secs_f64() / copied.as_secs_f64());
            ours.push(own.as_secs_f64());
            bare.push(copied.as_secs_f64());
        }
        pool.remove(source).expect("it was just made");
        let measured = format!("{} / {}", ms(median(ours)), ms(median(bare)));
        line(&format!("volume clone of {what} on xfs / cp --reflink=always"), median(ratios), 2.0, &measured);
    }
}
