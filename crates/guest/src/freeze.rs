//! Holding all file systems still for a moment, so that a copy of the disks is whole.
//!
//! Invariant: what was held is let go by whoever held it: when told to, when whoever asked is gone, and
//! after a while in any case, also while it is still busy holding; and only who let everything go that it
//! had held says that it was held throughout.

use crate::inside::Inside;
use crate::{disk, log, mounted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, major, minor, syncfs};
use rustix::io::Errno;
use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the helper says once everything is held; the serials of the disks follow.
pub const HELD: &str = "held";
/// What it says once everything was let go that had been held all the while.
pub const THROUGHOUT: &str = "throughout\n";
/// What it says if something let go of it before.
pub const BROKEN: &str = "broken\n";

/// How long holding everything may take once it has begun: whoever writes waits meanwhile.
const HOLDING: Duration = Duration::from_secs(20);

/// A file system that is opened, to be held and to be let go.
struct Opened {
    fd: OwnedFd,
    path: String,
    /// Its device number, as `major:minor`, and what was said to be mounted.
    on: [String; 2],
}

impl Opened {
    /// The same, with a descriptor of its own.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, path: self.path.clone(), on: self.on.clone() })
    }
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
/// When something cannot be held, or not in time; nothing is then.
pub fn run(seconds: &str) -> io::Result<ExitCode> {
    let seconds = seconds.parse().map_err(io::Error::other)?;
    let inside = Inside::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let (held, skipped) = hold(&inside)?;
    let said = say(&format!("{HELD}{}\n", still_disks(&held, &skipped)));
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
    let_go_of_each(&open_all(&inside)?, "was held by nobody and is let go");
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

/// Holds every file system on a disk once, the inner ones first; those that are held, and those that know
/// no holding.
fn hold(inside: &Inside) -> io::Result<(Vec<Opened>, Vec<Opened>)> {
    let all = open_all(inside)?;
    // What is written out now does not have to be while everything is held.
    for Opened { fd, path, .. } in &all {
        syncfs(fd).map_err(|e| io::Error::other(format!("{path} cannot be written out: {e}")))?;
        checkpoint(fd);
    }
    // Who did not wait so long is gone, and nothing is to be held for nobody.
    if wait(0)? {
        return Err(io::Error::other("nobody waits any more for what was to be held still"));
    }
    let _hurry = Hurry::begin();
    hold_each(all, HOLDING, freeze)
}

/// Holds one after the other with `freeze`, all within `limit`.
fn hold_each(
    all: Vec<Opened>,
    limit: Duration,
    freeze: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
) -> io::Result<(Vec<Opened>, Vec<Opened>)> {
    let watchdog = Watchdog::begin(&all, limit)?;
    let (mut held, mut skipped, mut failed) = (Vec::new(), Vec::new(), None);
    for one in all {
        if watchdog.has_struck() {
            break;
        }
        match freeze(&one.fd) {
            Ok(()) => held.push(one),
            // It knows no holding, as vfat and those of FUSE do not; the others are held all the same.
            Err(Errno::OPNOTSUPP | Errno::NOTTY) => skipped.push(one),
            Err(e) => {
                failed = Some(format!("{} cannot be held still: {e}", one.path));
                break;
            }
        }
    }
    if watchdog.end() {
        // One may have come to be held after everything was let go; the others are not held any more.
        for Opened { fd, .. } in held.iter().rev() {
            let _ = thaw(fd);
        }
        return Err(io::Error::other("the file systems cannot all be held still in time"));
    }
    if failed.is_none() && held.is_empty() {
        failed = Some("none of the file systems can be held still".to_owned());
    }
    match failed {
        None => Ok((held, skipped)),
        Some(why) => {
            let_go(held);
            Err(io::Error::other(why))
        }
    }
}

/// Lets everything go if holding it does not end in time. One that is about to be held may wait for one that
/// is held already, as a file system in a file of that does, and whoever waits so cannot be interrupted.
struct Watchdog {
    over: Sender<()>,
    struck: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    fn begin(all: &[Opened], limit: Duration) -> io::Result<Self> {
        let all = all.iter().map(Opened::again).collect::<io::Result<Vec<Opened>>>()?;
        let (over, ended) = mpsc::channel::<()>();
        let struck = Arc::new(AtomicBool::new(false));
        let strikes = struck.clone();
        let watch = move || {
            // Nothing is ever sent: it ends with whoever could.
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // First, so that no more are held than the one that is about to be.
                strikes.store(true, Ordering::SeqCst);
                let_go_of_each(&all, "is let go, because holding everything still takes too long");
            }
        };
        let thread = thread::Builder::new().spawn(watch)?;
        Ok(Self { over, struck, thread })
    }

    fn has_struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    /// Ends it; whether it has struck. If so, it has done all it had to do.
    fn end(self) -> bool {
        drop(self.over);
        let panicked = self.thread.join().is_err();
        panicked || self.struck.load(Ordering::SeqCst)
    }
}

