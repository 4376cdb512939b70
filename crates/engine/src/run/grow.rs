//! Volumes in machines that are up: growing there, and giving back what is not used.
//!
//! Invariant: it is asked for only once the volume's own record is settled, so a machine never waits
//! for a volume that waits for it; a request ends when its guest has done its part or cannot.

use super::close::Ending;
use super::disks::of_the_guest;
use super::{Broken, Next};
use crate::db::{Change, MachineRecord, Rev, VolumeRecord};
use crate::plan::grow::{Asked, Live, Open, Step, plan};
use crate::plan::{Answer, Wait};
use crate::port::{Grown, Health, ProcessObs};
use crate::{Engine, key};
use types::machine::{Desired, MachineSpec, Mount, Run};
use types::operation::Kind;
use types::volume::VolumeRole;
use types::{MachineId, Operation, Problem, Verb};

impl Engine {
    /// Looks at a volume that is settled as far as its file goes.
    pub(super) fn look_at_growth(&self, record: &VolumeRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        let open = self.open_operations(Kind::Volume, spec.id.0)?;
        let wait = |verb| open.iter().any(|op: &Rev<Operation>| op.verb == verb);
        let asked = Asked { fill: wait(Verb::VolumeResize), trim: wait(Verb::VolumeTrim) };
        let holder = self.holder_of(record)?;
        let live = match &holder {
            Some(machine) => self.look_live(record, machine, asked)?,
            None => Live::Away,
        };
        match plan(spec.size, &live, asked) {
            Answer::Do(step) => self.do_growth(record, &live, &step),
            Answer::Wait(wait) => Ok(self.wait((Kind::Volume, spec.id.0), &wait)),
            Answer::Settled | Answer::Stuck(_) => {
                let later = holder.as_ref().and_then(|m| unheard(record, m, &live));
                self.end_resizes(record, later.into_iter().collect())?;
                let why = crate::admit::no_guest_to_trim(&spec.name, holder.as_ref().map(|m| &m.spec.name));
                self.end(record, Verb::VolumeTrim, || Ending::failed(why.clone()))?;
                Ok(Next::Idle)
            }
        }
    }

    pub(super) fn holder_of(&self, record: &VolumeRecord) -> Result<Option<MachineRecord>, Problem> {
        match self.0.db.get::<MachineId>(&key::attach(record.spec.id))? {
            Some(claim) => self.0.db.record::<MachineSpec>(claim.value.0),
            None => Ok(None),
        }
    }

    fn look_live(
        &self,
        record: &VolumeRecord,
        machine: &MachineRecord,
        asked: Asked,
    ) -> Result<Live, Broken> {
        let (spec, vmm) = (&machine.spec, &self.0.ports.vmm);
        let Some(run) = machine.status.run.as_ref().filter(|run| stays(spec, run)) else {
            return Ok(Live::Away);
        };
        let Some(disk) = spec.disks.iter().find(|d| d.volume == record.spec.id && d.leaving.is_none()) else {
            return Ok(Live::Away);
        };
        match vmm.observe(spec.id, run.id)? {
            ProcessObs::Alive => {}
            ProcessObs::Exited { .. } => return Ok(Live::Away),
            ProcessObs::Absent | ProcessObs::Starting => return Ok(Live::Coming(spec.id)),
        }
        let seen = match vmm.disks(spec.id, run.id) {
            Err(fault) if fault.passing && asked == Asked::default() => return Ok(Live::Away),
            other => other?,
        };
        let Some(seen) = seen.into_iter().find(|d| d.ready && d.serial == disk.volume.short()) else {
            return Ok(Live::Coming(spec.id));
        };
        Ok(Live::Here(Open {
            machine: spec.id,
            run: run.id,
            size: seen.size,
            read_only: disk.read_only,
            mounted: disk.role == VolumeRole::Root || disk.mount != Mount::None,
            hello: run.hello_at.is_some(),
            stands: matches!(vmm.health(spec.id, run.id)?, Health::Stands { .. }),
        }))
    }

