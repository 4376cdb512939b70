//! Losing the database, and having it again.

use super::*;
use crate::sim::{World, check};
use crate::store::{Entry, Limit, MAX_OPS, Mem, Store, StoreError, Txn, Watch};
use crate::{Engine, key};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use types::machine::{AttachVolume, DeployMachine, Phase};
use types::operation::Kind;
use types::pool::{PoolOn, PoolSpec};
use types::snapshot::{SnapshotSidecar, SnapshotSpec, SnapshotStatus};
use types::volume::{CreateVolume, VolumeRole, VolumeSource};
use types::{Actor, Code, PoolId};

const DAY: i64 = 86_400_000;
pub(super) const NOW: Timestamp = Timestamp(jiff::Timestamp::constant(1_700_000_000, 0));

pub(super) fn around(settings: &Settings) -> Around<'_> {
    Around { settings, now: NOW, host_boot: "boot-0".into(), fresh: Uuid::from_u128(0xfeed) }
}

pub(super) fn root() -> Actor {
    Actor("root".into())
}

pub(super) fn all(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    store.scan("", Limit::All).unwrap().into_iter().map(|e| (e.key, e.value)).collect()
}

pub(super) fn read<T: serde::de::DeserializeOwned>(store: &dyn Store, kind: Kind) -> Vec<T> {
    let specs =
        all(store).into_iter().filter(|(k, _)| k.starts_with(&key::all(kind)) && k.ends_with("/spec"));
    specs.map(|(_, v)| serde_json::from_slice(&v).unwrap()).collect()
}

fn settle(world: &World, engine: &Engine) {
    for _ in 0..50 {
        engine.run_until_idle(10_000).unwrap();
        world.pass(1000);
        engine.resync().unwrap();
    }
}

/// What the disk of a world tells, its database gone.
fn lose(world: &World) -> Found {
    let disk = &**world.disk();
    let volumes: Vec<VolumeSpec> = read(disk, Kind::Volume);
    let state = world.state();
    let snapshots: Vec<(SnapshotSpec, SnapshotStatus)> = read::<SnapshotSpec>(disk, Kind::Snapshot)
        .into_iter()
        .map(|spec| {
            let status = disk.get(&key::status(Kind::Snapshot, spec.id.0)).unwrap().unwrap();
            (spec, serde_json::from_slice(&status.value).unwrap())
        })
        .collect();
    let found = Found {
        snapshots: snapshots
            .into_iter()
            .filter(|(spec, _)| state.snapshots.contains_key(&spec.id))
            .map(|(spec, status)| FoundSnapshot {
                id: spec.id,
                file: state.snapshots.get(&spec.id).map(|f| f.size),
                sidecar: status.taken.map(|taken| SnapshotSidecar { spec, taken }),
            })
            .collect(),
        pools: read::<PoolSpec>(disk, Kind::Pool),
        offline: vec![],
        volumes: volumes
            .into_iter()
            .map(|spec| ((spec.pool.clone(), spec.id), spec))
            .map(|(at, spec)| FoundVolume {
                id: spec.id,
                pool: spec.pool.clone(),
                file: state.files.get(&at).map(|f| f.size),
                sidecar: state.sidecars.contains_key(&at),
                part: false,
                trashed: state.trash.get(&at).map(|(_, until)| *until),
                kept: state.trash.contains_key(&at),
                specs: vec![spec],
            })
            .collect(),
        machines: read::<MachineSpec>(disk, Kind::Machine)
            .into_iter()
            .map(|spec| FoundMachine { id: spec.id, written_at: NOW, specs: vec![spec] })
            .collect(),
        images: state
            .images
            .iter()
            .map(|(id, size)| FoundImage { id: *id, digest: "00".into(), size: *size, path: "/x".into() })
            .collect(),
        holders: state
            .processes
            .iter()
            .filter(|(_, p)| !p.exited)
            .map(|(id, p)| Holder { pid: 1, volumes: p.volumes.clone(), run: Some((id.short(), p.run)) })
            .collect(),
        left: vec![],
    };
    drop(state);
    let keys: Vec<_> = all(disk).into_keys().collect();
    for some in keys.chunks(MAX_OPS) {
        let cause = crate::store::Cause { actor: root(), operation: None, verb: types::Verb::Reconcile };
        disk.commit(Txn { checks: vec![], puts: vec![], deletes: some.to_vec(), cause }).unwrap();
    }
    found
}

