//! Names, labels and protection: what changes nothing of what a thing holds.

use super::volume::refuse_deleting;
use super::{Draft, machine};
use crate::{Engine, key};
use types::label::Edit;
use types::machine::{Disk, MachineSpec, Mount};
use types::operation::Kind;
use types::volume::VolumeSpec;
use types::{Actor, Code, Name, Operation, Problem, Verb};
use uuid::Uuid;

impl Engine {
    /// Accepts another name, labels or protection of a volume. While its pool is away only its protection
    /// can be taken off, which may stand in the way of forgetting that pool.
    ///
    /// # Errors
    /// `volume-not-found`, `being-deleted`, `name-taken`, `pool-offline`, `invalid-request` also of a name
    /// that would put two volumes of a machine at one place.
    pub fn edit_volume(&self, actor: &Actor, volume: &str, req: &Edit) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeEdit, (Kind::Volume, volume), |draft| {
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            refuse_deleting(&record)?;
            // Whatever is written of a volume is also beside its file.
            if *req != (Edit { protected: Some(false), ..Edit::default() }) {
                self.refuse_offline(&record.spec.pool)?;
            }
            let mut spec = record.spec.value.clone();
            if let Some(name) = &req.name {
                self.rename(draft, Kind::Volume, spec.id.0, &spec.name, name)?;
                spec.name = name.clone();
            }
            if req.protected == Some(true) {
                // What goes with its machine would go all the same.
                if let Some(machine) = self.holder(draft, spec.id)? {
                    machine::refuse_going(&machine)?;
                }
            }
            spec.protected = req.protected.unwrap_or(spec.protected);
            spec.labels.edit(&req.labels)?;
            if spec == record.spec.value {
                draft.change.on(&record.spec);
            } else {
                spec.generation += 1;
                draft.change.update(&record.spec, &spec);
            }
            draft.about(Kind::Volume, spec.id.0, spec.name.as_str(), spec.generation);
            if spec.name != record.spec.name {
                self.mount_elsewhere(draft, &spec)?;
            }
            Ok(())
        })
    }

    /// Accepts another name, labels or protection of a machine.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`, `name-taken`, `invalid-name`, `invalid-request`.
    pub fn edit_machine(&self, actor: &Actor, machine: &str, req: &Edit) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineEdit, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            machine::refuse_going(&record)?;
            let mut spec = record.spec.value.clone();
            if let Some(name) = &req.name {
                let name = Name::machine(name.as_str())?;
                self.rename(draft, Kind::Machine, spec.id.0, &spec.name, &name)?;
                if name != spec.name && record.status.run.is_some() {
                    draft.operation.warnings.push(format!("its host name is \"{name}\" from its next start"));
                }
                spec.name = name;
            }
            spec.protected = req.protected.unwrap_or(spec.protected);
            spec.labels.edit(&req.labels)?;
            if spec == record.spec.value {
                draft.change.on(&record.spec);
            } else {
                spec.generation += 1;
                draft.change.update(&record.spec, &spec);
            }
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    fn rename(&self, draft: &mut Draft, kind: Kind, id: Uuid, old: &Name, new: &Name) -> Result<(), Problem> {
        if old == new {
            return Ok(());
        }
        self.take_name(draft, kind, new, id)?;
        draft.change.delete(key::name(kind, old.as_str()));
        Ok(())
    }

    /// The machine that has a renamed volume mounts it where its new name puts it, if that is free; one that
    /// runs has it where its old name did.
    fn mount_elsewhere(&self, draft: &mut Draft, spec: &VolumeSpec) -> Result<(), Problem> {
        let Some(holder) = self.holder(draft, spec.id)? else { return Ok(()) };
        let ours = |d: &Disk| d.volume == spec.id;
        if holder.spec.disks.iter().any(|d| ours(d) && d.slot != 0 && d.mount == Mount::Default) {
            let mut others = holder.spec.disks.clone();
            others.retain(|d| !ours(d));
            let place = machine::default_place(&spec.name);
            self.refuse_taken_place(draft, &others, &place).map_err(|taken| match taken.code {
                Code::InvalidRequest => taken.hint(format!(
                    "machine \"{}\" has another volume there: choose another name, or detach one of them",
                    holder.spec.name
                )),
                _ => taken,
            })?;
            draft.change.on(&holder.spec);
            draft
                .operation
                .warnings
                .push(format!("machine \"{}\" mounts it at {place} from its next start", holder.spec.name));
        }
        Ok(())
    }
}

/// The refusal of what is protected.
pub(super) fn protected(kind: Kind, name: &Name) -> Problem {
    Problem::new(Code::Protected, format!("{kind} \"{name}\" is protected"))
        .hint(format!("`sistemo {kind} unprotect {name}` first"))
}
