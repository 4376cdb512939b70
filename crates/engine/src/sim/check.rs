//! What must hold of a world at rest.
//!
//! Invariant: every line of the promise "nothing is lost, nothing disagrees, nothing is stranded"
//! that can be seen from store and world together is checked here, for every explored state.

use super::World;
use crate::store::{Limit, Store};
use crate::{Engine, key};
use std::collections::{BTreeMap, BTreeSet};
use types::machine::{Desired, MachineSpec, MachineStatus, Run, StallReason};
use types::operation::Kind;
use types::pool::{PoolOn, PoolSpec, PoolStatus};
use types::snapshot::{SnapshotSpec, SnapshotStatus};
use types::volume::{Condition, VolumeSpec, VolumeStatus};
use types::{MachineId, SnapshotId, VolumeId};

fn records<S: serde::de::DeserializeOwned, T: serde::de::DeserializeOwned + Default>(
    world: &World,
    kind: Kind,
) -> Vec<(S, T)> {
    let disk = world.disk();
    let all = disk.scan(&key::all(kind), Limit::All).expect("memory does not fail");
    all.iter()
        .filter_map(|e| key::id_of(&e.key, "spec").map(|(_, id)| (e, id)))
        .map(|(e, id)| {
            let status = disk.get(&key::status(kind, id)).expect("memory does not fail");
            let status =
                status.map(|s| serde_json::from_slice(&s.value).expect("a status")).unwrap_or_default();
            (serde_json::from_slice(&e.value).expect("a spec"), status)
        })
        .collect()
}

/// Everything that is wrong with a world in which nothing is left to do; empty if all is well.
pub fn at_rest(world: &World, engine: &Engine) -> Vec<String> {
    let mut wrong = world.state().violations.clone();
    wrong.extend(unfinished(world, engine));
    wrong
}

/// What is not yet as it shall be; of a world at rest, what is wrong with it.
pub(super) fn unfinished(world: &World, engine: &Engine) -> Vec<String> {
    let mut wrong = Vec::new();
    let volumes: Vec<(VolumeSpec, VolumeStatus)> = records(world, Kind::Volume);
    let machines: Vec<(MachineSpec, MachineStatus)> = records(world, Kind::Machine);
    operations_ended(world, &mut wrong);
    volumes_agree(world, &volumes, &mut wrong);
    pools_agree(world, &mut wrong);
    match engine.halting() {
        Ok(halting) => machines_agree(world, &machines, &volumes, halting, &mut wrong),
        Err(p) => wrong.push(format!("the host's mark cannot be read: {p}")),
    }
    let snapshots: Vec<(SnapshotSpec, SnapshotStatus)> = records(world, Kind::Snapshot);
    snapshots_agree(world, &snapshots, &mut wrong);
    claims_agree(world, &machines, &volumes, &snapshots, &mut wrong);
    for pool in engine.pool_names().unwrap_or_default() {
        let here = volumes.iter().filter(|(v, _)| v.deleting.is_none() && v.pool == pool);
        let sum = here.map(|(v, _)| v.size.bytes()).sum::<u64>();
        match engine.committed(&pool) {
            Ok(counted) if counted.bytes() == sum => {}
            counted => {
                wrong.push(format!("the volumes of {pool} add up to {sum}, and {counted:?} is counted"))
            }
        }
    }
    if let Err(p) = engine.volumes().and_then(|_| engine.machines()).and_then(|_| engine.images()) {
        wrong.push(format!("a list cannot be read: {p}"));
    }
    wrong
}

fn operations_ended(world: &World, wrong: &mut Vec<String>) {
    for e in world.disk().scan(key::HOLDS, Limit::All).expect("memory does not fail") {
        let by = String::from_utf8_lossy(&e.value).into_owned();
        wrong.push(format!("nothing is copied and this is held: {} by {by}", e.key));
    }
    for e in world.disk().scan(key::OPEN, Limit::All).expect("memory does not fail") {
        wrong.push(format!("an operation has not ended: {}", e.key));
    }
}