fn world() -> (World, Settings) {
    let (world, settings) = (World::new(), Settings::default());
    let engine = world.boot(settings.clone()).unwrap();
    let volume = |n: &str| CreateVolume {
        name: Name::new(n).ok(),
        size_bytes: ByteSize::gib(1).bytes(),
        ..CreateVolume::default()
    };
    engine.create_volume(&root(), volume("appdata")).unwrap();
    engine.create_volume(&root(), volume("spare")).unwrap();
    settle(&world, &engine);
    let deploy = |name: &str, volume: &str| DeployMachine {
        image: Some("debian".into()),
        name: Name::new(name).ok(),
        attach: vec![AttachVolume { volume: volume.into(), mount: None, read_only: false }],
        ..DeployMachine::default()
    };
    engine.deploy(&root(), deploy("web", "appdata")).unwrap();
    engine.deploy(&root(), DeployMachine { attach: vec![], ..deploy("db", "") }).unwrap();
    settle(&world, &engine);
    engine.stop_machine(&root(), "db").unwrap();
    settle(&world, &engine);
    (world, settings)
}

#[test]
fn what_was_deleted_is_in_the_trash_again_and_can_be_taken_back() {
    let (world, settings) = world();
    let engine = world.boot(settings.clone()).unwrap();
    engine.delete_machine(&root(), "db", false, false).unwrap();
    engine.delete_volume(&root(), "spare", false).unwrap();
    settle(&world, &engine);
    drop(engine);
    let found = lose(&world);
    let recovery = decide(&found, &around(&settings)).unwrap();
    write(&**world.disk(), &recovery, &root(), NOW).unwrap();
    let engine = world.boot(settings).unwrap();
    settle(&world, &engine);
    assert_eq!(check::at_rest(&world, &engine), Vec::<String>::new());
    let names = |v: Vec<types::volume::Volume>| v.into_iter().map(|v| v.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(engine.volumes().unwrap()), ["appdata", "web-root"]);
    assert_eq!(names(engine.deleted_volumes().unwrap()), ["db-root", "spare"]);
    engine.restore_machine(&root(), "db", &types::volume::Restore::default()).unwrap();
    engine.restore_volume(&root(), "spare", &types::volume::Restore::default()).unwrap();
    settle(&world, &engine);
    assert_eq!(check::at_rest(&world, &engine), Vec::<String>::new());
    assert_eq!(names(engine.volumes().unwrap()), ["appdata", "db-root", "spare", "web-root"]);
    engine.start_machine(&root(), "db").unwrap();
    settle(&world, &engine);
    assert_eq!(engine.machine("db").unwrap().phase, types::machine::Phase::Running);
}

#[test]
fn everything_is_there_again_and_what_runs_runs_on() {
    let (world, settings) = world();
    let engine = world.boot(settings.clone()).unwrap();
    let (volumes, machines) = (engine.volumes().unwrap(), engine.machines().unwrap());
    let processes = world.state().processes.clone();
    let found = lose(&world);
    assert_eq!(state(&**world.disk()).unwrap(), State::Empty);
    let recovery = decide(&found, &around(&settings)).unwrap();
    write(&**world.disk(), &recovery, &root(), NOW).unwrap();
    let engine = world.boot(settings).unwrap();
    settle(&world, &engine);
    assert_eq!(check::at_rest(&world, &engine), Vec::<String>::new());
    assert_eq!(world.state().processes, processes);
    let look = |v: &types::volume::Volume| {
        (v.id, v.name.clone(), v.size_bytes, v.attached_to.clone(), v.owner.clone())
    };
    let again = engine.volumes().unwrap();
    assert_eq!(again.iter().map(look).collect::<Vec<_>>(), volumes.iter().map(look).collect::<Vec<_>>());
    let look = |m: &types::machine::Machine| (m.id, m.name.clone(), m.address, m.mac.clone(), m.phase);
    let again = engine.machines().unwrap();
    assert_eq!(again.iter().map(look).collect::<Vec<_>>(), machines.iter().map(look).collect::<Vec<_>>());
    assert_eq!(engine.history(&crate::HistoryQuery::default()).unwrap().len(), 7);
    // The stopped one starts, from its own disk and with a kernel found anew.
    engine.start_machine(&root(), "db").unwrap();
    engine.stop_machine(&root(), "web").unwrap();
    settle(&world, &engine);
    assert_eq!(engine.machine("db").unwrap().phase, Phase::Running);
    assert_eq!(engine.machine("web").unwrap().phase, Phase::Stopped);
    assert_eq!(check::at_rest(&world, &engine), Vec::<String>::new());
}

