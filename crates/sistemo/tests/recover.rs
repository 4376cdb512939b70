//! Losing the database and having it again, with the real command and daemon.

mod common;

use common::{Ran, command, run};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

const ROOT: &str = "0192f0c1-2345-7abc-8def-0123456789a0";
const DATA: &str = "0192f0c1-2345-7abc-8def-0123456789a1";
const STRAY: &str = "0192f0c1-2345-7abc-8def-0123456789a2";
const IMAGE: &str = "0192f0c1-2345-7abc-8def-0123456789a3";
const MACHINE: &str = "0192f0c1-2345-7abc-8def-0123456789a4";

/// A data directory as a daemon leaves it, without its database.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let host = Self(dir);
        for dir in ["pools/default/volumes", "pools/default/trash", &format!("machines/{MACHINE}")] {
            std::fs::create_dir_all(host.path(dir)).unwrap();
        }
        for (id, name, role) in [(ROOT, "web-root", "root"), (DATA, "appdata", "data")] {
            let source = match role {
                "root" => json!({"kind": "image", "image": IMAGE}),
                _ => json!({"kind": "blank", "fs_uuid": DATA}),
            };
            let spec = json!({
                "id": id, "name": name, "generation": 1, "node": "localhost", "created_at": "2026-01-31T12:00:00Z",
                "role": role, "pool": "default", "size": 1 << 30, "source": source,
                "owner": if role == "root" { json!(MACHINE) } else { Value::Null }
            });
            host.write(&format!("pools/default/volumes/{id}.json"), &spec.to_string());
            host.file(id, 1 << 30);
        }
        host.file(STRAY, 8 << 20);
        let disk = |volume: &str, slot: u8, role: &str| json!({"volume": volume, "slot": slot, "role": role, "mount": "default"});
        let spec = json!({
            "id": MACHINE, "name": "web", "generation": 5, "node": "localhost", "created_at": "2026-01-31T12:00:00Z",
            "vcpus": 2, "memory": 512 << 20, "image": IMAGE, "desired": "running", "epoch": 3,
            "disks": [disk(ROOT, 0, "root"), disk(DATA, 1, "data")],
            "nics": [{"network": IMAGE, "address": "10.200.0.7", "mac": "52:54:00:01:02:03"}], "uid": 1_879_048_200
        });
        host.write(&format!("machines/{MACHINE}/machine.json"), &spec.to_string());
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        std::fs::write(self.path(below), text).unwrap();
    }

    /// What `doctor` finds about the check of this name, as state and finding.
    fn doctor(&self, check: &str) -> Vec<String> {
        let ran = self.run(&["doctor", "-o", "json"]);
        let told: Value = serde_json::from_str(&ran.out).unwrap();
        let items = told["items"].as_array().unwrap();
        let failed = items.iter().any(|f| f["state"] == "fail");
        assert_eq!(ran.code, i32::from(failed), "{ran:?}");
        for f in items {
            assert!(f["state"] == "ok" || f["fix"].is_string(), "{f}");
        }
        let of = items.iter().filter(|f| f["check"] == check);
        of.map(|f| format!("{}: {}", f["state"].as_str().unwrap(), f["finding"].as_str().unwrap())).collect()
    }

    fn file(&self, id: &str, bytes: u64) {
        File::create(self.path(&format!("pools/default/volumes/{id}.raw"))).unwrap().set_len(bytes).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(self.0.path(), args)
    }

    fn refused(&self, args: &[&str], code: &str, exit: i32, hint: &str) {
        let ran = self.run(args);
        assert_eq!(ran.code, exit, "{ran:?}");
        assert!(ran.err.contains(&format!("error[{code}]: ")) && ran.err.contains(hint), "{ran:?}");
    }

    /// Every file below, with its content; sparse files with their length.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = vec![];
        let mut dirs = vec![self.path("pools"), self.path("machines")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let seen = path.metadata().unwrap();
                if seen.is_dir() {
                    dirs.push(path);
                } else if seen.len() > 1 << 20 {
                    all.push((path, seen.len().to_string().into_bytes()));
                } else {
                    all.push((path.clone(), std::fs::read(path).unwrap()));
                }
            }
        }
        all.sort();
        all
    }
}

