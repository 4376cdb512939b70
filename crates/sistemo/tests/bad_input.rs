//! What the command line refuses by itself: nothing here needs a daemon, and none is there, so an
//! answer other than `daemon-unreachable` shows that nothing was asked.

mod common;

/// Arguments, code, exit code.
const REFUSED: &[(&[&str], &str, i32)] = &[
    // Names.
    (&["machine", "deploy", "debian", "--name", ""], "invalid-name", 2),
    (&["machine", "deploy", "debian", "--name", "../x"], "invalid-name", 2),
    (&["machine", "deploy", "debian", "--name", "Web"], "invalid-name", 2),
    (&["machine", "deploy", "debian", "--name", "ünï"], "invalid-name", 2),
    (&["machine", "deploy", "debian", "--name=--x"], "invalid-name", 2),
    (&["machine", "deploy", "debian", "--name", "--x"], "usage", 2),
    (&["machine", "deploy", "debian", "--name", "0192f0c1-2345-7abc-8def-0123456789ab"], "invalid-name", 2),
    (
        &[
            "machine",
            "deploy",
            "debian",
            "--name",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
        "invalid-name",
        2,
    ),
    (&["volume", "create", "1G", "--name", ""], "invalid-name", 2),
    (&["volume", "create", "1G", "--name", "a_b"], "invalid-name", 2),
    (&["machine", "stop", ""], "invalid-name", 2),
    (&["machine", "stop", "../x"], "invalid-name", 2),
    (&["machine", "volume", "attach", "web", "/dev/sda"], "invalid-name", 2),
    // Sizes.
    (&["volume", "create", "0"], "invalid-size", 2),
    (&["volume", "create", "-1"], "invalid-size", 2),
    (&["volume", "create", "1X"], "invalid-size", 2),
    (&["volume", "create", ""], "invalid-size", 2),
    (&["volume", "create", "99999999T"], "invalid-size", 2),
    (&["volume", "create", "18014398509481985G"], "invalid-size", 2),
    (&["volume", "resize", "v", "-1"], "invalid-size", 2),
    (&["machine", "deploy", "debian", "--storage", "-1"], "invalid-size", 2),
    (&["machine", "deploy", "debian", "--memory", "1X"], "invalid-size", 2),
    // Usage.
    (&[], "usage", 2),
    (&["machine"], "usage", 2),
    (&["machin"], "usage", 2),
    (&["machine", "deploy"], "usage", 2),
    (&["machine", "deploy", ""], "usage", 2),
    (&["machine", "deploy", "debian", "--volume", "v"], "usage", 2),
    (&["machine", "deploy", "debian", "--vcpus", "x"], "usage", 2),
    (&["machine", "deploy", "debian", "--attach", "v:relative"], "usage", 2),
    (&["machine", "exec", "web"], "usage", 2),
    (&["machine", "exec", "web", "ls"], "usage", 2),
    (&["volume", "create"], "usage", 2),
    (&["volume", "create", "1G", "--pool", "a_b"], "invalid-name", 2),
    (&["volume", "move", "v"], "usage", 2),
    (&["pool", "create", "p"], "usage", 2),
    (&["pool", "create", "p", "--size", "1G", "--path", "/mnt"], "usage", 2),
    (&["pool", "create", "p", "--path", "/mnt", "--sparse"], "usage", 2),
    (&["pool", "create", "a/b", "--size", "1G"], "invalid-name", 2),
    (&["pool", "create", "p", "--size", "-1"], "invalid-size", 2),
    (&["volume", "list", "-o", "xml"], "usage", 2),
    (&["volume", "list", "--wrong"], "usage", 2),
    (&["explain", "no-such-code"], "usage", 2),
    (&["completion", "cmd"], "usage", 2),
    (&["volume", "list", "--label", "env=prod", "--label", "env=dev"], "invalid-request", 2),
    (&["volume", "import", "ftp://host/disk.raw"], "usage", 2),
    (&["volume", "import", "/usr"], "usage", 2),
    (&["operation", "list", "--state", "bogus"], "usage", 2),
    // Addresses.
    (&["volume", "list", "--url", "http://127.0.0.1:1/v1"], "invalid-url", 2),
    (&["volume", "list", "--url", "ftp://host"], "invalid-url", 2),
    (&["volume", "list", "--url", "/run/x.sock"], "invalid-url", 2),
    (&["volume", "list", "--url", "https://user:secret@host"], "invalid-url", 2),
    (&["volume", "list", "--url", "http://host/../v1"], "invalid-url", 2),
    (&["token", "create", "--role", "root"], "invalid-request", 2),
    (&["token", "create", "--role", "viewer", "--expires", "soon"], "usage", 2),
    (&["token", "create"], "usage", 2),
    (&["user", "create", "ada", "--role", "admin"], "not-confirmed", 4),
    (&["volume", "list", "--token-file", "/nonexistent"], "usage", 2),
    // Reserved.
    (&["machine", "terminal", "web"], "not-yet", 2),
    (&["machine", "terminal", "--help"], "not-yet", 2),
    (&["machine", "cp", "a", "b"], "not-yet", 2),
    (&["machine", "expose", "web", "--port", "80"], "not-yet", 2),
    (&["machine", "unexpose", "web", "--port", "80"], "not-yet", 2),
    (&["machine", "deploy", "debian", "--expose", "80"], "not-yet", 2),
    (&["network", "create", "n"], "not-yet", 2),
    (&["network", "delete", "n"], "not-yet", 2),
    (&["service", "install", "--root", "/nonexistent"], "usage", 2),
    // Nobody there.
    (&["volume", "list"], "daemon-unreachable", 5),
    (&["volume", "create", "1.5G"], "daemon-unreachable", 5),
    (&["machine", "delete", "web", "-y"], "daemon-unreachable", 5),
    (&["status"], "daemon-unreachable", 5),
    (&["volume", "list", "--url", "http://127.0.0.1:1"], "daemon-unreachable", 5),
];

#[test]
fn each_is_refused_with_its_code_a_hint_and_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code, exit) in REFUSED {
        let ran = common::run(dir.path(), args);
        assert_eq!(ran.code, *exit, "{args:?}: {ran:?}");
        assert!(ran.err.starts_with(&format!("error[{code}]: ")), "{args:?}: {ran:?}");
        assert!(ran.err.contains("\nhint: "), "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn usage_errors_read_like_every_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut shown = String::new();
    for args in [
        &[][..],
        &["machin"],
        &["machine", "deploy", "debian", "--nam", "x"],
        &["machine", "exec", "web", "ls"],
        &["volume", "create"],
        &["volume", "list", "-o", "xml"],
        &["machine", "deploy", "debian", "--volume", "v"],
    ] {
        let ran = common::run(dir.path(), args);
        shown.push_str(&format!("$ sistemo {}\n{}", args.join(" "), ran.err));
    }
    insta::assert_snapshot!("usage_errors", shown);
}

#[test]
fn what_needs_no_daemon_works_without() {
    let dir = tempfile::tempdir().unwrap();
    let ok = |args: &[&str]| {
        let ran = common::run(dir.path(), args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    };
    assert!(ok(&["--version"]).starts_with("sistemo "));
    assert!(ok(&["version"]).starts_with("sistemo "));
    let about = ok(&["version", "-o", "json"]);
    for field in ["commit", "built_at", "target", "agent"] {
        assert!(about.contains(&format!("\"{field}\": ")), "{about}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(&["completion", shell]).contains("SISTEMO_COMPLETE"), "{shell}");
    }
    assert!(ok(&["explain", "volume-in-use"]).starts_with("# volume-in-use\n"));
    assert!(ok(&["explain", "error[volume-in-use]:"]).starts_with("# volume-in-use\n"));
    assert!(ok(&["config"]).contains("stop_timeout"));
    assert!(ok(&["config", "-o", "json"]).contains("SISTEMO_DATA_DIR"));
}

#[test]
fn a_bad_line_in_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), "\nspeed = 3\n").unwrap();
    let ran = common::run(dir.path(), &["config"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("config.toml:2:1: there is no setting \"speed\""), "{ran:?}");
}
