//! A hundred clients at once against the real daemon over HTTP: exactly one wins where only one can,
//! everybody else is told why, and nobody waits long.

mod common;

use common::{command, run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENTS: usize = 100;
/// Rounds of races, each of five races of all clients.
const ROUNDS: u64 = 20;
/// What no request may take.
const LIMIT: Duration = Duration::from_secs(5);

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn up(dir: &Path) -> Daemon {
    let mut child = command(dir, &["up", "--log", "info"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let daemon = Daemon(child);
    let mut line = String::new();
    while !line.contains(" is up, ") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it did not come up");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    daemon
}

/// What was asked, and how it was answered.
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

/// The API by hand, with the longest wait so far.
struct Api {
    socket: PathBuf,
    longest: Mutex<(Duration, String)>,
    asked: AtomicU64,
}

impl Api {
    fn ask(&self, line: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let began = Instant::now();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "{line} HTTP/1.0\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let took = began.elapsed();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut longest = self.longest.lock().unwrap();
        if took > longest.0 {
            *longest = (took, line.to_owned());
        }
        drop(longest);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }

    /// Asks until it holds of the answer.
    fn wait(&self, line: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.ask(line, &Value::Null);
            if holds(&answer.body) {
                return answer.body;
            }
            assert!(Instant::now() < until, "{line}: {}", answer.body);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&self, accepted: &Answer) -> Value {
        let id = accepted.body["id"].as_str().expect("an operation");
        self.wait(&format!("GET /v1/operations/{id}"), |o| o["state"] != "running")
    }

    /// Asks for something that must work, to its end.
    fn ok(&self, line: &str, body: &Value) {
        let answer = self.ask(line, body);
        assert_eq!(answer.status, 202, "{line}: {}", answer.body);
        assert_eq!(self.end(&answer)["state"], "succeeded", "{line}");
    }
}

/// All clients ask at the same moment; each is given its number.
fn together(api: &Api, ask: impl Fn(&Api, usize) -> Answer + Sync) -> Vec<Answer> {
    let (start, ask) = (Barrier::new(CLIENTS), &ask);
    let start = &start;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                scope.spawn(move || {
                    start.wait();
                    ask(api, n)
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    })
}

/// Everybody was either accepted or told, as a conflict, that the thing is in another state, or that
/// it is gone.
fn judge(what: &str, answers: &[Answer], wins: Option<usize>) {
    for answer in answers {
        let told = answer.body["detail"].as_str().is_some_and(|d| !d.is_empty());
        match answer.status {
            202 => {}
            409 | 404 if told => {}
            _ => panic!("{what}: {} {}", answer.status, answer.body),
        }
    }
    let won = answers.iter().filter(|a| a.status == 202).count();
    assert!(wins.is_none_or(|n| n == won), "{what}: {won} won");
}

fn name_it(name: &str) -> Value {
    json!({"name": name, "size_bytes": 1u64 << 30})
}

#[test]
fn a_hundred_clients_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let _daemon = up(dir.path());
    let socket = dir.path().join("sistemo.sock");
    let api = Api { socket, longest: Mutex::default(), asked: AtomicU64::new(0) };
    let none = Value::Null;

    // Stopped machines: ten to attach to, and one for each round to be deleted.
    std::thread::scope(|scope| {
        let names = (0..10).map(|n| format!("m{n}")).chain((0..ROUNDS).map(|n| format!("r{n}")));
        for name in names {
            let (api, none) = (&api, &none);
            scope.spawn(move || {
                api.ok("POST /v1/machines", &json!({"image": "debian", "name": name}));
                api.ok(&format!("POST /v1/machines/{name}/stop"), none);
            });
        }
    });
    // Reading beside all that follows: it never waits for those who write.
    let reads = Api { socket: api.socket.clone(), longest: Mutex::default(), asked: AtomicU64::new(0) };
    let done = AtomicBool::new(false);
    let races = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for line in ["GET /v1/volumes", "GET /v1/machines", "GET /v1/history?limit=20"] {
                    assert_eq!(reads.ask(line, &Value::Null).status, 200);
                }
            }
        });
        // However this ends, the reader must.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&done);
        (0..ROUNDS).map(|n| round(&api, n)).sum::<usize>()
    });
    let conflicting = races * CLIENTS;

    // Nothing is left half done.
    let lines = api.ask("GET /v1/history?limit=10000", &none).body;
    let lines = lines["items"].as_array().unwrap();
    assert!(lines.iter().all(|l| l["outcome"] != "running"), "everything has ended");
    let refused_without_reason =
        lines.iter().find(|l| l["outcome"] == "refused" && l["problem"]["code"].is_null());
    assert_eq!(refused_without_reason, None);
    let (longest, line) = api.longest.into_inner().unwrap();
    let (longest_read, read) = reads.longest.into_inner().unwrap();
    // Not by a macro, whose output the harness would hold back.
    let _ = writeln!(
        std::io::stderr(),
        "races: {conflicting} conflicting requests, 0 violations; the longest took {} ms ({line}), the \
         longest of {} reads beside them {} ms ({read})",
        longest.as_millis(),
        reads.asked.into_inner(),
        longest_read.as_millis(),
    );
    assert!(conflicting >= 10_000);
    assert!(longest < LIMIT && longest_read < LIMIT);
    assert_eq!(run(dir.path(), &["volume", "list"]).code, 0);
}

