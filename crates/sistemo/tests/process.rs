//! The real daemon as a process.

mod common;

use common::{Ran, command, run};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

/// A daemon that is up, and its log; killed when dropped.
struct Daemon(Child, mpsc::Receiver<String>, std::cell::RefCell<String>);

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
        let daemon = Self(child, log, Default::default());
        daemon.wait_for(" is up, ");
        daemon
    }

    /// Returns once its log has a line with `text`.
    fn wait_for(&self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            let line = self.1.recv().unwrap_or_else(|_| panic!("{seen}"));
            self.2.borrow_mut().push_str(&format!("{line}\n"));
            seen.push_str(&line);
        }
    }

    /// The log so far.
    fn seen(&self) -> String {
        for line in self.1.try_iter() {
            self.2.borrow_mut().push_str(&(line + "\n"));
        }
        self.2.borrow().clone()
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
fn the_socket_is_for_root_the_daemons_user_and_the_group() {
    use std::os::unix::process::CommandExt;
    let dir = data();
    let _daemon = Daemon::up(dir.path());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let stranger = |socket: u32| {
        std::fs::set_permissions(dir.path().join("sistemo.sock"), std::fs::Permissions::from_mode(socket))
            .unwrap();
        let program = dir.path().join("sistemo");
        if !program.exists() {
            // The build's own directory may be closed to others.
            common::copy_program(&program);
        }
        let mut command = std::process::Command::new(program);
        command.env_clear().env("SISTEMO_DATA_DIR", dir.path()).args(["volume", "create", "1G"]);
        Ran::from(command.uid(65534).gid(65534).stdin(Stdio::null()).output().unwrap())
    };
    refused(&stranger(0o660), "no-permission", 4);
    // Should the mode have been opened, the daemon still asks the kernel who it is.
    let ran = stranger(0o666);
    refused(&ran, "no-permission", 4);
    assert!(ran.err.contains("may not use this daemon"), "{ran:?}");
    let history = run(dir.path(), &["history"]).out;
    assert!(history.contains("volume.create") && history.contains("no-permission"), "{history}");
}

#[test]
fn tcp_speaks_tls_to_whoever_knows_the_certificate() {
    let dir = data();
    std::fs::write(dir.path().join("config.toml"), "tls = \"self-signed\"\nlisten = \"127.0.0.1:0\"\n")
        .unwrap();
    let daemon = Daemon::up(dir.path());
    let log = daemon.seen();
    let after =
        |mark: &str| log.split(mark).nth(1).unwrap().split([' ', ',', '\n']).next().unwrap().to_owned();
    let (url, fingerprint) = (after("the API is at "), after("certificate "));
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let made = run(dir.path(), &["token", "create", "--role", "viewer"]);
    let ask = |fingerprint: &str| {
        let mut command = command(dir.path(), &["volume", "list", "--url", &url]);
        command.env("SISTEMO_TOKEN", made.out.trim()).env("SISTEMO_TLS_FINGERPRINT", fingerprint);
        Ran::from(command.output().unwrap())
    };
    assert_eq!(ask(&fingerprint).code, 0);
    refused(&ask(&format!("sha256:{}", "0".repeat(64))), "daemon-unreachable", 5);
    // Nobody has signed it.
    refused(&ask(""), "daemon-unreachable", 5);
    assert!(!daemon.seen().contains(made.out.trim()));
}

#[test]
fn tcp_beyond_the_host_needs_tls_or_a_clear_word() {
    let dir = data();
    let up = |text: &str| {
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        run(dir.path(), &["up"])
    };
    let ran = up("listen = \"0.0.0.0:0\"\n");
    refused(&ran, "invalid-config", 2);
    assert!(ran.err.contains("without TLS") && ran.err.contains("listen_insecure"), "{ran:?}");
    refused(
        &up("listen = \"127.0.0.1:0\"\n[tls]\ncert = \"/nonexistent\"\nkey = \"/x\"\n"),
        "invalid-config",
        2,
    );
    std::fs::write(dir.path().join("config.toml"), "listen = \"0.0.0.0:0\"\nlisten_insecure = true\n")
        .unwrap();
    let _daemon = Daemon::up(dir.path());
}

#[test]
fn the_set_up_link_is_printed_until_there_is_an_admin() {
    let dir = data();
    std::fs::write(dir.path().join("config.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    let mut child =
        command(dir.path(), &["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let daemon = Daemon(child, mpsc::channel().1, Default::default());
    let (url, code) = line.trim().split_once("/setup#").unwrap();
    assert_eq!(code.len(), 32, "{line}");
    assert!(url.contains("http://127.0.0.1:"), "{line}");
    std::fs::write(dir.path().join("password"), "correct horse").unwrap();
    let file = dir.path().join("password").display().to_string();
    let made = run(dir.path(), &["user", "create", "ada", "--role", "admin", "--password-file", &file]);
    assert_eq!(made.code, 0, "{made:?}");
    drop(daemon);
    let mut child =
        command(dir.path(), &["up"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let daemon = Daemon(child, mpsc::channel().1, Default::default());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while run(dir.path(), &["status"]).code != 0 {
        assert!(std::time::Instant::now() < deadline);
    }
    drop(daemon);
    assert_eq!(std::io::read_to_string(out).unwrap(), "");
}

#[test]
fn settings_are_read_again_on_sighup() {
    let dir = data();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\n").unwrap();
    let daemon = Daemon::up(dir.path());
    let hup = |text: &str| {
        std::fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{text}")).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
    };
    hup("[rate_limit]\nrps = 1\nburst = 1\n");
    daemon.wait_for("the settings were read again");
    let log = daemon.seen();
    let address = log.split("the API is at http://").nth(1).unwrap().split('\n').next().unwrap().to_owned();
    let ask = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answers: Vec<_> = (0..5).map(|_| ask()).collect();
    assert!(answers.iter().any(|a| a.starts_with("HTTP/1.1 429 ")), "{answers:?}");
    hup("workers = 3\n");
    daemon.wait_for("these need a restart: workers");
    let shown = run(dir.path(), &["config", "--running", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let of = |key: &str| {
        let all = shown["items"].as_array().unwrap();
        let one = all.iter().find(|s| s["key"] == key).unwrap();
        (one["value"].as_str().unwrap().to_owned(), one["origin"].as_str().unwrap().to_owned())
    };
    // Of what the file says now, only what holds.
    assert_eq!(of("workers").1, "default");
    let (rps, origin) = of("rate_limit.rps");
    assert_eq!(rps, "100", "the file no longer says otherwise");
    assert_eq!(origin, "default");
    let (_, origin) = of("listen");
    assert!(origin.ends_with("config.toml:1:10"), "{origin}");
    assert_eq!(run(dir.path(), &["volume", "create", "2G", "--name", "large"]).code, 0);
    hup("[limits]\nmax_storage = \"1G\"\n[trash]\nkeep = \"1h\"\n");
    daemon.wait_for("the settings were read again");
    refused(&run(dir.path(), &["volume", "create", "2G", "--name", "larger"]), "limit-exceeded", 4);
    let deleted = run(dir.path(), &["volume", "delete", "large", "-y", "-o", "json"]);
    let deleted: types::Operation = serde_json::from_str(&deleted.out).unwrap();
    let kept = deleted.restorable_until.unwrap().0.duration_since(deleted.created_at.0);
    assert!((3599..7200).contains(&kept.as_secs()), "{kept:?}");
    hup("workers = 0\n");
    daemon.wait_for("the settings stay as they were");
    hup("log = \"warn\"\n");
    drop(daemon);
}

#[test]
fn the_log_can_be_json_and_carries_the_requests_id() {
    let dir = data();
    let mut command = command(dir.path(), &["up", "--log", "debug", "--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let _daemon = Daemon(child, mpsc::channel().1, Default::default());
    let mut asked = false;
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        if message.contains(" is up, ") {
            assert_eq!(run(dir.path(), &["volume", "list"]).code, 0);
            asked = true;
        }
        if asked && message == "answered" {
            assert!(line["fields"]["request"].is_string(), "{line}");
            break;
        }
    }
}

/// Asks by hand for a volume; returns the ids of the request and of its operation.
fn create(data_dir: &Path, name: &str) -> (String, String) {
    use std::io::{Read, Write};
    let body = format!("{{\"size_bytes\":1073741824,\"name\":\"{name}\"}}");
    let mut stream = std::os::unix::net::UnixStream::connect(data_dir.join("sistemo.sock")).unwrap();
    let length = body.len();
    write!(stream, "POST /v1/volumes HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    let request = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let operation: types::Operation = serde_json::from_str(body).unwrap();
    (request.to_owned(), operation.id.to_string())
}

#[test]
fn the_log_leads_from_a_request_to_its_operation_and_its_end() {
    let dir = data();
    let mut command = command(dir.path(), &["up", "--log", "info", "--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let daemon = Daemon(child, mpsc::channel().1, Default::default());
    let mut asked = None;
    let mut told = std::collections::HashMap::new();
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let message = line["fields"]["message"].as_str().unwrap_or_default().to_owned();
        if message.contains(" is up, ") {
            asked = Some(create(dir.path(), "one"));
        }
        told.insert(message, line);
        if told.contains_key("accepted") && told.contains_key("ended") {
            break;
        }
    }
    let (request, operation) = asked.unwrap();
    let (accepted, ended) = (&told["accepted"], &told["ended"]);
    let span = |name: &str, id: &str| serde_json::json!({ "name": name, "id": id });
    assert_eq!(accepted["span"], span("request", &request), "{accepted}");
    assert_eq!(ended["span"], span("operation", &operation), "{ended}");
    for line in [accepted, ended] {
        let fields = &line["fields"];
        assert_eq!(
            (&fields["operation"], &fields["verb"], &fields["kind"], &fields["name"]),
            (&operation.as_str().into(), &"volume.create".into(), &"volume".into(), &"one".into()),
        );
    }
    assert!(accepted["fields"]["actor"].is_string(), "{accepted}");
    assert_eq!(ended["fields"]["outcome"], "succeeded");
    assert!(ended["fields"]["ms"].is_u64(), "{ended}");
    drop(daemon);

    // For people, too.
    let daemon = Daemon::up(dir.path());
    let (request, operation) = create(dir.path(), "two");
    daemon.wait_for(&format!("operation{{id={operation}}}: ended"));
    let accepted = format!("request{{id={request}}}: accepted operation={operation} verb=volume.create");
    assert!(daemon.seen().contains(&accepted), "{}", daemon.seen());
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
    let mut daemon = Daemon(child, mpsc::channel().1, Default::default());
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
    let _daemon = Daemon(command.spawn().unwrap(), mpsc::channel().1, Default::default());
    let mut fed = 0;
    while fed < 3 {
        let mut bytes = [0; 256];
        let n = manager.recv(&mut bytes).unwrap();
        fed += usize::from(String::from_utf8_lossy(&bytes[..n]).contains("WATCHDOG=1"));
    }
}
