//! Who may do what, over the socket and over TCP.

mod common;

use common::daemon::Daemon;
use serde_json::{Value, json};
use sistemo::api::access::Rules;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const JSON: (&str, &str) = ("content-type", "application/json");

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[test]
fn tcp_always_asks_who_is_there() {
    let daemon = Daemon::up();
    for line in ["GET /v1/machines", "POST /v1/volumes", "GET /v1/openapi.json", "GET /nothing"] {
        let (status, head, body) = daemon.tcp(line, &[], "");
        assert_eq!(status, 401, "{line}: {head}");
        assert_eq!(body["code"], "not-authenticated");
        assert!(head.contains("www-authenticate: Bearer"), "{head}");
    }
    let wrong = format!("sis_{}_{}", "0".repeat(12), "0".repeat(64));
    for header in ["", "Bearer", "Bearer x", "Basic cm9vdDpyb290", &format!("Bearer {wrong}")] {
        assert_eq!(daemon.tcp("GET /v1/status", &[("authorization", header)], "").0, 401, "{header}");
    }
    assert_eq!(daemon.tcp("GET /healthz", &[], "").0, 200);
    let refused = daemon.json("history");
    let line = &refused["items"][0];
    assert_eq!((&line["action"], &line["actor"]), (&json!("token.use"), &json!("unknown@127.0.0.1")));
}

#[test]
fn roles_may_do_what_they_may() {
    let daemon = Daemon::up();
    let (viewer, operator, admin) = (daemon.token("viewer"), daemon.token("operator"), daemon.token("admin"));
    let status = |token: &str, line: &str, body: &str| {
        let (name, value) = bearer(token);
        daemon.tcp(line, &[(name, &value), JSON], body).0
    };
    let volume = "{\"size_bytes\":1073741824,\"name\":\"v\"}";
    assert_eq!(status(&viewer, "GET /v1/volumes", ""), 200);
    assert_eq!(status(&viewer, "POST /v1/volumes", volume), 403);
    assert_eq!(status(&operator, "POST /v1/volumes", volume), 202);
    assert_eq!(status(&operator, "POST /v1/tokens", "{\"role\":\"admin\"}"), 403);
    assert_eq!(status(&operator, "GET /v1/users", ""), 403);
    assert_eq!(status(&admin, "POST /v1/tokens", "{\"role\":\"admin\"}"), 201);
    assert_eq!(daemon.run_with(&operator, "vm deploy debian --name web").code, 0);
    let ran = daemon.run_with(&operator, "machine exec web -- true");
    assert_eq!(ran.code, 3, "{ran:?}");
    let ran = daemon.run_with(&viewer, "machine exec web -- true");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.starts_with("error[no-permission]: this needs the role operator"), "{ran:?}");
    let history = daemon.json("history");
    let has = |action: &str, actor: &str, outcome: &str| {
        history["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|i| i["action"] == action && i["actor"] == actor && i["outcome"] == outcome)
    };
    assert!(has("volume.create", "token:viewer@127.0.0.1", "refused"), "{history}");
    assert!(has("machine.exec", "token:viewer@127.0.0.1", "refused"), "{history}");
    assert!(has("machine.exec", "token:operator@127.0.0.1", "succeeded"), "{history}");
    assert!(has("machine.deploy", "token:operator@127.0.0.1", "succeeded"), "{history}");
    assert!(has("token.use", "token:admin@127.0.0.1", "succeeded"), "{history}");
    let text = history.to_string();
    for token in [viewer, operator, admin] {
        assert!(!text.contains(&token[17..]));
    }
}