/// How many lines of history there are about this name, all of them with an end or a reason.
fn lines(api: &Api, name: &str, actions: &[&str]) -> usize {
    let history = api.ask("GET /v1/history?limit=1000", &Value::Null).body;
    let all = history["items"].as_array().unwrap();
    let about = |l: &&Value| l["target"]["name"] == name && actions.iter().any(|a| l["action"] == *a);
    all.iter().filter(about).count()
}

/// Five races of all clients. Returns how many that were.
fn round(api: &Api, n: u64) -> usize {
    let none = Value::Null;
    // The same name.
    let name = format!("v{n}");
    let body = name_it(&name);
    let answers = together(api, |api, _| api.ask("POST /v1/volumes", &body));
    judge("same name", &answers, Some(1));
    assert!(answers.iter().all(|a| a.status == 202 || a.code() == "name-taken"));
    let volumes = api.wait("GET /v1/volumes", |v| {
        v["items"].as_array().unwrap().iter().any(|v| v["name"] == name && v["condition"].is_null())
    });
    let named = volumes["items"].as_array().unwrap().iter().filter(|v| v["name"] == name);
    assert_eq!(named.count(), 1);
    assert_eq!(lines(api, &name, &["volume.create"]), CLIENTS, "history shows each");

    // One volume to different machines.
    let answers = together(api, |api, c| {
        api.ask(&format!("POST /v1/machines/m{}/volumes", c % 10), &json!({"volume": name}))
    });
    judge("attach", &answers, Some(1));
    let winner = answers.iter().find(|a| a.status == 202).unwrap();
    api.end(winner);
    let machine = winner.body["target"]["name"].as_str().unwrap();
    assert_eq!(api.ask(&format!("GET /v1/volumes/{name}"), &none).body["attached_to"], machine);

    // Grow it while others detach and attach it.
    let grow = json!({"size_bytes": (2u64 + n) << 30});
    let answers = together(api, |api, c| match c % 3 {
        0 => api.ask(&format!("POST /v1/volumes/{name}/resize"), &grow),
        1 => api.ask(&format!("DELETE /v1/machines/{machine}/volumes/{name}"), &none),
        _ => api.ask(&format!("POST /v1/machines/m{}/volumes", c % 10), &json!({"volume": name})),
    });
    judge("resize and attach", &answers, None);
    let held = api.ask(&format!("GET /v1/volumes/{name}"), &none).body["attached_to"].clone();
    if let Some(machine) = held.as_str() {
        api.ok(&format!("DELETE /v1/machines/{machine}/volumes/{name}"), &none);
    }

    // Delete it while others grow it.
    let grow = json!({"size_bytes": (4u64 + n) << 30});
    let answers = together(api, |api, c| match c % 2 {
        0 => api.ask(&format!("DELETE /v1/volumes/{name}"), &none),
        _ => api.ask(&format!("POST /v1/volumes/{name}/resize"), &grow),
    });
    judge("delete and resize", &answers, None);
    let deletes = answers.iter().step_by(2).filter(|a| a.status == 202).count();
    assert_eq!(deletes, 1);
    for answer in answers.iter().filter(|a| a.status == 202) {
        api.end(answer);
    }

    // Delete a machine while others start it.
    let name = format!("r{n}");
    let answers = together(api, |api, c| match c % 2 {
        0 => api.ask(&format!("POST /v1/machines/{name}/start"), &none),
        _ => api.ask(&format!("DELETE /v1/machines/{name}"), &none),
    });
    judge("delete and start", &answers, None);
    let deletes = answers.iter().skip(1).step_by(2).filter(|a| a.status == 202).count();
    assert_eq!(deletes, 1);
    for answer in answers.iter().filter(|a| a.status == 202) {
        api.end(answer);
    }
    api.wait("GET /v1/machines", |m| m["items"].as_array().unwrap().iter().all(|m| m["name"] != name));
    assert_eq!(lines(api, &name, &["machine.start", "machine.delete"]), CLIENTS, "history shows each");
    5
}