fn pools_agree(world: &World, wrong: &mut Vec<String>) {
    let pools: Vec<(PoolSpec, PoolStatus)> = records(world, Kind::Pool);
    let s = world.state();
    for (pool, status) in &pools {
        let name = &pool.name;
        if pool.deleting.is_some() {
            wrong.push(format!("pool {name} is still being deleted"));
        }
        match s.pools.get(name.as_str()) {
            Some(made) if made.unplugged && made.whole => {
                if status.fault.is_none() {
                    wrong.push(format!("pool {name} is not there, and nobody is told"));
                }
            }
            Some(made) => {
                if !made.whole || !made.mounted || made.record != Some(pool.generation) {
                    wrong.push(format!("pool {name} is not as it shall be: {made:?}"));
                }
                if made.size != pool.on.size() || made.used != made.size {
                    wrong.push(format!("pool {name} has not the size that it shall have: {made:?}"));
                }
                if !status.made || status.observed_generation != pool.generation || status.fault.is_some() {
                    wrong.push(format!("the status of pool {name} is stale"));
                }
            }
            None => wrong.push(format!("pool {name} is not there")),
        }
    }
    let nobodys = s.pools.iter().filter(|(_, made)| !made.left_behind()).map(|(name, _)| name);
    for name in nobodys.filter(|name| !pools.iter().any(|(p, _)| p.name.as_str() == *name)) {
        wrong.push(format!("there is something of pool {name}, and no record"));
    }
}

fn unplugged(s: &super::State, pool: &str) -> bool {
    s.pools.get(pool).is_some_and(|made| made.unplugged)
}

fn left_behind(s: &super::State, pool: &str) -> bool {
    s.pools.get(pool).is_some_and(super::pools::Made::left_behind)
}

fn volumes_agree(world: &World, volumes: &[(VolumeSpec, VolumeStatus)], wrong: &mut Vec<String>) {
    let s = world.state();
    let known: BTreeSet<super::Place> = volumes.iter().map(|(v, _)| (v.pool.clone(), v.id)).collect();
    for (v, status) in volumes {
        let (name, at) = (&v.name, (v.pool.clone(), v.id));
        let away = unplugged(&s, &v.pool);
        if let Some(going) = &v.deleting {
            match going.keep_until {
                None => wrong.push(format!("{name} is still being deleted")),
                Some(_) if !s.trash.contains_key(&at) => wrong.push(format!("{name} is not in the trash")),
                Some(_) if s.files.contains_key(&at) || s.sidecars.contains_key(&at) => {
                    wrong.push(format!("{name} was deleted and is there"));
                }
                Some(_) if status.observed_generation != v.generation => {
                    wrong.push(format!("{name}'s status is stale"));
                }
                Some(_) => {}
            }
            continue;
        }
        let left = v.leaving.as_ref().is_some_and(|pool| !unplugged(&s, pool) && !away);
        if v.moving.is_some() || left {
            wrong.push(format!("{name} is on its way: {:?} {:?}", v.moving, v.leaving));
        }
        if away {
            if status.condition == Some(Condition::Lost) {
                wrong.push(format!("{name} is told lost, and its pool is only away"));
            }
            if !s.files.contains_key(&at) && status.filled {
                wrong.push(format!("{name} has no file"));
            }
            continue;
        }
        if status.condition == Some(Condition::Lost) {
            // What was lost is neither made anew nor filled up.
            match s.files.get(&at) {
                Some(f) if f.size >= status.size => wrong.push(format!("{name} is whole and told lost")),
                _ if status.fault.is_none() => wrong.push(format!("{name} is lost and nobody is told why")),
                _ => {}
            }
            continue;
        }
        if v.reset.is_some() {
            wrong.push(format!("{name} is still being restored"));
        }
        match s.files.get(&at) {
            None => wrong.push(format!("{name} has no file")),
            Some(f) if f.size != v.size => {
                wrong.push(format!("{name} is {} in the store and {} on disk", v.size, f.size));
            }
            Some(_) => {}
        }
        if s.sidecars.get(&at) != Some(&v.generation) {
            wrong.push(format!("{name}'s sidecar is of another generation"));
        }
        if status.observed_generation != v.generation || !status.filled || status.size != v.size {
            wrong.push(format!("{name}'s status is stale"));
        }
    }
    // What is left goes once both pools can be reached.
    let left = |at: &super::Place| {
        let of = |v: &VolumeSpec| v.id == at.1 && v.leaving.as_ref() == Some(&at.0);
        left_behind(&s, &at.0)
            || volumes.iter().any(|(v, _)| of(v) && (unplugged(&s, &at.0) || unplugged(&s, &v.pool)))
    };
    for (pool, id) in s.files.keys().chain(s.sidecars.keys()).chain(&s.parts) {
        if left(&(pool.clone(), *id)) {
            continue;
        }
        if !known.contains(&(pool.clone(), *id)) {
            wrong.push(format!("{id:?} has files in {pool} and no record"));
        }
    }
    let wanted: BTreeSet<VolumeId> =
        volumes.iter().filter(|(v, _)| v.deleting.is_none()).map(|(v, _)| v.id).collect();
    for at in
        s.parts.iter().filter(|at| !left(at)).chain(s.trash.keys().filter(|(_, id)| wanted.contains(id)))
    {
        wrong.push(format!("{at:?} is half made or half deleted"));
    }
    for at in s.trash.keys().filter(|at| !known.contains(*at) && !left_behind(&s, &at.0)) {
        wrong.push(format!("{at:?} is in the trash and has no record"));
    }
}

