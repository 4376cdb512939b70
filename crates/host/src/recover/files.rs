//! The names of files, and what is in the small ones.

use rustix::fs::{Mode, OFlags, open};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use types::{Timestamp, VolumeId};
use uuid::Uuid;

/// A sidecar longer than this is none of ours.
const MAX: u64 = 1 << 20;

/// What a file of a volume is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// `<id>.raw`
    Content,
    /// `<id>.json`
    Sidecar,
    /// `.<id>.raw.part`
    Part,
    /// `.<id>.json.part` or `.<id>.json.new`
    NewSidecar,
}

/// An id as we write it: lower case, with hyphens.
pub fn id(text: &str) -> Option<Uuid> {
    let id: Uuid = text.parse().ok()?;
    (id.hyphenated().to_string() == text).then_some(id)
}

impl Piece {
    /// What a file in the pool is, by its name; `None` if we would not have named it so.
    pub fn parse(name: &str) -> Option<(VolumeId, Self)> {
        let (stem, end) = name.trim_start_matches('.').split_once('.')?;
        let piece = match (name.starts_with('.'), end) {
            (false, "raw") => Self::Content,
            (false, "json") => Self::Sidecar,
            (true, "raw.part") => Self::Part,
            (true, "json.part" | "json.new") => Self::NewSidecar,
            _ => return None,
        };
        Some((VolumeId(id(stem)?), piece))
    }
}

/// What a file in the trash is: until when it is kept, and of what.
pub fn trashed(name: &str) -> Option<(Timestamp, VolumeId, Piece)> {
    let (until, rest) = name.split_once('.')?;
    let (id, piece) = Piece::parse(rest)?;
    let until = Timestamp::from_millis(until.parse().ok()?);
    matches!(piece, Piece::Content | Piece::Sidecar).then_some((until, id, piece))
}

/// Reads a small file of ours, if `sound` says that it is one. The error is for people.
pub fn json<T: DeserializeOwned>(path: &Path, sound: impl Fn(&T) -> bool) -> Result<T, String> {
    // Without NONBLOCK, a pipe of that name would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open(path, flags, Mode::empty()).map_err(|e| e.to_string())?);
    let seen = file.metadata().map_err(|e| e.to_string())?;
    if !seen.is_file() || seen.len() > MAX {
        return Err("it is no regular file, or too large".into());
    }
    let mut bytes = vec![];
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let value: T = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if sound(&value) { Ok(value) } else { Err("it is of something else".into()) }
}

/// When a file was last written; long ago if it cannot be told.
pub fn written(path: &Path) -> Timestamp {
    let at = path.symlink_metadata().and_then(|seen| seen.modified());
    let since = at.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Timestamp::from_millis(since.and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0))
}
