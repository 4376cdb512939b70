//! The API by hand: shapes of answers that the command line does not show.

mod common;

use common::daemon::Daemon;
use serde_json::Value;

fn problem(answer: &(String, Value), status: u16, code: &str) -> String {
    let (head, body) = answer;
    assert!(head.contains(&format!(" {status} ")), "{head}: {body}");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:sistemo:code:{code}"));
    assert_ne!(body["title"], Value::Null);
    let id = body["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn whatever_is_refused_is_a_problem() {
    let daemon = Daemon::up();
    let refused = |line: &str, body: &str, status, code| problem(&daemon.ask(line, body), status, code);
    refused("GET /nothing", "", 404, "route-not-found");
    refused("GET /v1/machines/", "", 404, "route-not-found");
    refused("PUT /v1/machines", "", 405, "route-not-found");
    refused("GET /v1/machines/web", "", 404, "machine-not-found");
    refused("GET /v1/volumes/..%2Fx", "", 400, "invalid-name");
    refused("GET /v1/volumes/%ff", "", 400, "invalid-request");
    refused("GET /v1/operations/x", "", 404, "operation-not-found");
    refused("GET /v1/operations/x/events", "", 404, "operation-not-found");
    refused("GET /v1/history?limit=x", "", 400, "invalid-request");
    refused("DELETE /v1/machines/web?preserve=1", "", 400, "invalid-request");
    refused("POST /v1/machines/web/exec", "{}", 400, "invalid-request");
    refused("POST /v1/volumes", "{\"size_bytes\":0}", 400, "invalid-size");
    let all = format!("{{\"size_bytes\":{}}}", u64::MAX);
    refused("POST /v1/volumes", &all, 400, "invalid-size");
    for (body, named) in [
        ("{\"size_bytes\":1,\"colour\":2}", "colour"),
        ("{\"size_bytes\":-1}", "-1"),
        ("{\"size_bytes\":1,\"fs\":\"zfs\"}", "`ext4`, `xfs`, `btrfs`, `none`"),
        ("{}", "size_bytes"),
        ("", "EOF"),
        ("[", "EOF"),
    ] {
        let detail = refused("POST /v1/volumes", body, 400, "invalid-request");
        assert!(detail.contains(named), "{detail}");
    }
    let body = "{\"size_bytes\":1,\"name\":\"../x\"}";
    refused("POST /v1/volumes", body, 400, "invalid-name");
    refused("POST /v1/images", "{\"image\":\"a b\"}", 400, "invalid-request");
    let deep = "[".repeat(100_000);
    refused("POST /v1/machines", &deep, 400, "invalid-request");
}

#[test]
fn refusals_of_changes_are_in_history() {
    let daemon = Daemon::up();
    daemon.ask("POST /v1/volumes", "{\"wrong\":1}");
    daemon.ask("GET /v1/volumes/missing", "");
    daemon.ask("DELETE /v1/volumes/missing", "");
    let (_, history) = daemon.ask("GET /v1/history", "");
    let items = history["items"].as_array().unwrap();
    let seen: Vec<_> = items
        .iter()
        .map(|i| (i["action"].as_str().unwrap(), i["problem"]["code"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("volume.delete", "volume-not-found"), ("volume.create", "invalid-request")]);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let daemon = Daemon::up();
    let head = "POST /v1/volumes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let answer = daemon.raw(&format!("{head}content-length: 999999999\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(answer.contains("invalid-request"), "{answer}");
}

#[test]
fn a_change_is_accepted_with_its_place_and_can_be_followed() {
    let daemon = Daemon::up();
    let (head, operation) = daemon.ask("POST /v1/volumes", "{\"size_bytes\":1073741824,\"name\":\"v\"}");
    assert!(head.contains(" 202 "), "{head}: {operation}");
    let id = operation["id"].as_str().unwrap();
    assert!(head.contains(&format!("location: /v1/operations/{id}")), "{head}");
    let (head, events) = daemon.ask(&format!("GET /v1/operations/{id}/events"), "");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let last = events.as_str().unwrap().trim().rsplit("data: ").next().unwrap();
    let last = last.split('\n').next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["state"], "succeeded");
    let (_, list) = daemon.ask("GET /v1/operations?limit=1", "");
    assert_eq!(list["items"][0]["id"], id);
}

#[test]
fn it_describes_itself() {
    let daemon = Daemon::up();
    let (_, told) = daemon.ask("GET /v1/openapi.json", "");
    let kept = std::fs::read(common::repository().join("openapi/v1.json")).unwrap();
    assert_eq!(told, serde_json::from_slice::<Value>(&kept).unwrap());
    let (head, body) = daemon.ask("GET /healthz", "");
    assert_eq!(body, "ok\n");
    assert!(
        head.contains("x-content-type-options: nosniff") && head.contains("cache-control: no-store"),
        "{head}"
    );
}
