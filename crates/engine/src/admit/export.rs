//! Requests to read a volume or a snapshot as a whole, for a copy elsewhere.
//!
//! Invariant: what is read is held from the transaction that accepts it to the one that records that
//! reading is over, so that no machine writes to it, and nobody grows or removes it meanwhile. Of what a
//! machine runs with, a snapshot is taken, which goes once it was read.

use super::Draft;
use super::copy::{Original, is_up};
use super::snapshot::ready;
use super::volume::{refuse_deleting, refuse_lost};
use crate::Engine;
use crate::db::VolumeRecord;
use std::cell::RefCell;
use std::sync::PoisonError;
use types::operation::Kind;
use types::{Actor, Code, Name, Operation, OperationId, Problem, SnapshotId, Verb, VolumeId};

/// What is being read.
#[derive(Debug)]
pub struct Export {
    /// The request: whoever reads says how that ended, by [`Engine::end_export`].
    pub operation: Operation,
    /// What it is called.
    pub name: Name,
    /// The pool it lives in.
    pub pool: String,
    /// Where to read, once [`Engine::export_ready`] says so.
    pub reading: Reading,
}

/// Which file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A volume's.
    Volume(VolumeId),
    /// A snapshot's.
    Snapshot(SnapshotId),
}

/// What it is called, its pool, and where it is read.
type What = (Name, String, Reading);

impl Engine {
    /// Accepts that somebody reads a volume, or a snapshot if there is no volume of that name or id. It is
    /// held until [`Engine::end_export`], or until this process ends.
    ///
    /// # Errors
    /// `volume-not-found`, `snapshot-not-ready`, `busy`, `volume-lost`, `being-deleted`, `pool-full`.
    pub fn export_volume(&self, actor: &Actor, volume: &str) -> Result<Export, Problem> {
        let found: RefCell<Option<(OperationId, Option<What>)>> = RefCell::new(None);
        let mine = || self.0.exports.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = self.admit(actor, Verb::VolumeExport, (Kind::Volume, volume), |draft| {
            // Whoever was here in an earlier try.
            if let Some((earlier, ..)) = found.take() {
                mine().remove(&earlier);
            }
            // Known before anybody can look for those that nobody serves.
            let id = draft.operation.id;
            mine().insert(id);
            found.replace(Some((id, None)));
            let what = match self.find_source(volume)? {
                Original::Volume(record) => self.read_volume(draft, &record)?,
                Original::Snapshot(record) => {
                    ready(&record)?;
                    let spec = &record.spec;
                    draft.change.on(spec).on(&record.status);
                    draft.about(Kind::Snapshot, spec.id.0, spec.name.as_str(), spec.generation);
                    (spec.name.clone(), spec.pool.clone(), Reading::Snapshot(spec.id))
                }
            };
            let held = match what.2 {
                Reading::Volume(id) => id.0,
                Reading::Snapshot(id) => id.0,
            };
            self.take_hold(&mut draft.change, held, (Kind::Volume, id.0))?;
            found.replace(Some((id, Some(what))));
            Ok(())
        });
        match (accepted, found.take()) {
            (Ok(operation), Some((id, Some((name, pool, reading))))) if operation.id == id => {
                Ok(Export { operation, name, pool, reading })
            }
            (other, mine_too) => {
                if let Some((id, _)) = mine_too {
                    mine().remove(&id);
                }
                // One that was made before is over, or somebody else's to read.
                other.and_then(|_| Err(Self::answered()))
            }
        }
    }

    fn read_volume(&self, draft: &mut Draft, record: &VolumeRecord) -> Result<What, Problem> {
        let (spec, status) = (&record.spec, &record.status);
        refuse_deleting(record)?;
        refuse_lost(record)?;
        draft.about(Kind::Volume, spec.id.0, spec.name.as_str(), spec.generation);
        let here = |reading| (spec.name.clone(), spec.pool.clone(), reading);
        if let Some(machine) = self.holder(draft, spec.id)? {
            if is_up(draft, &machine)? {
                let passing = SnapshotId(self.0.ports.clock.new_id());
                self.new_passing_snapshot(draft, passing, record, None)?;
                return Ok(here(Reading::Snapshot(passing)));
            }
        }
        if !status.filled || status.observed_generation != spec.generation {
            return Err(Problem::new(Code::Busy, format!("volume \"{}\" is not ready yet", spec.name))
                .hint("`sistemo operation list` shows what is under way; try again once it has ended"));
        }
        draft.change.on(spec).on(status);
        Ok(here(Reading::Volume(spec.id)))
    }
}
