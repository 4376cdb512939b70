//! The units for the service manager: it understands every line of them, and they keep the promise
//! that stopping the daemon stops no machine.

mod common;

use std::process::Command;
use std::time::Duration;

const UNITS: [&str; 2] = ["sistemo.service", "sistemo-guests.service"];

fn unit(name: &str) -> String {
    std::fs::read_to_string(common::repository().join("packaging/systemd").join(name)).unwrap()
}

/// The values of a key, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(|l| l.split(' ')).map(str::to_owned).collect()
}

#[test]
fn the_service_manager_understands_them() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = UNITS.iter().map(|name| dir.path().join(name)).collect();
    for (name, path) in UNITS.iter().zip(&paths) {
        // It looks whether the program is there, too.
        let text = unit(name).replace("/usr/bin/sistemo", env!("CARGO_BIN_EXE_sistemo"));
        std::fs::write(path, text).unwrap();
    }
    let ran = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output();
    let ran = ran.expect("systemd-analyze (systemd) can be run");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    // What else is wrong on this host is not ours.
    let ours: Vec<_> = told.lines().filter(|l| UNITS.iter().any(|name| l.contains(name))).collect();
    assert!(ran.status.success() && ours.is_empty(), "{told}");
}

#[test]
fn guests_end_with_the_host_and_not_with_the_daemon() {
    let (daemon, guests) = (unit(UNITS[0]), unit(UNITS[1]));
    assert_eq!(values(&daemon, "KillMode"), ["process"]);
    assert_eq!(values(&daemon, "RuntimeDirectoryPreserve"), ["yes"]);
    for key in ["Requires", "BindsTo", "PartOf", "Requisite"] {
        assert!(values(&guests, key).is_empty(), "{key}");
    }
    // Stopped before the daemon is.
    assert!(values(&guests, "After").contains(&UNITS[0].to_owned()));
    let key = sistemo::config::KEYS.iter().find(|k| k.name == "stop_timeout").unwrap();
    let stop: u64 = key.default.trim_end_matches('s').parse().unwrap();
    let minutes: u64 = values(&guests, "TimeoutStopSec")[0].trim_end_matches("min").parse().unwrap();
    assert!(Duration::from_secs(60 * minutes) > Duration::from_secs(2 * stop));
}
