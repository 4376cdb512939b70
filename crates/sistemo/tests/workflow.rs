//! The announcement's workflow through the real command line, API and engine, on simulated ports.

mod common;

use common::Ran;
use common::daemon::Daemon;

#[test]
fn the_announcement() {
    let daemon = Daemon::up();
    daemon.ok("machine deploy debian --name web --storage 5GB");
    assert_eq!(
        daemon.ok("volume list"),
        "NAME         SIZE    STATUS     ATTACHED TO   TYPE\n\
         web-root     5.0GB   attached   web           root\n"
    );
    daemon.ok("volume create 2G --name appdata");
    daemon.ok("machine volume attach web appdata");
    daemon.ok("volume resize appdata 3G");
    daemon.refused("volume trim nothing", "volume-not-found", 3);
    assert_eq!(daemon.json("volume trim appdata")["trimmed_bytes"], 0);
    daemon.refused("machine volume detach web web-root", "volume-in-use", 4);
    daemon.refused("machine volume detach web appdata --force", "not-confirmed", 4);
    let warns = |quiet: &str| {
        let ran = daemon.run(&format!("machine volume detach web appdata --force -y{quiet}"));
        assert_eq!(ran.code, 0, "{ran:?}");
        daemon.ok("machine volume attach web appdata");
        ran.err.starts_with("warning: programs in the guest")
    };
    assert!(warns("") && !warns(" -q"));
    daemon.ok("machine volume detach web appdata");
    daemon.refused("volume trim appdata", "volume-not-attached", 4);
    daemon.ok("machine stop web");
    daemon.ok("machine volume attach web appdata");
    daemon.refused("volume trim appdata", "machine-not-running", 4);
    daemon.refused("volume delete appdata -y", "volume-in-use", 4);
    daemon.ok("machine start web");
    daemon.ok("machine stop web");
    daemon.ok("volume resize web-root 10GB");
    daemon.refused("volume resize web-root 1GB", "cannot-shrink", 4);
    daemon.ok("machine start web");
    daemon.refused("machine delete web --preserve-storage", "not-confirmed", 4);
    let gone = daemon.ok("machine delete web --preserve-storage -y");
    assert!(gone.contains("web-root") && gone.contains("appdata"), "{gone}");
    assert_eq!(
        daemon.ok("volume ls"),
        "NAME         SIZE     STATUS     ATTACHED TO   TYPE\n\
         appdata      3.0GB    detached   -             data\n\
         web-root     10.0GB   detached   -             root\n"
    );
    let machine = daemon.json("machine deploy --volume web-root --name web2");
    assert_eq!(machine["phase"], "running");
    assert_eq!(machine["root_volume"], "web-root");
    daemon.refused("machine show web", "machine-not-found", 3);
    daemon.refused("vm deploy debian --name web2", "name-taken", 4);
}

#[test]
fn history_and_views_carry_their_fields() {
    let daemon = Daemon::up();
    let volume = daemon.json("volume create 1.5G --name data");
    for field in ["id", "name", "status", "condition", "attached_to", "role", "pool", "size_bytes"] {
        assert!(volume.get(field).is_some(), "{field}: {volume}");
    }
    assert_eq!(volume["size_bytes"], 1536u64 << 20);
    let id = volume["id"].as_str().unwrap();
    assert_eq!(daemon.json(&format!("volume show {id}"))["name"], "data");
    daemon.refused("volume show nothing", "volume-not-found", 3);
    daemon.refused("volume create 1G --name data", "name-taken", 4);
    let history = daemon.json("history");
    let newest = &history["items"][0];
    assert_eq!(newest["outcome"], "refused");
    assert_eq!(newest["problem"]["code"], "name-taken");
    assert_ne!(newest["actor"], "");
    assert!(daemon.ok("history -n 1").lines().count() == 2);
    assert_eq!(daemon.json("status")["volumes"], 1);
    assert_eq!(daemon.json("network list")["items"].as_array().unwrap().len(), 1);
    daemon.ok("volume rm data -y");
    assert_eq!(daemon.ok("volume ls").lines().count(), 1);
}

#[test]
fn exec_passes_arguments_input_outputs_and_status() {
    use std::io::Write;
    use std::process::Stdio;
    let daemon = Daemon::up();
    daemon.refused("machine exec web -- ls", "machine-not-found", 3);
    daemon.ok("vm deploy debian --name web");
    let mut child = common::command(
        daemon.dir.path(),
        &["machine", "exec", "web", "--", "sh", "-c", "a  'b' \"c\"\n$d", ""],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let input = "x".repeat(300_000);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "[\"sh\", \"-c\", \"a  'b' \\\"c\\\"\\n$d\", \"\"]\n");
    assert_eq!(ran.err, input);
    daemon.refused("machine exec web -- missing", "guest-failed", 1);
    assert_eq!(daemon.ok("machine logs web"), "booting\r\nlogin: ");
    daemon.refused("machine ssh web", "tool-missing", 4);
    daemon.ok("machine stop web");
    daemon.refused("machine exec web -- ls", "machine-not-running", 4);
}

