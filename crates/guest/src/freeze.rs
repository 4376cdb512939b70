//! Holding all file systems still for a moment, so that a copy of the disks is whole.
//!
//! Invariant: what was held is let go by whoever held it: when told to, when whoever asked is gone, and
//! after a while in any case; and only who let everything go that it had held says that it was held
//! throughout.

use crate::inside::Inside;
use crate::{disk, log, mounted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, major, minor, syncfs};
use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// What the helper says once everything is held; the serials of the disks follow.
pub const HELD: &str = "held";
/// What it says once everything was let go that had been held all the while.
pub const THROUGHOUT: &str = "throughout\n";
/// What it says if something let go of it before.
pub const BROKEN: &str = "broken\n";

/// A file system that is held.
struct Held {
    fd: OwnedFd,
    path: String,
    /// Its device number, as `major:minor`, and what was said to be mounted.
    on: [String; 2],
}

/// `linux/fs.h`: `_IOWR('X', 119, int)` and 120; both ignore the number.
fn freeze(fd: &OwnedFd) -> rustix::io::Result<()> {
    let mut ignored = 0i32;
    // SAFETY: FIFREEZE neither reads nor writes what it is given; an int is there all the same.
    unsafe { ioctl(fd, Updater::<{ opcode::read_write::<i32>(b'X', 119) }, i32>::new(&mut ignored)) }
}

fn thaw(fd: &OwnedFd) -> rustix::io::Result<()> {
    let mut ignored = 0i32;
    // SAFETY: FITHAW neither reads nor writes what it is given; an int is there all the same.
    unsafe { ioctl(fd, Updater::<{ opcode::read_write::<i32>(b'X', 120) }, i32>::new(&mut ignored)) }
}

/// Empties the journal of an ext4, which holding it would do while everything before it waits already.
/// Others refuse, and an older kernel: then it takes longer.
fn checkpoint(fd: &OwnedFd) {
    // SAFETY: `linux/ext4.h`: EXT4_IOC_CHECKPOINT, `_IOW('f', 43, __u32)`, reads an int of flags.
    let _ = unsafe { ioctl(fd, Setter::<{ opcode::write::<u32>(b'f', 43) }, u32>::new(0)) };
}

/// What makes the kernel wait for its own readers by asking every processor, not until it has heard of each
/// (`rcu_expedited`, kernel/ksysfs.c; rcupdate.rcu_expedited in its parameters). Holding a file system still
/// does so three times, each some 20 ms else.
const EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// While this lives, the kernel is in a hurry.
struct Hurry;

impl Hurry {
    /// `None` where it is already, or cannot be: then holding takes longer.
    fn begin() -> Option<Self> {
        let idle = std::fs::read(EXPEDITED).is_ok_and(|now| now.trim_ascii() == b"0");
        (idle && std::fs::write(EXPEDITED, "1").is_ok()).then_some(Self)
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        if let Err(e) = std::fs::write(EXPEDITED, "0") {
            log::complain(&format!("{EXPEDITED} cannot be set back: {e}"));
        }
    }
}

/// The helper: the machine's root is its standard input. Its standard output is a socket: it says there
/// that all is held, waits for a word or an end there, at most `seconds`, lets go, and says how that was.
///
/// # Errors
/// When something cannot be held; nothing is then.
pub fn run(seconds: &str) -> io::Result<ExitCode> {
    let seconds = seconds.parse().map_err(io::Error::other)?;
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let held = hold(&inside)?;
    let said = say(&format!("{HELD}{}\n", still_disks(&held)));
    // Whoever asked may be gone already; then there is nothing to wait for.
    let told = said.is_ok() && wait(seconds)?;
    let throughout = let_go(held) && told;
    say(if throughout { THROUGHOUT } else { BROKEN })?;
    Ok(ExitCode::SUCCESS)
}

/// The helper for when the one that held everything went without letting go: the machine's root is its
/// standard input.
///
/// # Errors
/// When it cannot be told what is mounted.
pub fn let_go_of_all() -> io::Result<()> {
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    for Held { fd, path, .. } in open_all(&inside)?.iter().rev() {
        if thaw(fd).is_ok() {
            log::complain(&format!("{path} was held by nobody and is let go"));
        }
    }
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(word.as_bytes())?;
    out.flush()
}

/// Whether there was a word or an end in time.
fn wait(seconds: i64) -> io::Result<bool> {
    let out = rustix::stdio::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::IN)];
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(poll(&mut fds, Some(&limit))? > 0)
}

/// Holds every file system on a disk once, the inner ones first.
fn hold(inside: &Inside) -> io::Result<Vec<Held>> {
    let all = open_all(inside)?;
    // What is written out now does not have to be while everything is held.
    for Held { fd, path, .. } in &all {
        syncfs(fd).map_err(|e| io::Error::other(format!("{path} cannot be written out: {e}")))?;
        checkpoint(fd);
    }
    let _hurry = Hurry::begin();
    let mut held = Vec::new();
    for one in all {
        match freeze(&one.fd) {
            Ok(()) => held.push(one),
            Err(e) => {
                let path = one.path;
                let_go(held);
                return Err(io::Error::other(format!("{path} cannot be held still: {e}")));
            }
        }
    }
    Ok(held)
}

