//! A volume that leaves compressed.

use super::figure::{at_least, median, ms, time};
use super::volumes::run;
use e2e::Host;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 7;

/// Writes the data of a sparse file to another without its holes; how many bytes that is.
fn condense(from: &Path, to: &Path) -> u64 {
    let mut file = File::open(from).expect("the volume is there");
    let mut dense = File::create(to).expect("scratch is writable");
    let (mut at, mut all) = (0, 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).expect("there is an end");
        file.seek(io::SeekFrom::Start(start)).expect("a file");
        all += io::copy(&mut (&mut file).take(at - start), &mut dense).expect("there is room");
    }
    dense.sync_all().expect("there is room");
    all
}

/// The image that the seed brought.
fn image(host: &Host) -> PathBuf {
    let images = std::fs::read_dir(host.data().join("images")).expect("the seed has it").flatten();
    let raw = images.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "raw"));
    raw.expect("the seed has it")
}

/// `volume export --zstd` of a volume with a Debian in it, against `zstd -T2` and the same fsync over the
/// bytes that it has on the host. Both are in the page cache.
pub fn compressed(host: &Host) {
    let out = host.data().join("out");
    std::fs::create_dir(&out).expect("scratch is writable");
    let imported = host.args(&["volume", "import", &image(host).display().to_string(), "--name", "full"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let (dense, target) = (out.join("dense"), out.join("full.raw.zst"));
    let bytes = condense(&host.file_of("full"), &dense);
    let (mut ratios, mut ours, mut theirs) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let own = time(|| {
            let ran = host.args(&["volume", "export", "full", &target.display().to_string(), "--zstd"]);
            assert_eq!(ran.code, 0, "{ran:?}");
        });
        std::fs::remove_file(&target).expect("it was just made");
        let bare = time(|| {
            run(Command::new("zstd").args(["-q", "-T2"]).arg(&dense).arg("-o").arg(&target));
            File::open(&target).and_then(|f| f.sync_all()).expect("it was just made");
        });
        std::fs::remove_file(&target).expect("it was just made");
        ratios.push(bare.as_secs_f64() / own.as_secs_f64());
        ours.push(own.as_secs_f64());
        theirs.push(bare.as_secs_f64());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    let measured = format!("{:.0} / {:.0} MB a second, {}", rate(ours), rate(theirs), ms(ours));
    at_least("volume export --zstd / zstd -T2 of what is allocated", median(ratios), 0.9, &measured);
}
