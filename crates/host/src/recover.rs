//! What a data directory says of itself, read for a recovery.
//!
//! Invariant: nothing is changed but by [`set_aside`], which renames. What is read is bounded: a
//! sidecar of more than 1 MiB is none of ours, and nothing is followed that is not a regular file.

mod files;
mod holders;
mod snapshots;

use crate::pools::place;
use crate::{Layout, durable};
use engine::recover::{Found, FoundImage, FoundMachine, FoundVolume, Left};
use files::{Piece, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use types::pool::DEFAULT_POOL;
use types::{ByteSize, Code, ImageId, MachineId, Problem, Timestamp, VolumeId};

/// A data directory, read.
#[derive(Debug)]
pub struct Read {
    /// What there is.
    pub found: Found,
    /// Sidecars of volumes that cannot be read: a recovered volume gets a new one.
    pub damaged: Vec<PathBuf>,
}

fn unreadable(what: &Path, e: &io::Error) -> Problem {
    Problem::new(Code::IoError, format!("cannot read {}: {e}", what.display()))
        .hint("look for a failing disk; nothing was changed")
}

/// The entries of a directory, by name; none if it is not there.
fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let read = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
        other => other?,
    };
    let mut all = vec![];
    for entry in read {
        let entry = entry?;
        all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    all.sort();
    Ok(all)
}

/// Whether there are machines or volumes that a database should know of.
///
/// # Errors
/// `io-error`.
pub fn anything(layout: &Layout) -> Result<bool, Problem> {
    if !place::records(layout)?.is_empty() {
        return Ok(true);
    }
    let volumes = entries(&layout.volumes()).map_err(|e| unreadable(&layout.volumes(), &e))?;
    let published = |name: &str| matches!(Piece::parse(name), Some((_, Piece::Content | Piece::Sidecar)));
    if volumes.iter().any(|(name, _)| published(name)) {
        return Ok(true);
    }
    let snapshots = entries(&layout.snapshots()).map_err(|e| unreadable(&layout.snapshots(), &e))?;
    if snapshots.iter().any(|(name, _)| published(name)) {
        return Ok(true);
    }
    let machines = layout.machines();
    let machines = entries(&machines).map_err(|e| unreadable(&machines, &e))?;
    Ok(machines.iter().any(|(_, path)| path.join("machine.json").exists()))
}

/// Reads everything below `layout`, and who has volumes open.
///
/// # Errors
/// `io-error`: a directory that cannot be listed. Files that cannot be read are told in the result.
pub fn read(layout: &Layout) -> Result<Read, Problem> {
    let mut read = files_of(layout)?;
    read.found.holders = holders::find(layout, &read.found);
    Ok(read)
}

/// Reads everything below `layout`.
///
/// # Errors
/// See [`read`].
pub fn list(layout: &Layout) -> Result<Found, Problem> {
    files_of(layout).map(|read| read.found)
}

fn files_of(layout: &Layout) -> Result<Read, Problem> {
    let mut read = Read { found: Found::default(), damaged: vec![] };
    let within = |dir: PathBuf, done: io::Result<()>| done.map_err(|e| unreadable(&dir, &e));
    for (name, place) in pools(layout, &mut read.found)? {
        let mut volumes = BTreeMap::new();
        within(place.volumes(), pool(&place, &name, &mut volumes, &mut read))?;
        within(place.snapshots(), snapshots::find(&place, &mut read))?;
        within(place.trash(), trash(&place, &name, &mut volumes))?;
        read.found.volumes.extend(volumes.into_values());
    }
    within(layout.machines(), machines(layout, &mut read.found))?;
    within(layout.images(), images(layout, &mut read.found))?;
    Ok(read)
}

/// The pools that are there, with their names.
fn pools(layout: &Layout, found: &mut Found) -> Result<Vec<(String, Layout)>, Problem> {
    let mut all = vec![(DEFAULT_POOL.to_owned(), layout.clone())];
    for record in place::records(layout)? {
        let spec = match record {
            Ok(spec) => spec,
            Err(path) => {
                let (what, why) = (path.display().to_string(), "it is no record of a pool".into());
                found.left.push(Left { what, why });
                continue;
            }
        };
        let name = spec.name.to_string();
        match place::layout(layout, &name) {
            Ok(place) => {
                all.push((name, place));
                found.pools.push(spec);
            }
            Err(_) => found.offline.push(name),
        }
    }
    Ok(all)
}

type Volumes = BTreeMap<VolumeId, FoundVolume>;

fn volume<'a>(all: &'a mut Volumes, pool: &str, id: VolumeId) -> &'a mut FoundVolume {
    all.entry(id).or_insert_with(|| FoundVolume {
        id,
        pool: pool.to_owned(),
        specs: vec![],
        file: None,
        sidecar: false,
        part: false,
        trashed: None,
        kept: false,
    })
}

