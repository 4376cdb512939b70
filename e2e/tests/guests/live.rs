//! Disks of machines that run: they grow, come, go, and give back what is not used.

use crate::{GIB, ROOT_FS};
use e2e::{Host, PATIENCE, hypervisor, until};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";

/// Restarts a guest from inside, and waits until it is back.
fn reboot(host: &Host, machine: &str) {
    let boot = host.sh(machine, BOOT);
    // Its init hears nothing before it is up.
    until("its init is up", Duration::from_secs(180), || {
        let ran = host.run(&format!("machine exec {machine} -- systemctl is-system-running --wait"));
        matches!(ran.out.trim(), "running" | "degraded").then_some(())
    });
    host.args(&["machine", "exec", machine, "--", "systemctl", "reboot"]);
    until("it is back", Duration::from_secs(180), || {
        let ran = host.args(&["machine", "exec", machine, "--", "sh", "-c", BOOT]);
        (ran.code == 0 && ran.out.trim() != boot).then_some(())
    });
}

/// The size of a file system in a guest, as `df` tells it.
fn df(host: &Host, machine: &str, path: &str) -> u64 {
    host.sh(machine, &format!("df -B1 --output=size {path} | tail -1")).trim().parse().unwrap()
}

#[test]
fn volumes_grow_come_and_go_in_running_machines() {
    let host = Host::seeded("live");
    host.ok("volume create 1G --name appdata");
    host.ok("machine deploy debian --name web --memory 256M");
    let id = host.json("machine show web")["id"].as_str().unwrap().to_owned();
    let (process, boot) = (hypervisor(&id).unwrap().0, host.sh("web", BOOT));

    host.refused("volume resize web-root 1GB", "cannot-shrink", 4);
    host.ok("volume resize web-root 10GB");
    host.sh_until("web", ROOT_FS, |said| said == (10 * GIB).to_string());
    assert!(df(&host, "web", "/") > 9 * GIB);

    host.ok("machine volume attach web appdata");
    host.sh_until("web", "findmnt -no TARGET /mnt/appdata", |said| said == "/mnt/appdata");
    host.sh("web", "echo one > /mnt/appdata/mark");
    host.refused("machine volume attach web appdata", "volume-in-use", 4);
    host.refused("volume delete appdata -y", "volume-in-use", 4);
    host.ok("volume resize appdata 3GB");
    until("it has grown", PATIENCE, || (df(&host, "web", "/mnt/appdata") > 2 * GIB).then_some(()));

    // While somebody uses it, it stays, and whoever that is can go on.
    host.sh("web", "cd /mnt/appdata && setsid sleep 7654 >/dev/null 2>&1 </dev/null & echo");
    let ran = host.run("machine volume detach web appdata");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("error[busy]") && ran.err.contains("sleep 7654"), "{ran:?}");
    assert!(ran.err.contains("--force"), "{ran:?}");
    host.sh("web", "echo two >> /mnt/appdata/mark; pkill -x sleep");
    assert_eq!(host.json("volume show appdata")["attached_to"], "web");
    host.ok("machine volume detach web appdata");
    assert_eq!(host.json("volume show appdata")["status"], "detached");
    assert_eq!(host.sh("web", "findmnt -no TARGET /mnt/appdata || ls /sys/block | grep -c ^vd"), "2");
    host.refused("machine volume detach web appdata", "volume-not-attached", 4);
    assert_eq!(hypervisor(&id).unwrap().0, process);
    assert_eq!(host.sh("web", BOOT), boot);

    // Another machine that runs gets it as it was left, and has it again after a restart inside.
    host.ok("machine deploy debian --name api --memory 256M");
    host.ok("machine volume attach api appdata:/srv/data");
    host.sh_until("api", "cat /srv/data/mark", |said| said == "one\ntwo");
    reboot(&host, "api");
    until("it is mounted", PATIENCE, || {
        (host.args(&["machine", "exec", "api", "--", "cat", "/srv/data/mark"]).out == "one\ntwo\n")
            .then_some(())
    });

    // Pulled out while it is used: only with a word, and then at once.
    host.sh("api", "cd /srv/data && setsid sleep 7655 >/dev/null 2>&1 </dev/null & echo");
    host.refused("machine volume detach api appdata --force", "not-confirmed", 4);
    host.ok("machine volume detach api appdata --force -y");
    assert_eq!(host.json("volume show appdata")["status"], "detached");
    assert_eq!(host.sh("api", "findmnt -no TARGET /srv/data || ls /sys/block | grep -c ^vd"), "2");
    host.ok("machine volume attach web appdata:none");
    // A guest sees what was plugged in a moment later.
    host.sh_until("web", "ls /sys/block | grep -c ^vd", |said| said == "3");
    assert_eq!(host.sh("web", "findmnt -rno SOURCE | grep -c ^/dev/vd"), "2");
    let (_, name) = named(&host, "web", "appdata");
    host.sh_until("web", &format!("test -b {name} && echo there"), |said| said == "there");
    reboot(&host, "api");
    assert_eq!(host.sh("api", "ls /sys/block | grep -c ^vd"), "2");

    // What is mounted by its name stays where it is until its machine starts anew, whatever it is called.
    let mounted = "findmnt -rno TARGET | grep ^/mnt/ | sort; cat /mnt/*/mark";
    host.ok("volume create 64M --name data");
    host.ok("machine volume attach api data");
    host.sh_until("api", "findmnt -no TARGET /mnt/data", |said| said == "/mnt/data");
    host.sh("api", "echo kept > /mnt/data/mark");
    host.ok("volume rename data kept");
    host.ok("machine label api a=b");
    assert_eq!(host.sh("api", mounted), "/mnt/data\nkept");
    // Nor is its place another's.
    host.ok("volume create 64M --name data");
    let ran = host.run("machine volume attach api data");
    assert!(ran.code == 0 && ran.err.contains("warning: "), "{ran:?}");
    assert_eq!(host.sh("api", mounted), "/mnt/data\nkept");

    // An image without an init has no udev: the agent names its disks, also those that come later.
    host.sh("api", "rm -f /sbin/init /lib/systemd/systemd");
    host.ok("machine restart api");
    assert_eq!(host.sh("api", "pidof systemd-udevd || cat /proc/1/comm"), "sistemo-agent");
    assert_eq!(host.sh("api", mounted), "/mnt/data\n/mnt/kept\nkept");
    let (root, name) = named(&host, "api", "api-root");
    assert_eq!(host.sh("api", &format!("readlink -f {name}")), host.sh("api", "findmnt -no SOURCE /"));
    host.ok("volume create 64M --name bare --fs none");
    host.ok("machine volume attach api bare:none");
    let (bare, name) = named(&host, "api", "bare");
    until("it has its name", PATIENCE, || {
        (host.args(&["machine", "exec", "api", "--", "test", "-b", &name]).code == 0).then_some(())
    });
    assert_eq!(host.sh("api", &format!("cat /sys/block/$(basename $(readlink {name}))/serial")), bare);
    host.ok("machine volume detach api bare");
    until("its name is gone", PATIENCE, || {
        let names = host.sh("api", "ls /dev/disk/by-id");
        (!names.contains(&bare) && names.contains(&root)).then_some(())
    });
}

