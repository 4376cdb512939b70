//! Machines: what each was, which volumes it keeps, and whether it runs.

use super::claims::Claims;
use super::volume::Seen;
use super::{Around, Found, FoundMachine, Group, Holder, Left, MOST_CHANGES, Outcome, Restored};
use crate::admit::mount;
use crate::db::encode;
use crate::key;
use crate::plan::machine::after;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use types::machine::{
    DISK_SLOTS, Desired, Disk, MAX_MEMORY, MAX_VCPUS, MIN_MEMORY, MachineDeletion, MachineSpec,
    MachineStatus, Mount, Run,
};
use types::operation::Kind;
use types::volume::VolumeRole;
use types::{Code, ImageId, MachineId, Name, OperationId, Problem, RunId, VolumeId};

/// Who has a volume.
pub(super) struct Held {
    /// The machine.
    pub machine: MachineId,
    /// If it boots from it: the machine's name, and its image.
    pub root: Option<(Name, Option<ImageId>)>,
}

/// A machine that is in the database again.
pub(super) struct Made {
    spec: MachineSpec,
    run: Option<RunId>,
    status: MachineStatus,
    notes: Vec<String>,
}

/// All machines.
pub(super) struct Machines {
    /// Those that come back.
    pub made: Vec<Made>,
    /// The volumes that they have.
    pub holders: BTreeMap<VolumeId, Held>,
    /// Those that do not come back.
    pub left: Vec<Left>,
}

/// Decides about all machines. Those that run have first choice of the volumes, since they have
/// them open; then those whose sidecar was written last, since a sidecar that was written after a
/// volume changed hands says so.
pub(super) fn decide(
    found: &Found,
    around: &Around<'_>,
    seen: &BTreeMap<VolumeId, Seen>,
    claims: &mut Claims,
) -> Result<Machines, Problem> {
    let mut runs: HashMap<&str, RunId> = HashMap::new();
    for holder in &found.holders {
        let Some((machine, run)) = &holder.run else { return Err(stranger(holder)) };
        if runs.insert(machine, *run).is_some_and(|other| other != *run) {
            return Err(stranger(holder));
        }
    }
    let mut order: Vec<(&FoundMachine, Option<RunId>)> =
        found.machines.iter().map(|m| (m, runs.get(m.id.short().as_str()).copied())).collect();
    order.sort_by_key(|(m, run)| Reverse((run.is_some(), m.written_at, m.id)));
    let mut all = Machines { made: vec![], holders: BTreeMap::new(), left: vec![] };
    let left =
        |spec: &MachineSpec, why| Left { what: format!("machine \"{}\" ({})", spec.name, spec.id), why };
    for (machine, run) in order {
        let newest = machine.specs.iter().filter(|s| s.id == machine.id).max_by_key(|s| s.generation);
        let Some(spec) = newest else { continue };
        if run.is_none() && spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some()) {
            match judge_kept(spec) {
                Ok(disks) if claims.tail(machine.id.short()) => {
                    all.made.push(kept(spec, disks, around, claims)?)
                }
                Ok(_) => all.left.push(left(spec, "its id ends like another's".into())),
                Err(why) => all.left.push(left(spec, why)),
            }
            continue;
        }
        match judge(spec, seen, &all.holders) {
            Err(why) => all.left.push(left(spec, why)),
            Ok(_) if !claims.tail(machine.id.short()) => {
                let why = "its id ends like another's, so their processes would be confused".into();
                all.left.push(left(spec, why));
            }
            Ok(disks) => {
                let made = one(spec, disks, run, around, claims, false)?;
                for disk in &made.spec.disks {
                    let root = disk.role == VolumeRole::Root;
                    let root = root.then(|| (made.spec.name.clone(), made.spec.image));
                    all.holders.insert(disk.volume, Held { machine: spec.id, root });
                }
                all.made.push(made);
            }
        }
    }
    for holder in &found.holders {
        let of = |id: &VolumeId| all.holders.get(id).map(|h| h.machine.short());
        if !holder.volumes.iter().all(|id| of(id) == holder.run.as_ref().map(|(m, _)| m.clone())) {
            return Err(stranger(holder));
        }
    }
    Ok(all)
}

/// The disks that a machine keeps, or why it does not come back.
fn judge(
    spec: &MachineSpec,
    seen: &BTreeMap<VolumeId, Seen>,
    holders: &BTreeMap<VolumeId, Held>,
) -> Result<Vec<Disk>, String> {
    if spec.deleting.is_some() {
        return Err("it was being deleted".into());
    }
    let root = spec.disks.iter().find(|d| d.slot == 0 && d.role == VolumeRole::Root);
    let root = root.ok_or("its sidecar names no disk to boot from")?;
    if holders.contains_key(&root.volume) {
        return Err("a newer machine boots from its root volume".into());
    }
    if seen.get(&root.volume).is_some_and(|s| !s.usable()) {
        return Err("its root volume was deleted, so it was deleted too".into());
    }
    let mut disks = vec![root.clone()];
    for disk in &spec.disks {
        let free = !holders.contains_key(&disk.volume) && seen.get(&disk.volume).is_some_and(Seen::usable);
        let sound = disk.role == VolumeRole::Data && (1..DISK_SLOTS).contains(&disk.slot);
        let new = disks.iter().all(|d| d.volume != disk.volume && d.slot != disk.slot);
        if free && sound && new {
            disks.push(disk.clone());
        }
    }
    disks.sort_by_key(|d| d.slot);
    Ok(disks)
}

