//! The end of the host: guests go in order, nothing is started, and a daemon is not needed for it.

mod common;

use common::{command, run};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A daemon on simulated ports, killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn up(dir: &Path) -> Self {
        let daemon = Self(command(dir, &["up"]).stderr(Stdio::null()).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(60);
        while run(dir, &["status"]).code != 0 {
            assert!(Instant::now() < end, "it is not up");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn ok(dir: &Path, line: &str) -> String {
    let ran = run(dir, &line.split(' ').collect::<Vec<_>>());
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.out
}

fn json(dir: &Path, line: &str) -> Value {
    serde_json::from_str(&ok(dir, &format!("{line} -o json"))).unwrap()
}

fn refused(dir: &Path, line: &str) {
    let ran = run(dir, &line.split(' ').collect::<Vec<_>>());
    assert_eq!(ran.code, 4, "{line}: {ran:?}");
    assert!(ran.err.contains("error[host-halting]: ") && ran.err.contains("hint: "), "{ran:?}");
}

#[test]
fn guests_go_nothing_starts_and_it_can_be_called_off() {
    let dir = data();
    let dir = dir.path();
    let daemon = Daemon::up(dir);
    ok(dir, "vm deploy debian --name web");
    ok(dir, "vm deploy debian --name idle");
    ok(dir, "machine stop idle");
    assert_eq!(json(dir, "status")["halting"], false);

    ok(dir, "host shutdown");
    let web = json(dir, "machine show web");
    assert_eq!((&web["phase"], &web["last_exit"]["how"]), (&"stopped".into(), &"host".into()));
    assert!(web["notes"][0].as_str().unwrap().contains("shutting down"), "{web}");
    assert!(ok(dir, "status").contains("shutting down"));
    for line in ["machine start idle", "machine restart web", "vm deploy debian --name more"] {
        refused(dir, line);
    }
    // What starts nothing is still taken.
    ok(dir, "volume create 1GB --name data");
    ok(dir, "host shutdown");
    ok(dir, "host resume");
    let end = Instant::now() + Duration::from_secs(60);
    while json(dir, "machine show web")["phase"] != "running" {
        assert!(Instant::now() < end, "it does not come back");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(json(dir, "machine show idle")["phase"], "stopped");

    // Another daemon in the same boot knows.
    ok(dir, "host shutdown");
    drop(daemon);
    let _daemon = Daemon::up(dir);
    refused(dir, "machine start idle");
    let history = ok(dir, "history -o json");
    assert!(history.contains("host.shutdown") && history.contains("host-halting"), "{history}");
}

#[test]
fn without_a_daemon_one_is_started_for_as_long_as_it_takes() {
    let dir = data();
    let dir = dir.path();
    // Nothing was ever here: nobody is missed, and nothing is made.
    assert_eq!(run(dir, &["host", "shutdown"]).code, 5);
    assert!(!dir.join("sistemo.db").exists());
    let daemon = Daemon::up(dir);
    ok(dir, "vm deploy debian --name web");
    drop(daemon);
    ok(dir, "host shutdown");
    assert_eq!(run(dir, &["status"]).code, 5, "it is gone again");
    let _daemon = Daemon::up(dir);
    assert_eq!(json(dir, "machine show web")["phase"], "stopped");
    refused(dir, "machine start web");
}
