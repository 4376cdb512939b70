//! A console that prints without end.

use crate::agent::arm;
use crate::daemon::Meter;
use e2e::Host;
use std::time::{Duration, Instant};

/// Two files of this, in bytes (`vmm/console.rs`).
const LIMIT: u64 = 2 << 20;

fn logged(host: &Host, id: &str) -> u64 {
    let dir = host.data().join("machines").join(id);
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let console = entries.filter(|e| e.file_name().to_string_lossy().starts_with("console"));
    // One may be renamed between the two looks.
    console.filter_map(|e| Some(e.metadata().ok()?.len())).sum()
}

fn watch(host: &Host, id: &str, span: Duration, mut meanwhile: impl FnMut()) -> u64 {
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < span {
        most = most.max(logged(host, id));
        meanwhile();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(most <= LIMIT, "{most} bytes of log");
    most
}

#[test]
fn a_console_without_end_fills_no_disk() {
    let mut host = Host::seeded_with("console", &[("SISTEMO_STOP_TIMEOUT", "20s")]);
    host.ok("machine deploy debian --name evil --memory 256M");
    let id = host.json("machine show evil")["id"].as_str().unwrap().to_owned();
    arm(&host);
    host.sh("evil", "systemd-run --quiet perl /root/guest.pl console");
    // A follower that reads nothing holds nobody up.
    let mut follower = host.begin(&["machine", "logs", "evil", "-f"]);
    let began = Instant::now();
    let old = host.data().join("machines").join(&id).join("console.log.1");
    e2e::until("the log has come round", Duration::from_secs(300), || {
        assert!(logged(&host, &id) <= LIMIT);
        old.exists().then_some(())
    });
    println!("    1 MiB of console in {:.1} s", began.elapsed().as_secs_f32());
    let meter = Meter::new(&host);
    let most = watch(&host, &id, Duration::from_secs(8), || {
        assert_eq!(host.run("machine exec evil -- echo well").out, "well\n");
    });
    let taken = meter.read();
    println!("    at most {most} bytes of log; grew by {} KiB, load {:.2}", taken.grown, taken.load);
    assert!(taken.grown < 30 << 10 && taken.load < 1.0);
    let _ = follower.kill();
    let _ = follower.wait();

    host.crash();
    let before = logged(&host, &id);
    let most = watch(&host, &id, Duration::from_secs(5), || ());
    assert_eq!(most, before, "nobody is there to write it");
    host.up();
    watch(&host, &id, Duration::from_secs(5), || ());
    assert!(host.ok("machine logs evil").contains("a guest that does not stop"));
    assert_eq!(host.sh("evil", "echo well"), "well");
    host.ok("machine stop evil");
    assert!(logged(&host, &id) <= LIMIT);
}