#[test]
fn what_was_deleted_can_be_taken_back() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name appdata");
    let said = daemon.ok("volume delete appdata -y");
    assert!(said.contains("; until 2") && said.contains("`sistemo volume restore appdata`"), "{said}");
    daemon.ok("volume create 2G --name appdata");
    daemon.refused("volume restore appdata", "name-taken", 4);
    let listed = daemon.ok("volume list --deleted");
    assert!(listed.starts_with("NAME         SIZE    DELETED"), "{listed}");
    assert_eq!(daemon.ok("volume restore appdata --name old"), "volume \"old\" of 1.0GB is back\n");
    daemon.refused("volume restore appdata", "not-deleted", 4);
    daemon.refused("volume restore nothing", "volume-not-found", 3);
    daemon.refused("machine restore web", "machine-not-found", 3);
    let gone = daemon.json("volume delete old -y");
    assert!(gone["restorable_until"].is_string(), "{gone}");
    daemon.ok("vm deploy debian --name web --attach appdata");
    daemon.ok("machine delete web -y");
    let shown = daemon.json("machine list --deleted");
    assert!(shown["items"][0]["restorable_until"].is_string(), "{shown}");
    assert_eq!(daemon.ok("machine restore web"), "machine \"web\" is stopped\n");
    assert_eq!(daemon.json("machine show web")["volumes"].as_array().unwrap().len(), 2);
    daemon.ok("machine delete web -y");
    assert_eq!(daemon.ok("trash list").lines().count(), 4, "a machine, its root and a volume");
    daemon.refused("trash empty", "not-confirmed", 4);
    daemon.ok("trash empty -y");
    assert_eq!(daemon.ok("trash list").lines().count(), 1);
    assert_eq!(daemon.ok("trash empty"), "the trash is empty\n");
    daemon.ok("volume delete appdata -y --now");
    daemon.refused("volume restore appdata", "volume-not-found", 3);
}

#[test]
fn names_labels_and_protection_change_nothing_else() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name appdata --label env=prod --label tier=db");
    daemon.ok("volume create 1G --name logs");
    daemon.refused("volume create 1G --name x --label Env=prod", "invalid-request", 2);
    let names =
        |line: &str| daemon.ok(line).lines().skip(1).map(|l| l[..8].trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(names("volume list -l env=prod"), ["appdata"]);
    assert!(names("volume list -l env=prod -l tier=web").is_empty());
    daemon.ok("volume label appdata env=test tier-");
    assert_eq!(daemon.json("volume show appdata")["labels"], serde_json::json!({"env": "test"}));
    daemon.ok("volume protect appdata");
    daemon.refused("volume delete appdata -y", "protected", 4);
    daemon.refused("volume rename appdata logs", "name-taken", 4);
    assert_eq!(daemon.ok("volume rename appdata db"), "volume \"appdata\" is called \"db\"\n");
    daemon.refused("volume show appdata", "volume-not-found", 3);
    assert_eq!(daemon.json("volume show db")["protected"], true);
    daemon.ok("volume unprotect db");
    daemon.ok("volume delete db -y");
    daemon.ok("vm deploy debian --name web --label env=prod");
    daemon.ok("volume protect web-root");
    daemon.refused("machine delete web -y", "protected", 4);
    daemon.ok("volume unprotect web-root");
    daemon.ok("machine stop web");
    daemon.ok("volume snapshot web-root --name before");
    daemon.ok("machine protect web");
    daemon.refused("machine delete web -y", "protected", 4);
    daemon.refused("snapshot restore before", "protected", 4);
    daemon.ok("machine rename web site");
    daemon.ok("machine unprotect site");
    daemon.ok("snapshot restore before");
    assert_eq!(daemon.json("machine list -l env=prod")["items"][0]["name"], "site");
    // What stays when a machine is deleted is in nobody's way.
    daemon.ok("volume create 1G --name data");
    daemon.ok("machine volume attach site data");
    daemon.ok("machine clone site --name copy");
    daemon.ok("volume protect copy-data");
    assert!(daemon.json("volume show copy-data")["owner"].is_null());
    assert_eq!(daemon.json("volume show copy-root")["owner"], "copy");
    daemon.ok("machine delete copy -y");
    assert_eq!(daemon.json("volume show copy-data")["status"], "detached");
    daemon.ok("machine delete site -y");
}

