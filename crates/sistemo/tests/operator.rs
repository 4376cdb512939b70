//! What an operator's scripts use: waiting, names, operations, history, numbers.

mod common;

use common::Ran;
use common::daemon::Daemon;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn names_are_printed_for_loops() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name b");
    assert_eq!(daemon.ok("volume create 1G --name a -o name"), "a\n");
    assert_eq!(daemon.ok("volume list -o name"), "a\nb\n");
    assert_eq!(daemon.ok("volume show a -o name"), "a\n");
    let id = daemon.ok("operation list -n 1 -o name");
    assert_eq!(daemon.json("operation list -n 1")["items"][0]["id"], id.trim());
    assert!(daemon.ok("config -o name").contains("stop_timeout\n"));
    daemon.refused("status -o name", "usage", 2);
    assert_eq!(daemon.ok("volume snapshot a --name s -o name"), "s\n");
    daemon.ok("vm deploy debian --name web");
    daemon.ok("machine volume attach web a");
    assert_eq!(daemon.ok("machine snapshot web --name all -o name"), "all\nall-a\n");
    assert_eq!(daemon.ok("storage df -o name"), "default\n");
    daemon.ok("volume delete b -y");
    assert_eq!(daemon.ok("trash list -o name"), "b\n");
    assert_eq!(daemon.ok("trash empty -y -o name").trim().len(), 36);
    let ran = daemon.run("doctor -o name");
    assert!(ran.err.is_empty() && ran.out.contains("database\n"), "{ran:?}");
}

#[test]
fn all_of_the_trash_is_asked_for_before_any_of_it_is_left_to_itself() {
    let daemon = Daemon::up();
    for name in ["a", "b", "c"] {
        daemon.ok(&format!("volume create 1G --name {name}"));
        daemon.ok(&format!("volume delete {name} -y"));
    }
    let ran = daemon.run("trash empty -y --no-wait");
    assert_eq!((ran.code, ran.out.lines().count()), (0, 3), "{ran:?}");
    for id in ran.out.lines() {
        daemon.ok(&format!("operation wait {id}"));
    }
    assert_eq!(daemon.ok("trash list").lines().count(), 1);
}

#[test]
fn what_is_in_the_trash_goes_for_good_by_its_name_or_else_by_its_id() {
    let daemon = Daemon::up();
    let gone = || {
        daemon.ok("volume create 1G --name v");
        daemon.ok("volume snapshot v --name s");
        daemon.ok("snapshot delete s -y");
        daemon.ok("volume delete v -y");
    };
    gone();
    daemon.refused("volume delete v -y", "volume-not-found", 3);
    daemon.ok("volume delete v --now -y");
    daemon.ok("snapshot delete s --now -y");
    daemon.refused("volume delete v --now -y", "volume-not-found", 3);
    gone();
    gone();
    for what in ["volume delete v", "snapshot delete s"] {
        let ran = daemon.run(&format!("{what} --now -y"));
        assert_eq!(ran.code, 2, "{ran:?}");
        let ids = ran.err.split("give the id of one of them: ").nth(1).unwrap();
        assert!(daemon.ok("trash list").contains(ids.split(", ").next().unwrap()), "{ran:?}");
    }
    let id = daemon.json("volume list --deleted")["items"][0]["id"].as_str().unwrap().to_owned();
    daemon.ok(&format!("volume delete {id} --now -y"));
    daemon.ok("volume delete v --now -y");
    daemon.ok("vm deploy debian --name web");
    daemon.ok("machine delete web -y");
    assert_eq!(daemon.ok("machine delete web --now -y"), "machine \"web\" is deleted for good\n");
}

#[test]
fn what_goes_out_is_not_left_to_itself_and_has_its_time() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name v");
    daemon.refused("volume export v - --no-wait", "usage", 2);
    for line in ["volume export v -", "volume import /dev/null --name w", "volume delete v -y"] {
        daemon.refused(&format!("{line} --timeout soon"), "usage", 2);
    }
    assert_eq!(daemon.ok("volume list -o name"), "v\n");
}

#[test]
fn operations_are_listed_shown_and_waited_for() {
    let daemon = Daemon::up();
    let accepted = daemon.json("vm deploy debian --name web --no-wait");
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(daemon.ok(&format!("operation wait {id}")), "machine.deploy of web is done\n");
    let shown = daemon.ok(&format!("operation show {id}"));
    assert!(shown.contains("State:") && shown.contains("succeeded"), "{shown}");
    let list = daemon.ok("operation list --target web --state succeeded");
    assert!(list.contains(id), "{list}");
    assert_eq!(daemon.ok("operation list --state failed").lines().count(), 1);
    daemon.refused("operation show nothing", "operation-not-found", 3);
    daemon.refused("operation list --state gone", "usage", 2);
}