/// Lets go of whatever is held of these, each in a thread of its own: one that waits, for another or for its
/// own holding to end, keeps no other waiting. `why` is said of those that were held.
fn let_go_of_each(all: &[Opened], why: &str) {
    let one = |Opened { fd, path, .. }: &Opened| {
        if thaw(fd).is_ok() {
            log::complain(&format!("{path} {why}"));
        }
    };
    let one = &one;
    thread::scope(|scope| {
        // The outer ones first, for when there is no thread to be had.
        for each in all.iter().rev() {
            if thread::Builder::new().spawn_scoped(scope, move || one(each)).is_err() {
                one(each);
            }
        }
    });
}

/// The serials of the disks that are still, each after a space: something is held on it, on a partition, or
/// on what is built on them, and nothing there knows no holding. What is in use without a file system is not
/// still, either.
fn still_disks(held: &[Opened], skipped: &[Opened]) -> String {
    let (held, skipped) = (numbers(held), numbers(skipped));
    let still = |name: &String| {
        let stack = mounted::stack(name);
        let any = |on: &BTreeSet<&str>| {
            stack.iter().any(|dev| on.contains(dev.as_str())) || mounted::shares_btrfs(name, on)
        };
        any(&held) && !any(&skipped)
    };
    let serial = |name: String| disk::serial(&std::path::Path::new("/sys/block").join(name));
    disk::all().filter(still).filter_map(serial).map(|serial| format!(" {serial}")).collect()
}

/// What these are on.
fn numbers(all: &[Opened]) -> BTreeSet<&str> {
    all.iter().flat_map(|one| &one.on).map(String::as_str).collect()
}

/// Lets go in the opposite order; whether all of it had been held.
fn let_go(held: Vec<Opened>) -> bool {
    let mut all = true;
    for Opened { fd, path, .. } in held.iter().rev() {
        if let Err(e) = thaw(fd) {
            log::complain(&format!("{path} was let go by something else: {e}"));
            all = false;
        }
    }
    all
}

