//! Volumes and their machines.

use crate::{GIB, ROOT_FS, is_clean};
use e2e::{Host, until};
use std::time::Duration;

#[test]
fn data_moves_between_machines_and_is_found_whatever_the_order() {
    let host = Host::seeded("move");
    host.ok("volume create 1G --name one");
    host.ok("volume create 1G --name two");
    host.ok("machine deploy debian --name web --attach two --attach one:/srv/first");
    host.sh("web", "echo 1 > /srv/first/mark; echo 2 > /mnt/two/mark");
    let disks = host.json("machine show web");
    for disk in disks["volumes"].as_array().unwrap() {
        let device = disk["device"].as_str().unwrap();
        // udev, which makes the link, comes with the guest's own init.
        until("its link is there", Duration::from_secs(120), || {
            let ran = host.run(&format!("machine exec web -- test -b /dev/disk/by-id/{device}"));
            (ran.code == 0).then_some(())
        });
    }
    host.ok("machine stop web");
    host.ok("machine volume detach web two");
    host.ok("machine deploy debian --name api --attach two");
    assert_eq!(host.sh("api", "cat /mnt/two/mark"), "2");
    // While `api` runs, `web` starts with what it has left.
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /srv/first/mark; ls /mnt"), "1\ntwo");
    host.refused("machine volume attach web two", "volume-in-use", 4);
    host.ok("machine stop web");
    host.refused("machine volume attach web two", "volume-in-use", 4);
    host.ok("machine stop api");
    host.ok("machine volume detach api two");
    host.ok("machine volume attach web two");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /srv/first/mark /mnt/two/mark"), "1\n2");

    host.ok("machine delete web -y");
    host.ok("machine delete api -y");
    let left = host.json("volume list");
    let names: Vec<_> = left["items"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["one", "two"]);
    let trash = std::fs::read_dir(host.data().join("pools/default/trash")).unwrap().count();
    assert!(trash >= 2, "the root volumes are in the trash");
    host.ok("volume create 1G --name web-root");
}

#[test]
fn what_was_deleted_comes_back_with_its_data() {
    let host = Host::seeded("undelete");
    host.ok("volume create 64M --name data");
    host.ok("machine deploy debian --name web --attach data");
    host.sh("web", "echo root >/root/mark; echo data >/mnt/data/mark; sync");
    let said = host.ok("machine delete web -y");
    assert!(said.contains("`sistemo machine restore web` takes it back"), "{said}");
    host.refused("machine show web", "machine-not-found", 3);
    host.ok("volume delete data -y");
    host.ok("volume restore data");
    host.ok("machine restore web");
    host.ok("machine start web");
    assert_eq!(host.sh("web", "cat /root/mark /mnt/data/mark"), "root\ndata");
    host.refused("machine restore web", "not-deleted", 4);
    host.ok("machine delete web -y --now");
    host.refused("machine restore web", "machine-not-found", 3);
    assert!(host.ok("trash list").lines().count() == 1, "nothing is left");
}

#[test]
fn a_read_only_and_an_unmounted_volume() {
    let host = Host::seeded("modes");
    host.ok("volume create 64M --name ro");
    host.ok("volume create 64M --name bare");
    host.ok("machine deploy debian --name web --attach ro:/mnt/ro:ro --attach bare:none");
    assert_eq!(host.sh("web", "touch /mnt/ro/x 2>/dev/null || echo no"), "no");
    assert_eq!(host.sh("web", "findmnt -rno SOURCE | grep -c ^/dev/vd"), "3", "root, modules and ro");
}

#[test]
fn every_slot_holds_a_volume() {
    let host = Host::seeded("slots");
    let names: Vec<String> = (1..=24).map(|n| format!("d{n}")).collect();
    for name in &names {
        host.ok(&format!("volume create 16M --name {name}"));
    }
    let attach: String = names.iter().map(|n| format!(" --attach {n}")).collect();
    host.ok(&format!("machine deploy debian --name web{attach}"));
    assert_eq!(host.sh("web", "ls /mnt | wc -l; findmnt -rno TARGET | grep -c ^/mnt/d"), "24\n24");
    host.ok("volume create 16M --name d25");
    host.ok("machine stop web");
    host.refused("machine volume attach web d25", "no-free-slot", 4);
}

#[test]
fn a_large_growth_goes_on_behind_hello_and_survives_a_kill() {
    let host = Host::seeded("growth");
    host.ok("volume create 1G --name big");
    host.ok("machine deploy debian --name web --attach big");
    host.sh("web", "echo here > /mnt/big/mark");
    host.ok("machine stop web");
    host.ok("volume resize big 2T");
    host.ok("machine start web");
    let size = "df -B1 --output=size /mnt/big | tail -1";
    let began: u64 = host.sh("web", size).parse().unwrap();
    println!("    after the start: {} GiB of 2048", began / GIB);
    // The plug is pulled in the middle.
    let middle = until("it grows", Duration::from_secs(120), || {
        let now: u64 = host.sh("web", size).parse().unwrap();
        (now > 300 * GIB).then_some(now)
    });
    let id = host.json("machine show web")["id"].as_str().unwrap().to_owned();
    let (pid, _) = e2e::hypervisor(&id).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("the daemon sees it", Duration::from_secs(60), || {
        (host.json("machine show web")["phase"] == "stopped").then_some(())
    });
    println!("    killed at {} GiB", middle / GIB);
    host.ok("machine start web");
    // Looked at in the guest, since a command from the host takes more of an emulated one than a growth.
    let wait = format!(
        "for i in $(seq 600); do now=$({size}); [ $now -gt {} ] && exit; sleep 1; done; echo $now; dmesg | tail -n 40",
        2000 * GIB
    );
    assert_eq!(host.sh("web", &wait), "", "it is grown");
    // A word of its own: a busy host's guest says that it cannot count its loops.
    let odd = r"dmesg | grep -i -E '\<oops|BUG:|ext4.*error'";
    assert_eq!(host.sh("web", &format!("cat /mnt/big/mark; {odd} || true")), "here");
}

#[test]
fn resizes_cost_the_same_and_only_grow() {
    let host = Host::seeded("resize");
    host.ok("machine deploy debian --name web");
    host.ok("machine stop web");
    assert!(is_clean(&host.file_of("web-root")));
    host.refused("volume resize web-root 1GB", "cannot-shrink", 4);
    host.ok("volume resize web-root 2GB");
    host.ok("volume resize web-root 3GB");
    // A start right after a resize waits for it.
    let mut resize = host.begin(&["volume", "resize", "web-root", "4GB"]);
    until("it is accepted", Duration::from_secs(20), || {
        host.run("volume show web-root -o json").out.contains(&(4 * GIB).to_string()).then_some(())
    });
    host.ok("machine start web");
    assert!(resize.wait().unwrap().success());
    host.sh_until("web", ROOT_FS, |said| said == (4 * GIB).to_string());
}