fn snapshots_agree(world: &World, snapshots: &[(SnapshotSpec, SnapshotStatus)], wrong: &mut Vec<String>) {
    let s = world.state();
    let known: BTreeSet<SnapshotId> = snapshots.iter().map(|(spec, _)| spec.id).collect();
    for (spec, status) in snapshots {
        let name = &spec.name;
        if spec.deleting.as_ref().is_some_and(|going| going.keep_until.is_none()) {
            wrong.push(format!("snapshot {name} is still being deleted"));
            continue;
        }
        if spec.passing {
            wrong.push(format!("snapshot {name} has served its purpose and is there"));
        }
        let Some(taken) = &status.taken else {
            wrong.push(format!("snapshot {name} was not taken"));
            continue;
        };
        let size = s.snapshots.get(&spec.id).map(|f| f.size);
        if (size != Some(taken.size)) != status.fault.is_some() {
            wrong.push(format!(
                "snapshot {name} has {size:?} of {}, and {:?} is told",
                taken.size, status.fault
            ));
        }
        let told = status.observed_generation == spec.generation
            && s.snapshot_sidecars.get(&spec.id) == Some(&spec.generation);
        if !told && status.fault.is_none() {
            wrong.push(format!("snapshot {name}'s status or sidecar is stale"));
        }
    }
    let strangers = s.snapshots.keys().chain(s.snapshot_sidecars.keys()).filter(|id| !known.contains(id));
    // Those of a pool that was told lost are still there.
    let strangers = strangers.filter(|_| !s.pools.values().any(super::pools::Made::left_behind));
    for id in strangers.chain(&s.snapshot_parts) {
        wrong.push(format!("{id:?} is half made, or has no record"));
    }
}

/// Whether there is a record of what a machine boots from.
fn root_known(m: &MachineSpec, volumes: &[(VolumeSpec, VolumeStatus)]) -> bool {
    m.disks.first().is_some_and(|d| volumes.iter().any(|(v, _)| v.id == d.volume))
}

fn machines_agree(
    world: &World,
    machines: &[(MachineSpec, MachineStatus)],
    volumes: &[(VolumeSpec, VolumeStatus)],
    halting: bool,
    wrong: &mut Vec<String>,
) {
    let s = world.state();
    let mut taps = BTreeSet::new();
    for (m, status) in machines {
        let name = &m.name;
        if !m.making.is_empty() {
            wrong.push(format!("{name} is not all written down"));
        }
        match &m.deleting {
            Some(going) if !going.released || going.keep_until.is_none() => {
                wrong.push(format!("{name} is still being deleted"));
            }
            Some(_) if !root_known(m, volumes) => {
                wrong.push(format!("{name} is kept, and what it boots from is not"));
            }
            _ => {}
        }
        if s.machine_dirs.get(&m.id) != Some(&Some(m.generation)) {
            wrong.push(format!("{name}'s sidecar is of another generation"));
        }
        let process = s.processes.get(&m.id);
        let wanted = m.deleting.is_none() && m.desired == Desired::Running && status.ended_epoch < m.epoch;
        let up = wanted && !halting;
        if status.held.is_some() != (wanted && halting) {
            wrong.push(format!("{name} is held back: {:?}, and the host is halting: {halting}", status.held));
        }
        match (&status.run, process) {
            (Some(run), Some(p)) if p.run == run.id && !p.exited => {
                disks(&s, m, run, p, wrong);
                standing(&s, m, run, p, wrong);
                taps.insert(format!("st{}", m.id.short()));
            }
            (None, None) => {}
            other => wrong.push(format!("{name}'s run and process disagree: {other:?}")),
        }
        if up != status.run.is_some() {
            wrong.push(format!("{name} is wanted up: {up}, and has a run: {}", status.run.is_some()));
        }
    }
    let known: BTreeSet<MachineId> = machines.iter().map(|(m, _)| m.id).collect();
    for id in s.processes.keys().chain(s.machine_dirs.keys()).filter(|id| !known.contains(id)) {
        wrong.push(format!("{id:?} has a process or directory and no record"));
    }
    if s.taps != taps {
        wrong.push(format!("taps are {:?} and should be {taps:?}", s.taps));
    }
}