    fn do_growth(&self, record: &VolumeRecord, live: &Live, step: &Step) -> Result<Next, Broken> {
        let Live::Here(open) = live else { return Err(Broken::Raced) };
        let (ports, serial) = (&self.0.ports, record.spec.id.short());
        match step {
            Step::Stretch { to } => ports.vmm.stretch(open.machine, open.run, &serial, *to)?,
            Step::Fill { to } => {
                let Grown { growing, note } = ports.guest.grow(open.machine, open.run, &serial, *to)?;
                let goes_on = growing.then(|| {
                    format!(
                        "the file system of volume \"{}\" is still growing, in the background",
                        record.spec.name
                    )
                });
                self.end_resizes(record, goes_on.into_iter().chain(note).collect())?;
            }
            Step::Trim => {
                // Whoever has to wait for its turn has not failed: the end of another wakes it.
                let _turn = match self.begin_trim(open.machine, record.spec.id) {
                    Ok(turn) => turn,
                    Err(on) => {
                        return Ok(self.wait((Kind::Volume, record.spec.id.0), &Wait { until: None, on }));
                    }
                };
                let before = self.allocated(record)?;
                match ports.guest.trim(open.machine, open.run, &serial) {
                    Err(fault) if !fault.passing => {
                        // It ends the trim alone: whatever else is wanted of the volume by now goes on.
                        let why = self.named((Kind::Volume, record.spec.id.0), fault.problem);
                        tracing::warn!(volume = %record.spec.name, code = %why.code, "not trimmed: {why}");
                        self.end(record, Verb::VolumeTrim, || Ending::failed(why.clone()))?;
                        return Ok(Next::Again);
                    }
                    other => other?,
                }
                let trimmed_bytes = Some(before.saturating_sub(self.allocated(record)?));
                self.end(record, Verb::VolumeTrim, || Ending { trimmed_bytes, ..Ending::well() })?;
            }
        }
        Ok(Next::Again)
    }

    fn allocated(&self, record: &VolumeRecord) -> Result<u64, Broken> {
        let file = self.pool(&record.spec.pool)?.observe(record.spec.id)?.file;
        Ok(file.map_or(0, |f| f.allocated.bytes()))
    }

    fn end_resizes(&self, record: &VolumeRecord, warnings: Vec<String>) -> Result<(), Broken> {
        self.end(record, Verb::VolumeResize, || Ending::with(warnings.clone()))
    }

    /// Ends what asked for this, as far as this look has seen it.
    fn end(&self, record: &VolumeRecord, verb: Verb, how: impl Fn() -> Ending) -> Result<(), Broken> {
        let generation = record.spec.generation;
        self.commit_and_close(Change::system(), Kind::Volume, record.spec.id.0, |op| {
            (op.verb == verb && op.generation <= generation).then(&how)
        })
    }

    /// The guest, or its hypervisor, does not do its part: the volume is as large as it shall be all
    /// the same, and its next boot finds it so. Whether that is all there is to this problem.
    pub(super) fn give_up_growth(&self, record: &VolumeRecord, why: &Problem) -> Result<bool, Broken> {
        let (spec, status) = (&record.spec, &record.status);
        if !of_the_guest(why) || status.observed_generation != spec.generation {
            return Ok(false);
        }
        let said =
            format!("{why}: volume \"{}\" is {} and is made use of at the next boot", spec.name, spec.size);
        self.commit_and_close(Change::system(), Kind::Volume, spec.id.0, |op| match op.verb {
            Verb::VolumeResize => Some(Ending::with(vec![said.clone()])),
            Verb::VolumeTrim => Some(Ending::failed(why.clone())),
            _ => None,
        })?;
        Ok(true)
    }
}

/// Whether a run has what it takes to be told something.
fn stays(spec: &MachineSpec, run: &Run) -> bool {
    let wanted = spec.deleting.is_none() && spec.desired == Desired::Running && run.epoch == spec.epoch;
    wanted && run.stop_deadline.is_none() && !run.kill && run.exit.is_none()
}

/// What a guest that cannot be told makes of a larger volume.
fn unheard(record: &VolumeRecord, machine: &MachineRecord, live: &Live) -> Option<String> {
    let Live::Here(open) = live else { return None };
    let (volume, machine) = (&record.spec.name, &machine.spec.name);
    if open.read_only {
        return Some(format!(
            "volume \"{volume}\" is read-only in machine \"{machine}\", which sees its new size when it next boots"
        ));
    }
    open.stands.then(|| {
        format!(
            "machine \"{machine}\" is paused: the file system of volume \"{volume}\" grows once it goes on"
        )
    })
}