#[test]
fn two_volumes_are_never_at_one_place_and_a_clone_says_where_its_are() {
    let daemon = Daemon::up();
    daemon.ok("volume create 1G --name a");
    daemon.ok("volume create 1G --name b");
    daemon.refused("vm deploy debian --name web --attach a:/mnt/b --attach b", "invalid-request", 2);
    daemon.refused("machine show web", "machine-not-found", 3);
    daemon.ok("vm deploy debian --name web --attach a:/mnt/c --attach b");
    daemon.refused("volume rename b c", "invalid-request", 2);
    assert_eq!(daemon.json("volume show b")["name"], "b");
    let cloned = daemon.run("machine clone web --name twin");
    assert_eq!(cloned.code, 0, "{cloned:?}");
    for said in ["has at /mnt/b,", "has at /mnt/twin-b:", "`sistemo pool create fast --size"] {
        assert!(cloned.err.contains(said), "{said}: {cloned:?}");
    }
}

#[test]
fn pools_and_volumes_that_move_between_them() {
    let daemon = Daemon::up();
    let said = daemon.ok("pool create fast --size 20GB");
    assert_eq!(said, "pool \"fast\" with 500.0GB free is ready at /pools/fast\n");
    daemon.refused("pool create fast --size 20GB", "name-taken", 4);
    daemon.refused("pool create default --size 20GB", "name-taken", 4);
    daemon.refused("pool create other --size 200M", "invalid-size", 2);
    daemon.refused("pool create other --size 2TB", "pool-full", 4);
    daemon.ok("pool create big --path /mnt/big");
    daemon.refused("pool create big2 --path /mnt/big", "conflict", 4);
    let sparse = daemon.run("pool create thin --size 1GB --sparse");
    assert!(sparse.code == 0 && sparse.err.contains("warning: its file takes room only"), "{sparse:?}");
    assert_eq!(
        daemon.ok("pool list"),
        "NAME         KIND        STATUS   SIZE       FREE      VOLUMES   REFLINK\n\
         big          directory   online   1000.0GB   500.0GB   0         no\n\
         default      directory   online   1000.0GB   500.0GB   0         no\n\
         fast         loop        online   1000.0GB   500.0GB   0         no\n\
         thin         loop        online   1000.0GB   500.0GB   0         no\n"
    );
    daemon.refused("volume create 1G --pool none", "pool-not-found", 3);
    daemon.ok("volume create 1G --name data --pool fast");
    let big = daemon.json("pool show big")["id"].as_str().unwrap().to_owned();
    daemon.ok(&format!("volume clone data --name copy --pool {big}"));
    daemon.ok("machine deploy debian --name web --attach data");
    let web = daemon.json("machine show web")["id"].as_str().unwrap().to_owned();
    daemon.ok("machine snapshot web --name first");
    let of = |machine: &str| daemon.json(&format!("snapshot list --machine {machine}"))["items"].clone();
    assert_eq!((of("web").as_array().unwrap().len(), of(&web)), (2, of("web")));
    daemon.ok("snapshot delete first --now -y");
    daemon.ok("snapshot delete first-data --now -y");
    daemon.refused("volume move data --pool big", "machine-running", 4);
    daemon.ok("machine stop web");
    assert_eq!(daemon.ok("volume move data --pool big"), "volume \"data\" lives in pool \"big\"\n");
    daemon.ok("volume move data --pool big");
    daemon.refused("volume move data --pool none", "pool-not-found", 3);
    assert_eq!(daemon.json("volume show data")["pool"], "big");
    assert_eq!(daemon.json("pool show big")["volumes"], 2);
    daemon.refused("pool delete big -y", "pool-in-use", 4);
    daemon.refused("pool delete default -y", "invalid-request", 2);
    daemon.refused("pool resize big 1TB", "invalid-request", 2);
    daemon.refused("pool resize fast 10GB", "cannot-shrink", 4);
    daemon.ok("pool resize fast 30GB");
    daemon.refused("pool delete big --lost -y", "conflict", 4);
    daemon.refused("pool delete fast", "not-confirmed", 4);
    daemon.ok("pool delete fast -y");
    daemon.refused("pool show fast", "pool-not-found", 3);
    let history = daemon.ok("history");
    for verb in ["pool.create", "pool.resize", "pool.delete", "volume.move"] {
        assert!(history.contains(verb), "{verb}: {history}");
    }
}
