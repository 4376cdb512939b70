//! Requests for copies: of a volume, and of a machine with all of its volumes.
//!
//! Invariant: what is copied is held in the transaction that accepts the copy, and no process has it
//! open then; of what a machine runs with, a snapshot is taken first, which goes once it was copied. A
//! copy has its own identity from the first moment.

use super::machine::{copy_name, default_place, place, refuse_going, two_at};
use super::snapshot::{ready, refuse_reset};
use super::volume::{NewVolume, cannot_shrink_copy, refuse_deleting, refuse_lost, size};
use super::{Draft, made_up};
use crate::db::{MachineRecord, SnapshotRecord, VolumeRecord};
use crate::{Engine, key};
use std::collections::HashSet;
use types::fs::FileSystem;
use types::label::Labels;
use types::machine::{CloneMachine, Desired, Disk, MachineSpec, Mount};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::snapshot::{Consistency, Group, SnapshotSpec, Taken};
use types::volume::{CloneVolume, VolumeRole, VolumeSource, VolumeSpec};
use types::{Actor, ByteSize, Code, MachineId, Name, Operation, Problem, SnapshotId, Verb, VolumeId};
use uuid::Uuid;

impl Engine {
    /// Accepts an independent copy of a volume, which a machine may run with meanwhile, or of a snapshot.
    /// What is named is a volume if there is one of that name or id, else a snapshot.
    ///
    /// # Errors
    /// `volume-not-found`, `snapshot-not-ready`, `volume-too-small`, `name-taken`, `pool-full`, …
    pub fn clone_volume(&self, actor: &Actor, volume: &str, req: CloneVolume) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeClone, (Kind::Volume, volume), |draft| {
            let found = self.find_source(volume)?;
            let id = self.new_volume_id(draft)?;
            let name = match &req.name {
                Some(name) => name.clone(),
                None => Name::new(&made_up("vol", id.0))?,
            };
            let asked = (req.size_bytes, req.pool.as_deref());
            let spec = match found {
                Original::Snapshot(source) => {
                    self.new_copy_of_snapshot(draft, (id, name), &source, asked, None, req.read_only)?
                }
                Original::Volume(source) if req.read_only => return Err(no_snapshot(&source.spec.name)),
                Original::Volume(source) => match self.holder(draft, source.spec.id)? {
                    Some(machine) if is_up(draft, &machine)? => {
                        let passing = SnapshotId(self.0.ports.clock.new_id());
                        self.new_live_copy(draft, id, name, &source, (passing, None), asked, None)?
                    }
                    _ => self.new_copy(draft, id, name, &source, asked, None)?,
                },
            };
            draft.about(Kind::Volume, id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    pub(super) fn find_source(&self, named: &str) -> Result<Original, Problem> {
        match self.0.db.find::<VolumeSpec>(named) {
            Ok(volume) => Ok(Original::Volume(Box::new(volume))),
            Err(missing) if missing.code == Code::VolumeNotFound => {
                match self.0.db.find::<SnapshotSpec>(named) {
                    Ok(snapshot) => Ok(Original::Snapshot(Box::new(snapshot))),
                    Err(other) if other.code == Code::SnapshotNotFound => Err(missing),
                    Err(other) => Err(other),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// The snapshot of this name or id, unless it is a volume's.
    pub(super) fn only_snapshot(&self, named: &str) -> Result<Option<SnapshotRecord>, Problem> {
        match self.find_source(named) {
            Ok(Original::Snapshot(snapshot)) => Ok(Some(*snapshot)),
            Ok(Original::Volume(_)) => Ok(None),
            Err(missing) if missing.code == Code::VolumeNotFound => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Puts a copy of a snapshot into a draft; one that is only read shares its file, if it can.
    pub(super) fn new_copy_of_snapshot(
        &self,
        draft: &mut Draft,
        (id, name): (VolumeId, Name),
        source: &SnapshotRecord,
        asked: (Option<u64>, Option<&str>),
        owner: Option<MachineId>,
        read_only: bool,
    ) -> Result<VolumeSpec, Problem> {
        let taken = ready(source)?;
        if read_only {
            refuse_view(&source.spec.name, taken, asked.0)?;
        }
        let from = &source.spec;
        let origin = Origin {
            name: &from.name,
            size: taken.size,
            pool: &from.pool,
            role: from.role,
            labels: &from.labels,
            source: VolumeSource::Snapshot { snapshot: from.id, image: from.image },
            fs: from.fs.or(from.image.map(|_| FileSystem::Ext4)),
            read_only,
        };
        let spec = self.put_copy(draft, (id, name), &origin, asked, owner)?;
        if !(read_only && spec.pool == from.pool) {
            self.refuse_full_snapshot_copy(draft, (&spec.pool, spec.name.as_str()), (&from.pool, from.id))?;
        }
        draft.change.on(&source.spec).on(&source.status);
        self.take_hold(&mut draft.change, from.id.0, (Kind::Volume, id.0))?;
        Ok(spec)
    }

    /// Puts a copy of a volume that no process has open into a draft, which holds only while that
    /// stays so.
    fn new_copy(
        &self,
        draft: &mut Draft,
        id: VolumeId,
        name: Name,
        source: &VolumeRecord,
        asked: (Option<u64>, Option<&str>),
        owner: Option<MachineId>,
    ) -> Result<VolumeSpec, Problem> {
        let from = &source.spec;
        let origin = origin(source, VolumeSource::Volume { volume: from.id, image: from.source.image() })?;
        let spec = self.put_copy(draft, (id, name), &origin, asked, owner)?;
        self.refuse_full_copy(draft, (&spec.pool, spec.name.as_str()), (&from.pool, from.id))?;
        draft.change.on(&source.spec);
        self.take_hold(&mut draft.change, from.id.0, (Kind::Volume, id.0))?;
        Ok(spec)
    }

    /// Puts a copy of a volume that a machine runs with into a draft: a snapshot is taken, for the copy
    /// alone.
    #[allow(clippy::too_many_arguments, reason = "what a copy is made of, and where it goes")]
    fn new_live_copy(
        &self,
        draft: &mut Draft,
        id: VolumeId,
        name: Name,
        source: &VolumeRecord,
        (passing, group): (SnapshotId, Option<Group>),
        asked: (Option<u64>, Option<&str>),
        owner: Option<MachineId>,
    ) -> Result<VolumeSpec, Problem> {
        let from = &source.spec;
        let image = from.source.image();
        let origin = origin(source, VolumeSource::Snapshot { snapshot: passing, image })?;
        self.new_passing_snapshot(draft, passing, source, group)?;
        let spec = self.put_copy(draft, (id, name), &origin, asked, owner)?;
        // In the same pool the copy takes the snapshot's place.
        if spec.pool != from.pool {
            self.refuse_full_copy(draft, (&spec.pool, spec.name.as_str()), (&from.pool, from.id))?;
        }
        self.take_hold(&mut draft.change, passing.0, (Kind::Volume, id.0))?;
        Ok(spec)
    }

    fn put_copy(
        &self,
        draft: &mut Draft,
        (id, name): (VolumeId, Name),
        from: &Origin<'_>,
        (bytes, pool): (Option<u64>, Option<&str>),
        owner: Option<MachineId>,
    ) -> Result<VolumeSpec, Problem> {
        let wanted = bytes.map(|bytes| size(bytes, ByteSize::mib(1))).transpose()?.unwrap_or(from.size);
        if wanted < from.size {
            return Err(cannot_shrink_copy(from.name, from.size, wanted));
        }
        let pool = self.usable_pool(draft, pool.or(Some(from.pool)))?;
        self.refuse_offline(from.pool)?;
        let slow = self.slow_copy_warning(&pool).filter(|_| !(from.read_only && pool == from.pool));
        let copy = NewVolume {
            id,
            name,
            pool,
            role: from.role,
            size: wanted,
            source: from.source.clone(),
            fs: from.fs,
            // What is never written to stays who it is.
            identity: (!from.read_only).then(|| Uuid::from_u128(rand::random())),
            owner,
            labels: from.labels.clone(),
            read_only: from.read_only,
        };
        let spec = self.new_volume(draft, copy)?;
        self.warn_of_room(draft, &spec.pool);
        if let Some(slow) = slow {
            draft.warn(slow);
        }
        Ok(spec)
    }

    /// Accepts a copy of a machine: its volumes are copied, as of one instant if it runs, it gets addresses
    /// and an identity of its own, and runs.
    ///
    /// # Errors
    /// `machine-not-found`, `name-taken`, `pool-full`, what a deploy is refused for.
    pub fn clone_machine(
        &self,
        actor: &Actor,
        machine: &str,
        req: CloneMachine,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineClone, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            let live = is_up(draft, &record)?;
            draft.change.on(&record.spec);
            self.ready_for_runs(draft)?;
            let id = self.new_machine_id(draft)?;
            let name = Name::machine(req.name.as_str())?;
            self.take_name(draft, Kind::Machine, &name, id.0)?;
            draft.about(Kind::Machine, id.0, name.as_str(), 1);
            let mut nics = vec![];
            for nic in &record.spec.nics {
                let network = self.0.db.find::<NetworkSpec>(&nic.network.to_string())?.spec;
                nics.push(self.take_nic(draft, &network, id)?);
            }
            let (mut disks, mut made, mut places) = (vec![], HashSet::new(), HashSet::new());
            let copied: Vec<_> = record.spec.disks.iter().filter(|d| d.leaving.is_none()).collect();
            let members: Vec<_> = copied.iter().map(|_| SnapshotId(self.0.ports.clock.new_id())).collect();
            let group = Group {
                id: members.first().copied().unwrap_or(SnapshotId(id.0)),
                machine: record.spec.name.clone(),
                members: members.clone(),
            };
            for (disk, passing) in copied.into_iter().zip(members) {
                let source = self.0.db.find::<VolumeSpec>(&disk.volume.to_string())?;
                let volume = self.new_volume_id(draft)?;
                let called = match disk.role {
                    VolumeRole::Root => name.root_volume(),
                    VolumeRole::Data => copy_name(&name, &source.spec.name)?,
                };
                let was = (&record.spec.name, &source.spec.name);
                take_place(draft, &mut places, disk, was, (&name, &called))?;
                // A data volume goes with it only if this request fails.
                if live {
                    let of = (passing, Some(group.clone()));
                    self.new_live_copy(draft, volume, called, &source, of, (None, None), Some(id))?;
                } else {
                    self.new_copy(draft, volume, called, &source, (None, None), Some(id))?;
                }
                draft.change.claim(key::attach(volume), &id);
                for (key, ours) in [(Kind::Volume, volume.0), (Kind::Snapshot, passing.0)] {
                    made.extend([key::spec(key, ours), key::hold(ours)]);
                }
                made.insert(key::attach(volume));
                disks.push(Disk { volume, leaving: None, ..disk.clone() });
            }
            let spec = MachineSpec {
                id,
                name,
                generation: 1,
                created_at: self.now(),
                desired: Desired::Running,
                epoch: 1,
                resumes: 0,
                disks,
                nics,
                uid: self.take_uid(draft, id)?,
                protected: false,
                making: draft.change.put_off(|key| made.contains(key)),
                deleting: None,
                ..record.spec.value.clone()
            };
            draft.change.claim(key::spec(Kind::Machine, id.0), &spec);
            Ok(())
        })
    }
}

/// Takes the place at which a machine's copy mounts its copy of a disk, and says where that is if it is
/// another: what is set up in the machine still names the one it had.
fn take_place(
    draft: &mut Draft,
    places: &mut HashSet<String>,
    disk: &Disk,
    (machine, volume): (&Name, &Name),
    (copy, called): (&Name, &Name),
) -> Result<(), Problem> {
    let at = place(&disk.mount, called).filter(|_| disk.role == VolumeRole::Data);
    let Some(at) = at else { return Ok(()) };
    if disk.mount == Mount::Default {
        let was = default_place(volume);
        draft.warn(format!(
            "what machine \"{machine}\" has at {was}, its copy \"{copy}\" has at {at}: whatever in it uses {was} \
             has to be told"
        ));
    }
    if places.contains(&at) {
        return Err(two_at(&at).hint("volumes are mounted by their names: choose another name for the copy"));
    }
    places.insert(at);
    Ok(())
}

/// Refuses a volume that would share a snapshot's file and cannot.
fn refuse_view(snapshot: &Name, taken: Taken, size: Option<u64>) -> Result<(), Problem> {
    let hint = format!("`sistemo volume clone {snapshot}` makes a copy that can be written to");
    if taken.consistency == Consistency::Crash {
        let text = format!("snapshot \"{snapshot}\" is as after a loss of power: mounting it has to write");
        return Err(Problem::new(Code::ReadOnly, text).hint(hint));
    }
    match size {
        Some(_) => {
            let text = "what is only read has the size of its snapshot".to_owned();
            Err(Problem::new(Code::ReadOnly, text).hint(format!("leave the size out; or {hint}")))
        }
        None => Ok(()),
    }
}

fn no_snapshot(volume: &Name) -> Problem {
    Problem::new(Code::ReadOnly, format!("\"{volume}\" is no snapshot, so it may change"))
        .hint(format!("`sistemo volume snapshot {volume}` takes one; or attach it with :ro"))
}

/// What a copy begins as.
struct Origin<'a> {
    name: &'a Name,
    size: ByteSize,
    pool: &'a str,
    role: VolumeRole,
    labels: &'a Labels,
    source: VolumeSource,
    fs: Option<FileSystem>,
    read_only: bool,
}

/// Of a volume that can be copied.
fn origin(of: &VolumeRecord, source: VolumeSource) -> Result<Origin<'_>, Problem> {
    refuse_deleting(of)?;
    refuse_lost(of)?;
    refuse_reset(of)?;
    let VolumeSpec { name, size, pool, role, labels, moving, .. } = &of.spec.value;
    if moving.is_some() {
        return Err(crate::hold::held(name));
    }
    Ok(Origin {
        name,
        size: *size,
        pool,
        role: *role,
        labels,
        source,
        fs: of.spec.file_system(),
        read_only: false,
    })
}

/// What a copy is made of.
pub(super) enum Original {
    Volume(Box<VolumeRecord>),
    Snapshot(Box<SnapshotRecord>),
}

/// Whether a machine runs or shall run; if not, the draft holds only while that stays so.
///
/// # Errors
/// `being-deleted`, `conflict` of one that is going.
pub(super) fn is_up(draft: &mut Draft, machine: &MachineRecord) -> Result<bool, Problem> {
    refuse_going(machine)?;
    let starting =
        machine.spec.desired == Desired::Running && machine.status.ended_epoch < machine.spec.epoch;
    let up = machine.status.run.is_some() || starting;
    if !up {
        draft.change.on(&machine.spec).on(&machine.status);
    }
    Ok(up)
}

/// Refuses while a machine runs or shall run; the draft holds only while it stays stopped.
pub(super) fn refuse_running(draft: &mut Draft, machine: &MachineRecord, what: &str) -> Result<(), Problem> {
    let name = &machine.spec.name;
    if is_up(draft, machine)? {
        let held = machine.status.run.is_none() && machine.status.held.is_some();
        let how = if held { "runs again once its host is back" } else { "is running" };
        return Err(Problem::new(Code::MachineRunning, format!("machine \"{name}\" {how}"))
            .hint(format!("stop it first: `sistemo machine stop {name}`, then {what}")));
    }
    Ok(())
}
