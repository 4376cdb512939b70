//! Where a disk is mounted in the machine, and who uses it.
//!
//! Invariant: what is read of processes is bounded and believed for words only; nothing of it decides
//! whether a disk is free, which the kernel alone says.

use crate::inside::Inside;
use rustix::fs::{CWD, FileType, Mode, OFlags, major, minor, openat, stat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The most users that are named.
const NAMED: usize = 8;

/// A mount of a disk, as PID 1 sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// Where, in the machine's root.
    pub path: String,
    /// The device number of what is mounted, as `major:minor`.
    pub dev: String,
    /// What was said to be mounted.
    pub source: String,
    /// Nobody can write there.
    pub read_only: bool,
}

/// The device numbers of a disk and its partitions.
fn devices(disk: &str) -> BTreeSet<String> {
    let base = format!("/sys/block/{disk}");
    let read = |path: String| std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned());
    let parts = std::fs::read_dir(&base).into_iter().flatten().flatten();
    let parts = parts.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(disk));
    let all = parts.map(|n| format!("{base}/{n}/dev")).chain([format!("{base}/dev")]);
    all.filter_map(read).collect()
}

/// The device numbers of a disk, its partitions, and all that is built on them: what device mapper and md
/// make of them, of which `holders` in sysfs tells.
pub fn stack(disk: &str) -> BTreeSet<String> {
    let (mut all, mut next) = (BTreeSet::new(), vec![disk.to_owned()]);
    while let Some(disk) = next.pop() {
        let new = devices(&disk);
        if new.is_subset(&all) {
            continue;
        }
        for dev in &new {
            let holders = std::fs::read_dir(format!("/sys/dev/block/{dev}/holders"));
            next.extend(
                holders.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok()),
            );
        }
        all.extend(new);
    }
    all
}

