//! What is in the trash, and when it goes.
//!
//! Invariant: it goes when its time is over by a clock that was not set, or, the oldest first, while the
//! pool is below its reserve; that it goes is decided in its spec before anything of it is touched.

use crate::Engine;
use crate::admit::go_for_good;
use crate::db::{Change, SnapshotRecord, VolumeRecord};
use crate::port::Pool;
use crate::store::StoreError;
use std::sync::{Arc, PoisonError};
use types::operation::{Kind, Target};
use types::snapshot::SnapshotSpec;
use types::volume::VolumeSpec;
use types::{ByteSize, Code, Name, Problem, Timestamp, Verb, VolumeId};
use uuid::Uuid;

/// Something that was deleted.
enum Trashed {
    Volume(Box<VolumeRecord>),
    Snapshot(Box<SnapshotRecord>),
}

impl Trashed {
    fn what(&self) -> (Kind, Uuid, &Name) {
        match self {
            Self::Volume(r) => (Kind::Volume, r.spec.id.0, &r.spec.name),
            Self::Snapshot(r) => (Kind::Snapshot, r.spec.id.0, &r.spec.name),
        }
    }
}

impl Engine {
    /// Notices whether the clock on the wall was set. Returns whether it can be gone by.
    pub(super) fn look_at_clock(&self) -> bool {
        let clock = &self.0.ports.clock;
        let mut steady = self.0.steady.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ms) = steady.look(clock.now(), clock.uptime(), self.settings().trash_keep) {
            tracing::warn!(seconds = ms / 1000, "the clock was set; the trash is kept for longer");
        }
        steady.trusted()
    }

    /// Whether what is kept until then may go now.
    pub(super) fn let_go(&self, until: Timestamp) -> bool {
        until <= self.0.ports.clock.now() && self.look_at_clock()
    }

    /// Removes from the trash what has expired and is in no record. What is in one goes by its planner.
    pub(super) fn empty_trash(&self) {
        if !self.look_at_clock() {
            return;
        }
        // What cannot be read is not touched.
        let known = |id: VolumeId| !matches!(self.0.db.record::<VolumeSpec>(id.0), Ok(None));
        let pools = self.pool_names().unwrap_or_default();
        for name in pools {
            let purge = |pool: Arc<dyn Pool>| pool.purge_trash(self.0.ports.clock.now(), &known);
            match self.pool(&name).and_then(purge) {
                Ok(gone) if !gone.is_empty() => tracing::info!(count = gone.len(), "emptied expired trash"),
                Ok(_) => {}
                // Its own planner tells of that.
                Err(fault) if fault.problem.code == Code::PoolOffline => {}
                Err(fault) => tracing::warn!(code = %fault.problem.code, "trash: {fault}"),
            }
        }
    }

    /// While the pool has less than its reserve, lets the volume or snapshot go that was deleted first; the
    /// next once that is gone.
    pub(super) fn make_room(&self) {
        if let Err(problem) = self.try_make_room() {
            tracing::warn!(code = %problem.code, "trash: {problem}");
        }
    }

    fn try_make_room(&self) -> Result<(), Problem> {
        for pool in self.pool_names()? {
            if let Some(short) = self.below_reserve(&pool) {
                self.make_room_in(&pool, short)?;
            }
        }
        Ok(())
    }

    fn make_room_in(&self, pool: &str, short: ByteSize) -> Result<(), Problem> {
        let mut all = vec![];
        for r in self.0.db.records::<VolumeSpec>()?.into_iter().filter(|r| r.spec.pool == pool) {
            let Some(going) = &r.spec.deleting else { continue };
            all.push((going.at, r.spec.id.0, going.keep_until, Trashed::Volume(Box::new(r))));
        }
        for r in self.0.db.records::<SnapshotSpec>()?.into_iter().filter(|r| r.spec.pool == pool) {
            let Some(going) = &r.spec.deleting else { continue };
            all.push((going.at, r.spec.id.0, going.keep_until, Trashed::Snapshot(Box::new(r))));
        }
        // One that is on its way frees its room first.
        if all.iter().any(|(_, _, keep_until, _)| keep_until.is_none()) {
            return Ok(());
        }
        let Some((_, _, _, oldest)) = all.iter().min_by_key(|(at, id, ..)| (*at, *id)) else { return Ok(()) };
        self.discard_early(oldest, format!("pool \"{pool}\" had {short} less free than its reserve"))
    }

    fn discard_early(&self, trashed: &Trashed, why: String) -> Result<(), Problem> {
        let mut change = Change::system();
        let verb = match trashed {
            Trashed::Volume(record) => {
                go_for_good(&mut change, record);
                Verb::VolumeDelete
            }
            Trashed::Snapshot(record) => {
                go_for_good(&mut change, record);
                Verb::SnapshotDelete
            }
        };
        let (kind, id, name) = trashed.what();
        let target = Target { kind, id: Some(id), name: name.to_string() };
        self.note(&mut change, verb, target, why.clone());
        match change.commit(&self.0.db) {
            Ok(_) => {
                tracing::warn!(%kind, %name, "out of the trash for good: {why}");
                self.wake(kind, id);
            }
            // Somebody takes it back at this moment: the next time, then.
            Err(StoreError::Conflict(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}
