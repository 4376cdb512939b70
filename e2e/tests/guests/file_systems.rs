//! Data volumes with XFS, with Btrfs and with nothing: as good as those with ext4.

use e2e::{Host, PATIENCE, until};
use std::path::Path;
use std::process::Command;

const GIB: u64 = 1 << 30;
const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Checks what is in a file, with its own tool, without changing it.
fn check(fs: &str, file: &Path) {
    let (tool, args): (_, &[&str]) = match fs {
        "ext4" => ("e2fsck", &["-fn"]),
        "xfs" => ("xfs_repair", &["-n", "-f"]),
        "btrfs" => ("btrfs", &["check", "--readonly"]),
        other => panic!("nothing checks {other}"),
    };
    let checked = Command::new(tool).args(args).arg(file).output().expect("the tool is installed");
    assert!(checked.status.success(), "{fs}: {checked:?}");
}

fn df(host: &Host, path: &str) -> u64 {
    host.sh("web", &format!("df -B1 --output=size {path} | tail -1")).trim().parse().unwrap()
}

/// Kind and UUID of what is mounted there; the guest's udev knows it as what it is.
fn mounted(host: &Host, path: &str) -> String {
    let ask = format!(
        "udevadm settle && findmnt -rno FSTYPE,UUID {path} && \
         blkid -p -o value -s UUID $(findmnt -rno SOURCE {path})"
    );
    let said = host.sh_until("web", &ask, |said| !said.is_empty());
    let (known, is) = said.split_once('\n').unwrap_or_else(|| panic!("{said}"));
    assert!(known.ends_with(&format!(" {is}")), "{path}: udev says {known}, and it is {is}");
    known.to_owned()
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_left() {
    let host = Host::empty("file-systems");
    host.refused("volume create 299M --name a --fs xfs", "volume-too-small", 4);
    host.refused("volume create 108M --name a --fs btrfs", "volume-too-small", 4);
    let ran = host.run("volume create 1G --name a --fs zfs");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("ext4, xfs, btrfs, none"), "{ran:?}");
    assert_eq!(host.json("volume list")["items"], serde_json::json!([]));
    for (fs, size, kind) in
        [("ext4", "8M", "ext4"), ("xfs", "300M", "xfs"), ("btrfs", "109M", "btrfs"), ("none", "8M", "none")]
    {
        host.ok(&format!("volume create {size} --name {fs} --fs {fs}"));
        assert_eq!(host.json(&format!("volume show {fs}"))["fs"], kind);
    }
    check("xfs", &host.file_of("xfs"));
    check("btrfs", &host.file_of("btrfs"));
    assert!(std::fs::read(host.file_of("none")).unwrap().iter().all(|b| *b == 0));
}

/// The life of a volume with this file system, in a machine that runs.
fn life(host: &Host, fs: &str) {
    let name = format!("{fs}-data");
    let at = format!("/mnt/{name}");
    host.ok(&format!("volume create 1G --name {name} --fs {fs}"));
    host.ok(&format!("machine volume attach web {name}"));
    let was = mounted(host, &at);
    assert!(was.starts_with(&format!("{fs} ")), "{was}");
    host.sh("web", &format!("yes $RANDOM | head -c 32M >{at}/big && sync"));
    let sum = host.sh("web", &format!("sha256sum < {at}/big"));
    host.ok(&format!("volume resize {name} 3GB"));
    until("it has grown", PATIENCE, || (df(host, &at) > 2 * GIB).then_some(()));

    // While somebody uses it, it stays.
    host.sh("web", &format!("cd {at} && setsid sleep 7654 >/dev/null 2>&1 </dev/null & echo"));
    let ran = host.run(&format!("machine volume detach web {name}"));
    assert!(ran.code == 4 && ran.err.contains("error[busy]") && ran.err.contains("sleep 7654"), "{ran:?}");
    host.sh("web", "pkill -x sleep");

    // A copy of a snapshot that was taken meanwhile, beside what it is a copy of.
    let taken = host.json(&format!("volume snapshot {name} --name {fs}-snap"));
    assert_eq!(taken["items"][0]["consistency"], "filesystem", "{taken}");
    host.ok(&format!("volume clone {fs}-snap --name {fs}-copy"));
    assert_eq!(host.json(&format!("volume show {fs}-copy"))["fs"], fs);
    host.ok(&format!("machine volume attach web {fs}-copy:/srv/{fs}"));
    let copy = mounted(host, &format!("/srv/{fs}"));
    println!("    {was} / {copy}");
    assert!(copy.starts_with(&format!("{fs} ")) && copy != was, "{copy} / {was}");
    assert_eq!(mounted(host, &at), was);
    assert_eq!(host.sh("web", &format!("sha256sum < /srv/{fs}/big")), sum);
    host.sh("web", &format!("rm /srv/{fs}/big && sync"));
    let back = host.json(&format!("volume trim {fs}-copy"))["trimmed_bytes"].as_u64().unwrap();
    assert!(back > 25 << 20, "{back}");
    assert_eq!(host.sh("web", &format!("sha256sum < {at}/big")), sum);
}

