//! Snapshots: what was, kept whole, and had again.

use e2e::cut::{Kind, Place};
use e2e::{Host, until};
use std::os::unix::fs::MetadataExt;

const MIB: u64 = 1 << 20;

fn names(host: &Host) -> Vec<String> {
    let list = host.json("snapshot list");
    list["items"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
}

/// The snapshot that a restore made of what was there, by what the command said.
fn kept(said: &str) -> String {
    said.trim().rsplit('"').nth(1).unwrap().to_owned()
}

/// Written, snapshotted, changed, had again, and what came later too.
fn at_rest(host: &Host) {
    host.ok("volume create 256M --name appdata");
    host.ok("machine deploy debian --name web --attach appdata");
    host.sh("web", "echo one > /mnt/appdata/mark; echo one > /root/mark; sync");
    host.ok("machine stop web");
    let said = host.ok("machine snapshot web --name first");
    assert!(said.contains("filesystem consistent"), "{said}");
    assert_eq!(names(host), ["first", "first-appdata"]);
    host.refused("volume snapshot appdata --name first", "name-taken", 4);

    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /mnt/appdata/mark"), "one");
    host.sh("web", "echo two > /mnt/appdata/mark; echo two > /root/mark; sync");
    host.refused("snapshot restore first", "machine-running", 4);
    host.ok("machine stop web");
    let (data, root) =
        (kept(&host.ok("snapshot restore first-appdata")), kept(&host.ok("snapshot restore first")));
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /mnt/appdata/mark /root/mark"), "one\none");
    host.ok("machine stop web");
    // Newer ones are there as well as older ones, and all disks are had at once.
    host.ok(&format!("snapshot restore {data}"));
    host.ok(&format!("snapshot restore {root}"));
    let said = host.ok("snapshot restore first-appdata --all");
    assert_eq!(said.lines().count(), 2, "{said}");
    let back = host.ok(&format!("snapshot restore {} --all", kept(&said)));
    print!("    {said}    {back}");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /mnt/appdata/mark /root/mark"), "two\ntwo");
    assert_eq!(names(host).len(), 10);

    // One boots beside it, and one can be looked at as it is; a volume's snapshots outlive it.
    host.refused("machine volume attach web first-appdata", "volume-not-found", 3);
    host.refused("volume clone appdata --name view --read-only", "read-only", 4);
    host.refused("machine deploy --volume first-appdata --name old", "volume-not-bootable", 4);
    host.ok("volume clone first-appdata --name view --read-only");
    host.refused("volume resize view 1GB", "read-only", 4);
    host.ok("machine deploy --volume first --name old --attach view");
    assert_eq!(host.sh("old", "cat /mnt/view/mark /root/mark"), "one\none");
    assert_eq!(host.sh("old", "touch /mnt/view/mark 2>/dev/null || echo refused"), "refused");
    host.ok("machine volume detach old view");
    host.ok("machine volume attach web view");
    assert_eq!(host.sh("web", "cat /mnt/view/mark /mnt/appdata/mark"), "one\ntwo");
    host.ok("machine volume detach web view");
    host.ok("machine stop web");
    host.ok("volume protect appdata");
    host.refused("snapshot restore first-appdata", "protected", 4);
    host.refused("snapshot restore first --all", "protected", 4);
    host.ok("volume unprotect appdata");
    host.ok("machine volume detach web appdata");
    host.ok("volume delete appdata --now -y");
    assert_eq!(host.json("snapshot show first-appdata")["volume"], "appdata");
    host.refused("snapshot restore first-appdata", "volume-not-found", 3);
    host.ok("volume clone first-appdata --name appdata");
    let said = host.ok("snapshot delete first -y");
    assert!(said.contains("`sistemo snapshot undelete first` takes it back"), "{said}");
    assert_eq!(host.json("snapshot list --deleted")["items"][0]["name"], "first");
    assert_eq!(host.json("storage df")["items"][0]["content"]["trash"]["count"], 1);
    host.ok("snapshot undelete first");
    for name in names(host) {
        host.ok(&format!("snapshot delete {name} -y"));
    }
    host.ok("trash empty -y");
    assert_eq!(names(host), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(host.data().join("pools/default/snapshots")).unwrap().count(), 0);
}

/// The same of a machine that runs and goes on running.
fn live(host: &Host, shares: bool) {
    host.ok("volume create 256M --name appdata");
    host.ok("volume create 64M --name bare --fs none");
    host.ok("machine deploy debian --name web --attach appdata --attach bare:none");
    host.sh("web", "echo one > /mnt/appdata/mark; echo one > /root/mark");
    // What is written all the while comes to all disks in the same order; `<>` does not empty a file.
    let machine = host.json("machine show web");
    let disk = machine["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "bare").unwrap();
    let bare = format!("/dev/disk/by-id/{}", disk["device"].as_str().unwrap());
    let writer = format!(
        "nohup sh -c 'i=10000; while i=$((i+1)); do echo $i 1<>/root/n; echo $i 1<>/mnt/appdata/n; \
         echo $i | dd of={bare} bs=512 conv=sync oflag=direct; done' >/dev/null 2>&1 &"
    );
    host.sh("web", &writer);
    until("it is being written", e2e::PATIENCE, || {
        (host.run("machine exec web -- test -s /mnt/appdata/n").code == 0).then_some(())
    });
    lets_go_by_itself(host);
    let said = host.ok("machine snapshot web --name live");
    print!("    {said}");
    assert_eq!(said.matches("filesystem consistent").count(), 2, "{said}");
    assert_eq!(said.matches("crash consistent").count(), 1, "nobody held the bare one still: {said}");
    thin(host, "live");
    if !shares {
        // While the hypervisor copies, all of it is set aside.
        host.ok("volume create 1T --name vast --fs none");
        host.ok("machine volume attach web vast:none");
        host.refused("volume snapshot vast", "pool-full", 4);
        let said = host.run("volume snapshot vast").err;
        assert!(said.contains("stop the machine first"), "{said}");
        host.ok("machine volume detach web vast");
    }
    host.sh("web", "echo two > /mnt/appdata/mark; echo two > /root/mark; sync");
    assert!(host.ok("volume snapshot appdata --name later").contains("filesystem consistent"));
    host.refused("snapshot restore live", "machine-running", 4);
    host.ok("machine stop web");
    host.ok("snapshot restore live --all");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /mnt/appdata/mark /root/mark"), "one\none");
    let n = host.sh("web", "cat /root/n /mnt/appdata/n");
    let n: Vec<i64> = n.lines().map(|l| l.parse().unwrap()).collect();
    assert!((0..=1).contains(&(n[0] - n[1])), "of one instant: {n:?}");
    let third: i64 = host
        .sh("web", &format!("dd if={bare} bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\\0'"))
        .parse()
        .unwrap();
    assert!((0..=1).contains(&(n[1] - third)), "of one instant: {n:?} {third}");
    assert_eq!(host.sh("web", "dmesg | grep -c -i -E 'ext4.*(error|recovery)' || true"), "0");
    host.ok("machine stop web");
    host.ok("snapshot restore later");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /mnt/appdata/mark /root/mark"), "two\none");
    host.ok("machine delete web -y");
}

/// Holes of what is copied are holes in the copy, whoever copies.
fn thin(host: &Host, snapshot: &str) {
    let all = host.json(&format!("snapshot show {snapshot}"));
    let id = all["id"].as_str().unwrap();
    let at = host.data().join("pools/default/snapshots").join(format!("{id}.raw"));
    let (copy, volume) = (at.metadata().unwrap(), host.file_of("web-root").metadata().unwrap());
    assert_eq!(copy.len(), volume.len());
    let more = copy.blocks().saturating_sub(volume.blocks()) * 512;
    assert!(more < 64 * MIB, "{snapshot} takes {more} bytes more than its volume");
}

/// Nobody comes back to let the guest go on: it does so after a while, and says that it did.
fn lets_go_by_itself(host: &Host) {
    let script = "/proc/$(pgrep -o sistemo-agent)/exe freeze 10 < / | ( \
         read held disks; began=$(date +%s%N); echo late > /mnt/appdata/late; ended=$(date +%s%N); \
         read how; echo $held $how $(((ended - began) / 1000000)) )";
    let said = host.sh("web", script);
    let [held, how, waited] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!((held, how), ("held", "broken"));
    let waited: u64 = waited.parse().unwrap();
    assert!((500..60_000).contains(&waited), "a write waited {waited} ms");
    assert_eq!(host.sh("web", "cat /mnt/appdata/late"), "late");
}

#[test]
fn snapshots_live_on_ext4() {
    live(&Host::seeded("live-snapshots"), false);
}

#[test]
fn snapshots_live_on_xfs() {
    let place = Place::new().unwrap();
    let _mounted = place.plain(Kind::Xfs, 6144 * MIB).unwrap();
    let data = place.data().join("sistemo");
    live(&Host::seeded_at(&data, &place.disk().with_file_name("daemon.log"), &[]), true);
}

#[test]
fn snapshots_at_rest_on_ext4() {
    at_rest(&Host::seeded("snapshots"));
}

#[test]
fn snapshots_at_rest_on_xfs() {
    let place = Place::new().unwrap();
    let _mounted = place.plain(Kind::Xfs, 6144 * MIB).unwrap();
    let data = place.data().join("sistemo");
    at_rest(&Host::seeded_at(&data, &place.disk().with_file_name("daemon.log"), &[]));
}