/// Each file system on a disk, opened at one of its mount points, inner ones first.
fn open_all(inside: &Inside) -> io::Result<Vec<Opened>> {
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
            all.push(Opened { fd, path: mount.path, on: [mount.dev, mount.source] });
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

/// Reads proc(5), `mountinfo`: those that can be written to, the file system that was mounted last first.
/// What lies in a file of another was mounted after that one, whose directories may be bound elsewhere later
/// still; so it is the first mount of each that counts.
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
    let mut first = BTreeMap::new();
    for (rank, dev) in mountinfo.lines().filter_map(|line| line.split(' ').nth(2)).enumerate() {
        first.entry(dev).or_insert(rank);
    }
    let mut all: Vec<Mount> = mountinfo.lines().filter_map(one).collect();
    // The mounts of the same stay together, the last first.
    all.reverse();
    all.sort_by_key(|mount| Reverse(first.get(mount.dev.as_str()).copied()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Instant;

    #[test]
    fn what_is_on_disks_and_written_to_is_held_inner_first() {
        let text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    23 22 0:20 / /proc rw - proc proc rw\n\
                    24 22 254:16 / /lib/modules ro - ext4 /dev/vdb ro\n\
                    25 22 254:32 / /mnt/a\\040b rw,noatime - xfs /dev/vdc rw\n\
                    26 25 7:0 / /mnt/c rw - ext4 /dev/loop0 rw\n\
                    27 22 0:44 /@ /mnt/d rw - btrfs /dev/vdd rw\nrubbish - x\n";
        let found = |text: &str| -> Vec<(String, bool)> {
            mounts(text).into_iter().map(|m| (m.path, m.own_numbers)).collect()
        };
        let expected = [("/mnt/d", true), ("/mnt/c", false), ("/mnt/a b", false), ("/", false)];
        assert_eq!(found(text), expected.map(|(path, own)| (path.to_owned(), own)));
        // What is bound elsewhere later, or can be written to only there, is no inner one for that.
        let bound = "28 22 254:0 /var/pods /mnt/e rw - ext4 /dev/vda rw\n\
                     29 22 254:16 /x /mnt/f rw - ext4 /dev/vdb rw\n\
                     30 26 254:32 / /mnt/g rw - xfs /dev/vdc rw\n";
        let expected = [
            ("/mnt/d", true),
            ("/mnt/c", false),
            ("/mnt/g", false),
            ("/mnt/a b", false),
            ("/mnt/f", false),
            ("/mnt/e", false),
            ("/", false),
        ];
        assert_eq!(found(&format!("{text}{bound}")), expected.map(|(path, own)| (path.to_owned(), own)));
    }

    /// Runs a test with a file system of its own, which it can open.
    fn with_file_system(test: impl FnOnce(&dyn Fn() -> Opened)) {
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
        test(&|| {
            let fd = OwnedFd::from(std::fs::File::open(&at).unwrap());
            Opened { fd, path: "x".into(), on: Default::default() }
        });
        run("umount", &[at.as_os_str()]);
    }

    #[test]
    fn a_file_system_is_held_once_and_says_whether_it_was_throughout() {
        with_file_system(|open| {
            let hold = || hold_each(vec![open()], HOLDING, freeze).unwrap().0;
            let first = hold();
            assert_eq!(freeze(&open().fd), Err(Errno::BUSY));
            assert!(hold_each(vec![open()], HOLDING, freeze).is_err());
            assert!(let_go(first));
            let second = hold();
            thaw(&open().fd).unwrap();
            assert!(!let_go(second), "it was let go before");
        });
    }

    #[test]
    fn what_is_not_held_in_time_is_let_go_while_it_is_waited_for() {
        with_file_system(|open| {
            let end = Instant::now() + Duration::from_secs(60);
            // As one is held whose file is on what is held already.
            let waits = |fd: &OwnedFd| -> rustix::io::Result<()> {
                freeze(fd)?;
                while freeze(fd) == Err(Errno::BUSY) {
                    assert!(Instant::now() < end, "nobody lets go");
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            };
            assert!(hold_each(vec![open()], Duration::from_secs(1), waits).is_err());
            // Nor is what came to be held afterwards.
            assert_eq!(freeze(&open().fd), Ok(()));
            assert_eq!(thaw(&open().fd), Ok(()));
        });
    }

    #[test]
    fn what_knows_no_holding_does_not_keep_others_from_it() {
        with_file_system(|open| {
            let tried = Cell::new(false);
            let not_first = |fd: &OwnedFd| match tried.replace(true) {
                false => Err(Errno::OPNOTSUPP),
                true => freeze(fd),
            };
            let (held, skipped) = hold_each(vec![open(), open()], HOLDING, not_first).unwrap();
            assert_eq!((held.len(), skipped.len()), (1, 1));
            assert!(let_go(held));
            assert!(hold_each(vec![open()], HOLDING, |_: &OwnedFd| Err(Errno::NOTTY)).is_err());
        });
    }
}
