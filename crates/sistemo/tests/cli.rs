//! What the command line prints, against a stub of the API.

mod common;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use common::Stub;
use insta::assert_snapshot;
use serde_json::{Value, json};

fn volume(name: &str, size: u64, to: Option<&str>, role: &str) -> Value {
    json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ab", "name": name,
        "status": if to.is_some() { "attached" } else { "detached" },
        "condition": null, "attached_to": to, "attached_to_id": null, "role": role,
        "pool": "default", "size_bytes": size, "fs": "ext4", "node": "localhost", "owner": null, "image": null,
        "created_at": "2026-01-31T12:00:00Z", "generation": 1, "observed_generation": 1, "fault": null, "revision": 1, "read_only": false, "protected": false, "labels": {},
        "deleted_at": null, "restorable_until": null
    })
}

fn machine() -> Value {
    json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ac", "name": "web", "phase": "running", "restart": "no",
        "vcpus": 2, "memory_bytes": 536870912u64, "image": "debian", "address": "10.200.0.2",
        "mac": "52:54:00:01:02:03", "network": "default", "root_volume": "web-root",
        "volumes": [{
            "id": "0192f0c1-2345-7abc-8def-0123456789ab", "name": "web-root", "role": "root",
            "size_bytes": 5368709120u64, "slot": 0, "mount": "/", "read_only": false,
            "device": "virtio-0123456789ab"
        }],
        "kernel": "6.1.0-1-cloud-amd64", "node": "localhost", "created_at": "2026-01-31T12:00:00Z",
        "started_at": "2026-01-31T12:00:01Z", "last_exit": null, "generation": 1,
        "observed_generation": 1, "fault": null, "revision": 1, "protected": false, "labels": {},
        "deleted_at": null, "restorable_until": null, "notes": ["evil\u{1b}[2J"]
    })
}

fn operation(state: &str, problem: Value) -> Value {
    json!({
        "id": "0192f0c1-2345-7abc-8def-0123456789ff", "verb": "volume.create", "actor": "root",
        "target": {"kind": "volume", "id": "0192f0c1-2345-7abc-8def-0123456789ab", "name": "appdata"},
        "generation": 1, "state": state, "problem": problem, "warnings": [], "progress": null,
        "created_at": "2026-01-31T12:00:00Z", "ended_at": null
    })
}

fn items(items: Value) -> axum::routing::MethodRouter {
    get(move || async move { Json(json!({ "items": items })) })
}

fn one(value: Value) -> axum::routing::MethodRouter {
    get(move || async move { Json(value) })
}

fn refusal() -> axum::response::Response {
    let body = json!({
        "type": "urn:sistemo:code:volume-in-use", "title": "volume in use", "status": 409,
        "detail": "volume \"appdata\" is attached to machine \"web\"", "code": "volume-in-use",
        "hint": "detach it first", "request_id": "r"
    });
    (StatusCode::CONFLICT, Json(body)).into_response()
}

#[test]
fn volume_list_is_the_table_of_the_contract() {
    let stub = Stub::serve(Router::new().route(
        "/v1/volumes",
        items(json!([
            volume("web-root", 5 << 30, Some("web"), "root"),
            volume("appdata", 2 << 30, Some("web"), "data"),
            volume("pgbackup", 1 << 30, None, "data"),
        ])),
    ));
    let expected = "\
NAME         SIZE    STATUS     ATTACHED TO   TYPE
web-root     5.0GB   attached   web           root
appdata      2.0GB   attached   web           data
pgbackup     1.0GB   detached   -             data
";
    for verb in ["list", "ls"] {
        let ran = stub.run(&["volume", verb]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, expected, ""));
    }
    assert_snapshot!("volume_list_json", stub.run(&["volume", "list", "-o", "json"]).shown());
    assert_snapshot!("volume_list_yaml", stub.run(&["volume", "list", "-o", "yaml"]).shown());
    let json: Value = serde_json::from_str(&stub.run(&["volume", "ls", "-o", "json"]).out).unwrap();
    assert_eq!(json["items"][0], volume("web-root", 5 << 30, Some("web"), "root"));
}

