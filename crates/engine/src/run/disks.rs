//! Disks that come to and leave a machine that is up.
//!
//! Invariant: a claim is released in the transaction that takes the disk from the list, which is made
//! only after its file was seen to be open nowhere; a disk that could not come or go is as it was.

use super::close::Ending;
use super::{Broken, Next};
use crate::admit::machine::place;
use crate::db::{Change, MachineRecord};
use crate::plan::machine::{Look, Step};
use crate::port::{Fault, RunDisk};
use crate::{Engine, key};
use types::machine::{Disk, Leaving, MachineSpec, Mount, Run};
use types::operation::Kind;
use types::volume::{VolumeRole, VolumeSpec};
use types::{Code, MachineId, Operation, Problem, Verb, VolumeId};

/// Whether a request is about this volume.
pub(super) fn touches(op: &Operation, volume: VolumeId) -> bool {
    op.resources.iter().any(|r| r.kind == Kind::Volume && r.id == Some(volume.0))
}

impl Engine {
    /// Does a step about a disk of a machine.
    pub(super) fn do_disk(&self, record: &MachineRecord, look: &Look, step: &Step) -> Result<Next, Broken> {
        let spec = &record.spec;
        let run = record.status.run.as_ref();
        match (step, run) {
            (Step::Plug { volume }, Some(run)) => self.plug(record, run, *volume),
            (Step::Unplug { volume, force }, Some(run)) => self.unplug(record, run, *volume, *force),
            (Step::Configure, Some(run)) => {
                self.0.ports.guest.configure(&self.run_plan(spec, run)?)?;
                Ok(Next::Again)
            }
            (Step::Drop { volume }, _) => self.drop_disk(record, look, *volume),
            (Step::Keep { volume, why }, _) => {
                self.keep_disk(record, Some(*volume), why).map(|_| Next::Again)
            }
            (Step::Refuse { volume, why }, _) => self.refuse_disk(record, *volume, why),
            _ => Err(Broken::Raced),
        }
    }

    fn plug(&self, record: &MachineRecord, run: &Run, volume: VolumeId) -> Result<Next, Broken> {
        let spec = &record.spec;
        let disk = spec.disks.iter().find(|d| d.volume == volume).ok_or(Broken::Raced)?;
        let plugged = self.0.ports.vmm.plug(spec.id, run.id, &self.run_disk(disk)?);
        match plugged {
            Ok(()) => Ok(Next::Again),
            Err(fault) if fault.passing => Err(fault.into()),
            Err(fault) => self.refuse_disk(record, volume, &fault.problem),
        }
    }

    /// The guest lets go of the disk, then it is pulled out.
    fn unplug(
        &self,
        record: &MachineRecord,
        run: &Run,
        volume: VolumeId,
        force: bool,
    ) -> Result<Next, Broken> {
        let spec = &record.spec;
        let (ports, serial) = (&self.0.ports, volume.short());
        let done = match ports.guest.release(spec.id, run.id, &serial, force) {
            Err(fault) if !force => Err(self.said_busy(spec, volume, fault)?),
            Err(fault) => {
                tracing::warn!(machine = %spec.name, code = %fault.problem.code, "pulled out: {fault}");
                ports.vmm.unplug(spec.id, run.id, &serial)
            }
            Ok(()) => {
                self.put_in_order(record, volume)?;
                ports.vmm.unplug(spec.id, run.id, &serial)
            }
        };
        match done {
            Ok(()) => Ok(Next::Again),
            Err(fault) if fault.passing => Err(fault.into()),
            Err(fault) => {
                let asked = self.open_operations(Kind::Machine, spec.id.0)?;
                if asked.iter().any(|op| op.verb == Verb::VolumeDetach && touches(op, volume)) {
                    return self.keep_disk(record, Some(volume), &fault.problem).map(|_| Next::Again);
                }
                // It never came, or nobody asks any more: tried again now and then.
                Err(Fault { passing: true, ..fault }.into())
            }
        }
    }

    /// What a guest had mounted for writing, and has unmounted, is in order again.
    fn put_in_order(&self, record: &MachineRecord, volume: VolumeId) -> Result<(), Broken> {
        let mark = key::unclean(volume);
        let written = |d: &Disk| d.volume == volume && !d.read_only && d.mount != Mount::None;
        if record.spec.disks.iter().any(written) && self.0.db.0.get(&mark)?.is_some() {
            let mut change = Change::system();
            change.on(&record.spec).on(&record.status).delete(mark);
            change.commit(&self.0.db)?;
        }
        Ok(())
    }

    /// A guest's refusal in the words of whoever asked: names, and what to do.
    fn said_busy(&self, spec: &MachineSpec, volume: VolumeId, fault: Fault) -> Result<Fault, Problem> {
        let name = self.0.db.record::<VolumeSpec>(volume.0)?.map(|v| v.spec.value.name);
        let Some(name) = name.filter(|_| fault.problem.code == Code::Busy) else { return Ok(fault) };
        let text = format!("machine \"{}\" uses volume \"{name}\": {}", spec.name, fault.problem.message);
        Ok(Fault::lasting(Code::Busy, text).hint(format!(
            "end what uses it, or `sistemo machine volume detach {} {name} --force` pulls it out, which loses \
             what is not written",
            spec.name
        )))
    }

