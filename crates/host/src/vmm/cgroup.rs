//! A cgroup per run: whether the run has processes, and their end.
//!
//! Only the hierarchy of version 2 serves, pure (`/sys/fs/cgroup`) or hybrid
//! (`/sys/fs/cgroup/unified`); no controller is needed.
//!
//! Invariant: nothing here looks at a pid to learn whether a run lives. A process enters before it
//! executes anything, and none ever leaves.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::Timespec;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the hierarchy of version 2 is mounted.
pub fn mounted() -> io::Result<Option<PathBuf>> {
    Ok(find(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// The first mount of version 2 in the text of `/proc/self/mountinfo` (proc(5)).
fn find(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        if file_system.split(' ').next() != Some("cgroup2") {
            return None;
        }
        mount.split(' ').nth(4).map(|path| PathBuf::from(unescape(path)))
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, c)| text.replace(code, c))
}

/// The cgroup of one run.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// Whether a `cgroup.events` says that processes are there.
fn says_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}

fn gone(e: &io::Error) -> bool {
    // A file of a cgroup that is removed while it is open.
    e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV)
}

impl Cgroup {
    /// The cgroup `sistemo/<name>` in the hierarchy mounted at `mount`.
    pub fn new(mount: &Path, name: &str) -> Self {
        Self { path: mount.join("sistemo").join(name) }
    }

    /// Makes it, if it is not there, and opens what a process writes `0` to in order to enter.
    pub fn enter(&self) -> io::Result<File> {
        fs::create_dir_all(&self.path)?;
        File::options().write(true).open(self.path.join("cgroup.procs"))
    }

    /// Opens what tells about processes; `None` if there is no such cgroup.
    pub fn events(&self) -> io::Result<Option<File>> {
        match File::open(self.path.join("cgroup.events")) {
            Ok(file) => Ok(Some(file)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads an open `cgroup.events` from its beginning.
    pub fn read(events: &File) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        let mut buffer = [0; 256];
        match events.read_at(&mut buffer, 0) {
            Ok(n) => Ok(says_populated(&String::from_utf8_lossy(&buffer[..n]))),
            Err(e) if gone(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether a process is in it.
    pub fn populated(&self) -> io::Result<bool> {
        self.events()?.as_ref().map_or(Ok(false), Self::read)
    }

    /// Waits until no process is in it.
    ///
    /// # Errors
    /// `TimedOut` after `patience`.
    pub fn wait_empty(&self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let Some(events) = self.events()? else { return Ok(()) };
        while Self::read(&events)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            // The kernel marks the file as exceptional when it changes after a read.
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)).or_else(interrupted)?;
        }
        Ok(())
    }

    /// Kills every process in it, without waiting for their end.
    pub fn kill(&self) -> io::Result<()> {
        match File::options().write(true).open(self.path.join("cgroup.kill")) {
            Ok(mut file) => match io::Write::write_all(&mut file, b"1") {
                Err(e) if !gone(&e) => Err(e),
                _ => Ok(()),
            },
            // No such cgroup, or a kernel before 5.14.
            Err(e) if gone(&e) => self.kill_each(),
            Err(e) => Err(e),
        }
    }

    /// The processes in it; none if there is no such cgroup.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut text = String::new();
        match File::open(self.path.join("cgroup.procs")).and_then(|mut f| f.read_to_string(&mut text)) {
            Err(e) if gone(&e) => Ok(Vec::new()),
            Err(e) => Err(e),
            Ok(_) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        }
    }

    /// As [`Cgroup::kill`], for kernels that cannot. QEMU may not fork (`spawn=deny`), so one round
    /// finds all.
    fn kill_each(&self) -> io::Result<()> {
        for pid in self.pids()?.into_iter().filter_map(Pid::from_raw) {
            match kill_process(pid, Signal::KILL) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// `ResourceBusy` while a process is in it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.path) {
            Err(e) if !gone(&e) => Err(e),
            _ => Ok(()),
        }
    }
}

fn interrupted(e: rustix::io::Errno) -> io::Result<usize> {
    if e == rustix::io::Errno::INTR { Ok(0) } else { Err(e.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_pure_and_hybrid() {
        let pure = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(pure).unwrap(), Path::new("/sys/fs/cgroup"));
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw shared:1 master:2 - cgroup cgroup rw,pids\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(hybrid).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let odd = "31 23 0:28 / /a\\040b\\134 rw - cgroup2 none rw\n";
        assert_eq!(find(odd).unwrap(), Path::new("/a b\\"));
        for none in ["", "nonsense", "31 23 0:28 / /cgroup2 rw - tmpfs cgroup2 rw", " - cgroup2"] {
            assert_eq!(find(none), None, "{none}");
        }
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_empty() {
        let none = Cgroup::new(Path::new("/nowhere"), "x");
        assert!(!none.populated().unwrap());
        none.kill().unwrap();
        none.wait_empty(Duration::ZERO).unwrap();
        none.remove().unwrap();
    }
}
