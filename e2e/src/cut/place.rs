//! A directory for one disk: its durable content, the drive, and what is mounted on it.

use super::mounted::detach;
use super::{Device, Kind, Lost, Mounted};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The names of what may be mounted in a place.
const MOUNTS: [&str; 2] = ["data", "drive"];

/// A directory that goes with its test: `disk.raw`, `drive/`, `data/`.
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// An empty one; takes back what tests left that were killed.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
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

/// Unmounts what is mounted in `dir`, and removes it.
fn clear(dir: &Path) {
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
