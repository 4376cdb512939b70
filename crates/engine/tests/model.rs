//! Random requests against a tiny model of what they mean, with random kills in between: after each
//! one, what the engine shows and how it refuses are what the model says.

use engine::sim::check::at_rest;
use engine::sim::run::settle;
use engine::sim::{Killed, World};
use engine::{Engine, Settings};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use types::machine::{AttachVolume, DeployMachine, DetachVolume, Phase};
use types::pool::{CreatePool, MoveVolume};
use types::snapshot::TakeSnapshot;
use types::volume::{CreateVolume, ResizeVolume, Restore};
use types::{Actor, ByteSize, Code, Name, Operation, Problem};
use uuid::Uuid;

const MACHINES: [&str; 2] = ["one", "two"];
/// Two data volumes and the root volumes that deploys make.
const VOLUMES: [&str; 4] = ["data", "logs", "one-root", "two-root"];
const SNAPSHOTS: [&str; 2] = ["first", "second"];
const POOLS: [&str; 2] = ["default", "fast"];

#[derive(Clone, Copy, Debug)]
enum Ask {
    Deploy(usize, Option<usize>),
    Boot(usize, usize),
    Stop(usize),
    Start(usize),
    Restart(usize),
    Attach(usize, usize),
    Detach(usize, usize),
    Resize(usize, u64),
    Trim(usize),
    Create(usize, u64),
    DeleteVolume(usize),
    RestoreVolume(usize),
    DeleteMachine(usize, bool),
    Move(usize, usize),
    Snap(usize, usize),
    SnapBack(usize),
    DeleteSnap(usize),
    UndeleteSnap(usize),
}

fn ask() -> impl Strategy<Value = Ask> {
    let (m, v, s) = (0..MACHINES.len(), 0..VOLUMES.len(), 0..SNAPSHOTS.len());
    let size = 1..6u64;
    prop_oneof![
        3 => (m.clone(), proptest::option::of(v.clone())).prop_map(|(m, v)| Ask::Deploy(m, v)),
        1 => (m.clone(), v.clone()).prop_map(|(m, v)| Ask::Boot(m, v)),
        3 => m.clone().prop_map(Ask::Stop),
        2 => m.clone().prop_map(Ask::Start),
        1 => m.clone().prop_map(Ask::Restart),
        3 => (m.clone(), v.clone()).prop_map(|(m, v)| Ask::Attach(m, v)),
        2 => (m.clone(), v.clone()).prop_map(|(m, v)| Ask::Detach(m, v)),
        3 => (v.clone(), size.clone()).prop_map(|(v, s)| Ask::Resize(v, s)),
        1 => v.clone().prop_map(Ask::Trim),
        3 => (0..2usize, size).prop_map(|(v, s)| Ask::Create(v, s)),
        2 => v.clone().prop_map(Ask::DeleteVolume),
        2 => v.clone().prop_map(Ask::RestoreVolume),
        2 => (v.clone(), 0..POOLS.len()).prop_map(|(v, p)| Ask::Move(v, p)),
        3 => (v, s.clone()).prop_map(|(v, s)| Ask::Snap(v, s)),
        2 => s.clone().prop_map(Ask::SnapBack),
        2 => s.clone().prop_map(Ask::DeleteSnap),
        2 => s.prop_map(Ask::UndeleteSnap),
        2 => (m, any::<bool>()).prop_map(|(m, keep)| Ask::DeleteMachine(m, keep)),
    ]
}