/// All disks are there again after a boot, and who they are stays.
fn stays(host: &Host, fs: &[&str]) {
    let all = |host: &Host| -> Vec<String> {
        let places = fs.iter().flat_map(|fs| [format!("/mnt/{fs}-data"), format!("/srv/{fs}")]);
        places.map(|place| mounted(host, &place)).collect()
    };
    let before = all(host);
    host.ok("machine stop web");
    for fs in fs {
        check(fs, &host.file_of(&format!("{fs}-data")));
        check(fs, &host.file_of(&format!("{fs}-copy")));
        host.ok(&format!("volume resize {fs}-copy 4GB"));
    }
    host.ok("machine start web");
    assert_eq!(all(host), before);
    for fs in fs {
        until("it fills its disk", PATIENCE, || (df(host, &format!("/srv/{fs}")) > 3 * GIB).then_some(()));
    }
    for fs in fs {
        host.ok(&format!("machine volume detach web {fs}-copy"));
        host.ok(&format!("machine volume attach web {fs}-copy:/srv/kept/{fs}:ro"));
        let kept =
            format!("cd /srv/kept/{fs} && ! touch x 2>/dev/null && findmnt -no OPTIONS . | cut -d, -f1");
        assert_eq!(host.sh("web", &kept), "ro");
    }
    let wrong = "dmesg | grep -i -E 'xfs|btrfs' | grep -c -i -E 'corrupt|error|duplicate' || true";
    assert_eq!(host.sh("web", wrong), "0");
}

#[test]
fn all_file_systems_live_alike() {
    let host = Host::seeded("file-systems-live");
    host.ok("machine deploy debian --name web --memory 512M");
    for fs in KINDS {
        life(&host, fs);
    }
    stays(&host, &KINDS);
}

#[test]
fn a_bare_volume_is_a_device_and_nothing_more() {
    let host = Host::seeded("file-systems-bare");
    host.ok("volume create 64M --name bare --fs none");
    host.ok("volume create 400M --name data --fs xfs");
    host.refused("machine deploy debian --name web --attach bare:/srv/x", "invalid-request", 2);
    host.ok("machine deploy debian --name web --memory 256M --attach bare --attach data:/srv/data");
    assert_eq!(host.sh("web", "findmnt -no FSTYPE /srv/data"), "xfs");
    let id = host.json("volume show bare")["id"].as_str().unwrap().to_owned();
    let device = format!("/dev/disk/by-id/virtio-{}", &id.replace('-', "")[20..]);
    until("its name is there", PATIENCE, || {
        (host.run(&format!("machine exec web -- test -b {device}")).code == 0).then_some(())
    });
    assert_eq!(host.sh("web", &format!("blockdev --getsize64 {device}")), (64 << 20).to_string());
    assert_eq!(host.sh("web", "findmnt -no TARGET /mnt/bare || echo nowhere"), "nowhere");
    host.sh("web", &format!("echo raw > {device} && sync"));
    host.ok("machine volume detach web bare");
    host.refused("machine volume attach web bare:/srv/x", "invalid-request", 2);
    host.ok("volume clone bare --name bare2");
    host.ok("machine volume attach web bare2");
    assert_eq!(host.json("volume show bare2")["fs"], "none");
    host.ok("machine stop web");
    assert!(std::fs::read(host.file_of("bare2")).unwrap().starts_with(b"raw\n"));
    check("xfs", &host.file_of("data"));
}