/// Whether a device is a disk itself or a partition of it.
fn is_of(name: &str, disk: &str) -> bool {
    name.strip_prefix(disk).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a disk, or a partition of it, is of the same Btrfs as one of these sources.
pub fn shares_btrfs(disk: &str, sources: &BTreeSet<&str>) -> bool {
    let all = std::fs::read_dir("/sys/fs/btrfs").into_iter().flatten().flatten();
    all.filter_map(|fs| std::fs::read_dir(fs.path().join("devices")).ok()).any(|devices| {
        let names: Vec<String> = devices.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.iter().any(|name| is_of(name, disk))
            && names.iter().any(|name| sources.contains(format!("/dev/{name}").as_str()))
    })
}

/// Where a disk is mounted, inner mounts first.
///
/// # Errors
/// When the list of mounts cannot be read.
pub fn points(disk: &str) -> io::Result<Vec<Point>> {
    Ok(parse(&std::fs::read_to_string("/proc/1/mountinfo")?, disk, &devices(disk)))
}

/// Reads proc(5), `mountinfo`.
fn parse(mountinfo: &str, disk: &str, devices: &BTreeSet<String>) -> Vec<Point> {
    let one = |line: &str| {
        let (mount, fs) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let source = fs.split(' ').nth(1)?;
        // Btrfs has device numbers of its own.
        let ours = source.strip_prefix("/dev/").is_some_and(|name| is_of(name, disk));
        (ours || devices.contains(*mount.get(2)?)).then_some(())?;
        Some(Point {
            path: unescape(mount.get(4)?),
            dev: (*mount.get(2)?).to_owned(),
            source: unescape(source),
            read_only: mount.get(5)?.split(',').any(|o| o == "ro"),
        })
    };
    let mut all: Vec<Point> = mountinfo.lines().filter_map(one).collect();
    all.reverse();
    all
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
pub fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Whether nothing in the guest holds the disk: no mount, no swap, no device made of it.
pub fn is_free(disk: &str) -> bool {
    // open(2): O_EXCL on a block device says EBUSY while the system uses it.
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    !matches!(openat(CWD, format!("/dev/{disk}"), flags, Mode::empty()), Err(Errno::BUSY))
}

/// Whether this disk is what is seen at a place in the machine's root, and not what was mounted over it or
/// over what leads there.
///
/// # Errors
/// When the place cannot be looked at.
pub fn is_seen(inside: &Inside, path: &str, disk: &str) -> io::Result<bool> {
    opened(inside, path)?.map_or(Ok(false), |there| is_on(there.as_fd(), disk))
}

/// What there is at a place in the machine's root, opened for its place only; nothing is fine.
fn opened(inside: &Inside, path: &str) -> io::Result<Option<OwnedFd>> {
    match inside.open(path, OFlags::PATH, Mode::empty()) {
        Ok(there) => Ok(Some(there)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether what is open here is on a mount of this disk, and not on one that was put over it.
fn is_on(fd: BorrowedFd<'_>, disk: &str) -> io::Result<bool> {
    Ok(line_of(fd)?.is_some_and(|line| !parse(&line, disk, &devices(disk)).is_empty()))
}

/// Whether what is seen at a place in the machine's root is a mount whose disk was pulled out.
///
/// # Errors
/// As [`is_seen`].
pub fn is_dead_at(inside: &Inside, path: &str) -> io::Result<bool> {
    opened(inside, path)?.map_or(Ok(false), |there| is_dead(there.as_fd()))
}

fn is_dead(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let line = line_of(fd)?.unwrap_or_default();
    let source = line.split_once(" - ").and_then(|(_, fs)| fs.split(' ').nth(1)).unwrap_or_default();
    let name = source.strip_prefix("/dev/").filter(|name| name.starts_with("vd"));
    Ok(name.is_some_and(|name| !std::path::Path::new("/sys/class/block").join(name).exists()))
}

/// The line of `mountinfo` about the mount that a descriptor is on (proc(5): `mnt_id` in fdinfo).
fn line_of(fd: BorrowedFd<'_>) -> io::Result<Option<String>> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let id = info.lines().find_map(|l| l.strip_prefix("mnt_id:")).map(str::trim).unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/1/mountinfo")?;
    Ok(mounts.lines().find(|l| l.split(' ').next() == Some(id)).map(str::to_owned))
}

/// The device numbers of what is mounted there, and of its files: those of Btrfs have another than its mount.
pub fn numbers(point: &Point) -> impl Iterator<Item = String> {
    let top = stat(format!("/proc/1/root{}", point.path)).ok();
    [point.dev.clone()].into_iter().chain(top.map(|top| number(top.st_dev)))
}

/// Those whose own view of the mounts, as a container has one, has one of this disk: the first of each view.
pub fn viewers(disk: &str) -> Vec<String> {
    let view = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let mut seen: BTreeSet<_> = view("1").into_iter().collect();
    let devices = devices(disk);
    let has_it = |pid: &String| {
        view(pid).is_some_and(|view| seen.insert(view))
            && std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                .is_ok_and(|mounts| !parse(&mounts, disk, &devices).is_empty())
    };
    processes().filter(has_it).take(NAMED).map(|pid| describe(&pid)).collect()
}

/// Ends the agent's own helpers of this kind that work on the disk with this serial, or on all.
pub fn end_helpers(kind: &str, serial: &str) {
    let own = stat("/proc/self/exe").map(|it| (it.st_dev, it.st_ino)).ok();
    for pid in processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0).skip(1);
        let (is, on) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let named = is == kind.as_bytes() && (on.is_empty() || on == serial.as_bytes());
        // Anybody can call themselves that.
        let program = || stat(format!("/proc/{pid}/exe")).map(|it| (it.st_dev, it.st_ino)).ok();
        if named && own.is_some() && program() == own {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn processes() -> impl Iterator<Item = String> {
    let ours = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|e| e.file_name().into_string().ok());
    all.filter(move |n| n.bytes().all(|b| b.is_ascii_digit()) && *n != ours)
}

/// Those who have something open on these file systems or on the disk itself, in words.
pub fn users(disk: &str, file_systems: &BTreeSet<String>) -> Vec<String> {
    let raw = devices(disk);
    processes().filter(|pid| uses(pid, file_systems, &raw)).take(NAMED).map(|pid| describe(&pid)).collect()
}

fn number(dev: u64) -> String {
    format!("{}:{}", major(dev), minor(dev))
}

fn uses(pid: &str, file_systems: &BTreeSet<String>, raw: &BTreeSet<String>) -> bool {
    let on = |path: String| {
        stat(path).is_ok_and(|s| {
            let block = FileType::from_raw_mode(s.st_mode) == FileType::BlockDevice;
            file_systems.contains(&number(s.st_dev)) || (block && raw.contains(&number(s.st_rdev)))
        })
    };
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    ["cwd", "root", "exe"].iter().any(|what| on(format!("/proc/{pid}/{what}")))
        || fds.filter_map(|e| e.file_name().into_string().ok()).any(|n| on(format!("/proc/{pid}/fd/{n}")))
        || maps(pid, file_systems)
}

/// Whether a process has mapped a file of these file systems (proc(5), `maps`).
fn maps(pid: &str, file_systems: &BTreeSet<String>) -> bool {
    if file_systems.is_empty() {
        return false;
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().filter_map(|l| l.split_whitespace().nth(3)).any(|dev| {
        let (Some((major, minor)), false) = (dev.split_once(':'), dev == "00:00") else { return false };
        let hex = |n| u32::from_str_radix(n, 16).unwrap_or_default();
        file_systems.contains(&format!("{}:{}", hex(major), hex(minor)))
    })
}

fn describe(pid: &str) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let name = match line.trim() {
        "" => std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned(),
        line => line.chars().filter(|c| !c.is_control()).take(60).collect(),
    };
    format!("process {pid} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn mounts_are_found_by_number_and_by_name() {
        let text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    30 22 254:16 / /mnt/a\\040b rw,noatime shared:3 - ext4 /dev/disk/by-id/x rw\n\
                    31 22 0:44 / /mnt/c ro - btrfs /dev/vdb1 rw\n\
                    32 30 254:16 /d /mnt/e rw - ext4 /dev/vdb rw\n\
                    33 22 0:45 / /mnt/f rw - ext4 /dev/vdbx rw\nrubbish - x\n";
        let found = parse(text, "vdb", &["254:16".to_owned()].into());
        let paths: Vec<_> = found.iter().map(|p| (p.path.as_str(), p.read_only)).collect();
        assert_eq!(paths, [("/mnt/e", false), ("/mnt/c", true), ("/mnt/a b", false)]);
    }

    #[test]
    fn a_descriptor_tells_what_it_is_on() {
        // The root of a test's namespace is on no disk that was pulled out, and on none of this name.
        let root = std::fs::File::open("/").unwrap();
        let line = line_of(root.as_fd()).unwrap();
        let procfs = std::fs::File::open("/proc/self").unwrap();
        let of_proc = line_of(procfs.as_fd()).unwrap();
        assert!(of_proc.is_none_or(|l| l.contains(" - proc ")));
        assert!(line.is_none_or(|l| l.split(' ').nth(4) == Some("/")));
        assert!(!is_on(procfs.as_fd(), "vda").unwrap() && !is_dead(procfs.as_fd()).unwrap());
    }

    #[test]
    fn a_process_that_uses_a_file_system_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo; read _"])
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Until it has said something it may not have its arguments yet.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let dev = number(stat(dir.path()).unwrap().st_dev);
        assert!(uses(&child.id().to_string(), &[dev].into(), &BTreeSet::new()));
        assert_eq!(describe(&child.id().to_string()), format!("process {} (sh -c echo; read _)", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