/// The serials of the disks on which something is held, each after a space: of it, of a partition, or of
/// what is built on them. What is in use without a file system, or by one that knows no holding, is not.
fn still_disks(held: &[Held]) -> String {
    let on: BTreeSet<&str> = held.iter().flat_map(|h| &h.on).map(String::as_str).collect();
    let still = |name: &String| {
        let stack = mounted::stack(name);
        stack.iter().any(|dev| on.contains(dev.as_str())) || mounted::shares_btrfs(name, &on)
    };
    let serial = |name: String| disk::serial(&std::path::Path::new("/sys/block").join(name));
    disk::all().filter(still).filter_map(serial).map(|serial| format!(" {serial}")).collect()
}

/// Lets go in the opposite order; whether all of it had been held.
fn let_go(held: Vec<Held>) -> bool {
    let mut all = true;
    for Held { fd, path, .. } in held.iter().rev() {
        if let Err(e) = thaw(fd) {
            log::complain(&format!("{path} was let go by something else: {e}"));
            all = false;
        }
    }
    all
}

/// Each file system on a disk, opened at one of its mount points, inner ones first.
fn open_all(inside: &Inside) -> io::Result<Vec<Held>> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for mount in mounts(&std::fs::read_to_string("/proc/1/mountinfo")?) {
        if seen.contains(&mount.dev) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        // A mount below another, or on a file, is not what is seen there; its like may be.
        let Ok(fd) = inside.open(&mount.path, flags, Mode::empty()) else { continue };
        let dev = fstat(&fd)?.st_dev;
        if mount.own_numbers || format!("{}:{}", major(dev), minor(dev)) == mount.dev {
            seen.insert(mount.dev.clone());
            all.push(Held { fd, path: mount.path, on: [mount.dev, mount.source] });
        }
    }
    match all.is_empty() {
        true => Err(io::Error::other("no file system is mounted for writing")),
        false => Ok(all),
    }
}

/// A mount of a file system on a block device.
#[derive(PartialEq, Eq, Debug)]
struct Mount {
    path: String,
    dev: String,
    source: String,
    /// The files have device numbers of their own.
    own_numbers: bool,
}

/// Reads proc(5), `mountinfo`: those that can be written to, the last mounted first.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let one = |line: &str| {
        let (mount, fs) = line.split_once(" - ")?;
        let (mount, fs): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), fs.split(' ').collect());
        let writable = !mount.get(5)?.split(',').any(|o| o == "ro");
        (writable && fs.get(1)?.starts_with("/dev/")).then_some(())?;
        Some(Mount {
            path: mounted::unescape(mount.get(4)?),
            dev: (*mount.get(2)?).to_owned(),
            source: mounted::unescape(fs.get(1)?),
            own_numbers: *fs.first()? == "btrfs",
        })
    };
    let mut all: Vec<Mount> = mountinfo.lines().filter_map(one).collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disks_and_written_to_is_held_inner_first() {
        let text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    23 22 0:20 / /proc rw - proc proc rw\n\
                    24 22 254:16 / /lib/modules ro - ext4 /dev/vdb ro\n\
                    25 22 254:32 / /mnt/a\\040b rw,noatime - xfs /dev/vdc rw\n\
                    26 25 7:0 / /mnt/c rw - ext4 /dev/loop0 rw\n\
                    27 22 0:44 /@ /mnt/d rw - btrfs /dev/vdd rw\nrubbish - x\n";
        let found: Vec<_> = mounts(text).into_iter().map(|m| (m.path, m.own_numbers)).collect();
        let expected = [("/mnt/d", true), ("/mnt/c", false), ("/mnt/a b", false), ("/", false)];
        assert_eq!(found, expected.map(|(path, own)| (path.to_owned(), own)));
    }

    #[test]
    fn a_file_system_is_held_once_and_says_whether_it_was_throughout() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("fs");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let run = |command: &str, args: &[&std::ffi::OsStr]| {
            assert!(std::process::Command::new(command).args(args).status().unwrap().success(), "{command}");
        };
        let at = dir.path().join("at");
        std::fs::create_dir(&at).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]);
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()]);
        let open = || OwnedFd::from(std::fs::File::open(&at).unwrap());
        let hold = || {
            let fd = open();
            freeze(&fd).unwrap();
            Held { fd, path: "x".into(), on: Default::default() }
        };
        let first = hold();
        assert_eq!(freeze(&open()), Err(rustix::io::Errno::BUSY));
        assert!(let_go(vec![first]));
        let second = hold();
        thaw(&open()).unwrap();
        assert!(!let_go(vec![second]), "it was let go before");
        run("umount", &[at.as_os_str()]);
    }
}