#[test]
fn a_token_ends_when_it_expires_or_is_revoked() {
    let daemon = Daemon::up();
    let made = daemon.json("token create --role viewer --expires 30d --name ci");
    let token = made["token"].as_str().unwrap();
    assert_eq!(made["role"], "viewer");
    assert!(made["expires_at"].is_string() && made["id"].is_string(), "{made}");
    assert_eq!(daemon.run_with(token, "volume list").code, 0);
    let list = daemon.ok("token list");
    assert!(list.starts_with("NAME         ROLE     CREATED"), "{list}");
    assert!(!daemon.ok("token list -o json").contains(&token[17..]));
    daemon.refused("token revoke ci", "not-confirmed", 4);
    daemon.ok("token revoke ci -y");
    let ran = daemon.run_with(token, "volume list");
    assert!(ran.err.starts_with("error[not-authenticated]: "), "{ran:?}");
    daemon.refused("token revoke ci -y", "token-not-found", 3);
    // The simulated world's time runs twenty times as fast as ours.
    let short = daemon.json("token create --role viewer --expires 1s");
    let (name, value) = bearer(short["token"].as_str().unwrap());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while daemon.tcp("GET /v1/volumes", &[(name, &value)], "").0 != 401 {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn a_token_is_not_sent_where_others_read_it() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["http://10.255.255.1:7777", "http://vm.example"] {
        let mut command = common::command(dir.path(), &["volume", "list", "--url", url]);
        let ran = common::Ran::from(command.env("SISTEMO_TOKEN", "sis_x").output().unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.starts_with("error[insecure-url]: "), "{ran:?}");
        assert!(!ran.err.contains("sis_x"));
    }
    let daemon = Daemon::up();
    let file = daemon.dir.path().join("token");
    std::fs::write(&file, daemon.token("viewer") + "\n").unwrap();
    daemon.ok(&format!("volume list --url http://{} --token-file {}", daemon.address, file.display()));
}

/// Logs in; returns the cookie.
fn log_in(daemon: &Daemon, name: &str, password: &str) -> Result<String, (u16, Value)> {
    let body = json!({"name": name, "password": password}).to_string();
    let (status, head, body) = daemon.tcp("POST /v1/login", &[JSON], &body);
    let Some(line) = head.lines().find(|l| l.starts_with("set-cookie: ")) else { return Err((status, body)) };
    assert!(line.contains("; HttpOnly; SameSite=Strict; Path=/; Max-Age="), "{line}");
    Ok(line["set-cookie: ".len()..].split(';').next().unwrap().to_owned())
}

fn create_user(daemon: &Daemon, name: &str, role: &str, password: &str) {
    let file = daemon.dir.path().join("password");
    std::fs::write(&file, password).unwrap();
    daemon.ok(&format!("user create {name} --role {role} --password-file {}", file.display()));
}

#[test]
fn sessions_begin_and_end() {
    let daemon = Daemon::up();
    create_user(&daemon, "ada", "operator", "correct horse");
    assert_eq!(log_in(&daemon, "ada", "wrong horse!").unwrap_err().1["code"], "not-authenticated");
    let unknown = log_in(&daemon, "bob", "correct horse").unwrap_err().1["detail"].clone();
    assert_eq!(unknown, "the name or the password is wrong");
    let get = |cookie: &str| daemon.tcp("GET /v1/session", &[("cookie", cookie)], "").0;
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    let (status, _, body) = daemon.tcp("GET /v1/session", &[("cookie", &format!("a=b; {cookie}"))], "");
    assert_eq!(
        (status, &body["actor"], &body["role"]),
        (200, &json!("user:ada@127.0.0.1"), &json!("operator"))
    );
    let origin = format!("http://{}", daemon.address);
    let out = [("cookie", cookie.as_str()), ("origin", &origin)];
    let (status, head, _) = daemon.tcp("POST /v1/logout", &out, "");
    assert_eq!(status, 204);
    assert!(head.contains("Max-Age=0"), "{head}");
    assert_eq!(get(&cookie), 401);
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    assert_eq!(get(&cookie), 200);
    std::fs::write(daemon.dir.path().join("password"), "another horse").unwrap();
    let file = daemon.dir.path().join("password");
    daemon.ok(&format!("user passwd ada --password-file {}", file.display()));
    assert_eq!(get(&cookie), 401);
    let cookie = log_in(&daemon, "ada", "another horse").unwrap();
    daemon.ok("user delete ada -y");
    assert_eq!(get(&cookie), 401);
    let history = daemon.json("history -n 100").to_string();
    assert!(!history.contains("horse") && !history.contains(&cookie[20..]), "{history}");
    for action in ["user.create", "login", "logout", "user.passwd", "user.delete"] {
        assert!(history.contains(action), "{action}");
    }
}

#[test]
fn another_site_cannot_use_a_session() {
    let daemon = Daemon::up();
    create_user(&daemon, "ada", "admin", "correct horse");
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    let here = format!("http://{}", daemon.address);
    let post = |more: &[(&str, &str)]| {
        let all = [&[("cookie", cookie.as_str())], more].concat();
        daemon.tcp("POST /v1/volumes", &all, "{\"size_bytes\":1073741824}").0
    };
    assert_eq!(post(&[JSON, ("origin", &here)]), 202);
    assert_eq!(post(&[JSON]), 403);
    assert_eq!(post(&[JSON, ("origin", "http://evil.example")]), 403);
    assert_eq!(post(&[JSON, ("origin", &here), ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(post(&[("content-type", "text/plain"), ("origin", &here)]), 415);
    let login = json!({"name": "ada", "password": "correct horse"}).to_string();
    let evil = [JSON, ("origin", "http://evil.example")];
    assert_eq!(daemon.tcp("POST /v1/login", &evil, &login).0, 403);
    assert_eq!(daemon.tcp("POST /v1/login", &[("content-type", "text/plain")], &login).0, 415);
    let token = daemon.token("viewer");
    let (name, value) = bearer(&token);
    for (host, status) in [("localhost:1", 200), ("evil.example", 421), ("127.0.0.1.evil.example:7777", 421)]
    {
        assert_eq!(daemon.tcp("GET /v1/volumes", &[(name, &value), ("host", host)], "").0, status, "{host}");
    }
}

#[test]
fn another_site_cannot_use_a_token_either() {
    let daemon = Daemon::up();
    let token = daemon.token("operator");
    let (name, value) = bearer(&token);
    let here = format!("http://{}", daemon.address);
    let ask = |line: &str, more: &[(&str, &str)], body: &str| {
        let all = [&[(name, value.as_str())], more].concat();
        daemon.tcp(line, &all, body).0
    };
    let post = |more: &[(&str, &str)]| ask("POST /v1/volumes", more, "{\"size_bytes\":1073741824}");
    let evil = ("origin", "http://evil.example");
    assert_eq!(post(&[JSON]), 202);
    assert_eq!(post(&[JSON, ("origin", &here), ("sec-fetch-site", "same-origin")]), 202);
    assert_eq!(post(&[("content-type", "application/vnd.sistemo+json")]), 202);
    assert_eq!(post(&[JSON, evil]), 403);
    assert_eq!(post(&[JSON, ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(ask("DELETE /v1/volumes/v", &[evil], ""), 403);
    assert_eq!(ask("GET /v1/volumes", &[evil], ""), 200);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", ""] {
        assert_eq!(post(&[("content-type", kind)]), 415, "{kind}");
    }
    assert_eq!(post(&[]), 415);
    assert_eq!(ask("POST /v1/volumes/import", &[("content-type", "text/plain")], "bytes"), 415);
    assert_ne!(ask("POST /v1/volumes/import", &[("content-type", "application/octet-stream")], "bytes"), 415);
    // Without a body there is nothing to say of it.
    daemon.ok("vm deploy debian --name web");
    assert_eq!(ask("POST /v1/machines/web/stop", &[evil], ""), 403);
    let empty = [("content-length", "0"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(ask("POST /v1/machines/web/restart", &empty, ""), 202);
    assert_eq!(ask("POST /v1/machines/web/stop", &[], ""), 202);
    assert_eq!(daemon.run_with(&token, "volume create 1G --name cli").code, 0);
}

#[test]
fn only_an_admin_changes_pools() {
    let daemon = Daemon::up();
    let (viewer, operator, admin) = (daemon.token("viewer"), daemon.token("operator"), daemon.token("admin"));
    let status = |token: &str, line: &str, body: &str| {
        let (name, value) = bearer(token);
        daemon.tcp(line, &[(name, &value), JSON], body).0
    };
    let pool = "{\"name\":\"fast\",\"size_bytes\":21474836480}";
    for token in [&viewer, &operator] {
        assert_eq!(status(token, "GET /v1/pools", ""), 200);
        assert_eq!(status(token, "POST /v1/pools", pool), 403);
        assert_eq!(status(token, "POST /v1/pools/fast/resize", "{\"size_bytes\":32212254720}"), 403);
        assert_eq!(status(token, "DELETE /v1/pools/fast", ""), 403);
    }
    assert_eq!(status(&admin, "POST /v1/pools", pool), 202);
    let history = daemon.json("history --limit 100");
    let refused = |action: &str| {
        let all = history["items"].as_array().unwrap();
        all.iter().filter(|i| i["action"] == action && i["outcome"] == "refused").count()
    };
    assert_eq!((refused("pool.create"), refused("pool.resize"), refused("pool.delete")), (2, 2, 2));
}

#[test]
fn failed_logins_lock_and_are_limited() {
    let daemon = Daemon::up();
    create_user(&daemon, "ada", "viewer", "correct horse");
    for _ in 0..5 {
        assert_eq!(log_in(&daemon, "ada", "wrong horse!").unwrap_err().0, 401);
    }
    let (status, _, body) =
        daemon.tcp("POST /v1/login", &[JSON], "{\"name\":\"ada\",\"password\":\"correct horse\"}");
    assert_eq!((status, &body["code"]), (429, &json!("rate-limited")));
    create_user(&daemon, "bob", "viewer", "correct horse");
    log_in(&daemon, "bob", "correct horse").unwrap();
    let all: Vec<_> = (0..10).map(|_| log_in(&daemon, "carl", "wrong horse!").unwrap_err().0).collect();
    assert_eq!(all[9], 429);
}

#[test]
fn only_the_link_makes_the_first_admin_and_only_once() {
    let daemon = Daemon::up();
    let setup = |code: &str, name: &str, password: &str| {
        let body = json!({"code": code, "name": name, "password": password}).to_string();
        daemon.tcp("POST /v1/setup", &[JSON], &body).0
    };
    assert_eq!(setup("", "ada", "correct horse"), 403);
    assert_eq!(setup("0123456789abcdef0123456789abcdef", "ada", "correct horse"), 403);
    assert_eq!(setup(&daemon.code, "ada", "short"), 400);
    assert_eq!(setup(&daemon.code, "ada", "correct horse"), 201);
    assert_eq!(setup(&daemon.code, "eve", "correct horse"), 403);
    assert_eq!(daemon.json("user list")["items"].as_array().unwrap().len(), 1);
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    assert_eq!(daemon.tcp("GET /v1/tokens", &[("cookie", &cookie)], "").0, 200);
    assert!(!daemon.json("history").to_string().contains(&daemon.code));
    let (status, head, _) = daemon.tcp("GET /setup", &[], "");
    assert!(status == 200 && head.contains("content-security-policy"), "{head}");
    // An admin made on the host closes the link as well.
    let other = Daemon::up();
    create_user(&other, "root", "admin", "correct horse");
    let body = json!({"code": other.code, "name": "eve", "password": "correct horse"}).to_string();
    assert_eq!(other.tcp("POST /v1/setup", &[JSON], &body).0, 403);
}

#[test]
fn one_address_is_limited_and_others_are_not() {
    let proxy = "127.0.0.1".parse().unwrap();
    let daemon = Daemon::with(Rules { rps: 1, burst: 5, trusted_proxies: vec![proxy], ..Rules::default() });
    let from = |address: &str| daemon.tcp("GET /healthz", &[("x-forwarded-for", address)], "");
    let answers: Vec<_> = (0..8).map(|_| from("192.0.2.1")).collect();
    assert!(answers.iter().filter(|a| a.0 == 200).count() >= 5);
    let refused = answers.iter().find(|a| a.0 == 429).unwrap();
    assert!(refused.1.contains("retry-after: 1"), "{}", refused.1);
    assert_eq!(refused.2["code"], "rate-limited");
    assert_eq!(from("192.0.2.2").0, 200);
    // Who is no trusted proxy cannot choose an address.
    let plain = Daemon::with(Rules { rps: 1, burst: 5, ..Rules::default() });
    let all: Vec<_> = (0..8)
        .map(|n| plain.tcp("GET /healthz", &[("x-forwarded-for", &format!("192.0.2.{n}"))], "").0)
        .collect();
    assert_eq!(all[7], 429);
    for _ in 0..20 {
        plain.ok("volume list");
    }
}

#[test]
fn who_is_shut_out_hears_no_more() {
    let daemon = Daemon::up();
    create_user(&daemon, "ada", "viewer", "correct horse");
    let token = daemon.token("viewer");
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    let follow = |name: &str, value: &str| {
        let address = daemon.address;
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{name}: {value}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut heard = String::new();
        let mut reader = BufReader::new(stream);
        while !heard.contains("event: revision") {
            assert_ne!(reader.read_line(&mut heard).unwrap(), 0, "{heard}");
        }
        reader
    };
    let (by_token, by_session) =
        (follow("authorization", &format!("Bearer {token}")), follow("cookie", &cookie));
    daemon.ok("token revoke viewer -y");
    daemon.ok("user delete ada -y");
    for mut reader in [by_token, by_session] {
        // To the end of the stream, or the test ends with the time-out.
        reader.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn no_secret_gets_into_history_and_nobody_floods_it() {
    let daemon = Daemon::up();
    let asked = "{\"name\":\"ada\",\"role\":\"admin\",\"password\":1234567890}";
    let (head, body) = daemon.ask("POST /v1/users", asked);
    assert!(head.starts_with("http/1.0 400") && body["code"] == "invalid-request", "{head} {body}");
    let long = format!("{{\"{}\":1}}", "a".repeat(100_000));
    assert!(daemon.ask("POST /v1/volumes", &long).0.starts_with("http/1.0 400"));
    let told = daemon.json("history");
    let items = told["items"].as_array().unwrap();
    assert_eq!(items.iter().filter(|i| i["outcome"] == "refused").count(), 2, "{told}");
    let told = told.to_string();
    assert!(!told.contains("1234567890") && told.len() < 5000, "{}", told.len());
    // Whoever is nobody yet can be refused only so often as passwords are mistyped.
    let refusals = (0..30).map(|_| daemon.tcp("POST /v1/setup", &[JSON], &long).0).collect::<Vec<_>>();
    assert!(refusals.contains(&400) && refusals.ends_with(&[429]), "{refusals:?}");
    let lines = daemon.json("history --limit 1000")["items"].as_array().unwrap().len();
    assert!(lines < 20, "{lines}");
}

#[test]
fn what_is_refused_leaves_a_line_whoever_refuses_it() {
    let daemon = Daemon::up();
    let refused = [
        ("POST /v1/machines/nobody/exec", "{}", "machine.exec"),
        ("POST /v1/volumes/import?name=UPPER", "x", "volume.import"),
        ("POST /v1/volumes/import?name=a&label=%3D", "x", "volume.import"),
    ];
    for (line, body, action) in refused {
        let (head, _) = daemon.ask(line, body);
        assert!(head.starts_with("http/1.0 4"), "{line}: {head}");
        let told = daemon.json("history --limit 1");
        let entry = &told["items"][0];
        assert_eq!(
            (&entry["action"], &entry["outcome"]),
            (&json!(action), &json!("refused")),
            "{line}: {told}"
        );
    }
}

#[test]
fn a_session_can_send_a_volume() {
    let daemon = Daemon::up();
    create_user(&daemon, "ada", "operator", "correct horse");
    let cookie = log_in(&daemon, "ada", "correct horse").unwrap();
    let origin = format!("http://{}", daemon.address);
    let send = |kind: &str, line: &str| {
        daemon.tcp(line, &[("cookie", &cookie), ("origin", &origin), ("content-type", kind)], "bytes").0
    };
    assert_ne!(send("application/octet-stream", "POST /v1/volumes/import"), 415);
    assert_eq!(send("text/plain", "POST /v1/volumes/import"), 415);
    assert_eq!(send("application/octet-stream", "POST /v1/volumes"), 415);
}
