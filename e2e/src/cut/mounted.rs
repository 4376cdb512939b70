//! A file system in a file, mounted.
//!
//! Invariant: the loop device belongs to the mount (it is cleared with its last user), so one
//! unmount, however it comes, takes everything back.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a loop device or a FUSE session may take to let go of its file.
const LETTING_GO: Duration = Duration::from_secs(20);

/// Which file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ext4
    Ext4,
    /// XFS
    Xfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Makes an empty file system in a file.
    pub fn format(self, file: &Path) {
        match self {
            // Lazy tables would be written behind the test's back.
            Self::Ext4 => run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,nodiscard"], file),
            Self::Xfs => run("mkfs.xfs", &["-q", "-f", "-K"], file),
        };
    }

    /// Checks the file system in a file that is not mounted; says what is wrong.
    pub fn check(self, file: &Path) -> Result<(), String> {
        let (tool, args): (_, &[&str]) = match self {
            Self::Ext4 => ("e2fsck", &["-fn"]),
            Self::Xfs => ("xfs_repair", &["-n", "-f"]),
        };
        let output = Command::new(tool).args(args).arg(file).output().expect("the tool is installed");
        let text = || String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{tool}: {}", text())) }
    }
}

/// Runs a tool that has to end well; returns what it printed.
fn run(tool: &str, args: &[&str], last: &Path) -> String {
    let output = Command::new(tool).args(args).arg(last).output();
    let output = output.unwrap_or_else(|e| panic!("{tool}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {args:?} {}: {error}", last.display());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An empty file of `size` bytes whose space is taken (findings: a sparse one loses data when its
/// host fills).
pub fn preallocated(path: &Path, size: u64) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?)
}

/// A mounted file system.
pub struct Mounted {
    at: PathBuf,
    device: PathBuf,
}

impl Mounted {
    /// Mounts the file system in `file` at the directory `at`.
    pub fn new(kind: Kind, file: &Path, at: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        let device = run("losetup", &["--direct-io=off", "--find", "--show"], file);
        let options = match kind {
            // Its heuristics fsync behind renames and truncations: they would hide what is forgotten.
            Kind::Ext4 => c"noauto_da_alloc",
            Kind::Xfs => c"",
        };
        let name = CString::new(kind.name()).expect("a name without NUL");
        let mounted = mount(&*device, at, &name, MountFlags::NOATIME, options);
        // The mount holds it now: from here on it goes with its last user.
        run("losetup", &["--detach"], Path::new(&device));
        mounted?;
        Ok(Self { at: at.to_owned(), device: device.into() })
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Bytes that are free there for everybody.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).expect("it is mounted");
        stat.f_bavail * stat.f_frsize
    }

    fn backing_file(&self) -> PathBuf {
        let name = self.device.file_name().expect("a device has a name");
        Path::new("/sys/block").join(name).join("loop/backing_file")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let backing = self.backing_file();
        let before = std::fs::read(&backing).unwrap_or_default();
        end_users(&self.at);
        detach(&self.at);
        // The device may be another's by then: only its old file says that it is still ours.
        let held = || std::fs::read(&backing).is_ok_and(|now| now == before);
        if !until_gone(held) {
            eprintln!("{} on {} is still in use", self.device.display(), self.at.display());
        }
    }
}

/// Unmounts `at`: at once if nobody uses it, else as soon as nobody does.
pub fn detach(at: &Path) {
    if unmount(at, UnmountFlags::empty()).is_err() {
        // EINVAL: it is not mounted.
        let _ = unmount(at, UnmountFlags::DETACH);
    }
}

/// Waits until `there` is false; returns whether it came to that.
pub fn until_gone(there: impl Fn() -> bool) -> bool {
    let end = Instant::now() + LETTING_GO;
    while there() {
        if Instant::now() > end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// Whether the process has something open below `at`.
fn uses(process: &Path, at: &Path) -> bool {
    let links = ["cwd", "root", "exe"].map(|l| process.join(l));
    let fds = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|e| e.path());
    // By name and not by device: a dead file system cannot be asked about its files.
    links.into_iter().chain(fds).any(|link| std::fs::read_link(link).is_ok_and(|to| to.starts_with(at)))
}

/// Kills the processes of others that have files open below `at`: daemons and hypervisors that were
/// begun by them; nothing else knows of this directory.
pub fn end_users(at: &Path) {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let me = std::process::id();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if pid.unsigned_abs() == me || !uses(&entry.path(), at) {
            continue;
        }
        let Some(Ok(handle)) = Pid::from_raw(pid).map(|p| pidfd_open(p, PidfdFlags::empty())) else {
            continue;
        };
        // Looked at again: the number may have come to mean another since.
        if uses(&entry.path(), at) {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
            until_gone(|| uses(&entry.path(), at));
        }
    }
}