#[test]
fn empty_lists() {
    let stub = Stub::serve(
        Router::new()
            .route("/v1/volumes", items(json!([])))
            .route("/v1/machines", items(json!([])))
            .route("/v1/images", items(json!([]))),
    );
    let mut shown = String::new();
    for args in [
        &["volume", "list"][..],
        &["volume", "list", "-o", "json"],
        &["volume", "list", "-o", "yaml"],
        &["vm", "ls"],
        &["image", "list"],
    ] {
        shown.push_str(&format!("$ {}\n{}", args.join(" "), stub.run(args).shown()));
    }
    assert_snapshot!("empty_lists", shown);
}

#[test]
fn a_long_list_is_printed_whole() {
    let all: Vec<_> = (0..10_000).map(|i| volume(&format!("v{i}"), 1 << 30, None, "data")).collect();
    let stub = Stub::serve(Router::new().route("/v1/volumes", items(json!(all))));
    assert_eq!(stub.run(&["volume", "list"]).out.lines().count(), 10_001);
    let json: Value = serde_json::from_str(&stub.run(&["volume", "ls", "-o", "json"]).out).unwrap();
    assert_eq!(json["items"].as_array().unwrap(), &all);
}

#[test]
fn machines_are_shown_without_what_a_terminal_obeys() {
    let stub = Stub::serve(
        Router::new()
            .route("/v1/machines", items(json!([machine()])))
            .route("/v1/machines/web", one(machine())),
    );
    let mut shown = String::new();
    for args in [&["vm", "list"][..], &["machine", "show", "web"], &["vm", "status", "web"]] {
        shown.push_str(&format!("$ {}\n{}", args.join(" "), stub.run(args).shown()));
    }
    assert!(!shown.contains('\u{1b}'));
    assert_snapshot!("machines", shown);
    let ran = stub.run(&["machine", "show", "web", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), machine());
}

#[test]
fn a_refusal_is_an_error_with_code_hint_and_exit_code() {
    let stub = Stub::serve(
        Router::new()
            .route("/v1/volumes/appdata", one(volume("appdata", 1 << 30, Some("web"), "data")))
            .route("/v1/volumes/{id}", delete(|| async { refusal() })),
    );
    let ran = stub.run(&["volume", "rm", "appdata", "-y"]);
    assert_eq!(ran.code, 4);
    let expected =
        "error[volume-in-use]: volume \"appdata\" is attached to machine \"web\"\nhint: detach it first\n";
    assert_eq!(ran.err, expected);
}

#[test]
fn a_delete_without_a_terminal_is_refused_and_not_asked_for() {
    let stub = Stub::serve(
        Router::new()
            .route("/v1/volumes/appdata", one(volume("appdata", 1 << 30, None, "data")))
            .route("/v1/machines/web", one(machine()))
            .route(
                "/v1/machines/{id}/delete-plan",
                one(json!({"machine": "web", "running": true, "goes": ["web-root"], "stays": []})),
            ),
    );
    for args in [&["volume", "delete", "appdata"][..], &["machine", "delete", "web"]] {
        let ran = stub.run(args);
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.err.starts_with("error[not-confirmed]: "), "{ran:?}");
        assert!(ran.err.contains("hint: add -y"), "{ran:?}");
    }
}

/// Serves an operation whose event stream ends with `states`.
fn creating(events: &'static str, then: Value) -> Stub {
    Stub::serve(
        Router::new()
            .route(
                "/v1/volumes",
                post(|| async { (StatusCode::ACCEPTED, Json(operation("running", Value::Null))) }),
            )
            .route("/v1/volumes/{id}", one(volume("appdata", 2 << 30, None, "data")))
            .route("/v1/operations/{id}", one(then))
            .route("/v1/operations/{id}/events", get(move || async move { events.to_owned() })),
    )
}

