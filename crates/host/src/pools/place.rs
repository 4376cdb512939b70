//! Where a pool is, and whether it is there.
//!
//! Invariant: a record alone says where a pool should be; that it is there, only its mark says.

use crate::{Layout, fault};
use engine::port::Fault;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use types::pool::{DEFAULT_POOL, PoolOn, PoolSpec};
use types::{Code, PoolId, Problem};

/// The file in a pool's root that holds its id.
pub const MARK: &str = ".sistemo-pool";
/// What Sistemo makes in a pool's root: directories that are removed with it once they are empty.
pub const DIRECTORIES: [&str; 3] = ["volumes", "trash", "snapshots"];
/// Its other file there.
pub const RESERVE: &str = ".reserve";
/// A record longer than this is not one of ours.
const MAX_RECORD: u64 = 1 << 16;

/// A pool that is there.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which pool.
    pub id: PoolId,
    /// The directory that holds `volumes` and `trash`.
    pub root: PathBuf,
}

/// The directory of a pool on this.
pub fn root(layout: &Layout, pool: &str, on: &PoolOn) -> PathBuf {
    match on {
        PoolOn::Directory { path } => PathBuf::from(path),
        PoolOn::Loop { .. } => layout.pool_mount(pool),
    }
}

/// A spec as its record holds it.
pub fn encode(spec: &PoolSpec) -> Vec<u8> {
    serde_json::to_vec_pretty(spec).unwrap_or_default()
}

/// The record of the pool of this name.
///
/// # Errors
/// `NotFound`, `InvalidData`, those of reading.
pub fn record(layout: &Layout, pool: &str) -> io::Result<PoolSpec> {
    let mut bytes = Vec::new();
    crate::image::probe::open_file(&layout.pool_record(pool))?.take(MAX_RECORD).read_to_end(&mut bytes)?;
    let spec: PoolSpec =
        serde_json::from_slice(&bytes).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
    if spec.name.as_str() != pool {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is another pool's"));
    }
    Ok(spec)
}

/// The records of all pools that have one, by name; of those that cannot be read, their path.
///
/// # Errors
/// `io-error` if the directory cannot be listed.
pub fn records(layout: &Layout) -> Result<Vec<Result<PoolSpec, PathBuf>>, Problem> {
    let dir = layout.pools();
    let read = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
        read => read.and_then(|entries| entries.collect::<io::Result<Vec<_>>>()),
    };
    let mut entries = read.map_err(|e| fault::io("look for the pools", &dir, &e).problem)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let names = entries.iter().filter_map(|e| Some((e.path(), e.file_name().into_string().ok()?)));
    Ok(names
        .filter_map(|(path, name)| Some((path, name.strip_suffix(".json")?.to_owned())))
        .filter(|(_, name)| !name.starts_with('.'))
        .map(|(path, name)| record(layout, &name).map_err(|_| path))
        .collect())
}

/// Whether this directory has the mark of this pool.
pub fn marked(root: &Path, pool: PoolId) -> bool {
    mark(root).is_ok_and(|mark| mark == Some(pool.to_string()))
}

/// The mark in this directory.
pub fn mark(root: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(root.join(MARK)) {
        Ok(file) => file.take(64).read_to_string(&mut text)?,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(text.trim().to_owned()))
}

/// The pool of this name, which is not the default one, where it is now.
///
/// # Errors
/// `pool-not-found`, `pool-offline` (passing), `io-error`.
pub fn find(layout: &Layout, pool: &str) -> Result<Place, Fault> {
    let spec = record(layout, pool).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Fault::lasting(Code::PoolNotFound, format!("there is no pool \"{pool}\""))
            .hint("`sistemo pool list` shows what there is"),
        _ => fault::io(&format!("read the record of pool \"{pool}\""), &layout.pool_record(pool), &e),
    })?;
    let root = root(layout, pool, &spec.on);
    if marked(&root, spec.id) {
        return Ok(Place { id: spec.id, root });
    }
    let fault = Fault::passing(Code::PoolOffline, format!("pool \"{pool}\" is not there now"));
    Err(match spec.on {
        PoolOn::Directory { path } => fault.hint(format!("mount the disk that {path} is on")),
        PoolOn::Loop { .. } => fault.hint(format!("`sistemo pool show {pool}` says why")),
    })
}

/// The layout with the pool of this name.
///
/// # Errors
/// See [`find`].
pub fn layout(layout: &Layout, pool: &str) -> Result<Layout, Fault> {
    if pool == DEFAULT_POOL {
        // Whoever asks may be at home in another one.
        return Ok(layout.in_pool(layout.pools().join(DEFAULT_POOL)));
    }
    Ok(layout.in_pool(find(layout, pool)?.root))
}

/// Refuses a pool in which is something that is none of ours, or that is in use.
///
/// # Errors
/// `pool-in-use`, `io-error`.
pub fn refuse_used(root: &Path, pool: &PoolSpec, whole: bool) -> Result<(), Fault> {
    let failed = |e: &io::Error| fault::io(&format!("look into pool \"{}\"", pool.name), root, e);
    let mut found = Vec::new();
    for dir in DIRECTORIES {
        found.extend(
            names(&root.join(dir)).map_err(|e| failed(&e))?.into_iter().map(|n| format!("{dir}/{n}")),
        );
    }
    if whole {
        let ours = |n: &str| DIRECTORIES.contains(&n) || [MARK, RESERVE].contains(&n);
        found.extend(names(root).map_err(|e| failed(&e))?.into_iter().filter(|n| !ours(n)));
    }
    let Some(first) = found.first() else { return Ok(()) };
    Err(Fault::lasting(
        Code::PoolInUse,
        format!("pool \"{}\" has files that Sistemo does not know of", pool.name),
    )
    .hint(format!("move them away; the first is {}", root.join(first).display())))
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(vec![]),
        read => read?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect(),
    }
}
