//! Requests that volumes become what they were in snapshots.
//!
//! Invariant: what volumes are now is kept in snapshots that the same transaction asks for; volumes and
//! snapshots stay until it is done, the volumes since they are held, the snapshots since a volume's spec
//! names them ([`Engine::is_for_reset`]).

use super::Draft;
use super::copy::refuse_running;
use super::edit::protected;
use super::restore::restorable;
use super::snapshot::{name_of, ready};
use crate::db::{Change, SnapshotRecord, VolumeRecord};
use crate::store::Check;
use crate::{Engine, key};
use types::machine::MachineSpec;
use types::operation::Kind;
use types::snapshot::{Group, SnapshotSpec};
use types::volume::{Reset, VolumeSpec};
use types::{Actor, Code, MachineId, Operation, Problem, SnapshotId, Verb, VolumeId};

impl Engine {
    /// Accepts that a volume which no running machine has becomes what it was; with `all`, so do those of
    /// all snapshots that were taken together with this one. What they are now is kept in snapshots of
    /// their own, which are taken first; all others stay as they are.
    ///
    /// # Errors
    /// `snapshot-not-found`, `snapshot-not-ready`, `volume-not-found`, `protected`, `machine-running`,
    /// `busy`, `pool-full`, `pool-offline`.
    pub fn restore_snapshot(&self, actor: &Actor, snapshot: &str, all: bool) -> Result<Operation, Problem> {
        self.admit(actor, Verb::SnapshotRestore, (Kind::Snapshot, snapshot), |draft| {
            let named = self.0.db.find::<SnapshotSpec>(snapshot)?;
            let with = named.spec.group.clone().filter(|_| all);
            let to = match &with {
                Some(group) => self.members(&named, group)?,
                None => vec![named],
            };
            let to: Vec<_> = to
                .into_iter()
                .map(|to| self.resettable(draft, &to).map(|volume| (to, volume)))
                .collect::<Result<_, _>>()?;
            let before: Vec<_> = to.iter().map(|_| SnapshotId(self.0.ports.clock.new_id())).collect();
            let volumes: Vec<VolumeId> = to.iter().map(|(_, volume)| volume.spec.id).collect();
            let kept = with.zip(before.first()).map(|(group, first)| Group {
                id: *first,
                machine: group.machine,
                members: before.clone(),
            });
            for (n, ((to, volume), before)) in to.iter().zip(&before).enumerate() {
                let reset = Reset {
                    to: to.spec.id,
                    before: *before,
                    last: volumes.first().copied().filter(|_| n > 0),
                    others: if n == 0 { volumes[1..].to_vec() } else { vec![] },
                    failed: None,
                };
                self.put_reset(draft, to, volume, reset, kept.clone())?;
                if n == 0 {
                    let of = &volume.spec;
                    draft.about(Kind::Volume, of.id.0, of.name.as_str(), of.generation + 1);
                }
            }
            Ok(())
        })
    }

    /// All that were taken together with this one.
    fn members(&self, of: &SnapshotRecord, group: &Group) -> Result<Vec<SnapshotRecord>, Problem> {
        let mut all = vec![];
        for id in &group.members {
            let member = self.0.db.record::<SnapshotSpec>(id.0)?;
            all.push(member.filter(|m| m.spec.deleting.is_none()).ok_or_else(|| {
                let text =
                    format!("a snapshot that was taken together with \"{}\" was deleted", of.spec.name);
                Problem::new(Code::SnapshotNotFound, text)
                    .hint("without `--all`, `sistemo snapshot restore` takes those that are left one by one")
            })?);
        }
        Ok(all)
    }