/// The disks of a machine that was deleted and can be taken back, as far as they make sense.
fn judge_kept(spec: &MachineSpec) -> Result<Vec<Disk>, String> {
    let root = spec.disks.iter().find(|d| d.slot == 0 && d.role == VolumeRole::Root);
    let mut disks = vec![root.ok_or("its sidecar names no disk to boot from")?.clone()];
    for disk in &spec.disks {
        let sound = disk.role == VolumeRole::Data && (1..DISK_SLOTS).contains(&disk.slot);
        if sound && disks.iter().all(|d| d.volume != disk.volume && d.slot != disk.slot) {
            disks.push(disk.clone());
        }
    }
    disks.sort_by_key(|d| d.slot);
    Ok(disks)
}

/// The record of a machine that was deleted: it holds nothing, and a day is left to notice.
fn kept(
    before: &MachineSpec,
    disks: Vec<Disk>,
    around: &Around<'_>,
    claims: &mut Claims,
) -> Result<Made, Problem> {
    let mut made = one(before, disks, None, around, claims, true)?;
    let until = before.deleting.as_ref().and_then(|d| d.keep_until);
    let day = after(around.now, around.settings.trash_keep);
    made.spec.deleting = Some(MachineDeletion {
        at: around.now,
        keep_until: Some(until.map_or(day, |until| until.max(day))),
        released: true,
        operation: OperationId(around.fresh),
        because: None,
    });
    made.spec.generation = before.generation.min(MOST_CHANGES) + 1;
    Ok(made)
}

fn one(
    before: &MachineSpec,
    disks: Vec<Disk>,
    run: Option<RunId>,
    around: &Around<'_>,
    claims: &mut Claims,
    kept: bool,
) -> Result<Made, Problem> {
    let mut spec = before.clone();
    let mut notes = vec![];
    if disks.len() < spec.disks.len() {
        notes.push("volumes that are gone, or that another machine has, were taken from it".into());
    }
    spec.disks = disks;
    for disk in &mut spec.disks {
        if let Mount::At(path) = &disk.mount {
            disk.mount = mount(Some(path)).unwrap_or_default();
        }
    }
    if !kept {
        spec.name = claims.name(Kind::Machine, &before.name)?;
    }
    if spec.name != before.name {
        notes.push(format!("it was called \"{}\", which a newer one is called too", before.name));
    }
    spec.uid = claims.uid(before.uid, before.id.0);
    spec.nics = before.nics.iter().map(|nic| claims.nic(nic, before.id.0)).collect::<Result<_, _>>()?;
    for (was, nic) in before.nics.iter().zip(&spec.nics).filter(|(was, nic)| was.address != nic.address) {
        notes.push(format!("its address was {} and is {}", was.address, nic.address));
    }
    spec.vcpus = spec.vcpus.clamp(1, MAX_VCPUS);
    spec.memory = spec.memory.clamp(MIN_MEMORY, MAX_MEMORY);
    // An epoch of its own tells the run that is there from one that is wanted.
    spec.epoch = spec.epoch.clamp(1, MOST_CHANGES);
    spec.generation = spec.generation.min(MOST_CHANGES);
    if run.is_none() {
        spec.desired = Desired::Stopped;
    }
    spec.generation += u64::from(spec != *before);
    let status = MachineStatus {
        run: run.map(|id| Run {
            id,
            epoch: spec.epoch,
            kernel: String::new(),
            host_boot: around.host_boot.clone(),
            began_at: around.now,
            began_up: None,
            hello_at: None,
            stop_deadline: None,
            stop_until: None,
            stop_asked: false,
            stall: None,
            exit: None,
            kill: false,
        }),
        ended_epoch: if run.is_some() { spec.epoch - 1 } else { spec.epoch },
        // Whether it ever ran is not known: a disk that may hold data is never released unasked.
        booted: true,
        ..MachineStatus::default()
    };
    Ok(Made { spec, run, status, notes })
}

impl Made {
    /// What is written, now that all claims are given.
    pub fn written(self) -> (Group, Restored) {
        let Self { spec, run, status, notes } = self;
        let (kind, id) = (Kind::Machine, spec.id);
        let mut group = vec![
            (key::spec(kind, id.0), encode(&spec)),
            (key::status(kind, id.0), encode(&status)),
            (key::tail(&id.short()), encode(&id)),
            (key::uid(spec.uid), encode(&id)),
        ];
        if spec.deleting.is_some() {
            return (group, Restored { kind, id: id.0, name: spec.name, outcome: Outcome::Trashed, notes });
        }
        group.push((key::name(kind, spec.name.as_str()), encode(&id)));
        for nic in &spec.nics {
            group.push((key::address(nic.network, nic.address), encode(&id)));
            group.push((key::mac(&nic.mac), encode(&id)));
        }
        let outcome = if run.is_some() { Outcome::Running } else { Outcome::Recovered };
        (group, Restored { kind, id: id.0, name: spec.name, outcome, notes })
    }
}

/// The refusal to go on beside a process that nobody would know of.
fn stranger(holder: &Holder) -> Problem {
    let volumes: Vec<String> = holder.volumes.iter().map(ToString::to_string).collect();
    let text = format!(
        "process {} has volume {} open, and is of no machine that can be recovered",
        holder.pid,
        volumes.join(", ")
    );
    Problem::new(Code::VolumeInUse, text)
        .hint(format!("shut its guest down, or end it with `kill {}`, and recover again", holder.pid))
}
