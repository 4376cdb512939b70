//! Reading: snapshots as the API shows them.

use crate::Engine;
use crate::admit::restorable;
use crate::db::SnapshotRecord;
use std::collections::HashMap;
use types::snapshot::{Snapshot, SnapshotSpec, SnapshotState};
use types::volume::VolumeSpec;
use types::{Code, Name, Problem, VolumeId};

impl Engine {
    /// All snapshots but those that are going, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, Problem> {
        self.snapshots_where(|r| r.spec.deleting.is_none() && !r.spec.passing)
    }

    /// All snapshots that were deleted and can be taken back, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn deleted_snapshots(&self) -> Result<Vec<Snapshot>, Problem> {
        self.snapshots_where(|r| restorable(r).is_some())
    }

    fn snapshots_where(&self, wanted: impl Fn(&SnapshotRecord) -> bool) -> Result<Vec<Snapshot>, Problem> {
        let volumes = self.0.db.records::<VolumeSpec>()?.into_iter();
        let live = volumes.filter(|v| v.spec.deleting.is_none());
        let names: HashMap<VolumeId, Name> = live.map(|v| (v.spec.id, v.spec.value.name)).collect();
        let mut all: Vec<Snapshot> = self
            .0
            .db
            .records::<SnapshotSpec>()?
            .iter()
            .filter(|r| wanted(r))
            .map(|r| snapshot(r, names.get(&r.spec.volume)))
            .collect();
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(all)
    }

    /// One snapshot, by id or name.
    ///
    /// # Errors
    /// `snapshot-not-found`.
    pub fn snapshot(&self, id_or_name: &str) -> Result<Snapshot, Problem> {
        let record = self.0.db.find::<SnapshotSpec>(id_or_name)?;
        let volume = self.0.db.record::<VolumeSpec>(record.spec.volume.0)?;
        let live = volume.filter(|v| v.spec.deleting.is_none());
        Ok(snapshot(&record, live.as_ref().map(|v| &v.spec.name)))
    }
}

fn snapshot(r: &SnapshotRecord, volume: Option<&Name>) -> Snapshot {
    let (spec, status) = (&r.spec, &r.status);
    let state = match (&spec.deleting, &status.taken, &status.fault) {
        (Some(going), ..) if going.keep_until.is_some() => SnapshotState::Deleted,
        (Some(_), ..) => SnapshotState::Deleting,
        (None, None, _) => SnapshotState::Taking,
        (None, Some(_), Some(fault)) if fault.code == Code::SnapshotLost => SnapshotState::Lost,
        (None, Some(_), _) => SnapshotState::Ready,
    };
    Snapshot {
        id: spec.id,
        name: spec.name.clone(),
        status: state,
        volume: volume.unwrap_or(&spec.volume_name).clone(),
        volume_id: spec.volume,
        volume_exists: volume.is_some(),
        role: spec.role,
        pool: spec.pool.clone(),
        size_bytes: status.taken.map(|t| t.size.bytes()),
        consistency: status.taken.map(|t| t.consistency),
        group: spec.group.as_ref().map(|g| g.id.0),
        machine: spec.group.as_ref().map(|g| g.machine.clone()),
        taken_at: status.taken.map(|t| t.at),
        created_at: spec.created_at,
        node: spec.node.clone(),
        labels: spec.labels.clone(),
        fault: status.fault.clone(),
        deleted_at: spec.deleting.as_ref().map(|d| d.at),
        restorable_until: restorable(r),
        revision: spec.revision,
    }
}