/// The serial of a machine's disk, and its name in the guest.
fn named(host: &Host, machine: &str, volume: &str) -> (String, String) {
    let shown = host.json(&format!("machine show {machine}"));
    let disk = shown["volumes"].as_array().unwrap().iter().find(|v| v["name"] == volume).unwrap();
    let device = disk["device"].as_str().unwrap();
    (device.trim_start_matches("virtio-").to_owned(), format!("/dev/disk/by-id/{device}"))
}

#[test]
fn a_daemon_killed_during_an_attach_or_a_detach_finishes_it() {
    let mut host = Host::seeded("live-kill");
    host.ok("volume create 64M --name data");
    host.ok("machine deploy debian --name web --memory 256M");
    let status = |host: &Host| host.json("volume show data")["status"].as_str().unwrap().to_owned();
    let disks = |host: &Host| host.sh("web", "ls /sys/block | grep -c ^vd");
    for ms in [0, 30, 100, 250, 600, 1200] {
        for (verb, end, count) in [("attach", "attached", "3"), ("detach", "detached", "2")] {
            let asked = host.begin(&["machine", "volume", verb, "web", "data"]);
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(ms) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            host.crash();
            let answer = asked.wait_with_output().unwrap().status.code();
            host.up();
            // Whoever saw no answer types it again: it was done, or it is now.
            let again = host.run(&format!("machine volume {verb} web data")).code;
            println!("    {verb}, killed after {ms} ms: answered {answer:?}, then {again}");
            assert!(matches!(again, 0 | 4), "{verb} {ms}");
            until("it has what it shall have", Duration::from_secs(90), || {
                (status(&host) == end && disks(&host) == count).then_some(())
            });
        }
    }
    host.ok("machine volume attach web data");
    assert_eq!(host.sh("web", "findmnt -no TARGET /mnt/data"), "/mnt/data");
    host.ok("machine stop web");
    assert!(crate::is_clean(&host.file_of("data")));
}

#[test]
fn space_comes_back() {
    let host = Host::seeded("trim");
    host.refused("volume trim nothing", "volume-not-found", 3);
    host.ok("volume create 2G --name data");
    host.refused("volume trim data", "volume-not-attached", 4);
    host.ok("machine deploy debian --name web --memory 256M --attach data");
    let file = host.file_of("data");
    let allocated = || std::fs::metadata(&file).unwrap().blocks() * 512;
    // Zeros are written as whatever else is, and an emulated guest has them ten times as fast as noise.
    host.sh("web", "dd if=/dev/zero of=/mnt/data/big bs=1M count=1024 status=none && sync");
    let full = allocated();
    assert!(full > GIB, "{full}");
    host.sh("web", "rm /mnt/data/big && sync");
    let ended = host.json("volume trim data");
    let back = ended["trimmed_bytes"].as_u64().unwrap();
    println!("    {} MiB came back; {} of {} MiB are left", back >> 20, allocated() >> 20, full >> 20);
    assert!(back > 1000 << 20, "{ended}");
    assert!(allocated() < full - (1000 << 20));
    println!("    {}", host.ok("volume trim web-root").trim());
    host.ok("machine stop web");
    host.refused("volume trim data", "machine-not-running", 4);
}
