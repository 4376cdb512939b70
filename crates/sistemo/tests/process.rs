//! The real daemon as a process.

mod common;

use common::{Ran, command, run};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

/// A daemon that is up, and its log; killed when dropped.
struct Daemon(Child, mpsc::Receiver<String>);

impl Daemon {
    /// Starts one and waits until it says so.
    fn up(data_dir: &Path) -> Self {
        Self::with(data_dir, &[])
    }

    /// The same with these variables.
    fn with(data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = command(data_dir, &["up", "--log", "debug"]);
        let mut child = command.envs(variables.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, log) = mpsc::channel();
        // Read to the end, since its log must not fill the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let daemon = Self(child, log);
        daemon.wait_for(" is up, ");
        daemon
    }

    /// Returns once its log has a line with `text`.
    fn wait_for(&self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            seen.push_str(&self.1.recv().unwrap_or_else(|_| panic!("{seen}")));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
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

fn refused(ran: &Ran, code: &str, exit: i32) {
    assert_eq!(ran.code, exit, "{ran:?}");
    assert!(ran.err.contains(&format!("error[{code}]: ")), "{ran:?}");
}

#[test]
fn one_daemon_per_data_directory_and_a_clean_end() {
    let dir = data();
    let data_dir = dir.path().join("data");
    let mut daemon = Daemon::up(&data_dir);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o711);
    assert_eq!(mode(&data_dir.join("sistemo.sock")), 0o660);

    let second = run(&data_dir, &["up"]);
    refused(&second, "daemon-running", 4);
    assert!(second.err.contains(&format!("process {}", daemon.0.id())));

    let status = run(&data_dir, &["status", "-o", "json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["pid"], daemon.0.id());

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(!data_dir.join("sistemo.sock").exists());
    refused(&run(&data_dir, &["volume", "list"]), "daemon-unreachable", 5);
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way_of_the_next() {
    let dir = data();
    let mut first = Daemon::up(dir.path());
    first.signal(rustix::process::Signal::KILL);
    first.0.wait().unwrap();
    assert!(dir.path().join("sistemo.sock").exists());
    refused(&run(dir.path(), &["volume", "list"]), "daemon-unreachable", 5);
    let _second = Daemon::up(dir.path());
    assert_eq!(run(dir.path(), &["volume", "list"]).code, 0);
}

#[test]
fn a_bad_setting_or_directory_keeps_it_down() {
    let dir = data();
    std::fs::write(dir.path().join("config.toml"), "workers = 0\n").unwrap();
    refused(&run(dir.path(), &["up"]), "invalid-config", 2);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&run(&file, &["up"]), "data-dir-invalid", 4);
    refused(&run(&dir.path().join("new"), &["up", "--log", "=="]), "invalid-config", 2);
}

#[test]
fn the_socket_is_found_below_a_long_path() {
    let dir = data();
    let deep = dir.path().join("d".repeat(60)).join("e".repeat(60));
    let _daemon = Daemon::up(&deep);
    assert_eq!(run(&deep, &["volume", "list"]).code, 0);
}

#[test]
fn the_service_manager_is_told() {
    let dir = data();
    let path = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut command = command(dir.path(), &["up"]);
    let child = command.env("NOTIFY_SOCKET", &path).stderr(Stdio::null()).spawn().unwrap();
    let mut daemon = Daemon(child, mpsc::channel().1);
    let told = || {
        let mut bytes = [0; 256];
        let n = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    assert!(told().contains("READY=1"));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(told().contains("STOPPING=1"));
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_operation_survives_its_daemon_and_whoever_waits_sees_its_end() {
    let dir = data();
    let first = Daemon::up(dir.path());
    assert_eq!(run(dir.path(), &["vm", "deploy", "debian", "--name", "web"]).code, 0);
    while first.1.try_recv().is_ok() {}
    let waiting = command(dir.path(), &["machine", "stop", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    first.wait_for("/events");
    drop(first);
    let _second = Daemon::up(dir.path());
    let ran = Ran::from(waiting.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out, "machine \"web\" is stopped\n");
}

/// A daemon whose guests do not shut down, with a machine that is being stopped, and who waits for it.
fn stopping(dir: &Path, stop_timeout: &str) -> (Daemon, Child) {
    let daemon = Daemon::with(dir, &[("SISTEMO_SIM", "stubborn"), ("SISTEMO_STOP_TIMEOUT", stop_timeout)]);
    assert_eq!(run(dir, &["vm", "deploy", "debian", "--name", "web"]).code, 0);
    while daemon.1.try_recv().is_ok() {}
    let waiting = command(dir, &["machine", "stop", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.wait_for("/events");
    (daemon, waiting)
}

#[test]
fn an_ending_daemon_takes_no_changes_and_ends_what_is_under_way() {
    let dir = data();
    let (mut daemon, waiting) = stopping(dir.path(), "3s");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("ending; machines go on running");
    let change = run(dir.path(), &["volume", "create", "1GB", "--name", "late"]);
    refused(&change, "shutting-down", 5);
    assert!(change.err.contains("hint: "), "{change:?}");
    let read = run(dir.path(), &["history", "-o", "json"]);
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.out.contains("shutting-down"), "{read:?}");

    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    let ran = Ran::from(waiting.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("the plug was pulled"), "{ran:?}");
    let _next = Daemon::up(dir.path());
    let ended = run(dir.path(), &["machine", "show", "web", "-o", "json"]);
    let machine: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&machine["phase"], &machine["last_exit"]["how"]), (&"stopped".into(), &"killed".into()));
}

#[test]
fn an_ending_daemon_leaves_at_its_deadline_or_when_told_again() {
    let dir = data();
    let leaves = |daemon: &mut Daemon| {
        assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
        assert!(!dir.path().join("sistemo.sock").exists());
    };
    let (mut daemon, mut waiting) = stopping(dir.path(), "1h");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("ending; machines go on running");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("leaving at once");
    leaves(&mut daemon);
    waiting.kill().unwrap();
    waiting.wait().unwrap();

    // What was under way still is, and a deadline ends the wait for it as well.
    let mut daemon = Daemon::with(dir.path(), &[("SISTEMO_SHUTDOWN_TIMEOUT", "100ms")]);
    let open = run(dir.path(), &["volume", "create", "1GB", "--name", "data"]);
    assert_eq!(open.code, 0, "{open:?}");
    daemon.signal(rustix::process::Signal::TERM);
    leaves(&mut daemon);
}

#[test]
fn the_watchdog_is_fed() {
    let dir = data();
    let path = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut command = command(dir.path(), &["up"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000").stderr(Stdio::null());
    let _daemon = Daemon(command.spawn().unwrap(), mpsc::channel().1);
    let mut fed = 0;
    while fed < 3 {
        let mut bytes = [0; 256];
        let n = manager.recv(&mut bytes).unwrap();
        fed += usize::from(String::from_utf8_lossy(&bytes[..n]).contains("WATCHDOG=1"));
    }
}
