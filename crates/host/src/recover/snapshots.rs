//! The snapshots of a data directory.

use super::files::{Piece, json};
use super::{Read, entries};
use crate::Layout;
use engine::recover::{FoundSnapshot, Left};
use std::collections::BTreeMap;
use std::io;
use types::snapshot::SnapshotSidecar;
use types::{ByteSize, SnapshotId};

/// Reads them into `read`.
pub fn find(layout: &Layout, read: &mut Read) -> io::Result<()> {
    let mut all: BTreeMap<SnapshotId, FoundSnapshot> = BTreeMap::new();
    for (name, path) in entries(&layout.snapshots())? {
        let mut left =
            |why: &str| read.found.left.push(Left { what: path.display().to_string(), why: why.into() });
        let Some((id, piece)) = Piece::parse(&name) else {
            left("its name is none of ours");
            continue;
        };
        let id = SnapshotId(id.0);
        let one = all.entry(id).or_insert(FoundSnapshot { id, sidecar: None, file: None });
        match piece {
            Piece::Content => match path.symlink_metadata() {
                Ok(seen) if seen.is_file() => one.file = Some(ByteSize(seen.len())),
                _ => left("it has a snapshot's name and is no regular file"),
            },
            Piece::Sidecar => match json(&path, |s: &SnapshotSidecar| s.spec.id == id) {
                Ok(sidecar) => one.sidecar = Some(sidecar),
                Err(why) => left(&format!("it is no sidecar of this snapshot: {why}")),
            },
            Piece::Part | Piece::NewSidecar => {}
        }
    }
    read.found.snapshots.extend(all.into_values());
    Ok(())
}
