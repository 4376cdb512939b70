//! Where the room is, of a thousand volumes that share blocks with one another.

use super::figure::{line, median, ms, time};
use super::volumes::run;
use e2e::Host;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MANY: usize = 1000;

fn df(host: &Host) -> f64 {
    let mut command = Command::new(e2e::program());
    command.args(["storage", "df"]).env("SISTEMO_DATA_DIR", host.data()).stdout(Stdio::null());
    time(|| run(&mut command)).as_secs_f64()
}

fn filefrag(files: &[PathBuf]) -> f64 {
    time(|| run(Command::new("filefrag").args(files).stdout(Stdio::null()))).as_secs_f64()
}

/// The first look against `filefrag` over the same files, and later ones whatever the files are like.
pub fn of_many() {
    let mut host = Host::empty("bench-df");
    host.run("pool create fast --size 3G");
    for n in 0..MANY / 2 {
        host.run(&format!("volume create 16M --name v{n} --pool fast"));
        host.run(&format!("volume clone v{n} --name c{n}"));
    }
    let dir = host.data().join("pools/fast/volumes");
    let listed = std::fs::read_dir(&dir).expect("the pool is there").flatten().map(|e| e.path());
    let files: Vec<_> = listed.filter(|p| p.extension().is_some_and(|e| e == "raw")).collect();
    assert_eq!(files.len(), MANY);
    let again = |host: &Host| {
        // Of files that were just written to, what is remembered is not relied on for some seconds.
        let settled = Instant::now() + Duration::from_secs(7);
        while Instant::now() < settled {
            df(host);
        }
        median((0..11).map(|_| df(host)).collect())
    };
    let whole = again(&host);
    for file in &files {
        let file = File::options().write(true).open(file).expect("it is there");
        for n in 0..64 {
            file.write_all_at(&[7; 4096], (1 << 20) + n * 65536).expect("there is room");
        }
        file.sync_all().expect("there is room");
    }
    let torn = again(&host);
    let (mut ratios, mut ours, mut theirs) = (vec![], vec![], vec![]);
    for _ in 0..7 {
        // A daemon that has looked at nothing yet.
        assert!(host.down());
        host.up();
        let (own, bare) = (df(&host), filefrag(&files));
        ratios.push(own / bare);
        ours.push(own);
        theirs.push(bare);
    }
    let measured = format!("{} / {}", ms(median(ours)), ms(median(theirs)));
    line("storage df of 1,000 volumes, first look / filefrag", median(ratios), 1.5, &measured);
    let measured = format!("{} / {}", ms(torn), ms(whole));
    line("storage df, looked at before: 64 more extents each / few", torn / whole, 1.3, &measured);
}
