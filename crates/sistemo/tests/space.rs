//! Room, as people and programs are told of it, and what may be promised of it; the real daemon over HTTP.

mod common;

use common::{Ran, command, run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;

struct Daemon {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    /// On a simulated pool of 1000 GiB, half full, whose volumes may add up to 50 GiB.
    fn up(warn: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let mut command = command(dir.path(), &["up", "--log", "info"]);
        command.env("SISTEMO_POOL_OVERCOMMIT", "5%").env("SISTEMO_POOL_WARN", warn);
        let mut process = command.env("SISTEMO_LISTEN", "off").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let daemon = Self { dir, process };
        let mut line = String::new();
        while !line.contains(" is up, ") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it did not come up");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        daemon
    }

    fn run(&self, line: &str) -> Ran {
        run(self.dir.path(), &line.split(' ').collect::<Vec<_>>())
    }

    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }
}

fn ask(dir: &Path, line: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(dir.join("sistemo.sock")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(stream, "{line} HTTP/1.0\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// So many clients each ask for a volume of this size at the same moment; the names of those who got one.
fn creates(daemon: &Daemon, clients: usize, gib: u64) -> Vec<String> {
    let start = Barrier::new(clients);
    let dir = daemon.dir.path();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|n| {
                let start = &start;
                scope.spawn(move || {
                    let body = json!({"name": format!("v{n}"), "size_bytes": gib * GIB});
                    start.wait();
                    ask(dir, "POST /v1/volumes", &body)
                })
            })
            .collect();
        all.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (status, body) in &answers {
        let told = *status == 409 && body["code"] == "limit-exceeded" && body["hint"].is_string();
        assert!(*status == 202 || told, "{status} {body}");
    }
    let won = answers.iter().filter(|(status, _)| *status == 202);
    won.map(|(_, operation)| operation["target"]["name"].as_str().unwrap().to_owned()).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn those_who_create_at_once_get_no_more_than_may_be_promised() {
    let daemon = Daemon::up("90%");
    let gone = || {
        for volume in daemon.json("volume list")["items"].as_array().unwrap() {
            let name = volume["name"].as_str().unwrap().to_owned();
            until("it is ready", || daemon.json(&format!("volume show {name}"))["observed_generation"] == 1);
            daemon.ok(&format!("volume delete {name} -y --now"));
        }
    };
    let promised = || daemon.json("storage df")["items"][0]["committed_bytes"].as_u64().unwrap() / GIB;
    for _ in 0..20 {
        let won = creates(&daemon, 2, 30);
        assert_eq!((won.len(), promised()), (1, 30));
        gone();
        assert_eq!(promised(), 0);
    }
    assert_eq!((creates(&daemon, 60, 10).len(), promised()), (5, 50));
    // To grow is to be promised more, too.
    let name = daemon.json("volume list")["items"][0]["name"].as_str().unwrap().to_owned();
    let ran = daemon.run(&format!("volume resize {name} 11G"));
    assert!(ran.code == 4 && ran.err.contains("error[limit-exceeded]"), "{ran:?}");
}

#[test]
fn a_mark_that_is_passed_is_told_of_wherever_somebody_looks() {
    let daemon = Daemon::up("80%");
    daemon.ok("volume create 39G --name a");
    let calm = daemon.run("storage df");
    assert_eq!((calm.code, calm.err.as_str()), (0, ""));
    assert_eq!(daemon.json("storage df")["items"][0]["warnings"], json!([]));
    // Whoever asks for what passes it is told, too.
    let passes = daemon.run("volume create 1G --name b");
    let said = "the volumes of pool \"default\" may grow to 40.0GB, and pool.overcommit allows 50.0GB";
    assert!(passes.code == 0 && passes.err.contains(said), "{passes:?}");
    assert_eq!(daemon.json("storage df")["items"][0]["warnings"], json!([said]));
    assert_eq!(daemon.run("storage df").err, format!("warning: {said}\n"));
    assert!(daemon.ok("status").contains(said));
    assert_eq!(daemon.json("status")["pools"][0]["warning"], said);
    let doctor = daemon.run("doctor").out;
    assert!(doctor.lines().any(|l| l.starts_with("warn") && l.contains(said)), "{doctor}");
    let made = daemon.json("volume create 1G --name c --no-wait");
    assert_eq!(made["warnings"], json!([said.replace("40.0GB", "41.0GB")]));

    let full = Daemon::up("50%");
    let said = "pool \"default\" is 50 % full: 500.0GB of 1000.0GB are free";
    assert_eq!(full.json("storage df")["items"][0]["warnings"], json!([said]));
    assert!(full.ok("status").contains(said) && full.run("doctor").out.contains(said));
}

#[test]
fn what_volumes_take_is_told_where_it_is_asked_for() {
    let daemon = Daemon::up("90%");
    daemon.ok("volume create 2G --name data");
    daemon.ok("volume create 1G --name other --label env=prod");
    daemon.ok("machine deploy debian --name web --attach data --storage 2G");
    until("the guest tells", || {
        daemon.json("volume show data")["usage"]["guest_used_bytes"] == json!(8 << 20)
    });
    // The contract's five columns, and nothing else unless it is asked for.
    assert_eq!(
        daemon.ok("volume list"),
        "NAME         SIZE    STATUS     ATTACHED TO   TYPE\n\
         data         2.0GB   attached   web           data\n\
         other        1.0GB   detached   -             data\n\
         web-root     2.0GB   attached   web           root\n"
    );
    assert_eq!(
        daemon.ok("volume list -w"),
        "NAME         SIZE    STATUS     ATTACHED TO   TYPE   ALLOCATED   EXCLUSIVE   SHARED   USED INSIDE   RECLAIMABLE   POOL\n\
         data         2.0GB   attached   web           data   16.0MB      16.0MB      0B       8.0MB         8.0MB         default\n\
         other        1.0GB   detached   -             data   8.0MB       8.0MB       0B       -             -             default\n\
         web-root     2.0GB   attached   web           root   16.0MB      16.0MB      0B       8.0MB         8.0MB         default\n"
    );
    assert_eq!(daemon.ok("volume list -w -l env=prod").lines().count(), 2);
    assert!(daemon.json("volume list")["items"][0].get("usage").is_none());
    let listed = daemon.json("volume list --wide");
    assert_eq!(listed["items"][0]["usage"], daemon.json("volume show data")["usage"]);
    let shown = daemon.ok("volume show other");
    assert!(shown.contains("Allocated:     8.0MB") && shown.contains("Used inside:   -"), "{shown}");

    assert_eq!(
        daemon.ok("storage df"),
        "POOL         SIZE       USED      FREE      PROMISED   OVERCOMMIT   LIMIT\n\
         default      1000.0GB   500.0GB   500.0GB   5.0GB      0%           50.0GB\n\
         \n\
         POOL         WHAT       COUNT   SIZE    ALLOCATED   EXCLUSIVE\n\
         default      volumes    3       5.0GB   40.0MB      40.0MB\n\
         default      overhead   -       -       -           499.9GB\n\
         \n\
         pool \"default\": of 2 volumes the guests that run use 16.0MB; about 16.0MB can be reclaimed by `volume trim`\n\
         pool \"default\" is not alone on its file system: what else is there counts as overhead\n"
    );
    daemon.ok("volume delete other -y");
    let gone = daemon.ok("volume list -w --deleted");
    assert!(gone.contains("8.0MB") && gone.lines().next().unwrap().ends_with("RECLAIMABLE   POOL"), "{gone}");
    let (status, body) = ask(daemon.dir.path(), "GET /v1/volumes/data?use=true", &Value::Null);
    assert_eq!((status, body["code"].as_str()), (400, Some("invalid-request")));
}