impl Ask {
    fn put(self, e: &Engine) -> Result<Operation, Problem> {
        let who = Actor("test".into());
        let name = |text: &str| Some(Name::new(text).unwrap());
        let join = |v: usize| AttachVolume { volume: VOLUMES[v].into(), mount: None, read_only: false };
        let bytes = |gib| ByteSize::gib(gib).bytes();
        match self {
            Self::Deploy(m, v) => e.deploy(
                &who,
                DeployMachine {
                    image: Some("debian".into()),
                    name: name(MACHINES[m]),
                    attach: v.into_iter().map(join).collect(),
                    ..DeployMachine::default()
                },
            ),
            Self::Boot(m, v) => {
                let volume = Some(VOLUMES[v].into());
                e.deploy(&who, DeployMachine { volume, name: name(MACHINES[m]), ..DeployMachine::default() })
            }
            Self::Stop(m) => e.stop_machine(&who, MACHINES[m]),
            Self::Start(m) => e.start_machine(&who, MACHINES[m]),
            Self::Restart(m) => e.restart_machine(&who, MACHINES[m]),
            Self::Attach(m, v) => e.attach_volume(&who, MACHINES[m], join(v)),
            Self::Detach(m, v) => {
                e.detach_volume(&who, MACHINES[m], DetachVolume { volume: VOLUMES[v].into(), force: false })
            }
            Self::Resize(v, s) => e.resize_volume(&who, VOLUMES[v], ResizeVolume { size_bytes: bytes(s) }),
            Self::Trim(v) => e.trim_volume(&who, VOLUMES[v]),
            Self::Create(v, s) => e.create_volume(
                &who,
                CreateVolume { name: name(VOLUMES[v]), size_bytes: bytes(s), ..CreateVolume::default() },
            ),
            Self::DeleteVolume(v) => e.delete_volume(&who, VOLUMES[v], false),
            Self::RestoreVolume(v) => e.restore_volume(&who, VOLUMES[v], &Restore::default()),
            Self::Move(v, p) => e.move_volume(&who, VOLUMES[v], &MoveVolume { pool: POOLS[p].into() }),
            Self::Snap(v, s) => {
                e.snapshot_volume(&who, VOLUMES[v], &TakeSnapshot { name: name(SNAPSHOTS[s]) })
            }
            Self::SnapBack(s) => e.restore_snapshot(&who, SNAPSHOTS[s], false),
            Self::DeleteSnap(s) => e.delete_snapshot(&who, SNAPSHOTS[s], false),
            Self::UndeleteSnap(s) => e.undelete_snapshot(&who, SNAPSHOTS[s], &Restore::default()),
            Self::DeleteMachine(m, keep) => e.delete_machine(&who, MACHINES[m], keep, false),
        }
    }
}

/// A volume in the model; machines, volumes and snapshots are known by the number of their name, and
/// what a snapshot is of by an id, which is learned when it is first shown.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Volume {
    id: Uuid,
    pool: usize,
    gib: u64,
    bootable: bool,
    owner: Option<usize>,
    holder: Option<usize>,
}

/// A machine in the model: its volumes by slot.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Machine {
    running: bool,
    disks: BTreeMap<u8, usize>,
}

/// What there is, with every request done at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    machines: BTreeMap<usize, Machine>,
    volumes: BTreeMap<usize, Volume>,
    /// What can be taken back by name, in the order of its deletion.
    trash: Vec<(usize, Volume)>,
    snapshots: BTreeMap<usize, Snapshot>,
    /// Likewise.
    deleted: Vec<(usize, Snapshot)>,
}

/// A snapshot in the model: what it is of, and how large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Snapshot {
    of: Uuid,
    gib: u64,
}

impl Model {
    fn machine(&mut self, m: usize) -> Result<&mut Machine, Code> {
        self.machines.get_mut(&m).ok_or(Code::MachineNotFound)
    }

    /// What was just made has the ids that are shown.
    fn learn(mut self, shown: &Self) -> Self {
        for (v, volume) in self.volumes.iter_mut().filter(|(_, volume)| volume.id.is_nil()) {
            volume.id = shown.volumes.get(v).map_or(Uuid::nil(), |seen| seen.id);
        }
        self
    }

    fn fresh(gib: u64, bootable: bool, of: Option<usize>) -> Volume {
        Volume { id: Uuid::nil(), pool: 0, gib, bootable, owner: of, holder: of }
    }

    fn volume(&mut self, v: usize) -> Result<&mut Volume, Code> {
        self.volumes.get_mut(&v).ok_or(Code::VolumeNotFound)
    }

    fn free(&mut self, v: usize) -> Result<&mut Volume, Code> {
        let volume = self.volume(v)?;
        if volume.holder.is_some() { Err(Code::VolumeInUse) } else { Ok(volume) }
    }

    /// A guest gives back what it does not use, if there is one.
    fn trim(&mut self, v: usize) -> Result<(), Code> {
        let m = self.volume(v)?.holder.ok_or(Code::VolumeNotAttached)?;
        if self.machine(m)?.running { Ok(()) } else { Err(Code::MachineNotRunning) }
    }

    fn join(&mut self, m: usize, v: usize) -> Result<(), Code> {
        self.free(v)?.holder = Some(m);
        let disks = &mut self.machine(m)?.disks;
        let slot = (1..).find(|s| !disks.contains_key(s)).unwrap();
        disks.insert(slot, v);
        Ok(())
    }

