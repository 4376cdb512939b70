//! The units for the service manager: it understands every line of them, and they keep the promise
//! that stopping the daemon stops no machine.

mod common;

use std::process::Command;

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

/// How exposed the service manager thinks a unit is, of 10.
fn exposure(path: &std::path::Path) -> f64 {
    let ran =
        Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(path).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let last = told.lines().find_map(|l| l.split_once("exposure level for ")?.1.split_once(": "));
    let (_, level) = last.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&ran.stderr)));
    level.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_they_do_not_need_is_taken_from_them() {
    for name in UNITS {
        let exposed = exposure(&common::repository().join("packaging/systemd").join(name));
        assert!(exposed <= 6.5, "{name}: {exposed}");
    }
    // What ends the guests may have to be a daemon for that long.
    let hardening = |name| {
        let text = unit(name);
        text[text.find("NoNewPrivileges").unwrap()..text.find("[Install]").unwrap()].to_owned()
    };
    assert_eq!(hardening(UNITS[0]), hardening(UNITS[1]));
}

/// A tree with what `service install --root` needs of a system, and the program in it.
fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/group"), "root:x:0:\n").unwrap();
    std::fs::write(dir.path().join("etc/gshadow"), "root:*::\n").unwrap();
    let program = dir.path().join("sistemo");
    common::copy_program(&program);
    (dir, program)
}

#[test]
fn installed_twice_is_installed_once_and_uninstalled() {
    let (dir, program) = tree();
    let root = dir.path().to_str().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["service"]).args(args).args(["--root", root, "--data-dir", "/srv/vm"]);
        let ran: common::Ran = command.env_remove("SISTEMO_URL").output().unwrap().into();
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {ran:?}");
        ran.out
    };
    let first = run(&["install"]);
    assert!(first.contains("wrote ") && first.contains("made group sistemo"), "{first}");
    assert!(first.contains("systemctl enable --now sistemo.service sistemo-guests.service"), "{first}");
    let groups = || std::fs::read_to_string(dir.path().join("etc/group")).unwrap();
    let units = dir.path().join("etc/systemd/system");
    let texts = || UNITS.map(|u| std::fs::read_to_string(units.join(u)).unwrap());
    let (made, written) = (groups(), texts());
    assert!(made.contains("\nsistemo:x:"), "{made}");
    assert!(written[0].contains(&format!("ExecStart={} up\n", program.display())), "{}", written[0]);
    let again = run(&["install"]);
    assert!(!again.contains("made group"), "{again}");
    assert_eq!((groups(), texts()), (made, written));
    for unit in UNITS {
        assert!(exposure(&units.join(unit)) <= 6.5);
    }
    let gone = run(&["uninstall"]);
    assert!(gone.contains("removed ") && std::fs::read_dir(&units).unwrap().count() == 0, "{gone}");
    run(&["uninstall"]);
    assert!(groups().contains("sistemo"), "members keep their group");
}

#[test]
fn what_others_can_replace_is_not_installed() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, program) = tree();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o777)).unwrap();
    let mut command = Command::new(&program);
    let ran: common::Ran =
        command.args(["service", "install", "--root"]).arg(dir.path()).output().unwrap().into();
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.starts_with("error[no-permission]: others than root can replace "), "{ran:?}");
    assert!(!dir.path().join("etc/systemd").exists());
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
    // `stop_timeout` is a setting, which no number here could follow: what the service manager cut short would
    // cost a guest what it had not written.
    assert_eq!(values(&guests, "TimeoutStopSec"), ["infinity"]);
}
