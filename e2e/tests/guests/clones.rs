//! Copies of volumes and machines: whole, independent, and somebody else.

use e2e::cut::{Kind, Place};
use e2e::{Host, until};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Everything that two machines must not have in common, a line each.
const WHO: &str = "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; \
     findmnt -no UUID / || true; findmnt -no UUID /mnt/appdata /mnt/twin-appdata || true; \
     ip -4 -o addr show scope global | awk '{print $4}'; cat /sys/class/net/e*/address";
const UUIDS: &str = "for d in / /mnt/appdata /mnt/twin-appdata; do s=$(findmnt -no SOURCE $d) && \
     dumpe2fs -h $s 2>/dev/null | awk '/UUID/ {print $3}'; done; true";

/// Waits until the guest's own init has written down which machine it is, which it does after hello.
fn until_settled(host: &Host, machine: &str) {
    until("it has a machine id", Duration::from_secs(120), || {
        (host.run(&format!("machine exec {machine} -- test -s /etc/machine-id")).code == 0).then_some(())
    });
}

/// What runs is copied as it is at one moment, and goes on meanwhile.
fn live(host: &Host) {
    host.sh(
        "web",
        "(i=0; while sleep 0.1; do i=$((i+1)); echo $i > /mnt/appdata/n.new; sync; \
        mv /mnt/appdata/n.new /mnt/appdata/n; done) > /dev/null 2>&1 & echo $! > /run/writer; \
        timeout 300 sh -c 'while ! test -s /mnt/appdata/n; do sleep 0.1; done'",
    );
    host.ok("volume clone appdata --name still --storage 512M");
    host.ok("machine clone web --name live");
    host.sh(
        "web",
        "timeout 300 sh -c 'n=$(cat /mnt/appdata/n); while test $(cat /mnt/appdata/n) = $n; do sleep 0.1; done' && \
        kill $(cat /run/writer); rm /mnt/appdata/n",
    );
    assert_eq!(host.json("snapshot list")["items"].as_array().unwrap().len(), 0);
    let seen =
        host.sh("live", "cat /root/mark /mnt/live-appdata/mark; test -s /mnt/live-appdata/n; hostname");
    assert_eq!(seen, "root\ndata\nlive");
    host.ok("machine volume attach live still");
    assert_eq!(host.sh("live", "cat /mnt/still/mark; test -s /mnt/still/n; rm /mnt/still/n"), "data");
    assert_eq!(host.sh("live", "dmesg | grep -c -i -E 'ext4.*(error|warning)' || true"), "0");
    host.ok("machine delete live -y --now");
    for volume in ["still", "live-appdata"] {
        host.ok(&format!("volume delete {volume} -y --now"));
    }
}

/// A machine with data is copied; then both run.
fn copies(host: &Host) {
    host.ok("volume create 256M --name appdata");
    host.ok("machine deploy debian --name web --attach appdata");
    host.sh("web", "echo data > /mnt/appdata/mark; echo root > /root/mark; sync");
    until_settled(host, "web");
    live(host);
    let was = (host.sh("web", WHO), host.sh("web", UUIDS));
    host.ok("machine stop web");
    host.refused("volume clone nothing --name copy", "volume-not-found", 3);
    host.refused("volume clone appdata --name web-root", "name-taken", 4);
    host.refused("volume clone appdata --name copy --storage 64M", "volume-too-small", 4);
    host.refused("machine clone web --name web", "name-taken", 4);

    host.ok("machine clone web --name twin");
    host.ok("machine start web");
    until_settled(host, "web");
    until_settled(host, "twin");
    assert_eq!(host.sh("twin", "cat /root/mark /mnt/twin-appdata/mark"), "root\ndata");
    assert_eq!((host.sh("web", WHO), host.sh("web", UUIDS)), was, "what was copied is what it was");
    let twin = (host.sh("twin", WHO), host.sh("twin", UUIDS));
    let lines = |who: &(String, String)| -> Vec<String> {
        format!("{}\n{}", who.0, who.1).lines().map(str::to_owned).collect()
    };
    let (web, twin) = (lines(&was), lines(&twin));
    println!("    web  {web:?}\n    twin {twin:?}");
    assert_eq!(web.len(), twin.len());
    assert!(web.len() >= 7, "{web:?}");
    for line in &web {
        assert!(!twin.contains(line), "both have {line}");
    }
    // Neither follows the other, and who it is stays.
    host.sh("web", "echo more > /mnt/appdata/mark; sync");
    assert_eq!(host.sh("twin", "cat /mnt/twin-appdata/mark"), "data");
    host.ok("machine restart twin");
    until_settled(host, "twin");
    let again = lines(&(host.sh("twin", WHO), host.sh("twin", UUIDS)));
    assert_eq!(again, twin);
    assert_eq!(host.sh("twin", "dmesg | grep -c -i -E 'ext4.*(error|warning)' || true"), "0");

    host.ok("machine stop twin");
    host.ok("volume clone twin-appdata --name larger --storage 1GB");
    host.ok("machine volume attach twin larger");
    host.ok("machine start twin");
    let grown = "cat /mnt/larger/mark; test $(df -m --output=size /mnt/larger | tail -1) -gt 800";
    host.sh_until("twin", grown, |said| said == "data");
    host.ok("machine delete twin -y");
    let left = host.json("volume list");
    let names: Vec<_> = left["items"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["appdata", "larger", "twin-appdata", "web-root"]);
}

#[test]
fn copies_on_ext4() {
    copies(&Host::seeded("copies"));
}

#[test]
fn copies_on_xfs() {
    let place = Place::new().unwrap();
    let _mounted = place.plain(Kind::Xfs, 6144 * MIB).unwrap();
    let data = place.data().join("sistemo");
    let host = Host::seeded_at(&data, &place.disk().with_file_name("daemon.log"), &[]);
    copies(&host);
}