#[test]
fn whatever_starts_an_operation_can_be_left_to_itself() {
    let daemon = Daemon::up();
    for line in [
        "vm deploy debian --name web",
        "volume create 1G --name data",
        "machine stop web",
        "machine volume attach web data",
        "machine volume detach web data",
        "volume resize data 2G",
        "machine start web",
        "machine restart web",
        "machine clone web --name twin",
        "machine snapshot web --name before",
        "snapshot delete before -y",
        "volume delete data -y",
        "machine delete web -y",
        "host shutdown",
        "host resume",
    ] {
        let ran = daemon.run(&format!("{line} --no-wait"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        assert!(ran.err.lines().all(|l| l.starts_with("warning: ")), "{line}: {ran:?}");
        let id = ran.out.trim_end();
        assert!(id.len() == 36 && !id.contains('\n'), "{line}: {ran:?}");
        daemon.ok(&format!("operation wait {id}"));
    }
    let accepted = daemon.json("volume create 1G --name other --no-wait");
    assert_eq!((&accepted["verb"], &accepted["target"]["name"]), (&"volume.create".into(), &"other".into()));
    daemon.refused("volume create 1G --name other --no-wait", "name-taken", 4);
}

#[test]
fn a_machine_is_waited_for() {
    let daemon = Daemon::up();
    daemon.refused("machine wait web", "machine-not-found", 3);
    daemon.ok("vm deploy debian --name web --no-wait");
    assert!(daemon.ok("machine wait web --for running").starts_with("machine \"web\" is running at "));
    daemon.refused("machine wait web --for stopped --timeout 100ms", "timed-out", 124);
    let spawn = |args: &[&str]| {
        let mut command = common::command(daemon.dir.path(), args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let waiting = spawn(&["machine", "wait", "web", "--for", "stopped"]);
    daemon.ok("machine stop web");
    let ran = Ran::from(waiting.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (0, "machine \"web\" is stopped\n"));
    let waiting = spawn(&["machine", "wait", "web", "--for", "deleted"]);
    daemon.ok("machine delete web -y");
    let ran = Ran::from(waiting.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    daemon.ok("machine wait web --for deleted");
}

#[test]
fn what_is_away_keeps_nothing_else_in_the_trash() {
    let daemon = Daemon::up();
    daemon.ok("pool create away --path /mnt/away");
    daemon.ok("volume create 1G --name a --pool away");
    daemon.ok("volume create 1G --name b");
    daemon.ok("volume delete a -y");
    daemon.ok("volume delete b -y");
    daemon.world.unplug_pools(true);
    daemon.refused("trash empty -y", "pool-offline", 4);
    assert_eq!(daemon.ok("trash list -o name"), "a\n");
    daemon.world.unplug_pools(false);
    daemon.ok("trash empty -y");
    assert_eq!(daemon.ok("trash list -o name"), "");
}

#[test]
fn quiet_is_quiet_and_patience_ends() {
    let daemon = Daemon::up();
    let ran = daemon.run("token create --role viewer -q");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("sis_"));
    for change in [
        "vm deploy debian --name web --quiet",
        "volume create 1G --name data -q",
        "machine volume attach web data -q",
        "volume rename data kept -q",
        "machine wait web -q",
        "machine stop web -q",
    ] {
        let ran = daemon.run(change);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""), "{change}");
    }
    assert_eq!(daemon.ok("volume create 1G --name other -q -o name"), "other\n");
    assert!(daemon.ok("volume list -q").contains("kept"));
    let ran = daemon.run("vm deploy debian --name slow --timeout 1ms");
    assert_eq!(ran.code, 124, "{ran:?}");
    assert!(ran.err.contains("sistemo operation wait "), "{ran:?}");
    daemon.ok("machine wait slow");
    daemon.refused("volume create 1G --timeout soon", "usage", 2);
}

#[test]
fn history_is_filtered_and_followed() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name a");
    daemon.refused("volume create 1G --name a", "name-taken", 4);
    let lines = |more: &str| daemon.ok(&format!("history {more}")).lines().count() - 1;
    assert_eq!(lines("--action volume"), 2);
    assert_eq!(lines("--failed"), 1);
    assert_eq!(lines("--target a --action volume.create"), 2);
    assert_eq!(lines("--actor nobody"), 0);
    assert_eq!(lines("--since 2100-01-01T00:00:00Z"), 0);
    assert_eq!(lines("--since 100d --limit 1"), 0, "the simulated clock is in 2023");
    daemon.refused("history --since yesterday", "usage", 2);
    daemon.refused("history --action volum", "invalid-request", 2);
    let mut following =
        common::command(daemon.dir.path(), &["history", "-f", "--action", "volume", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut told = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&told.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["outcome"], "succeeded");
    assert_eq!(next()["outcome"], "refused");
    daemon.ok("volume create 1G --name b");
    let line = next();
    assert_eq!((&line["target"]["name"], &line["outcome"]), (&"b".into(), &"succeeded".into()));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn numbers_are_told() {
    let daemon = Daemon::up();
    daemon.ok("vm deploy debian --name web");
    assert_eq!(daemon.ask("GET /readyz", "").1, "ready\n");
    let (head, body) = daemon.ask("GET /metrics", "");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let text = body.as_str().unwrap();
    assert!(text.contains("\nsistemo_volume_allocated_bytes{volume=\"web-root\"} "), "{text}");
    for line in [
        "sistemo_machines{phase=\"running\"} 1",
        "sistemo_volume_bytes{volume=\"web-root\",role=\"root\"} 2147483648",
        "sistemo_pool_free_bytes{pool=\"default\"} 549755813888",
        "sistemo_pool_committed_bytes{pool=\"default\"} 2147483648",
        "# TYPE sistemo_machine_cpu_seconds_total counter",
        "sistemo_operation_duration_seconds_count{verb=\"machine.deploy\",outcome=\"succeeded\"} 1",
        "sistemo_http_request_duration_seconds_count{method=\"POST\",status=\"202\"} 1",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    // Every line is a comment, or a name, perhaps labels, and a number.
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("sistemo_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(daemon.tcp("GET /metrics", &[], "").0, 401);
}
