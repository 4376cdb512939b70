//! Requests to read a volume as a whole, for a copy elsewhere.
//!
//! Invariant: what is read is held from the transaction that accepts it to the one that records that
//! reading is over, so that no machine writes to it, and nobody grows or removes it meanwhile.

use super::copy::refuse_running;
use super::volume::{refuse_deleting, refuse_lost};
use crate::Engine;
use std::cell::RefCell;
use std::sync::PoisonError;
use types::operation::Kind;
use types::volume::VolumeSpec;
use types::{Actor, Code, Operation, Problem, Verb};

/// A volume that is being read.
#[derive(Debug)]
pub struct Export {
    /// The request: whoever reads says how that ended, by [`Engine::end_export`].
    pub operation: Operation,
    /// The volume as it is meanwhile.
    pub volume: VolumeSpec,
}

impl Engine {
    /// Accepts that somebody reads a volume that no machine runs with. It is held until
    /// [`Engine::end_export`], or until this process ends.
    ///
    /// # Errors
    /// `volume-not-found`, `machine-running`, `busy`, `volume-lost`, `being-deleted`.
    pub fn export_volume(&self, actor: &Actor, volume: &str) -> Result<Export, Problem> {
        let found = RefCell::new(None);
        let mine = || self.0.exports.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = self.admit(actor, Verb::VolumeExport, (Kind::Volume, volume), |draft| {
            // Whoever was here in an earlier try.
            if let Some((earlier, _)) = found.take() {
                mine().remove(&earlier);
            }
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            let (spec, status) = (&record.spec, &record.status);
            refuse_deleting(&record)?;
            refuse_lost(&record)?;
            if let Some(machine) = self.holder(draft, spec.id)? {
                refuse_running(draft, &machine, "export its volumes")?;
            }
            if !status.filled || status.observed_generation != spec.generation {
                return Err(Problem::new(Code::Busy, format!("volume \"{}\" is not ready yet", spec.name))
                    .hint("`sistemo operation list` shows what is under way; try again once it has ended"));
            }
            draft.change.on(spec).on(status);
            // Known before anybody can look for those that nobody serves.
            let id = draft.operation.id;
            mine().insert(id);
            found.replace(Some((id, spec.value.clone())));
            self.take_hold(&mut draft.change, spec.id.0, (Kind::Volume, id.0))?;
            draft.about(Kind::Volume, spec.id.0, spec.name.as_str(), spec.generation);
            Ok(())
        });
        match (accepted, found.take()) {
            (Ok(operation), Some((id, volume))) if operation.id == id => Ok(Export { operation, volume }),
            (other, mine_too) => {
                if let Some((id, _)) = mine_too {
                    mine().remove(&id);
                }
                // One that was made before is over, or somebody else's to read.
                other.and_then(|_| Err(Self::answered()))
            }
        }
    }
}