fn pool(layout: &Layout, pool: &str, all: &mut Volumes, read: &mut Read) -> io::Result<()> {
    for (name, path) in entries(&layout.volumes())? {
        let mut left =
            |why: &str| read.found.left.push(Left { what: path.display().to_string(), why: why.into() });
        let Some((id, piece)) = Piece::parse(&name) else {
            left("its name is none of ours");
            continue;
        };
        match piece {
            Piece::Content => match path.symlink_metadata() {
                Ok(seen) if seen.is_file() && seen.len() == 0 => left("it is a volume's file without a byte"),
                Ok(seen) if seen.is_file() => volume(all, pool, id).file = Some(ByteSize(seen.len())),
                Ok(_) => left("it has a volume's name and is no regular file"),
                Err(e) => left(&format!("it cannot be looked at: {e}")),
            },
            Piece::Part => volume(all, pool, id).part = true,
            Piece::Sidecar => {
                volume(all, pool, id).sidecar = true;
                match json(&path, |s: &types::volume::VolumeSpec| s.id == id) {
                    Ok(spec) => volume(all, pool, id).specs.push(spec),
                    Err(why) => {
                        left(&format!("it is no sidecar of this volume: {why}"));
                        read.damaged.push(path);
                    }
                }
            }
            // Half of one is no news: the published one is there.
            Piece::NewSidecar => volume(all, pool, id).specs.extend(json(&path, |_| true).ok()),
        }
    }
    Ok(())
}

fn trash(layout: &Layout, pool: &str, all: &mut Volumes) -> io::Result<()> {
    for (name, path) in entries(&layout.trash())? {
        let Some((until, id, piece)) = files::trashed(&name) else { continue };
        let volume = volume(all, pool, id);
        volume.trashed = volume.trashed.max(Some(until));
        volume.kept |= piece == Piece::Content;
        if piece == Piece::Sidecar {
            volume.specs.extend(json(&path, |_| true).ok());
        }
    }
    Ok(())
}

fn machines(layout: &Layout, found: &mut Found) -> io::Result<()> {
    for (name, dir) in entries(&layout.machines())? {
        let mut left = |why: String| found.left.push(Left { what: dir.display().to_string(), why });
        let Some(id) = files::id(&name).map(MachineId) else {
            left("its name is none of ours".into());
            continue;
        };
        let path = layout.machine_sidecar(id);
        let mut machine = FoundMachine { id, specs: vec![], written_at: Timestamp::from_millis(0) };
        let mut problem = None;
        for path in [path.clone(), path.with_file_name(".machine.json.new")] {
            match json(&path, |s: &types::machine::MachineSpec| s.id == id) {
                Ok(spec) => {
                    machine.specs.push(spec);
                    machine.written_at = machine.written_at.max(files::written(&path));
                }
                Err(why) => {
                    problem.get_or_insert(why);
                }
            }
        }
        match problem {
            Some(why) if machine.specs.is_empty() => {
                left(format!("it has no sidecar of this machine: {why}"))
            }
            _ => found.machines.push(machine),
        }
    }
    Ok(())
}

/// What an image's record says.
#[derive(serde::Deserialize)]
struct ImageRecord {
    digest: String,
    size: u64,
}

fn images(layout: &Layout, found: &mut Found) -> io::Result<()> {
    for (name, path) in entries(&layout.images())? {
        let id = name.strip_suffix(".json").and_then(files::id).map(ImageId);
        let Some(id) = id else { continue };
        // The digest becomes part of a path.
        let sound = |r: &ImageRecord| r.digest.len() == 64 && r.digest.bytes().all(|b| b.is_ascii_hexdigit());
        let Ok(record) = json(&path, sound) else { continue };
        let content = layout.image_content(&record.digest);
        if content.symlink_metadata().is_ok_and(|seen| seen.is_file() && seen.len() == record.size) {
            found.images.push(FoundImage {
                id,
                digest: record.digest,
                size: ByteSize(record.size),
                path: content.display().to_string(),
            });
        }
    }
    Ok(())
}

/// Renames the sidecars that cannot be read, since the volumes get new ones under their names.
///
/// # Errors
/// `io-error`.
pub fn set_aside(damaged: &[PathBuf], now: Timestamp) -> Result<(), Problem> {
    for path in damaged {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!("{name}.damaged-{}", now.millis()));
        durable::rename(path, &aside)
            .map_err(|e| Problem::new(Code::IoError, format!("cannot rename {}: {e}", path.display())))?;
    }
    Ok(())
}

/// Renames the database at `path`, and the files that SQLite has beside it, to
/// `<path>.corrupt-<milliseconds>…`; says what it is called now, if it was there.
///
/// The database goes first: without it the rest is nothing, while a database without its log would
/// be an older one that looks whole.
///
/// # Errors
/// `io-error`.
pub fn move_database(path: &Path, now: Timestamp) -> Result<Option<PathBuf>, Problem> {
    let aside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{}{end}", now.millis()));
        PathBuf::from(name)
    };
    let mut moved = None;
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut from = path.as_os_str().to_owned();
        from.push(end);
        let (from, to) = (PathBuf::from(from), aside(end));
        match durable::rename(&from, &to) {
            Ok(()) if end.is_empty() => moved = Some(to),
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Problem::new(Code::IoError, format!("cannot rename {}: {e}", from.display())));
            }
            _ => {}
        }
    }
    Ok(moved)
}

/// Which volume a file in the pool is of, by its name.
#[doc(hidden)]
pub fn pool_name(name: &str) -> Option<VolumeId> {
    Piece::parse(name).map(|(volume, _)| volume)
}

/// Until when a file in the trash is kept, and which volume it is of, by its name.
#[doc(hidden)]
pub fn trash_name(name: &str) -> Option<(Timestamp, VolumeId)> {
    files::trashed(name).map(|(until, volume, _)| (until, volume))
}

#[cfg(test)]
mod tests;
