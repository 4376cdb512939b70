//! What a database knows, read without opening it as a store.

use crate::key;
use crate::store::{Sqlite, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use types::operation::Kind;
use types::snapshot::{SnapshotSpec, SnapshotStatus};
use types::volume::{VolumeSpec, VolumeStatus};
use types::{ImageId, MachineId, SnapshotId, VolumeId};

/// What the database knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// Volumes by id, with their name if their file must be there.
    pub volumes: BTreeMap<VolumeId, Option<String>>,
    /// Snapshots by id, with their name if their file must be there.
    pub snapshots: BTreeMap<SnapshotId, Option<String>>,
    /// The pool of each.
    pub pools: BTreeMap<VolumeId, String>,
    /// Machines.
    pub machines: Vec<MachineId>,
    /// Images.
    pub images: Vec<ImageId>,
    /// A recovery of it has begun and not ended.
    pub half_done: bool,
}

impl Listed {
    /// Reads the database at `path`, which a daemon may have open; `None` if there is none.
    ///
    /// # Errors
    /// See [`Sqlite::open`]; a record that cannot be read is [`StoreError::Damaged`].
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let kinds = [Kind::Machine, Kind::Volume, Kind::Snapshot, Kind::Image].map(key::all);
        let mut prefixes: Vec<&str> = kinds.iter().map(String::as_str).collect();
        prefixes.push(key::RECOVERY);
        let Some(entries) = Sqlite::inspect(path, &prefixes)? else { return Ok(None) };
        let mut listed = Self::default();
        // A spec comes right before its status.
        let mut last: Option<VolumeSpec> = None;
        let mut taken: Option<SnapshotSpec> = None;
        for e in entries {
            let damaged =
                |why: serde_json::Error| StoreError::Damaged(format!("the record {}: {why}", e.key));
            match (key::id_of(&e.key, "spec"), key::id_of(&e.key, "status")) {
                (Some(("machine", id)), _) => listed.machines.push(MachineId(id)),
                (Some(("image", id)), _) => listed.images.push(ImageId(id)),
                (Some(("volume", id)), _) => {
                    listed.volumes.insert(VolumeId(id), None);
                    let spec: VolumeSpec = serde_json::from_slice(&e.value).map_err(damaged)?;
                    listed.pools.insert(VolumeId(id), spec.pool.clone());
                    last = Some(spec);
                }
                (_, Some(("volume", id))) => {
                    let status: VolumeStatus = serde_json::from_slice(&e.value).map_err(damaged)?;
                    let spec = last.take().filter(|s| s.id.0 == id && s.deleting.is_none() && status.filled);
                    listed.volumes.insert(VolumeId(id), spec.map(|s| s.name.to_string()));
                }
                (Some(("snapshot", id)), _) => {
                    listed.snapshots.insert(SnapshotId(id), None);
                    taken = Some(serde_json::from_slice(&e.value).map_err(damaged)?);
                }
                (_, Some(("snapshot", id))) => {
                    let status: SnapshotStatus = serde_json::from_slice(&e.value).map_err(damaged)?;
                    let there = |s: &SnapshotSpec| s.id.0 == id && s.deleting.is_none();
                    let spec = taken.take().filter(|s| there(s) && status.taken.is_some());
                    listed.snapshots.insert(SnapshotId(id), spec.map(|s| s.name.to_string()));
                }
                _ => listed.half_done |= e.key == key::RECOVERY,
            }
        }
        Ok(Some(listed))
    }
}
