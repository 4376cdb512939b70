//! How long a snapshot of its machine makes a guest wait.
//!
//! A loop in the guest writes and syncs all the while, and tells the longest time from one to the next.
//! It does so with a snapshot and without, in turn: what is longer with it is the pause.

use super::figure::{line, median, ms, time};
use super::volumes::run;
use e2e::Host;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;

/// What the project promises, in seconds; where blocks are shared, that takes its time besides.
const PAUSE: f64 = 0.1;
const ROUNDS: usize = 7;
/// Seconds that the loop runs: a snapshot that the hypervisor copies takes less.
const WINDOW: u32 = 8;
const LOOP: &str = r#"use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC); use IO::Handle; $| = 1;
    open(F, ">", "/mnt/data/loop") or die; print "begun\n";
    my $longest = 0; my $last = my $began = clock_gettime(CLOCK_MONOTONIC);
    while ($last < $began + $ARGV[0]) {
        sysseek(F, 0, 0); syswrite(F, "x" x 4096) or die; F->sync or die;
        my $now = clock_gettime(CLOCK_MONOTONIC);
        $longest = $now - $last if $now - $last > $longest; $last = $now;
    }
    print "$longest\n";"#;

/// The longest time between two writes, in seconds, while `meanwhile` is done.
fn longest(host: &Host, meanwhile: impl FnOnce()) -> f64 {
    let window = WINDOW.to_string();
    let mut child = host.begin(&["machine", "exec", "web", "--", "perl", "-e", LOOP, &window]);
    drop(child.stdin.take());
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = String::new();
    out.read_line(&mut said).expect("it speaks");
    assert_eq!(said, "begun\n");
    meanwhile();
    said.clear();
    out.read_to_string(&mut said).expect("it speaks");
    assert!(child.wait().expect("it is our child").success(), "{said}");
    said.trim().parse().expect("seconds")
}

/// With blocks that are shared, and with a copy that the hypervisor makes.
pub fn by_snapshots(host: &Host) {
    let ok = |line: &str| {
        let ran = host.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    };
    ok("pool create fast --size 6G");
    for (pool, kind) in [("fast", "xfs"), ("default", "ext4")] {
        ok(&format!("volume create 1G --name data --pool {pool}"));
        ok(&format!("machine deploy debian --name web --pool {pool} --attach data"));
        host.run("machine exec web -- systemctl is-system-running --wait");
        let (mut still, mut pauses) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            still.push(longest(host, || ()));
            let with = longest(host, || {
                let said = ok("machine snapshot web --name held");
                assert_eq!(said.matches("filesystem consistent").count(), 2, "{said}");
            });
            pauses.push((with - still.last().expect("it was just pushed")).max(0.0));
            ok("snapshot delete held -y");
            ok("snapshot delete held-data -y");
        }
        let shared =
            if kind == "xfs" { reflink(&[host.file_of("web-root"), host.file_of("data")]) } else { 0.0 };
        let (pause, still) = (median(pauses), median(still));
        let measured =
            format!("{}, of that the reflink {}; without one {}", ms(pause), ms(shared), ms(still));
        line(
            &format!("guest paused by a snapshot on {kind} / (100 ms + reflink)"),
            pause / (PAUSE + shared),
            1.0,
            &measured,
        );
        ok("machine delete web -y --now");
        ok("volume delete data -y --now");
    }
}

/// How long sharing the blocks of all takes by itself, in seconds.
fn reflink(files: &[impl AsRef<Path>]) -> f64 {
    let each = files.iter().map(|file| {
        let beside = file.as_ref().with_extension("copy");
        let took = time(|| run(Command::new("cp").arg("--reflink=always").arg(file.as_ref()).arg(&beside)));
        std::fs::remove_file(&beside).expect("it was just made");
        took.as_secs_f64()
    });
    each.sum()
}
