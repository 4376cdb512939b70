//! A directory for one disk: its durable content, the drive, and what is mounted on it.

use super::mounted::{detach, end_users};
use super::{Device, Kind, Lost, Mounted, preallocated};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::cell::Cell;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The names of what may be mounted in a place.
const MOUNTS: [&str; 2] = ["data", "drive"];

/// A directory that goes with its test: `disk.raw`, `drive/`, `data/`.
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// An empty one; takes back what tests left that were killed. What the calling thread mounts from
    /// now on is seen by it and what it begins, and by nobody else.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        own_mounts()?;
        let all = crate::scratch().join("cuts");
        std::fs::create_dir_all(&all)?;
        for entry in std::fs::read_dir(&all)?.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|n| n.split('-').next()).unwrap_or("");
            if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
                clear(&entry.path());
            }
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = all.join(format!("{}-{number}", std::process::id()));
        std::fs::create_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Where the file system is mounted.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What survives a cut.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.raw")
    }

    /// An empty disk of `size` bytes with a file system.
    pub fn format(&self, kind: Kind, size: u64) -> io::Result<()> {
        std::fs::File::create(self.disk())?.set_len(size)?;
        kind.format(&self.disk());
        Ok(())
    }

    /// An empty disk of `size` bytes, all of them taken on the host, mounted without a drive in between.
    pub fn plain(&self, kind: Kind, size: u64) -> io::Result<Mounted> {
        preallocated(&self.disk(), size)?;
        kind.format(&self.disk());
        Mounted::new(kind, &self.disk(), &self.data())
    }

    /// Switches the disk on and mounts what is on it.
    pub fn power(&self, kind: Kind, lies: bool) -> io::Result<Powered> {
        let device = Device::on(&self.disk(), &self.dir.join("drive"), lies)?;
        let mounted = Mounted::new(kind, &device.disk(), &self.data())?;
        Ok(Powered { mounted, device })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clear(&self.dir);
    }
}

/// Gives the calling thread a mount namespace of its own. Otherwise whoever makes one while a test
/// runs gets a copy of its mounts, and they stay for as long as that copy.
fn own_mounts() -> io::Result<()> {
    thread_local!(static OWN: Cell<bool> = const { Cell::new(false) });
    if OWN.get() {
        return Ok(());
    }
    // SAFETY: the table of file descriptors stays shared, and nothing else of this flag can hurt
    // memory: only the current directory and the mounts are this thread's own.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    forget_others()?;
    hold_mounts()?;
    OWN.set(true);
    Ok(())
}

/// Lets go of what other tests have mounted by now, pools in files for example: their copies here would keep
/// them in use.
fn forget_others() -> io::Result<()> {
    let all = std::fs::read_to_string("/proc/thread-self/mounts")?;
    let points = all.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let theirs: Vec<&Path> = points.filter(|at| at.starts_with(crate::scratch())).collect();
    theirs.into_iter().rev().for_each(detach);
    Ok(())
}

/// Begins a process that lives a little longer than this one, in the same mount namespace: if this one
/// were the last in it and were killed, the kernel would unmount what is on a drive before it closes
/// the drive's FUSE session, and so wait for an answer from the dead.
fn hold_mounts() -> io::Result<()> {
    let mut holder = Command::new("cat");
    // A group of its own: what kills a whole group must leave it be.
    holder.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    // It ends when the pipe does, which is when this process ends.
    std::mem::forget(holder.spawn()?.stdin);
    Ok(())
}

/// Unmounts what is mounted in `dir`, and removes it.
fn clear(dir: &Path) {
    end_users(dir);
    let device = |path: &Path| path.symlink_metadata().map(|m| m.dev());
    for mount in MOUNTS.map(|name| dir.join(name)) {
        detach(&mount);
        match (device(&mount), device(dir)) {
            // Never reach into something that is still mounted.
            (Ok(inner), Ok(outer)) if inner != outer => return,
            (Err(e), _) if e.kind() != io::ErrorKind::NotFound => return,
            _ => {}
        }
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// A disk that is on, with its file system mounted. Dropped, it is unmounted in order, unless it was cut.
pub struct Powered {
    // Unmounted before the drive goes.
    mounted: Mounted,
    device: Device,
}

impl Powered {
    /// Where the file system is mounted.
    pub fn at(&self) -> &Path {
        self.mounted.at()
    }

    /// Cuts the power. What is mounted stays so, dead, until this is dropped.
    pub fn cut(&self, seed: u64) -> Lost {
        self.device.cut(seed).expect("the backing file can be written")
    }
}
