//! Which files there are, and what is seen of them without opening them.
//!
//! Invariant: links are not followed; what has no name of ours is nobody's here.

use crate::Layout;
use engine::port::Kept;
use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is written within one tick of the kernel's clock, 10 ms at most, has the same time.
const TICKS: Duration = Duration::from_millis(50);

/// What changes whenever a file's content, or where it is on the disk, does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    size: u64,
    blocks: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Whether nothing can happen to the file any more that this stamp would not show.
    pub fn settled(&self) -> bool {
        let (seconds, nanos) = self.changed;
        let at = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
        let at = at.and_then(|(seconds, nanos)| UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)));
        at.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|since| since > TICKS)
    }
}

/// A file.
#[derive(Debug)]
pub struct Seen {
    /// What it is for.
    pub kept: Kept,
    /// Where it is.
    pub path: PathBuf,
    /// Its file system.
    pub dev: u64,
    /// Which file of it.
    pub ino: u64,
    /// Its length in bytes.
    pub size: u64,
    /// What it occupies, in bytes.
    pub allocated: u64,
    /// How it was.
    pub stamp: Stamp,
}

impl Seen {
    /// The file at `path` of which this was seen; `None` if it is none.
    pub fn of(kept: Kept, path: PathBuf, seen: &Metadata) -> Option<Self> {
        seen.is_file().then(|| Self {
            kept,
            path,
            dev: seen.dev(),
            ino: seen.ino(),
            size: seen.len(),
            // stat(2): blocks of 512 bytes, whatever the file system's own are.
            allocated: seen.blocks().saturating_mul(512),
            stamp: Stamp {
                size: seen.len(),
                blocks: seen.blocks(),
                written: (seen.mtime(), seen.mtime_nsec()),
                changed: (seen.ctime(), seen.ctime_nsec()),
            },
        })
    }
}

/// The files in a directory for which `kind` knows what they are for. One that cannot be looked at is left
/// out.
fn files(dir: &Path, kind: impl Fn(&str) -> Option<Kept>, found: &mut Vec<Seen>) -> io::Result<()> {
    each(dir, |entry, name| {
        let seen = kind(name).and_then(|kept| Seen::of(kept, entry.path(), &entry.metadata().ok()?));
        found.extend(seen);
    })
}

fn each(dir: &Path, mut f: impl FnMut(&DirEntry, &str)) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str() {
            f(&entry, name);
        }
    }
    Ok(())
}

/// What the file of this name is the content of.
fn id<T: FromStr>(name: &str) -> Option<T> {
    name.strip_suffix(".raw")?.parse().ok()
}

fn temporary(name: &str) -> Option<Kept> {
    name.starts_with('.').then_some(Kept::Unfinished)
}

/// The files of a pool.
///
/// # Errors
/// Those of listing its directories.
pub fn pool(layout: &Layout) -> io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    let volume = |name: &str| id(name).map(Kept::Volume).or_else(|| temporary(name));
    files(&layout.volumes(), volume, &mut found)?;
    let snapshot = |name: &str| id(name).map(Kept::Snapshot).or_else(|| temporary(name));
    files(&layout.snapshots(), snapshot, &mut found)?;
    let deleted = |name: &str| crate::storage::deleted(name).map(Kept::Deleted);
    files(&layout.trash(), deleted, &mut found)?;
    files(layout.pool(), |name| (name == crate::pools::place::RESERVE).then_some(Kept::System), &mut found)?;
    Ok(found)
}

/// The files that the data directory holds beside pools; of what cannot be listed, none.
pub fn data(layout: &Layout) -> Vec<Seen> {
    let mut found = Vec::new();
    let image = |name: &str| name.ends_with(".raw").then_some(Kept::Image);
    let pool = |name: &str| name.ends_with(".img").then_some(Kept::Pool);
    let system = |_: &str| Some(Kept::System);
    let mut kernels = Vec::new();
    let looks = [
        files(&layout.images(), |name| temporary(name).or_else(|| image(name)), &mut found),
        files(&layout.pools(), |name| temporary(name).or_else(|| pool(name)), &mut found),
        files(layout.data(), system, &mut found),
        each(&layout.kernels(), |entry, _| kernels.push(entry.path())),
    ];
    let inner = kernels.iter().map(|dir| files(dir, system, &mut found));
    for e in looks.into_iter().chain(inner).filter_map(Result::err) {
        // A kernel may also be a file, which is nothing to list.
        if e.kind() != ErrorKind::NotADirectory {
            tracing::debug!(error = %e, "part of the data directory cannot be listed");
        }
    }
    found
}