/// A daemon, killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn up(dir: &Path) -> Self {
        let child = command(dir, &["up"]).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self(child);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while run(dir, &["status"]).code != 0 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
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

#[test]
fn a_database_that_is_gone_is_rebuilt_and_nothing_else_is_touched() {
    let host = Host::new();
    let before = host.content();
    host.refused(&["up"], "database-failed", 1, "sistemo recover");
    host.refused(&["recover"], "not-confirmed", 4, "-y");
    assert!(!host.path("sistemo.db").exists());
    let ran = host.run(&["recover", "-y", "-o", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(host.content(), before);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    let of =
        |name: &str| told["items"].as_array().unwrap().iter().find(|i| i["name"] == name).unwrap().clone();
    assert_eq!(of("web")["outcome"], "recovered");
    assert_eq!(of("appdata")["notes"], json!([]));
    assert_eq!(of("recovered-789a2")["outcome"], "adopted");
    assert!(told["unknown"].as_array().unwrap().len() > 2);
    host.refused(&["recover", "-y"], "conflict", 4, "move sistemo.db away");

    let _daemon = Daemon::up(host.0.path());
    host.refused(&["recover", "-y"], "daemon-running", 4, "");
    let volumes: Value = serde_json::from_str(&host.run(&["volume", "list", "-o", "json"]).out).unwrap();
    let shown: Vec<_> = volumes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| format!("{} {} {} {}", v["name"], v["size_bytes"], v["attached_to"], v["owner"]))
        .collect();
    let expected = [
        "\"appdata\" 1073741824 \"web\" null",
        "\"recovered-789a2\" 8388608 null null",
        "\"web-root\" 1073741824 \"web\" \"web\"",
    ];
    assert_eq!(shown, expected);
    let machine: Value = serde_json::from_str(&host.run(&["vm", "show", "web", "-o", "json"]).out).unwrap();
    assert_eq!((&machine["phase"], &machine["address"]), (&json!("stopped"), &json!("10.200.0.7")));
    let history: Value = serde_json::from_str(&host.run(&["history", "-o", "json"]).out).unwrap();
    assert!(history["items"].as_array().unwrap().iter().any(|l| l["action"] == "recover"));
}

#[test]
fn a_damaged_database_is_refused_moved_aside_and_rebuilt() {
    let host = Host::new();
    host.write("sistemo.db", &"not a database, whatever it is called. ".repeat(200));
    host.write("sistemo.db-wal", "left");
    host.refused(&["up"], "database-failed", 1, "sistemo recover");
    let ran = host.run(&["recover", "-y"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let names = std::fs::read_dir(host.0.path()).unwrap();
    let names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let log = names.iter().find(|n| n.starts_with("sistemo.db.corrupt-") && n.ends_with("-wal")).unwrap();
    assert_eq!(std::fs::read(host.path(log)).unwrap(), b"left");
    assert!(names.contains(&log.replace("-wal", "")), "{names:?}");
    assert!(
        ran.out.contains("the damaged database:\n") && ran.out.contains("sistemo.db.corrupt-"),
        "{ran:?}"
    );
    let mode = host.path("sistemo.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let _daemon = Daemon::up(host.0.path());
    assert!(host.run(&["vm", "list"]).out.contains("web"));
}

#[test]
fn killed_at_any_moment_it_is_repeated() {
    let host = Host::new();
    let before = host.content();
    let mut cut_short = 0;
    for n in 0..25 {
        host.write("sistemo.db", &"not a database, whatever it is called. ".repeat(200));
        let mut child = command(host.0.path(), &["recover", "-y"]).stdout(Stdio::null()).spawn().unwrap();
        // Later each time: the moment of the kill is what differs, nothing is waited for.
        std::thread::sleep(std::time::Duration::from_micros(n * 1000));
        child.kill().unwrap();
        cut_short += i32::from(!child.wait().unwrap().success());
        let again = host.run(&["recover", "-y"]);
        // It may have ended before the kill.
        assert!(again.code == 0 || again.err.contains("error[conflict]"), "{again:?}");
        assert_eq!(host.doctor("database"), ["ok: whole; machines 1, volumes 3"]);
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(host.path(&format!("sistemo.db{end}")));
        }
    }
    assert!(cut_short > 0);
    assert_eq!(host.content(), before);
}

#[test]
fn what_cannot_be_read_is_kept_and_told() {
    let host = Host::new();
    host.write(&format!("pools/default/volumes/{DATA}.json"), "{\"id\":");
    host.write("pools/default/volumes/notes.txt", "mine");
    let ran = host.run(&["recover", "-y"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("recovered-789a1"), "{ran:?}");
    assert!(ran.out.contains("notes.txt: its name is none of ours"), "{ran:?}");
    let kept = std::fs::read_dir(host.path("pools/default/volumes")).unwrap();
    let kept: Vec<_> = kept.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.iter().any(|n| n.starts_with(&format!("{DATA}.json.damaged-"))), "{kept:?}");
    assert!(kept.contains(&"notes.txt".to_owned()));
}

#[test]
fn a_process_with_a_volume_open_stops_it() {
    let host = Host::new();
    let file = File::open(host.path(&format!("pools/default/volumes/{ROOT}.raw"))).unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
    host.refused(&["recover", "-y"], "volume-in-use", 4, &format!("kill {}", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(host.run(&["recover", "-y"]).code, 0);
}

#[test]
fn the_doctor_sees_a_lost_and_a_damaged_database_and_what_only_one_of_them_knows() {
    let host = Host::new();
    assert!(host.doctor("database")[0].starts_with("fail: there is none in "));
    assert!(host.doctor("pool")[0].starts_with("warn: files of volumes that are not in the list: "));
    assert_eq!(host.run(&["recover", "-y"]).code, 0);
    assert_eq!(host.doctor("database"), ["ok: whole; machines 1, volumes 3"]);
    assert_eq!(host.doctor("pool"), ["ok: 3 volumes, each in the list and in the pool"]);
    std::fs::remove_file(host.path(&format!("pools/default/volumes/{DATA}.raw"))).unwrap();
    assert_eq!(host.doctor("pool"), [format!("fail: volumes without their file: appdata ({DATA})")]);
    host.write("sistemo.db", &"not a database, whatever it is called. ".repeat(200));
    assert!(host.doctor("database")[0].starts_with("fail: the database is damaged: "));
    assert!(host.doctor("pool")[0].starts_with("warn: it cannot be seen: "));
    let text = host.run(&["doctor"]);
    assert_eq!(text.code, 1);
    assert!(text.out.starts_with("STATE        CHECK"), "{text:?}");
}

#[test]
fn the_doctor_speaks_with_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let host = Host(dir);
    assert_eq!(host.doctor("daemon"), ["warn: none answers"]);
    assert!(host.doctor("database")[0].starts_with("ok: there is none in "));
    let _daemon = Daemon::up(host.0.path());
    assert!(host.doctor("daemon")[0].starts_with("ok: version "));
    assert_eq!(host.doctor("database"), ["ok: whole; machines 0, volumes 0"]);
    assert!(host.doctor("directory")[0].starts_with("ok: "));
    assert!(host.run(&["doctor", "-o", "yaml"]).out.starts_with("items:\n- check: accelerator\n"));
}

#[test]
fn an_empty_directory_starts_empty_and_a_missing_one_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(&dir.path().join("none"), &["recover", "-y"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("error[data-dir-invalid]") && !dir.path().join("none").exists(), "{ran:?}");
}
