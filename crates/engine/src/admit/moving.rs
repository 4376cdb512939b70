//! Requests to have a volume in another pool.
//!
//! Invariant: it is held in the transaction that accepts the request, no process has it open then, and
//! nothing of it is in the other pool.

use super::copy::refuse_running;
use super::volume::{refuse_deleting, refuse_lost};
use crate::Engine;
use crate::port::VolumeObs;
use types::operation::Kind;
use types::pool::MoveVolume;
use types::volume::VolumeSpec;
use types::{Actor, Code, Operation, Problem, Verb};

impl Engine {
    /// Accepts that a volume that no machine has running lives in another pool. The pool in which it is is
    /// accepted and changes nothing.
    ///
    /// # Errors
    /// `volume-not-found`, `pool-not-found`, `pool-offline`, `machine-running`, `busy`, `pool-full`,
    /// `conflict`, `volume-lost`, `being-deleted`, `limit-exceeded`.
    pub fn move_volume(&self, actor: &Actor, volume: &str, req: &MoveVolume) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeMove, (Kind::Volume, volume), |draft| {
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            refuse_deleting(&record)?;
            refuse_lost(&record)?;
            let spec = &record.spec;
            let to = self.usable_pool(draft, Some(&req.pool))?;
            if to == spec.pool && spec.moving.is_none() {
                draft.change.on(spec);
                draft.about(Kind::Volume, spec.id.0, spec.name.as_str(), spec.generation);
                return Ok(());
            }
            if let Some(machine) = self.holder(draft, spec.id)? {
                refuse_running(draft, &machine, "move its volumes")?;
            }
            self.refuse_held(&mut draft.change, spec.id.0, &spec.name)?;
            let busy = |what: String| {
                Err(Problem::new(Code::Busy, format!("volume \"{}\" {what}", spec.name))
                    .hint("`sistemo operation list` shows how far that is; try again once it has ended"))
            };
            if !record.status.filled {
                return busy("is being made".into());
            }
            if let Some(left) = &spec.leaving {
                return busy(format!("is still being removed from pool \"{left}\""));
            }
            self.refuse_offline(&spec.pool)?;
            let there =
                self.pool(&to).and_then(|pool| pool.observe(spec.id)).map_err(|fault| fault.problem)?;
            if there != VolumeObs::default() {
                return Err(Problem::new(
                    Code::Conflict,
                    format!("pool \"{to}\" has a file of volume \"{}\" that is none of ours", spec.name),
                )
                .hint(format!("look at {}.raw there, and move it away", spec.id)));
            }
            self.refuse_full_copy(draft, (&to, spec.name.as_str()), (&spec.pool, spec.id))?;
            let mut new = spec.value.clone();
            new.moving = Some(to.clone());
            new.generation += 1;
            draft.change.update(spec, &new);
            self.warn_of_room(draft, &to);
            self.take_hold(&mut draft.change, spec.id.0, (Kind::Volume, spec.id.0))?;
            draft.about(Kind::Volume, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }
}
