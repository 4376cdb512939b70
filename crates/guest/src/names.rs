//! Stable names of disks, `/dev/disk/by-id/virtio-SERIAL` and `…-partN`, as udev gives them: images
//! without an init have no udev.
//!
//! Invariant: a name leads to the disk with that serial, or is not there; where udev does the same, both
//! come to the same names.

use crate::{disk, log};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use tokio::io::Interest;

/// Where the names are. The agent's `/dev` and the machine's are one file system.
const NAMES: &str = "/dev/disk/by-id";
const PREFIX: &str = "virtio-";

/// Gives every disk that is there its name, and takes those of disks that have gone.
///
/// # Errors
/// Those of `/dev`.
pub fn give() -> io::Result<()> {
    give_in(Path::new(NAMES), &wanted_in(Path::new("/sys/class/block"), Path::new("/dev")))
}

/// Keeps the names right for as long as the agent lives.
pub async fn keep() {
    let watch = || {
        let edges = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // A disk's node comes once its class and its serial are in sysfs (`device_add` in
        // drivers/base/core.c), and goes before them; /sys/block has it only after that.
        inotify::add_watch(&edges, "/dev", WatchFlags::CREATE | WatchFlags::DELETE)?;
        crate::watched(edges, Interest::READABLE)
    };
    let edges = match watch() {
        Ok(edges) => edges,
        Err(e) => return log::complain(&format!("the names of disks cannot be kept: {e}")),
    };
    loop {
        // A disk may take its time to tell its serial.
        match tokio::task::spawn_blocking(give).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => log::complain(&format!("the names of disks: {e}")),
            Err(e) => log::complain(&format!("the names of disks: {e}")),
        }
        let edge = |fd: &_| Ok(rustix::io::read(fd, &mut [0; 4096])?);
        if let Err(e) = edges.async_io(Interest::READABLE, edge).await {
            return log::complain(&format!("the names of disks are not kept any more: {e}"));
        }
    }
}

/// What each name shall lead to, for the disks that have a node.
fn wanted_in(sys: &Path, dev: &Path) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    let mut want = |name: String, node: String| {
        if dev.join(&node).exists() {
            wanted.insert(name, format!("../../{node}"));
        }
    };
    for entry in fs::read_dir(sys).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A partition has no serial of its own, and comes with its disk.
        let Some(serial) = disk::serial(&entry.path()) else { continue };
        for part in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            let number = fs::read_to_string(part.path().join("partition")).unwrap_or_default();
            if let (Ok(number), Ok(part)) = (number.trim().parse::<u32>(), part.file_name().into_string()) {
                want(format!("{PREFIX}{serial}-part{number}"), part);
            }
        }
        want(format!("{PREFIX}{serial}"), name);
    }
    wanted
}

fn give_in(dir: &Path, wanted: &BTreeMap<String, String>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        // udev may have taken it already.
        if name.starts_with(PREFIX) && !wanted.contains_key(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for (name, target) in wanted {
        let link = dir.join(name);
        if fs::read_link(&link).is_ok_and(|now| now == Path::new(target)) {
            continue;
        }
        // Put in place whole: whoever opens the name meanwhile finds a disk. Several may be at it.
        let new = dir.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_file(&new);
        symlink(target, &new)?;
        fs::rename(&new, &link)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let (sys, names) = (dir.path().join("block"), dir.path().join("by-id"));
        let dev = dir.path().join("dev");
        fs::create_dir_all(&dev).unwrap();
        let node = |name: &str| fs::write(dev.join(name), "").unwrap();
        ["vda", "vdb", "vdb2", "vdc", "vdd", "loop0"].into_iter().for_each(node);
        let make = |at: &str, file: &str, text: &str| {
            fs::create_dir_all(sys.join(at)).unwrap();
            fs::write(sys.join(at).join(file), text).unwrap();
        };
        make("vda", "serial", "0123456789ab");
        make("vdb", "serial", "ba9876543210");
        make("vdb/vdb2", "partition", "2\n");
        make("vdc", "serial", "../../x y");
        make("vdd", "serial", "");
        make("loop0", "size", "1");
        let give = || {
            give_in(&names, &wanted_in(&sys, &dev)).unwrap();
            let all = fs::read_dir(&names).unwrap().map(|e| e.unwrap().path());
            let mut all: Vec<_> = all
                .map(|p| (p.file_name().unwrap().to_owned(), fs::read_link(&p).unwrap()))
                .map(|(name, to)| format!("{} {}", name.to_str().unwrap(), to.display()))
                .collect();
            all.sort();
            all
        };
        let first = [
            "virtio-0123456789ab ../../vda",
            "virtio-ba9876543210 ../../vdb",
            "virtio-ba9876543210-part2 ../../vdb2",
        ];
        assert_eq!(give(), first);
        assert_eq!(give(), first);
        // What is somebody else's stays.
        symlink("../../sda", names.join("ata-x")).unwrap();
        // The node of what goes does so first, and that of what comes comes last.
        fs::remove_file(dev.join("vdb2")).unwrap();
        assert_eq!(give(), ["ata-x ../../sda", first[0], first[1]]);
        fs::remove_file(dev.join("vdb")).unwrap();
        fs::rename(sys.join("vda"), sys.join("vde")).unwrap();
        assert_eq!(give(), ["ata-x ../../sda"]);
        node("vde");
        assert_eq!(give(), ["ata-x ../../sda", "virtio-0123456789ab ../../vde"]);
    }
}