    /// The volume of a snapshot, if it can become what it was.
    fn resettable(&self, draft: &mut Draft, to: &SnapshotRecord) -> Result<VolumeRecord, Problem> {
        let taken = ready(to)?;
        let volume = self.0.db.record::<VolumeSpec>(to.spec.volume.0)?;
        let kept = volume.as_ref().is_some_and(|v| restorable(v).is_some());
        let volume = volume.filter(|v| v.spec.deleting.is_none()).ok_or_else(|| gone(&to.spec, kept))?;
        let of = &volume.spec;
        if of.protected {
            return Err(protected(Kind::Volume, &of.name));
        }
        match self.0.db.get::<MachineId>(&key::attach(of.id))? {
            None => _ = draft.change.check(key::attach(of.id), Check::Absent),
            // The claim stays as long as the machine's spec, on which the draft then depends, does.
            Some(claim) => match self.0.db.record::<MachineSpec>(claim.value.0)? {
                Some(machine) if machine.spec.protected => {
                    return Err(protected(Kind::Machine, &machine.spec.name));
                }
                Some(machine) => refuse_running(draft, &machine, "restore its volume")?,
                None => return Err(crate::hold::held(&of.name)),
            },
        }
        self.refuse_held(&mut draft.change, of.id.0, &of.name)?;
        if !volume.status.filled || volume.status.observed_generation != of.generation {
            return Err(Problem::new(Code::Busy, format!("volume \"{}\" is being changed", of.name))
                .hint("`sistemo operation list` shows how; try again once that has ended"));
        }
        if taken.size > of.size {
            let text = format!("volume \"{}\" has {}, and the snapshot {}", of.name, of.size, taken.size);
            let m = taken.size.round_up_mib().bytes() >> 20;
            return Err(Problem::new(Code::VolumeTooSmall, text)
                .hint(format!("`sistemo volume resize {} {m}M` first", of.name)));
        }
        Ok(volume)
    }

    fn put_reset(
        &self,
        draft: &mut Draft,
        to: &SnapshotRecord,
        volume: &VolumeRecord,
        reset: Reset,
        kept: Option<Group>,
    ) -> Result<(), Problem> {
        let (of, before) = (&volume.spec, reset.before);
        self.refuse_offline(&to.spec.pool)?;
        draft.touch(Kind::Volume, of.id.0, of.name.as_str());
        draft.touch(Kind::Snapshot, to.spec.id.0, to.spec.name.as_str());
        // Whoever asks learns what it is called: it comes right after what it is kept for.
        self.new_snapshot(draft, (before, name_of(&of.name, before)?), volume, kept, false)?;
        // What comes is a copy, too, and what it replaces goes only after it.
        let from = (to.spec.pool.as_str(), to.spec.id);
        self.refuse_full_snapshot_copy(draft, (&of.pool, of.name.as_str()), from)?;
        let holds = [(Kind::Snapshot, before.0), (Kind::Volume, of.id.0)];
        self.take_holds(&mut draft.change, of.id.0, &holds)?;
        let mut new = of.value.clone();
        new.reset = Some(reset);
        new.generation += 1;
        draft.change.on(&to.spec).update(of, &new);
        Ok(())
    }

    /// Whether a volume is to become this, or what it is before is kept in it; the change then holds only
    /// while that stays so.
    pub(crate) fn is_for_reset(&self, change: &mut Change, of: &SnapshotRecord) -> Result<bool, Problem> {
        match self.0.db.get::<VolumeSpec>(&key::spec(Kind::Volume, of.spec.volume.0))? {
            Some(volume) => {
                change.on(&volume);
                Ok(volume.reset.as_ref().is_some_and(|r| r.to == of.spec.id || r.before == of.spec.id))
            }
            None => {
                change.check(key::spec(Kind::Volume, of.spec.volume.0), Check::Absent);
                Ok(false)
            }
        }
    }
}

/// The refusal to restore what is not there; `kept`: it can be taken back.
fn gone(spec: &SnapshotSpec, kept: bool) -> Problem {
    let (name, volume) = (&spec.name, &spec.volume_name);
    let first = if kept {
        format!("`sistemo volume restore {}` takes it back; ", spec.volume)
    } else {
        String::new()
    };
    Problem::new(
        Code::VolumeNotFound,
        format!("volume \"{volume}\", which snapshot \"{name}\" is of, was deleted"),
    )
    .hint(format!("{first}`sistemo volume clone {name} --name {volume}` makes a volume of the snapshot"))
}
