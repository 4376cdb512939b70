//! What is in a pool that is away: changes of it are refused, and nothing is changed.

mod common;

use common::{ada, well};
use engine::sim::World;
use engine::sim::run::settle;
use engine::{Engine, HistoryQuery, Settings};
use types::label::Edit;
use types::machine::DeployMachine;
use types::operation::{OperationState, Outcome};
use types::pool::{CreatePool, MoveVolume};
use types::snapshot::TakeSnapshot;
use types::volume::{CloneVolume, CreateVolume, ResizeVolume, Restore};
use types::{ByteSize, Code, Name};

fn name(text: &str) -> Option<Name> {
    Name::new(text).ok()
}

/// A pool "big" with a volume "data" and a machine "web" that is stopped, and one of each in its trash.
fn with_disk() -> (World, Engine) {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    let (big, path) = (Name::new("big").unwrap(), Some("/mnt/big".into()));
    let big = CreatePool { name: big, path, size_bytes: None, sparse: false };
    well(&world, &engine, engine.create_pool(&ada(), &big));
    for volume in ["data", "gone"] {
        let (pool, size_bytes) = (Some("big".into()), ByteSize::gib(1).bytes());
        let asked = CreateVolume { name: name(volume), pool, size_bytes, ..CreateVolume::default() };
        well(&world, &engine, engine.create_volume(&ada(), asked));
    }
    for machine in ["web", "old"] {
        let (image, pool) = (Some("debian".into()), Some("big".into()));
        let asked = DeployMachine { image, pool, name: name(machine), ..DeployMachine::default() };
        well(&world, &engine, engine.deploy(&ada(), asked));
        well(&world, &engine, engine.stop_machine(&ada(), machine));
    }
    well(&world, &engine, engine.delete_volume(&ada(), "gone", false));
    well(&world, &engine, engine.delete_machine(&ada(), "old", false, false));
    (world, engine)
}

/// The disk of the pool is taken away, until everything that is in it says so.
fn unplug(world: &World, engine: &Engine) {
    world.unplug_pools(true);
    for _ in 0..8 {
        engine.resync().unwrap();
        engine.run_until_idle(10_000).unwrap();
        world.pass(60_000);
    }
}

fn resize(gib: u64) -> ResizeVolume {
    ResizeVolume { size_bytes: ByteSize::gib(gib).bytes() }
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_is_another() {
    let (world, engine) = with_disk();
    let snapshot = |called| engine.snapshot_volume(&ada(), "data", &TakeSnapshot { name: name(called) });
    well(&world, &engine, snapshot("kept"));
    well(&world, &engine, snapshot("before"));
    well(&world, &engine, engine.delete_snapshot(&ada(), "before", false));
    let deleted = engine.deleted_volumes().unwrap();
    let gone = deleted.iter().find(|v| v.name.as_str() == "gone").unwrap().id.to_string();
    unplug(&world, &engine);
    let live = || (engine.volumes().unwrap(), engine.snapshots().unwrap(), engine.machines().unwrap());
    let trash = || {
        let machines = engine.deleted_machines().unwrap();
        (engine.deleted_volumes().unwrap(), engine.deleted_snapshots().unwrap(), machines)
    };
    let before = (live(), trash());
    let edit = |edit: Edit| engine.edit_volume(&ada(), "data", &edit);
    let pool = || Some("default".to_owned());
    let label = [("env".to_owned(), Some("prod".to_owned()))].into();
    let asked = [
        engine.resize_volume(&ada(), "data", resize(2)),
        engine.resize_volume(&ada(), "data", resize(1)),
        snapshot("now"),
        engine.restore_snapshot(&ada(), "kept", false),
        engine.clone_volume(&ada(), "data", CloneVolume { pool: pool(), ..CloneVolume::default() }),
        engine.move_volume(&ada(), "data", &MoveVolume { pool: "default".into() }),
        engine.delete_volume(&ada(), "data", false),
        engine.delete_volume(&ada(), "data", true),
        engine.delete_volume(&ada(), &gone, true),
        engine.discard_volume(&ada(), "gone"),
        engine.restore_volume(&ada(), "gone", &Restore::default()),
        engine.delete_snapshot(&ada(), "kept", false),
        engine.delete_snapshot(&ada(), "kept", true),
        engine.discard_snapshot(&ada(), "before"),
        engine.delete_machine(&ada(), "web", false, false),
        engine.delete_machine(&ada(), "web", false, true),
        engine.discard_machine(&ada(), "old"),
        edit(Edit { name: name("other"), ..Edit::default() }),
        edit(Edit { protected: Some(true), ..Edit::default() }),
        edit(Edit { labels: label, ..Edit::default() }),
    ];
    let all = asked.len();
    for (n, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.unwrap_err().code, Code::PoolOffline, "{n}");
    }
    let refused = engine.plan_delete("web", false).unwrap_err();
    assert!(refused.code == Code::PoolOffline && refused.hint.unwrap().contains("--preserve-storage"));
    assert!(engine.plan_delete("web", true).is_ok());
    engine.run_until_idle(10_000).unwrap();
    assert_eq!((live(), trash()), before);
    let told = engine.history(&HistoryQuery { failed: true, ..HistoryQuery::default() }).unwrap();
    assert_eq!(told.len(), all);
    assert!(told.iter().all(|line| line.outcome == Outcome::Refused && line.operation.is_none()), "{told:?}");

    world.unplug_pools(false);
    let kept = engine.delete_snapshot(&ada(), "kept", false);
    assert!(kept.as_ref().unwrap().restorable_until.is_some(), "it was away, not lost");
    well(&world, &engine, kept);
    well(&world, &engine, engine.resize_volume(&ada(), "data", resize(2)));
    well(&world, &engine, engine.discard_machine(&ada(), "old"));
    well(&world, &engine, engine.delete_machine(&ada(), "web", false, true));
}

#[test]
fn what_keeps_a_pool_from_being_forgotten_is_cleared_away_without_it() {
    let (world, engine) = with_disk();
    let protect = |on| engine.edit_volume(&ada(), "data", &Edit { protected: Some(on), ..Edit::default() });
    well(&world, &engine, protect(true));
    unplug(&world, &engine);
    let lose = || engine.delete_pool(&ada(), "big", true);
    assert_eq!(lose().unwrap_err().code, Code::Protected);
    let freed = protect(false).unwrap();
    settle(&world, &engine);
    let freed = engine.operation(freed.id).unwrap();
    assert_eq!((freed.state, freed.warnings.len()), (OperationState::Succeeded, 1), "{freed:?}");
    let needed = lose().unwrap_err();
    assert_eq!(needed.code, Code::VolumeInUse);
    assert!(needed.hint.unwrap().contains("machine delete web --preserve-storage"));
    let left = engine.delete_machine(&ada(), "web", true, false).unwrap();
    settle(&world, &engine);
    assert_eq!(engine.operation(left.id).unwrap().state, OperationState::Succeeded);
    well(&world, &engine, lose());
    assert!(engine.volumes().unwrap().is_empty() && engine.deleted_volumes().unwrap().is_empty());
    assert_eq!(engine.pools().unwrap().len(), 1);
}
