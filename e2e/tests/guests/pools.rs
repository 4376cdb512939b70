//! Pools, and volumes that move between them.

use e2e::{Host, until};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The loop devices of files below a directory: DIO and file of each.
fn devices(below: &Path) -> Vec<String> {
    let output = Command::new("losetup").args(["-n", "-O", "DIO,BACK-FILE"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let ours = |l: &&str| l.contains(below.to_str().unwrap());
    text.lines().filter(ours).map(|l| l.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn a_fast_pool_clones_at_once_and_volumes_move_with_their_data() {
    let mut host = Host::seeded("pools");
    let said = host.ok("pool create fast --size 1500M");
    assert!(said.contains("pool \"fast\""), "{said}");
    assert_eq!(devices(host.data()), ["1"], "direct I/O");
    host.refused("pool create fast --size 1G", "name-taken", 4);
    host.refused("pool create tiny --size 100M", "invalid-size", 2);
    host.refused("pool create much --size 15TB", "pool-full", 4);
    host.refused("pool create other --path /nowhere/at/all", "invalid-request", 2);
    host.refused("pool delete default -y", "invalid-request", 2);
    host.refused("volume create 1G --pool none", "pool-not-found", 3);
    let shown = host.json("pool show fast");
    assert_eq!((&shown["status"], &shown["shares_blocks"]), (&"online".into(), &true.into()));

    host.ok("volume create 256M --name data");
    host.ok("machine deploy debian --name web --pool fast --attach data");
    assert_eq!(host.json("volume show web-root")["pool"], "fast");
    let sum = host
        .sh("web", "dd if=/dev/urandom of=/mnt/data/x bs=1M count=64 2>/dev/null; sync; md5sum </mnt/data/x");
    host.sh("web", "echo root >/root/mark; sync");
    host.refused("volume move data --pool fast", "machine-running", 4);
    host.ok("machine stop web");
    let before = host.file_of("data");
    host.ok("volume snapshot data --name then");
    host.ok("volume move data --pool fast");
    assert!(!before.exists() && host.file_of("data").exists());
    assert_eq!(host.json("volume show data")["pool"], "fast");
    host.ok("volume move data --pool fast");

    let free = |host: &Host| host.json("pool show fast")["free_bytes"].as_u64().unwrap();
    let had = free(&host);
    host.ok("volume clone data --name copy");
    assert!(had - free(&host) < 1 << 20, "a clone in it shares its blocks");
    host.refused("pool delete fast -y", "pool-in-use", 4);

    // The host boots: what was mounted is not, and the next daemon mounts it.
    assert!(host.down());
    let at = host.data().join("pools/fast");
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    host.up();
    assert_eq!(host.json("pool show fast")["status"], "online");
    assert_eq!(devices(host.data()), ["1"], "no second device");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "md5sum </mnt/data/x; cat /root/mark"), format!("{sum}\nroot"));
    host.sh("web", "rm /mnt/data/x; sync");

    // The pool grows under a machine that runs; the volume goes back, killed on the way.
    host.ok("pool resize fast 2G");
    host.refused("pool resize fast 1G", "cannot-shrink", 4);
    host.ok("machine stop web");
    // Its snapshot stays where the volume was, and makes it what it was where it is now.
    assert_eq!(host.json("snapshot show then")["pool"], "default");
    host.ok("snapshot restore then");
    assert_eq!(host.json("snapshot list --volume data")["items"].as_array().unwrap().len(), 2);
    host.run("--no-wait volume move data --pool default");
    host.crash();
    host.up();
    until("it lives in one pool", Duration::from_secs(60), || {
        let shown = host.json("volume show data");
        (shown["condition"].is_null() && shown["generation"] == shown["observed_generation"]).then_some(())
    });
    host.ok("volume move data --pool default");
    assert_eq!(host.file_of("data"), before);
    host.ok("machine start web");
    assert_eq!(host.sh("web", "md5sum </mnt/data/x"), sum);

    host.ok("machine delete web -y --now");
    host.ok("volume delete copy -y");
    for snapshot in host.json("snapshot list")["items"].as_array().unwrap() {
        host.ok(&format!("snapshot delete {} -y", snapshot["name"].as_str().unwrap()));
    }
    host.refused("pool delete fast -y", "pool-in-use", 4);
    host.ok("trash empty -y");
    host.ok("pool delete fast -y");
    assert!(devices(host.data()).is_empty());
    let mut left: Vec<_> =
        std::fs::read_dir(host.data().join("pools")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["default"]);
}
