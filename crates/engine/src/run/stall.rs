//! Guests that stand: looking whether there is room, letting them go on, setting their clocks.
//!
//! Invariant: an effect comes before the record that it was had, and each of them may be had twice.

use super::{Broken, Next};
use crate::Engine;
use crate::db::{Change, MachineRecord};
use crate::plan::disks::all_came;
use crate::plan::machine::{Look, Step};
use crate::plan::stall;
use crate::port::Health;
use std::time::Duration;
use types::Problem;
use types::machine::{MachineSpec, Run, Stall, StallReason};
use types::volume::VolumeSpec;

impl Engine {
    /// Looks at the guest of a run that is alive.
    pub(super) fn look_at_health(
        &self,
        spec: &MachineSpec,
        run: &Run,
        look: &mut Look,
    ) -> Result<(), Broken> {
        look.health = self.0.ports.vmm.health(spec.id, run.id)?;
        if let Health::Stands { slot, why: StallReason::PoolFull } = look.health {
            // Where it is not known which disk it is about, any of them may be it.
            let disks = spec.disks.iter().filter(|d| slot.is_none_or(|slot| slot == d.slot));
            look.room = true;
            for disk in disks {
                let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
                // A pool that cannot be asked has no room.
                let room = self.pool(&volume.spec.pool).and_then(|pool| pool.capacity());
                look.room &= room.is_ok_and(|c| c.free >= stall::ROOM);
            }
        }
        Ok(())
    }

    /// Does a step about a guest that stands, or did.
    pub(super) fn do_stall(&self, record: &MachineRecord, look: &Look, step: &Step) -> Result<Next, Broken> {
        let (spec, status) = (&record.spec, &record.status);
        let mut new = status.value.clone();
        let Some(run) = &mut new.run else { return Err(Broken::Raced) };
        match step {
            Step::Resume => self.0.ports.vmm.resume(spec.id, run.id)?,
            Step::SetClock => {
                if let Err(fault) = self.0.ports.guest.set_clock(spec.id, run.id) {
                    tracing::warn!(machine = %spec.name, code = %fault.problem.code, "its clock: {fault}");
                    let unheard = run.stall.as_ref().is_some_and(|s| stall::passed(s, look, stall::UNHEARD));
                    if fault.passing && !unheard {
                        return Ok(Next::Later(Duration::from_secs(1)));
                    }
                }
                // A disk may have grown while nobody heard of it: a hello makes the agent look. While one is
                // still to come, it is told once that has come: it mounts what is there when it is told.
                if all_came(spec, look) {
                    if let Err(fault) = self.0.ports.guest.configure(&self.run_plan(spec, run)?) {
                        tracing::warn!(machine = %spec.name, code = %fault.problem.code, "its disks: {fault}");
                    }
                }
            }
            _ => {}
        }
        stall::carry_out(spec, run, look, step);
        let stall = run.stall.clone();
        let mut change = Change::system();
        change.update(status, &new).on(spec);
        change.commit(&self.0.db)?;
        match (step, &stall) {
            (Step::NoteStall, Some(stall)) => {
                tracing::warn!(machine = %spec.name, "{}", self.standing_problem(spec, stall)?);
            }
            (Step::Resume, _) => tracing::info!(machine = %spec.name, "it is let go on"),
            _ => {}
        }
        Ok(Next::Again)
    }

    /// Why a machine stands, with the name of its volume.
    pub(crate) fn standing_problem(&self, spec: &MachineSpec, stall: &Stall) -> Result<Problem, Problem> {
        let volume = match stall.volume {
            Some(id) => self.0.db.record::<VolumeSpec>(id.0)?.map(|v| v.spec.value.name),
            None => None,
        };
        Ok(stall::problem(&spec.name, volume.as_ref(), stall.why))
    }
}
