//! Lists, conditions and events, as a program sees them.

mod common;

use common::daemon::Daemon;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};

const G: u64 = 1 << 30;
const JSON: (&str, &str) = ("content-type", "application/json");

fn create(daemon: &Daemon, name: &str) {
    daemon.ok(&format!("volume create 1G --name {name}"));
}

fn names(list: &Value) -> Vec<String> {
    let all = list["items"].as_array().unwrap();
    all.iter().map(|v| v["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn lists_come_in_pages_and_by_field() {
    let daemon = Daemon::up();
    for name in ["e", "c", "a", "d", "b"] {
        create(&daemon, name);
    }
    daemon.ok("vm deploy debian --name web --attach a");
    let get = |query: &str| daemon.ask(&format!("GET /v1/volumes?{query}"), "").1;
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = get(&query);
        seen.extend(names(&page));
        // What comes before the cursor meanwhile does not shift the pages.
        create(&daemon, &format!("a{}", seen.len()));
        match page["next_cursor"].as_str() {
            Some(next) => query = format!("limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e", "web-root"]);
    assert_eq!(names(&get("status=attached")), ["a", "web-root"]);
    assert_eq!(names(&get("attached_to=web&role=data")), ["a"]);
    assert_eq!(names(&get("image=debian")), ["web-root"]);
    assert_eq!(names(&daemon.ask("GET /v1/machines?phase=running", "").1), ["web"]);
    assert!(names(&daemon.ask("GET /v1/machines?phase=stopped", "").1).is_empty());
    for bad in ["limit=0", "limit=x", "limit=10001", "cursor=x", "colour=red", "status=gone"] {
        let (head, body) = daemon.ask(&format!("GET /v1/volumes?{bad}"), "");
        assert!(head.contains(" 400 "), "{bad}: {head}");
        assert_eq!(body["code"], "invalid-request");
    }
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.ask(&format!("GET /v1/operations?limit=3{cursor}"), "").1;
        ids.extend(page["items"].as_array().unwrap().iter().map(|o| o["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let whole = daemon.ask("GET /v1/operations?limit=100", "").1;
    assert_eq!(ids, whole["items"].as_array().unwrap().iter().map(|o| o["id"].clone()).collect::<Vec<_>>());
    let deploys = daemon.ask("GET /v1/operations?verb=machine.deploy&state=succeeded", "").1;
    assert_eq!(deploys["items"].as_array().unwrap().len(), 1);
}

#[test]
fn volumes_and_snapshots_are_listed_by_their_pool() {
    let daemon = Daemon::up();
    daemon.ok("pool create fast --size 20GB");
    create(&daemon, "a");
    for name in ["b", "c"] {
        daemon.ok(&format!("volume create 1G --name {name} --pool fast"));
    }
    daemon.ok("volume snapshot a --name of-a");
    daemon.ok("volume snapshot b --name of-b");
    let get = |list: &str, query: &str| daemon.ask(&format!("GET /v1/{list}?{query}"), "").1;
    let id = daemon.json("pool show fast")["id"].as_str().unwrap().to_owned();
    for pool in ["fast", &id] {
        assert_eq!(names(&get("volumes", &format!("pool={pool}"))), ["b", "c"], "{pool}");
        assert_eq!(names(&get("snapshots", &format!("pool={pool}"))), ["of-b"], "{pool}");
        assert_eq!(daemon.ok(&format!("volume list --pool {pool} -o name")), "b\nc\n");
        assert_eq!(daemon.ok(&format!("snapshot list --pool {pool} -o name")), "of-b\n");
    }
    assert_eq!(names(&get("volumes", "pool=default")), ["a"]);
    assert_eq!(names(&get("snapshots", "pool=default")), ["of-a"]);
    assert!(names(&get("volumes", "pool=none")).is_empty());
    let first = get("volumes", "pool=fast&limit=1");
    assert_eq!(names(&first), ["b"]);
    let next = format!("pool=fast&limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!(names(&get("volumes", &next)), ["c"]);
    daemon.ok("volume delete c -y");
    assert_eq!(names(&get("volumes", "pool=fast")), ["b"]);
    assert_eq!(names(&get("volumes", "pool=fast&deleted=true")), ["c"]);
    assert!(names(&get("volumes", "pool=default&deleted=true")).is_empty());
    daemon.refused("volume list --pool ../x", "invalid-name", 2);
}

#[test]
fn a_retried_deploy_makes_one_machine() {
    let daemon = Daemon::up();
    let token = format!("Bearer {}", daemon.token("operator"));
    let post = |key: &str, body: &str| {
        let headers = [("authorization", token.as_str()), ("idempotency-key", key), JSON];
        let (status, _, answer) = daemon.tcp("POST /v1/machines", &headers, body);
        (status, answer)
    };
    let deploy = "{\"image\":\"debian\"}";
    let (status, first) = post("k1", deploy);
    assert_eq!(status, 202);
    let (status, again) = post("k1", deploy);
    assert_eq!((status, &again["id"]), (202, &first["id"]));
    let (status, other) = post("k1", "{\"image\":\"debian\",\"vcpus\":4}");
    assert_eq!((status, &other["code"]), (409, &json!("conflict")));
    assert_eq!(post("", deploy).0, 400);
    let (status, another) = post("k2", deploy);
    assert_eq!(status, 202);
    assert_ne!(another["id"], first["id"]);
    assert_eq!(daemon.json("vm list")["items"].as_array().unwrap().len(), 2);
    let admin = format!("Bearer {}", daemon.token("admin"));
    let headers = [("authorization", admin.as_str()), ("idempotency-key", "t"), JSON];
    let tokens = || daemon.tcp("POST /v1/tokens", &headers, "{\"role\":\"viewer\"}").0;
    assert_eq!((tokens(), tokens()), (201, 409));
}

#[test]
fn a_retried_import_makes_one_volume_and_is_not_sent_again() {
    let daemon = Daemon::up();
    let token = format!("Bearer {}", daemon.token("operator"));
    // More than the largest body that is kept.
    let disk = "x".repeat(5 << 20);
    let length = disk.len().to_string();
    let post = |key: &str, query: &str, body: &str, length: &str| {
        let bytes = ("content-type", "application/octet-stream");
        let mut headers = vec![("authorization", token.as_str()), ("idempotency-key", key), bytes];
        if body.is_empty() {
            headers.push(("content-length", length));
        }
        let (status, _, answer) = daemon.tcp(&format!("POST /v1/volumes/import?{query}"), &headers, body);
        (status, answer)
    };
    let query = "name=sent&label=env=prod,tier=web";
    let (status, first) = post("k", query, &disk, &length);
    assert_eq!(status, 202, "{first}");
    let (status, again) = post("k", query, "", &length);
    assert_eq!((status, &again["id"]), (202, &first["id"]));
    let (status, other) = post("k", query, "", "7");
    assert_eq!((status, &other["code"]), (409, &json!("conflict")));
    let (status, other) = post("k", "name=another", "", &length);
    assert_eq!((status, &other["code"]), (409, &json!("conflict")));
    let sent = daemon.json("volume show sent");
    assert_eq!(sent["labels"], json!({ "env": "prod", "tier": "web" }));
    assert_eq!(daemon.ok("volume list -o name"), "sent\n");
}

#[test]
fn what_is_imported_has_its_labels_and_its_role() {
    let daemon = Daemon::up();
    let file = daemon.dir.path().join("disk.raw");
    std::fs::write(&file, vec![1; 9 << 20]).unwrap();
    let file = file.display();
    daemon.ok(&format!("volume import {file} --name a --label env=prod"));
    daemon.ok(&format!("volume create --from {file} --name b --label env=prod --label tier=web"));
    assert_eq!(daemon.ok("volume list -l env=prod -o name"), "a\nb\n");
    assert_eq!(daemon.ok("volume list -l tier=web -o name"), "b\n");
    daemon.refused(&format!("volume import {file} --name c --label nothing"), "invalid-request", 2);
    let ran = daemon.run("vm deploy --volume a");
    assert!(ran.err.contains("`sistemo volume import FILE --root`"), "{ran:?}");
    daemon.ok(&format!("volume import {file} --name r --root"));
    daemon.ok("vm deploy --volume r --name web");
    let ran = daemon.run("volume delete r -y");
    assert!(ran.err.contains("`sistemo machine delete web --preserve-storage`"), "{ran:?}");
    daemon.refused("vm deploy --volume r --pool default", "invalid-request", 2);
    let ran = daemon.run("volume import http://127.0.0.1:9/none.raw -q");
    assert!(
        ran.err.starts_with("error[io-error]: it cannot be fetched: nothing answers there\nhint: "),
        "{ran:?}"
    );
    assert!(!ran.err.contains("curl"), "{ran:?}");
    daemon.ok("volume snapshot r --name s");
    daemon.ok("vm deploy --volume s --pool default --name other");
}

#[test]
fn what_has_changed_since_is_not_changed() {
    let daemon = Daemon::up();
    create(&daemon, "v");
    let token = format!("Bearer {}", daemon.token("operator"));
    let etag = || {
        let (_, head, body) = daemon.tcp("GET /v1/volumes/v", &[("authorization", &token)], "");
        let line = head.lines().find(|l| l.starts_with("etag: ")).unwrap()[6..].to_owned();
        assert_eq!(line, format!("\"{}\"", body["revision"]));
        line
    };
    let seen = etag();
    let resize = |tag: &str, size: u64| {
        let headers = [("authorization", token.as_str()), ("if-match", tag), JSON];
        daemon.tcp("POST /v1/volumes/v/resize", &headers, &json!({ "size_bytes": size }).to_string())
    };
    assert_eq!(resize(&seen, 2 * G).0, 202);
    let (status, _, body) = resize(&seen, 3 * G);
    assert_eq!((status, &body["code"]), (412, &json!("precondition-failed")));
    assert_eq!(resize("nonsense", 3 * G).0, 400);
    assert_eq!(resize("*", 3 * G).0, 202);
    assert_eq!(resize(&etag(), 4 * G).0, 202);
}

/// The data of the next event.
fn data(lines: &mut impl Iterator<Item = String>) -> Value {
    let line = lines.find_map(|l| l.strip_prefix("data: ").map(ToOwned::to_owned)).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_follower_misses_nothing() {
    let daemon = Daemon::up();
    let follow = |from: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(daemon.dir.path().join("sistemo.sock")).unwrap();
        write!(stream, "GET /v1/events{from} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        BufReader::new(stream).lines().map(|l| l.unwrap())
    };
    let mut lines = follow("");
    let from = data(&mut lines)["revision"].as_u64().unwrap();
    let id = daemon.json("volume create 1G --name v")["id"].clone();
    let live = loop {
        let change = data(&mut lines);
        if change["kind"] == "volume" {
            break change;
        }
    };
    assert_eq!((&live["id"], &live["deleted"]), (&id, &json!(false)));
    let mut later = follow(&format!("?from={from}"));
    assert_eq!(data(&mut later)["revision"], from);
    let again = loop {
        let change = data(&mut later);
        if change["kind"] == "volume" {
            break change;
        }
    };
    assert_eq!(again, live);
    let (head, body) = daemon.ask("GET /v1/events?from=999999999", "");
    assert!(head.contains(" 410 "), "{head}");
    assert_eq!(body["code"], "revision-gone");
    assert!(daemon.ask("GET /v1/events?from=x", "").0.contains(" 400 "));
}

#[test]
fn answers_are_compressed_for_whoever_wants() {
    let daemon = Daemon::up();
    let (head, _) = daemon.ask("GET /v1/openapi.json", "");
    assert!(!head.contains("content-encoding"), "{head}");
    let token = format!("Bearer {}", daemon.token("viewer"));
    let headers = [("authorization", token.as_str()), ("accept-encoding", "gzip")];
    let (status, head, _) = daemon.tcp("GET /v1/openapi.json", &headers, "");
    assert!(status == 200 && head.contains("content-encoding: gzip"), "{head}");
}

#[test]
fn history_is_asked_for_what_matters() {
    let daemon = Daemon::up();
    create(&daemon, "a");
    create(&daemon, "b");
    daemon.refused("volume create 1G --name a", "name-taken", 4);
    let ask = |query: &str| daemon.ask(&format!("GET /v1/history?{query}"), "").1;
    let count = |query: &str| ask(query)["items"].as_array().unwrap().len();
    assert_eq!(count("action=volume"), 3);
    assert_eq!(count("action=volume.create&target=b"), 1);
    assert_eq!(count("failed=true"), 1);
    assert_eq!(count("actor=nobody"), 0);
    assert_eq!(count("since=2100-01-01T00:00:00Z"), 0);
    let first = ask("limit=1");
    let next = first["next_cursor"].as_str().unwrap();
    let second = ask(&format!("limit=1&cursor={next}"));
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    let oldest = second["items"][0]["id"].as_str().unwrap();
    assert_eq!(ask(&format!("after={oldest}"))["items"][0]["id"], first["items"][0]["id"]);
    assert_eq!(count(&format!("after={oldest}")), 1);
    for bad in ["action=volum", "since=yesterday", "cursor=00", "after=x"] {
        assert_eq!(ask(bad)["code"], "invalid-request", "{bad}");
    }
}

#[test]
fn what_nobody_looks_at_is_refused() {
    let daemon = Daemon::up();
    for (line, body, word) in [
        ("POST /v1/machines/web/stop", "{\"timeout_seconds\":600}", "has none"),
        ("POST /v1/host/resume?when=now", "", "unknown field `when`"),
        ("DELETE /v1/images/debian?deleted=true", "", "unknown field `deleted`"),
        ("GET /v1/users?page=2", "", "unknown field `page`"),
    ] {
        let (head, problem) = daemon.ask(line, body);
        assert!(head.starts_with("http/1.0 400"), "{line}: {head}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{line}: {problem}");
    }
    let told = daemon.json("history");
    let refused: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|i| i["action"].as_str().unwrap()).collect();
    assert_eq!(refused, ["image.delete", "host.resume", "machine.stop"], "{told}");
    for (line, body) in [("POST /v1/host/resume", ""), ("POST /v1/host/resume", "{}")] {
        assert!(daemon.ask(line, body).0.starts_with("http/1.0 202"), "{line}");
    }
    for role in ["viewer", "operator", "admin"] {
        daemon.token(role);
    }
    let page = |query: &str| daemon.ask(&format!("GET /v1/tokens?limit=2{query}"), "").1;
    let first = page("");
    let rest = page(&format!("&cursor={}", first["next_cursor"].as_str().unwrap()));
    let names: Vec<_> = [&first, &rest].iter().flat_map(|p| p["items"].as_array().unwrap()).collect();
    assert_eq!(
        names.iter().map(|t| t["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["admin", "operator", "viewer"]
    );
}
