//! Questions and raw mode, on a real terminal.

mod common;

use axum::routing::{delete, get};
use axum::{Json, Router};
use common::Stub;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

/// A terminal with somebody at it.
struct Terminal {
    person: File,
    device: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let device = File::options()
            .read(true)
            .write(true)
            .open(std::ffi::OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        Self { person: File::from(person), device: device.into() }
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let device = || Stdio::from(self.device.try_clone().unwrap());
        command.stdin(device()).stdout(device()).stderr(device()).spawn().unwrap()
    }

    /// Reads what is shown until `text` is part of it.
    fn wait_for(&mut self, text: &str) -> String {
        let mut shown = Vec::new();
        let mut piece = [0; 1024];
        loop {
            let n = self.person.read(&mut piece).unwrap();
            shown.extend_from_slice(&piece[..n]);
            let so_far = String::from_utf8_lossy(&shown);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
    }

    fn type_in(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.device).unwrap();
        !modes.local_modes.contains(LocalModes::ICANON)
    }
}

fn machine() -> Value {
    json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ac", "name": "web", "phase": "running", "vcpus": 2,
        "memory_bytes": 1, "image": null, "address": null, "mac": null, "network": null,
        "root_volume": "web-root", "volumes": [], "kernel": null, "node": "localhost",
        "created_at": "2026-01-31T12:00:00Z", "started_at": null, "last_exit": null,
        "generation": 1, "observed_generation": 1, "fault": null, "notes": []
    })
}

fn operation(state: &str) -> Value {
    json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ff", "verb": "machine.delete", "actor": "root",
        "target": {"kind": "machine", "id": null, "name": "web"}, "generation": 1, "state": state,
        "problem": null, "created_at": "2026-01-31T12:00:00Z", "ended_at": null
    })
}

fn deleting() -> Stub {
    let plan = json!({"machine": "web", "running": true, "goes": ["web-root"], "stays": ["appdata"]});
    Stub::serve(
        Router::new()
            .route("/v1/machines/web", get(|| async { Json(machine()) }))
            .route("/v1/machines/{id}", delete(|| async { Json(operation("succeeded")) }))
            .route("/v1/machines/{id}/delete-plan", get(|| async { Json(plan) })),
    )
}

#[test]
fn the_question_names_what_goes_and_what_stays() {
    let stub = deleting();
    for (answer, code) in [("y\n", 0), ("YES\n", 0), ("n\n", 4), ("\n", 4), ("\u{4}", 4)] {
        let mut terminal = Terminal::new();
        let mut child = terminal.spawn(&mut stub.command(&["machine", "delete", "web"]));
        let shown = terminal.wait_for("[y/N] ");
        for part in [
            "is running and will be stopped first",
            "goes:  web-root",
            "stays: appdata",
            "Delete machine \"web\"?",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        terminal.type_in(answer);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{answer:?}");
    }
}

#[test]
fn who_stops_waiting_is_told_that_it_goes_on() {
    let stub = Stub::serve(
        Router::new()
            .route("/v1/machines/web/stop", axum::routing::post(|| async { Json(operation("running")) }))
            .route("/v1/operations/{id}/events", get(std::future::pending::<()>)),
    );
    let mut child = stub
        .command(&["machine", "stop", "web"])
        .env("SISTEMO_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    stub.wait_for_request("/events");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(told.contains("operation 0192f0c1-2345-7abc-8def-0123456789ff goes on"), "{told}");
}

/// A stub whose command answers `ready`, hears keys, and ends with `end`.
fn shell(end: Option<proto::Frame>) -> Stub {
    use axum::extract::Request;
    use axum::response::IntoResponse;
    use proto::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let run = move |mut request: Request| {
        let end = end.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(asked["tty"], true);
            tokio::spawn(async move {
                let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let mut bytes = Vec::new();
                Frame::Stdout(b"ready".to_vec()).encode(&mut bytes);
                stream.write_all(&bytes).await.unwrap();
                let mut heard = bytes::BytesMut::new();
                while Frame::decode(&mut heard).unwrap().is_none() {
                    if stream.read_buf(&mut heard).await.unwrap() == 0 {
                        return;
                    }
                }
                if let Some(end) = end {
                    let mut bytes = Vec::new();
                    end.encode(&mut bytes);
                    stream.write_all(&bytes).await.unwrap();
                }
            });
            let headers = [("connection", "upgrade"), ("upgrade", sistemo::api::UPGRADE)];
            (axum::http::StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
        }
    };
    Stub::serve(Router::new().route("/v1/machines/web/exec", axum::routing::post(run)))
}

#[test]
fn a_terminal_is_raw_during_exec_and_as_before_afterwards() {
    use proto::Frame;
    let exit = |code| Some(Frame::Exit { code: Some(code), signal: None });
    let killed = Some(Frame::Exit { code: None, signal: Some(9) });
    let failed = Some(Frame::Error("it broke".into()));
    for (end, code) in [(exit(0), 0), (exit(7), 7), (killed, 137), (failed, 1), (None, 1)] {
        let stub = shell(end);
        let mut terminal = Terminal::new();
        let args = ["machine", "exec", "web", "-it", "--", "sh"];
        let mut child = terminal.spawn(&mut stub.command(&args));
        terminal.wait_for("ready");
        assert!(terminal.is_raw());
        terminal.type_in("\u{3}");
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!terminal.is_raw());
    }
}

#[test]
fn a_terminal_is_as_before_when_the_time_is_over() {
    let stub = shell(None);
    let mut terminal = Terminal::new();
    let args = ["machine", "exec", "web", "-it", "--timeout", "2s", "--", "sh"];
    let mut child = terminal.spawn(&mut stub.command(&args));
    let shown = terminal.wait_for("error[timed-out]: the command in machine \"web\" has not ended in time");
    assert!(shown.contains("ready"), "{shown}");
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(!terminal.is_raw());
}

#[test]
fn a_terminal_is_as_before_after_a_signal() {
    let stub = shell(None);
    let mut terminal = Terminal::new();
    let args = ["machine", "exec", "web", "-it", "--", "sh"];
    let mut child = terminal.spawn(&mut stub.command(&args));
    terminal.wait_for("ready");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!terminal.is_raw());
}