#[test]
fn a_process_that_nobody_would_know_of_is_a_refusal() {
    let (world, settings) = world();
    let found = lose(&world);
    let refused = |found: &Found| decide(found, &around(&settings)).unwrap_err().code;
    let mut unknown = found.clone();
    unknown.holders[0].run = None;
    assert_eq!(refused(&unknown), Code::VolumeInUse);
    let mut gone = found.clone();
    gone.machines.retain(|m| m.id.short() != found.holders[0].run.as_ref().unwrap().0);
    assert_eq!(refused(&gone), Code::VolumeInUse);
    let mut twice = found.clone();
    twice.holders.push(Holder {
        run: Some((found.holders[0].run.clone().unwrap().0, RunId(Uuid::nil()))),
        ..found.holders[0].clone()
    });
    assert_eq!(refused(&twice), Code::VolumeInUse);
    let mut more = found;
    let spare = more.volumes.iter().find(|v| v.specs[0].name.as_str() == "spare").unwrap().id;
    more.holders[0].volumes.push(spare);
    assert_eq!(refused(&more), Code::VolumeInUse);
}

#[test]
fn records_are_never_written_over_and_half_a_recovery_is_no_store() {
    let (world, settings) = world();
    let disk = &**world.disk();
    assert_eq!(state(disk).unwrap(), State::Records);
    let nothing = decide(&Found::default(), &around(&settings)).unwrap();
    let before = all(disk);
    assert_eq!(write(disk, &nothing, &root(), NOW).unwrap_err().code, Code::Conflict);
    assert_eq!(all(disk), before);

    let recovery = decide(&lose(&world), &around(&settings)).unwrap();
    let dying = Dying { inner: Mem::default(), commits: AtomicI64::new(2) };
    assert!(write(&dying, &recovery, &root(), NOW).is_err());
    assert_eq!(state(&dying).unwrap(), State::HalfDone);
    assert_eq!(refuse_half(&dying).unwrap_err().code, Code::DatabaseFailed);
}

pub(super) fn volume(n: u128, name: &str) -> VolumeSpec {
    VolumeSpec {
        read_only: false,
        id: VolumeId(Uuid::from_u128(n)),
        name: Name::new(name).unwrap(),
        generation: 3,
        node: "localhost".into(),
        created_at: Timestamp::from_millis(n as i64),
        role: VolumeRole::Data,
        pool: "default".into(),
        moving: None,
        leaving: None,
        size: ByteSize::gib(1),
        source: VolumeSource::Blank { fs_uuid: Uuid::nil() },
        fs: None,
        identity: None,
        owner: None,
        protected: false,
        labels: Default::default(),
        reset: None,
        deleting: None,
    }
}

fn there(spec: VolumeSpec) -> FoundVolume {
    FoundVolume {
        id: spec.id,
        pool: "default".into(),
        file: Some(spec.size),
        sidecar: true,
        part: false,
        trashed: None,
        kept: false,
        specs: vec![spec],
    }
}

fn outcomes(found: &Found) -> BTreeMap<String, Outcome> {
    let report = decide(found, &around(&Settings::default())).unwrap().report();
    report.items.into_iter().map(|r| (r.name.to_string(), r.outcome)).collect()
}

#[test]
fn each_kind_of_rest_comes_back_as_what_it_is() {
    let mut shrunk = volume(2, "grown");
    shrunk.generation = 9;
    shrunk.size = ByteSize::gib(4);
    let volumes = vec![
        there(volume(1, "whole")),
        FoundVolume { specs: vec![shrunk, volume(2, "older")], ..there(volume(2, "x")) },
        FoundVolume { file: None, ..there(volume(3, "lost")) },
        FoundVolume { file: None, part: true, ..there(volume(4, "half")) },
        FoundVolume { specs: vec![], sidecar: false, ..there(volume(0xabcde, "x")) },
        FoundVolume { trashed: Some(NOW), sidecar: false, ..there(volume(6, "going")) },
        FoundVolume { trashed: Some(NOW), sidecar: false, file: None, ..there(volume(7, "in-trash")) },
        there(volume(8, "whole")),
        FoundVolume {
            trashed: Some(NOW),
            sidecar: false,
            file: None,
            kept: true,
            ..there(volume(9, "kept"))
        },
        FoundVolume { trashed: Some(NOW), file: None, kept: true, ..there(volume(10, "coming")) },
    ];
    let found = Found { volumes, ..Found::default() };
    let expected = [
        ("whole", Outcome::Recovered),
        ("whole-2", Outcome::Recovered),
        ("grown", Outcome::Recovered),
        ("lost", Outcome::Lost),
        ("half", Outcome::Recovered),
        ("recovered-abcde", Outcome::Adopted),
        ("going", Outcome::Deleting),
        ("kept", Outcome::Trashed),
        ("coming", Outcome::Recovered),
    ];
    assert_eq!(outcomes(&found), expected.map(|(n, o)| (n.to_owned(), o)).into());
    let store = Mem::default();
    let settings = Settings::default();
    write(&store, &decide(&found, &around(&settings)).unwrap(), &root(), NOW).unwrap();
    let specs: Vec<VolumeSpec> = read(&store, Kind::Volume);
    let of = |n: u128| specs.iter().find(|s| s.id.0.as_u128() == n).unwrap();
    assert_eq!(of(8).name.as_str(), "whole");
    assert_eq!((of(1).name.as_str(), of(1).generation), ("whole-2", 4));
    assert_eq!((of(2).size, of(2).generation), (ByteSize::gib(4), 9));
    let going = of(6).deleting.as_ref().unwrap();
    assert!(going.keep_until.unwrap().millis() >= NOW.millis() + DAY);
    assert!(store.get(&key::name(Kind::Volume, "going")).unwrap().is_none());
    assert!(of(9).deleting.as_ref().unwrap().keep_until.unwrap().millis() >= NOW.millis() + DAY);
    assert!(store.get(&key::name(Kind::Volume, "kept")).unwrap().is_none() && of(10).deleting.is_none());
}