    /// Takes a disk that no process has open from the list.
    fn drop_disk(&self, record: &MachineRecord, look: &Look, volume: VolumeId) -> Result<Next, Broken> {
        let mut spec = record.spec.value.clone();
        spec.disks.retain(|d| d.volume != volume);
        spec.generation += 1;
        let mut change = Change::system();
        // That no process has it open was seen of this run, or of none.
        change.update(&record.spec, &spec).on(&record.status);
        let claim = self.0.db.get::<MachineId>(&key::attach(volume))?;
        if let Some(claim) = claim.filter(|c| c.value == spec.id) {
            change.on(&claim).delete(claim.key.clone());
        }
        let forced =
            record.spec.disks.iter().any(|d| d.volume == volume && d.leaving.is_some_and(|l| l.force));
        if record.status.run.is_some() && forced {
            change.put(key::unclean(volume), &true);
        }
        let used = record.status.run.is_some() && look.guest.hello;
        tracing::info!(machine = %spec.name, %volume, used, "a disk has left");
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            (op.verb == Verb::VolumeDetach && touches(op, volume)).then(Ending::well)
        })?;
        self.wake(Kind::Volume, volume.0);
        Ok(Next::Again)
    }

    /// A disk that should leave, or each that somebody waits for, cannot: it stays. Whether there was one.
    pub(super) fn keep_disk(
        &self,
        record: &MachineRecord,
        volume: Option<VolumeId>,
        why: &Problem,
    ) -> Result<bool, Broken> {
        let mut spec = record.spec.value.clone();
        let open = self.open_operations(Kind::Machine, spec.id.0)?;
        let asked = |v| open.iter().any(|op| op.verb == Verb::VolumeDetach && touches(op, v));
        let mut kept = Vec::new();
        for disk in spec.disks.iter_mut().filter(|d| d.leaving.is_some()) {
            if volume.map_or_else(|| asked(disk.volume), |v| v == disk.volume) {
                disk.leaving = None;
                kept.push(disk.volume);
            }
        }
        if kept.is_empty() {
            return Ok(false);
        }
        spec.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &spec);
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            let about = op.verb == Verb::VolumeDetach && kept.iter().any(|v| touches(op, *v));
            about.then(|| Ending::failed(why.clone()))
        })?;
        Ok(true)
    }

    /// A disk that should come cannot: whoever asked for it learns why, and it leaves again. What
    /// nobody asked for just now is tried again later.
    fn refuse_disk(&self, record: &MachineRecord, volume: VolumeId, why: &Problem) -> Result<Next, Broken> {
        if self.send_away(record, &[volume], why)? {
            return Ok(Next::Again);
        }
        Err(Fault { problem: why.clone(), passing: false }.into())
    }

    /// Ends the requests for disks that cannot come; whether there were any.
    pub(super) fn send_away(
        &self,
        record: &MachineRecord,
        volumes: &[VolumeId],
        why: &Problem,
    ) -> Result<bool, Broken> {
        let mut spec = record.spec.value.clone();
        let open = self.open_operations(Kind::Machine, spec.id.0)?;
        let asked = |v| open.iter().any(|op| op.verb == Verb::VolumeAttach && touches(op, v));
        let mut gone = Vec::new();
        for disk in spec.disks.iter_mut().filter(|d| d.leaving.is_none()) {
            if volumes.contains(&disk.volume) && asked(disk.volume) {
                disk.leaving = Some(Leaving { force: true });
                gone.push(disk.volume);
            }
        }
        if gone.is_empty() {
            return Ok(false);
        }
        spec.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &spec);
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            let about = op.verb == Verb::VolumeAttach && gone.iter().any(|v| touches(op, *v));
            about.then(|| Ending::failed(why.clone()))
        })?;
        Ok(true)
    }

    /// What a run needs to know of a disk.
    pub(super) fn run_disk(&self, disk: &Disk) -> Result<RunDisk, Problem> {
        let volume = self.0.db.find::<VolumeSpec>(&disk.volume.to_string())?.spec;
        let mount = match disk.role {
            VolumeRole::Root => Some("/".to_owned()),
            VolumeRole::Data => place(&disk.mount, &volume.name),
        };
        Ok(RunDisk {
            volume: disk.volume,
            pool: volume.pool.clone(),
            name: volume.name.clone(),
            slot: disk.slot,
            serial: disk.volume.short(),
            role: disk.role,
            mount,
            by_name: disk.role == VolumeRole::Data && disk.mount == Mount::Default,
            read_only: disk.read_only,
            identity: volume.identity,
        })
    }
}

/// What whoever attached a volume should know of the guest's side of it.
pub(super) fn attached(op: &Operation, spec: &MachineSpec, notes: &[String]) -> Vec<String> {
    let serials = spec.disks.iter().filter(|d| touches(op, d.volume)).map(|d| d.volume.short());
    serials.flat_map(|s| notes.iter().filter(move |n| n.contains(&s)).cloned().collect::<Vec<_>>()).collect()
}

/// Whether a fault is of the guest's side only.
pub(super) fn of_the_guest(problem: &Problem) -> bool {
    matches!(problem.code, Code::GuestUnreachable | Code::GuestFailed)
}