/// A machine that is up has open what it has, and its guest makes use of all of it.
fn disks(s: &super::State, m: &MachineSpec, run: &Run, p: &super::Process, wrong: &mut Vec<String>) {
    let name = &m.name;
    let want: BTreeSet<_> = m.disks.iter().map(|d| d.volume).collect();
    let open: BTreeSet<_> = p.volumes.iter().copied().collect();
    let has: BTreeSet<_> = p.disks.keys().copied().collect();
    if open != want || has != want || p.volumes.len() != want.len() {
        wrong.push(format!("{name} runs with other disks than it has"));
    }
    if m.disks.iter().any(|d| d.leaving.is_some()) {
        wrong.push(format!("a disk of {name} has not left"));
    }
    let hears = run.hello_at.is_some() && p.stands.is_none() && s.guests != super::Guests::Deaf;
    if !hears {
        return;
    }
    if p.applied != m.generation {
        wrong.push(format!("the agent of {name} was told of generation {}, not {}", p.applied, m.generation));
    }
    for d in m.disks.iter().filter(|d| d.mount != types::machine::Mount::None) {
        if !p.mounted.contains_key(&d.volume) {
            wrong.push(format!("{name} has a disk that is not mounted"));
        }
    }
    for (v, size) in &p.disks {
        let file = s.files.iter().find(|((_, id), _)| id == v).map(|(_, f)| f.size);
        let fills = p.mounted.get(v).is_none_or(|m| m == size);
        if file.is_some_and(|f| f > *size) || !fills {
            wrong.push(format!("{name} does not make use of all of {v:?}: {size} of {file:?}"));
        }
    }
}

/// A guest stands only while it must, the records say so, and one that goes has the right time.
fn standing(s: &super::State, m: &MachineSpec, run: &Run, p: &super::Process, wrong: &mut Vec<String>) {
    let (name, noted) = (&m.name, run.standing().map(|s| s.why));
    if noted != p.stands.map(|(why, _)| why) {
        wrong.push(format!("{name} stands for {:?}, and {noted:?} is noted", p.stands));
    }
    if p.stands.is_some_and(|(why, _)| why == StallReason::PoolFull) && !s.full {
        wrong.push(format!("{name} stands, and there is room"));
    }
    if p.stands.is_none() && p.behind != 0 {
        wrong.push(format!("the clock of {name} is {} ms behind", p.behind));
    }
}

fn claims_agree(
    world: &World,
    machines: &[(MachineSpec, MachineStatus)],
    volumes: &[(VolumeSpec, VolumeStatus)],
    snapshots: &[(SnapshotSpec, SnapshotStatus)],
    wrong: &mut Vec<String>,
) {
    let mut want: BTreeMap<String, uuid::Uuid> = BTreeMap::new();
    let mut claim = |key: String, id: uuid::Uuid, wrong: &mut Vec<String>| {
        if want.insert(key.clone(), id).is_some() {
            wrong.push(format!("{key} is claimed twice"));
        }
    };
    for (pool, _) in records::<PoolSpec, PoolStatus>(world, Kind::Pool) {
        claim(key::name(Kind::Pool, pool.name.as_str()), pool.id.0, wrong);
        if let PoolOn::Directory { path } = &pool.on {
            claim(key::pool_path(path), pool.id.0, wrong);
        }
    }
    for (v, _) in volumes {
        claim(key::tail(&v.id.short()), v.id.0, wrong);
        if v.deleting.is_none() {
            claim(key::name(Kind::Volume, v.name.as_str()), v.id.0, wrong);
        }
    }
    for (spec, _) in snapshots.iter().filter(|(s, _)| s.deleting.is_none() && !s.passing) {
        claim(key::name(Kind::Snapshot, spec.name.as_str()), spec.id.0, wrong);
    }
    for (m, _) in machines {
        claim(key::tail(&m.id.short()), m.id.0, wrong);
        claim(key::uid(m.uid), m.id.0, wrong);
        if m.deleting.is_some() {
            continue;
        }
        claim(key::name(Kind::Machine, m.name.as_str()), m.id.0, wrong);
        for nic in &m.nics {
            claim(key::address(nic.network, nic.address), m.id.0, wrong);
            claim(key::mac(&nic.mac), m.id.0, wrong);
        }
        for d in &m.disks {
            claim(key::attach(d.volume), m.id.0, wrong);
        }
    }
    let ours = |k: &str| !k.starts_with("claim/name/image/") && !k.starts_with("claim/name/network/");
    let have: BTreeMap<String, uuid::Uuid> = world
        .disk()
        .scan("claim/", Limit::All)
        .expect("memory does not fail")
        .into_iter()
        .filter(|e| ours(&e.key) && !e.key.starts_with("claim/image-source/"))
        .map(|e| (e.key, serde_json::from_slice(&e.value).expect("an id")))
        .collect();
    for (key, id) in &want {
        if have.get(key) != Some(id) {
            wrong.push(format!("{key} is not claimed, or by another"));
        }
    }
    for key in have.keys().filter(|k| !want.contains_key(*k)) {
        wrong.push(format!("{key} is claimed by nobody that exists"));
    }
}