/// A store whose commits fail after so many.
pub(super) struct Dying {
    pub inner: Mem,
    pub commits: AtomicI64,
}

impl Store for Dying {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key)
    }
    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(prefix, limit)
    }
    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        match self.commits.fetch_sub(1, Ordering::Relaxed) {
            n if n > 0 => self.inner.commit(txn),
            _ => Err(StoreError::Failed("killed".into())),
        }
    }
    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, from)
    }
    fn revision(&self) -> Result<u64, StoreError> {
        self.inner.revision()
    }
}

fn pool(n: u128, name: &str, on: PoolOn) -> PoolSpec {
    PoolSpec {
        id: PoolId(Uuid::from_u128(n)),
        name: Name::new(name).unwrap(),
        generation: 2,
        node: "localhost".into(),
        created_at: NOW,
        on,
        deleting: None,
    }
}

#[test]
fn of_a_volume_on_its_way_the_one_that_was_lived_in_counts() {
    let size = ByteSize::gib(20);
    let pools = vec![
        pool(20, "fast", PoolOn::Loop { size, sparse: false }),
        pool(21, "big", PoolOn::Directory { path: "/mnt/big".into() }),
    ];
    let on_its_way = VolumeSpec { moving: Some("fast".into()), generation: 4, ..volume(1, "copied") };
    let arrived = |spec: &VolumeSpec| crate::plan::volume::arrived(spec, "fast");
    let half = FoundVolume { file: None, part: true, pool: "fast".into(), ..there(arrived(&on_its_way)) };
    let source =
        VolumeSpec { id: volume(2, "x").id, name: Name::new("moved").unwrap(), ..on_its_way.clone() };
    // It turned back and was written to, while a copy was still there.
    let back = VolumeSpec { id: volume(3, "x").id, name: Name::new("back").unwrap(), ..on_its_way.clone() };
    let stays = crate::plan::volume::turned_back(&back);
    let stranger = FoundVolume { pool: "big".into(), ..there(volume(4, "twice")) };
    let newer = VolumeSpec { generation: 9, ..volume(4, "twice") };
    let volumes = vec![
        there(on_its_way.clone()),
        half,
        there(source.clone()),
        FoundVolume { pool: "fast".into(), ..there(arrived(&source)) },
        there(stays),
        FoundVolume { pool: "fast".into(), ..there(arrived(&back)) },
        stranger,
        there(newer),
        FoundVolume { pool: "big".into(), ..there(volume(5, "alone")) },
    ];
    let found = Found { pools, volumes, ..Found::default() };
    let settings = Settings::default();
    let store = Mem::default();
    let recovery = decide(&found, &around(&settings)).unwrap();
    let left = recovery.report().left;
    assert!(left.len() == 1 && left[0].what.contains("in pool \"big\""), "{left:?}");
    write(&store, &recovery, &root(), NOW).unwrap();
    let specs: Vec<VolumeSpec> = read(&store, Kind::Volume);
    let lives = |name: &str| {
        let spec = specs.iter().find(|s| s.name.as_str() == name).unwrap();
        assert_eq!(spec.moving, None);
        (spec.pool.clone(), spec.leaving.clone())
    };
    let at = |pool: &str, left: Option<&str>| (pool.to_owned(), left.map(str::to_owned));
    assert_eq!(lives("copied"), at("default", Some("fast")));
    assert_eq!(lives("moved"), at("fast", Some("default")));
    assert_eq!(lives("back"), at("default", Some("fast")));
    assert_eq!(lives("twice"), at("default", None));
    assert_eq!(lives("alone"), at("big", None));
    assert_eq!(read::<PoolSpec>(&store, Kind::Pool), found.pools);
    let away = Found { offline: vec!["nas".into()], ..found };
    let refused = decide(&away, &around(&settings)).unwrap_err();
    assert!(refused.code == Code::PoolOffline && refused.hint.is_some(), "{refused}");
}