    /// The model after a request, or how it is refused.
    fn after(&self, ask: Ask) -> Result<Self, Code> {
        let mut new = self.clone();
        match ask {
            Ask::Deploy(m, v) => {
                let root = 2 + m;
                if new.machines.contains_key(&m) || new.volumes.contains_key(&root) {
                    return Err(Code::NameTaken);
                }
                new.volumes.insert(root, Self::fresh(2, true, Some(m)));
                new.machines.insert(m, Machine { running: true, disks: [(0, root)].into() });
                if let Some(v) = v {
                    // Its own root is not there yet when its attachments are looked for.
                    self.clone().free(v)?;
                    new.join(m, v)?;
                }
            }
            Ask::Boot(m, v) => {
                if new.machines.contains_key(&m) {
                    return Err(Code::NameTaken);
                }
                let volume = new.free(v)?;
                if !volume.bootable {
                    return Err(Code::VolumeNotBootable);
                }
                volume.holder = Some(m);
                new.machines.insert(m, Machine { running: true, disks: [(0, v)].into() });
            }
            Ask::Stop(m) => new.machine(m)?.running = false,
            Ask::Start(m) | Ask::Restart(m) => new.machine(m)?.running = true,
            Ask::Attach(m, v) => {
                new.machine(m)?;
                new.join(m, v)?;
            }
            Ask::Detach(m, v) => {
                new.machine(m)?;
                new.volume(v)?;
                let machine = new.machine(m)?;
                let Some(slot) = machine.disks.iter().find(|(_, d)| **d == v).map(|(s, _)| *s) else {
                    return Err(Code::VolumeNotAttached);
                };
                if slot == 0 {
                    return Err(Code::VolumeInUse);
                }
                new.machine(m)?.disks.remove(&slot);
                new.volume(v)?.holder = None;
            }
            Ask::Resize(v, gib) => {
                let volume = new.volume(v)?;
                if gib < volume.gib {
                    return Err(Code::CannotShrink);
                }
                volume.gib = gib;
            }
            Ask::Trim(v) => new.trim(v)?,
            Ask::Create(v, gib) => {
                if new.volumes.contains_key(&v) {
                    return Err(Code::NameTaken);
                }
                new.volumes.insert(v, Self::fresh(gib, false, None));
            }
            Ask::DeleteVolume(v) => {
                new.free(v)?;
                let gone = new.volumes.remove(&v).ok_or(Code::VolumeNotFound)?;
                new.trash.push((v, Volume { owner: None, ..gone }));
            }
            Ask::RestoreVolume(v) => {
                let there = new.volumes.contains_key(&v);
                match new.trash.iter().rposition(|(n, ..)| *n == v) {
                    None if there => return Err(Code::NotDeleted),
                    None => return Err(Code::VolumeNotFound),
                    Some(_) if there => return Err(Code::NameTaken),
                    Some(at) => {
                        let (_, back) = new.trash.remove(at);
                        new.volumes.insert(v, back);
                    }
                }
            }
            Ask::DeleteMachine(m, keep) => {
                new.machine(m)?;
                new.machines.remove(&m);
                let goes = |v: &Volume| !keep && v.owner == Some(m);
                let in_trash = |v: &Volume| Volume { owner: None, holder: None, ..v.clone() };
                let gone = new.volumes.iter().filter(|(_, v)| goes(v)).map(|(n, v)| (*n, in_trash(v)));
                new.trash.extend(gone);
                new.volumes.retain(|_, v| !goes(v));
                for v in new.volumes.values_mut().filter(|v| v.holder == Some(m)) {
                    v.holder = None;
                    v.owner = None;
                }
            }
            Ask::Move(v, p) => {
                if new.volume(v)?.pool != p {
                    new.at_rest(v)?;
                    new.volume(v)?.pool = p;
                }
            }
            Ask::Snap(v, s) => {
                let volume = new.volume(v)?;
                let taken = Snapshot { of: volume.id, gib: volume.gib };
                if new.snapshots.contains_key(&s) {
                    return Err(Code::NameTaken);
                }
                new.snapshots.insert(s, taken);
            }
            Ask::SnapBack(s) => {
                let to = *new.snapshots.get(&s).ok_or(Code::SnapshotNotFound)?;
                let found = new.volumes.iter().find(|(_, volume)| volume.id == to.of).map(|(v, _)| *v);
                new.at_rest(found.ok_or(Code::VolumeNotFound)?)?;
            }
            Ask::DeleteSnap(s) => {
                let gone = new.snapshots.remove(&s).ok_or(Code::SnapshotNotFound)?;
                new.deleted.push((s, gone));
            }
            Ask::UndeleteSnap(s) => {
                let there = new.snapshots.contains_key(&s);
                match new.deleted.iter().rposition(|(n, _)| *n == s) {
                    None if there => return Err(Code::NotDeleted),
                    None => return Err(Code::SnapshotNotFound),
                    Some(_) if there => return Err(Code::NameTaken),
                    Some(at) => _ = new.snapshots.insert(s, new.deleted.remove(at).1),
                }
            }
        }
        Ok(new)
    }

    /// No machine that runs has the volume.
    fn at_rest(&mut self, v: usize) -> Result<(), Code> {
        let Some(m) = self.volume(v)?.holder else { return Ok(()) };
        if self.machine(m)?.running { Err(Code::MachineRunning) } else { Ok(()) }
    }

