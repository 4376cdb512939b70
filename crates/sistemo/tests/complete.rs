//! What shells offer while somebody types, asked through their own scripts.

mod common;

use common::daemon::Daemon;
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
    // Nothing that is hidden, and nothing but silence without a daemon.
    assert!(!offered(&daemon, "sistemo ").contains(&"man".to_owned()));
    let nobody = "sistemo --data-dir /nonexistent machine stop w";
    assert!(offered(&daemon, nobody).is_empty());
}
