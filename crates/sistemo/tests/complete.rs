//! What shells offer while somebody types, asked through their own scripts.

mod common;

use axum::routing::get;
use axum::{Json, Router};
use common::Stub;
use common::daemon::Daemon;
use serde_json::{Value, json};
use std::process::Command;

/// The candidates that bash gets for a line whose last word is being typed.
fn offered(daemon: &Daemon, line: &str) -> Vec<String> {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_sistemo"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let script = r#"
        source <(sistemo completion bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_sistemo sistemo "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-c", script, "bash"]).args(line.split(' '));
    command.env_clear().env("PATH", path).env("SISTEMO_DATA_DIR", daemon.dir.path());
    let ran: common::Ran = command.output().unwrap().into();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}: {ran:?}");
    ran.out.lines().map(|l| l.trim_end().to_owned()).filter(|l| !l.is_empty()).collect()
}

#[test]
fn names_of_what_there_is() {
    let daemon = Daemon::up();
    daemon.ok("vm deploy debian --name web");
    daemon.ok("volume create 1G --name appdata");
    daemon.ok("volume create 1G --name other");
    assert_eq!(offered(&daemon, "sistemo machine stop w"), ["web"]);
    assert_eq!(offered(&daemon, "sistemo vm rm w"), ["web"]);
    assert_eq!(offered(&daemon, "sistemo volume resize a"), ["appdata"]);
    assert_eq!(offered(&daemon, "sistemo machine volume attach web o"), ["other"]);
    assert_eq!(offered(&daemon, "sistemo machine deploy --volume web-"), ["web-root"]);
    assert_eq!(offered(&daemon, "sistemo machine deploy deb"), ["debian"]);
    assert_eq!(offered(&daemon, "sistemo explain volume-in"), ["volume-in-use"]);
    assert_eq!(offered(&daemon, "sistemo machine wait web --for r"), ["running"]);
    assert!(offered(&daemon, "sistemo volume show ").contains(&"web-root".to_owned()));
    for verb in ["rename", "protect", "unprotect", "label"] {
        assert_eq!(offered(&daemon, &format!("sistemo machine {verb} w")), ["web"]);
        assert_eq!(offered(&daemon, &format!("sistemo volume {verb} a")), ["appdata"]);
    }
    assert!(offered(&daemon, "sistemo volume rename appdata o").is_empty());
    // What is there cannot be taken back, and what is in the trash can be nothing else.
    daemon.ok("volume delete other -y");
    assert_eq!(offered(&daemon, "sistemo volume restore o"), ["other"]);
    assert!(offered(&daemon, "sistemo volume restore a").is_empty());
    assert!(offered(&daemon, "sistemo volume resize o").is_empty());
    daemon.ok("machine delete web -y");
    assert_eq!(offered(&daemon, "sistemo machine restore w"), ["web"]);
    // Nothing that is hidden, and nothing but silence without a daemon.
    assert!(!offered(&daemon, "sistemo ").contains(&"man".to_owned()));
    let nobody = "sistemo --data-dir /nonexistent machine stop w";
    assert!(offered(&daemon, nobody).is_empty());
}

#[test]
fn of_very_many_those_that_begin_so_are_offered() {
    let all: Vec<Value> = (0..3000).map(|i| json!({ "name": format!("v{i}") })).collect();
    let list = move || {
        let all = all.clone();
        async move { Json(json!({ "items": all })) }
    };
    let stub = Stub::serve(Router::new().route("/v1/volumes", get(list)));
    // As the script asks for bash.
    let mut command = stub.command(&["--", "sistemo", "volume", "show", "v299"]);
    command.env("SISTEMO_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3");
    let ran: common::Ran = command.output().unwrap().into();
    let mut offered: Vec<_> = ran.out.lines().collect();
    offered.sort_unstable();
    let mut expected = vec!["v299".to_owned()];
    expected.extend((2990..3000).map(|i| format!("v{i}")));
    assert_eq!(offered, expected, "{ran:?}");
}