#[test]
fn a_change_is_followed_to_its_end_although_the_stream_breaks() {
    let stub = creating(": nothing yet\n\n", operation("succeeded", Value::Null));
    let ran = stub.run(&["volume", "create", "2G", "--name", "appdata"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "volume \"appdata\" of 2.0GB is ready\n");
}

#[test]
fn an_operation_that_fails_gives_its_own_code() {
    let problem = json!({"code": "pool-full", "message": "there is no room for 2.0GB"});
    let stub = creating("", operation("failed", problem));
    let ran = stub.run(&["volume", "create", "2G"]);
    assert_eq!(ran.code, 4);
    assert_eq!(ran.err, "error[pool-full]: there is no room for 2.0GB\n");
}

#[test]
fn content_that_does_not_come_or_go_is_waited_for_no_longer_than_was_said() {
    let never = || async {
        std::future::pending::<()>().await;
        StatusCode::OK
    };
    let stub = Stub::serve(
        Router::new()
            .route("/v1/volumes/appdata", one(volume("appdata", 1 << 30, None, "data")))
            .route("/v1/volumes/{id}/export", post(never))
            .route("/v1/volumes/import", post(never)),
    );
    let dir = tempfile::tempdir().unwrap();
    let (sent, made) = (dir.path().join("sent.raw"), dir.path().join("made.raw"));
    std::fs::write(&sent, "x").unwrap();
    for args in [
        ["volume", "export", "appdata", made.to_str().unwrap(), "--timeout", "2s"],
        ["volume", "import", sent.to_str().unwrap(), "--name=new", "--timeout", "2s"],
        ["volume", "create", "--from", sent.to_str().unwrap(), "--timeout", "2s"],
    ] {
        let ran = stub.run(&args);
        assert_eq!(ran.code, 124, "{ran:?}");
        assert!(
            ran.err.contains("error[timed-out]: the content ") && ran.err.contains("hint: nothing "),
            "{ran:?}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn no_command_takes_longer_than_was_said() {
    let never = || async {
        std::future::pending::<()>().await;
        StatusCode::OK
    };
    let silent = || async { pending_body() };
    let stub = Stub::serve(
        Router::new()
            .route("/v1/status", get(never))
            .route("/v1/storage", get(never))
            .route("/v1/machines", get(never).post(never))
            .route("/v1/machines/web/logs", get(silent))
            .route("/v1/machines/web/exec", post(never))
            .route("/v1/machines/web/ssh", get(never))
            .route("/v1/events", get(never)),
    );
    for args in [
        &["status"][..],
        &["storage", "df"],
        &["machine", "list"],
        &["machine", "deploy", "debian"],
        &["machine", "logs", "web", "-f"],
        &["machine", "exec", "web", "--", "true"],
        &["machine", "ssh", "web"],
        &["history", "-f"],
    ] {
        let ran = stub.run(&[&["--timeout", "100ms"][..], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (124, ""), "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("error[timed-out]: the command "), "{args:?}: {ran:?}");
    }
}

/// An answer that has begun and does not go on.
fn pending_body() -> axum::body::Body {
    axum::body::Body::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>())
}

#[test]
fn what_follows_comes_in_every_form() {
    let line = |n: u8| {
        json!({
            "id": format!("0192f0c1-2345-7abc-8def-01234567890{n}"), "time": "2026-01-31T12:00:00Z",
            "actor": "root", "action": "volume.create",
            "target": {"kind": "volume", "id": null, "name": "appdata"}, "outcome": "succeeded",
            "problem": null, "warnings": [], "duration_ms": 100, "operation": null
        })
    };
    let (first, second) = (line(1), line(2));
    let stub = Stub::serve(
        Router::new()
            .route("/v1/history", items(json!([second, first])))
            .route("/v1/events", get(|| async { pending_body() })),
    );
    let shown = |format: &str| {
        let ran = stub.run(&["history", "-f", "-o", format, "--timeout", "1s"]);
        assert_eq!(ran.code, 124, "{ran:?}");
        ran.out
    };
    let json = shown("json");
    let lines: Vec<Value> = json.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [first.clone(), second.clone()]);
    let names = [&first["id"], &second["id"]].map(|id| format!("{}\n", id.as_str().unwrap()));
    assert_eq!(shown("name"), names.concat());
    let yaml = shown("yaml");
    let documents: Vec<Value> =
        yaml.split("---\n").skip(1).map(|d| serde_yaml_ng::from_str(d).unwrap()).collect();
    assert_eq!(documents, lines);
    assert_eq!(shown("text").lines().count(), 3);
}

#[test]
fn help_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help_machine", &["machine", "--help"]),
        ("help_deploy", &["vm", "deploy", "--help"]),
        ("help_volume", &["volume", "--help"]),
        ("help_pool", &["pool", "--help"]),
        ("help_pool_create", &["pool", "create", "--help"]),
        ("help_exec", &["machine", "exec", "--help"]),
        ("help_doctor", &["doctor", "--help"]),
        ("help_recover", &["recover", "--help"]),
    ] {
        let ran = common::run(dir.path(), args);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_snapshot!(name, ran.out);
    }
}