    /// What the engine shows, in the model's words.
    fn shown(e: &Engine) -> Self {
        let machine = |name: &str| MACHINES.iter().position(|m| *m == name).expect("a machine we made");
        let volume = |name: &str| VOLUMES.iter().position(|v| *v == name).expect("a volume we made");
        let mut shown = Self::default();
        let seen = |v: &types::volume::Volume| Volume {
            id: v.id.0,
            pool: POOLS.iter().position(|p| *p == v.pool).expect("a pool we made"),
            gib: v.size_bytes >> 30,
            bootable: v.image.is_some(),
            owner: v.owner.as_ref().map(|n| machine(n.as_str())),
            holder: v.attached_to.as_ref().map(|n| machine(n.as_str())),
        };
        for v in e.volumes().unwrap() {
            assert!(v.condition.is_none() && v.fault.is_none(), "{v:?}");
            shown.volumes.insert(volume(v.name.as_str()), seen(&v));
        }
        let mut deleted = e.deleted_volumes().unwrap();
        deleted.sort_by_key(|v| (v.deleted_at, v.id));
        shown.trash = deleted.iter().map(|v| (volume(v.name.as_str()), seen(v))).collect();
        // What a restore keeps has a name of its own, and is not looked at.
        let snapshot = |s: &types::snapshot::Snapshot| {
            let n = SNAPSHOTS.iter().position(|n| *n == s.name.as_str())?;
            Some((n, Snapshot { of: s.volume_id.0, gib: s.size_bytes.expect("it is taken") >> 30 }))
        };
        shown.snapshots = e.snapshots().unwrap().iter().filter_map(snapshot).collect();
        let mut deleted = e.deleted_snapshots().unwrap();
        deleted.sort_by_key(|s| (s.deleted_at, s.id));
        shown.deleted = deleted.iter().filter_map(snapshot).collect();
        for m in e.machines().unwrap() {
            assert!(matches!(m.phase, Phase::Running | Phase::Stopped), "{m:?}");
            let disks = m.volumes.iter().map(|d| (d.slot, volume(d.name.as_str()))).collect();
            let seen = Machine { running: m.phase == Phase::Running, disks };
            shown.machines.insert(machine(m.name.as_str()), seen);
        }
        shown
    }
}

fn alive<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => None,
        Err(other) => std::panic::resume_unwind(other),
    }
}

fn boot(world: &World) -> Engine {
    world.boot(Settings::default()).expect("a world opens")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_model_says(
        asks in proptest::collection::vec((ask(), proptest::option::weighted(0.3, 1..40u64)), 1..30),
    ) {
        let world = World::new();
        let mut engine = boot(&world);
        let fast = CreatePool {
            name: Name::new(POOLS[1]).unwrap(),
            path: None,
            size_bytes: Some(ByteSize::gib(20).bytes()),
            sparse: false,
        };
        engine.create_pool(&Actor("test".into()), &fast).unwrap();
        settle(&world, &engine);
        let mut model = Model::default();
        for (ask, kill) in asks {
            let expected = model.after(ask);
            // What was deleted when tells them apart.
            world.pass(1);
            let ticks = world.state().ticks;
            world.state().kill_at = kill.map(|k| ticks + k);
            let answer = alive(|| {
                let answer = ask.put(&engine);
                settle(&world, &engine);
                answer
            });
            world.state().kill_at = None;
            let killed = answer.is_none();
            if killed {
                engine = boot(&world);
                settle(&world, &engine);
            }
            let shown = Model::shown(&engine);
            match (answer, expected) {
                (Some(Ok(_)), Ok(new)) => {
                    let new = new.learn(&shown);
                    prop_assert_eq!(&shown, &new, "{:?}", ask);
                    model = new;
                }
                (Some(Err(problem)), Err(code)) => {
                    prop_assert_eq!(problem.code, code, "{:?}: {}", ask, problem);
                    prop_assert_eq!(&shown, &model, "{:?} was refused", ask);
                }
                // Nobody saw the answer: all of it was done, or nothing.
                (None, Ok(new)) => {
                    let new = new.learn(&shown);
                    prop_assert!(shown == new || shown == model, "{:?}: {:?} of {:?}", ask, shown, new);
                    model = shown;
                }
                (None, Err(_)) => prop_assert_eq!(&shown, &model, "{:?} is refused", ask),
                (answer, expected) => {
                    prop_assert!(false, "{:?} was answered {:?}, not {:?}", ask, answer, expected);
                }
            }
            let wrong = at_rest(&world, &engine);
            prop_assert!(wrong.is_empty(), "{:?}: {:?}", ask, wrong);
        }
    }
}
