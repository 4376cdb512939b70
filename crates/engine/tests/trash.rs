//! What was deleted: snapshots like volumes, together and in the order of their deletion.

mod common;

use common::{ada, well};
use engine::sim::World;
use engine::sim::run::settle;
use engine::{Engine, HistoryQuery, Settings};
use types::machine::DeployMachine;
use types::snapshot::{SnapshotState, TakeSnapshot};
use types::volume::{CreateVolume, Restore};
use types::{ByteSize, Code, Name};

fn create(world: &World, engine: &Engine, name: &str) {
    let (name, size_bytes) = (Name::new(name).ok(), ByteSize::gib(1).bytes());
    well(
        world,
        engine,
        engine.create_volume(&ada(), CreateVolume { name, size_bytes, ..CreateVolume::default() }),
    );
}

fn snapshot(world: &World, engine: &Engine, of: &str, name: &str) {
    well(world, engine, engine.snapshot_volume(&ada(), of, &TakeSnapshot { name: Name::new(name).ok() }));
}

#[test]
fn below_the_reserve_the_oldest_goes_first_whatever_it_is() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    for volume in ["kept", "first", "last"] {
        create(&world, &engine, volume);
    }
    snapshot(&world, &engine, "kept", "then");
    well(&world, &engine, engine.delete_volume(&ada(), "first", false));
    well(&world, &engine, engine.delete_snapshot(&ada(), "then", false));
    well(&world, &engine, engine.delete_volume(&ada(), "last", false));
    let deleted = |e: &Engine| (e.deleted_volumes().unwrap().len(), e.deleted_snapshots().unwrap().len());
    assert_eq!(deleted(&engine), (2, 1));

    world.state().trace.clear();
    world.state().full = true;
    engine.resync().unwrap();
    settle(&world, &engine);
    let mut order = world.state().trace.clone();
    order.retain(|what| ["remove", "remove_snapshot"].contains(what));
    order.dedup();
    assert_eq!(order, ["remove", "remove_snapshot", "remove"]);
    assert_eq!(deleted(&engine), (0, 0));
    assert_eq!(engine.volumes().unwrap().len(), 1);
    // Nobody asked for it, and history tells of it all the same.
    let query = HistoryQuery { actor: Some("system".into()), ..HistoryQuery::default() };
    let mut told = engine.history(&query).unwrap();
    told.reverse();
    assert_eq!(
        told.iter().map(|line| line.target.name.as_str()).collect::<Vec<_>>(),
        ["first", "then", "last"]
    );
    assert!(told.iter().all(|line| line.warnings[0].contains("its reserve") && line.operation.is_none()));
}

#[test]
fn a_snapshot_is_taken_back_under_its_name_or_another() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    create(&world, &engine, "data");
    snapshot(&world, &engine, "data", "then");
    let refused = engine.undelete_snapshot(&ada(), "then", &Restore::default()).unwrap_err();
    assert_eq!(refused.code, Code::NotDeleted);
    let asked = engine.delete_snapshot(&ada(), "then", false).unwrap();
    assert!(asked.restorable_until.is_some());
    settle(&world, &engine);
    assert_eq!(
        engine.snapshot(&asked.target.id.unwrap().to_string()).unwrap().status,
        SnapshotState::Deleted
    );
    assert!(engine.snapshots().unwrap().is_empty());
    // Its name is free at once, and what is deleted is not there for anybody.
    snapshot(&world, &engine, "data", "then");
    let refused = engine.undelete_snapshot(&ada(), "then", &Restore::default()).unwrap_err();
    assert_eq!(refused.code, Code::NameTaken);
    let id = asked.target.id.unwrap().to_string();
    assert_eq!(engine.restore_snapshot(&ada(), &id, false).unwrap_err().code, Code::Deleting);
    let name = Name::new("older").ok();
    well(&world, &engine, engine.undelete_snapshot(&ada(), "then", &Restore { name }));
    well(&world, &engine, engine.restore_snapshot(&ada(), "older", false));
    // At once, or out of the trash.
    well(&world, &engine, engine.delete_snapshot(&ada(), "then", true));
    well(&world, &engine, engine.delete_snapshot(&ada(), &id, false));
    well(&world, &engine, engine.delete_snapshot(&ada(), &id, true));
    let refused = engine.undelete_snapshot(&ada(), "older", &Restore::default()).unwrap_err();
    assert_eq!(refused.code, Code::SnapshotNotFound);
}

#[test]
fn the_snapshots_of_a_volume_stay_while_it_is_deleted_and_are_its_own_again() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    create(&world, &engine, "data");
    snapshot(&world, &engine, "data", "then");
    well(&world, &engine, engine.delete_volume(&ada(), "data", false));
    let refused = engine.restore_snapshot(&ada(), "then", false).unwrap_err();
    assert_eq!(refused.code, Code::VolumeNotFound);
    assert!(refused.hint.unwrap().contains("volume restore"));
    assert!(!engine.snapshot("then").unwrap().volume_exists);
    well(&world, &engine, engine.restore_volume(&ada(), "data", &Restore::default()));
    well(&world, &engine, engine.restore_snapshot(&ada(), "then", false));
}

#[test]
fn what_somebody_took_back_is_not_emptied_with_the_trash() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    create(&world, &engine, "data");
    snapshot(&world, &engine, "data", "then");
    let (image, name) = (Some("debian".into()), Name::new("web").ok());
    well(&world, &engine, engine.deploy(&ada(), DeployMachine { image, name, ..DeployMachine::default() }));
    well(&world, &engine, engine.delete_snapshot(&ada(), "then", false));
    well(&world, &engine, engine.delete_volume(&ada(), "data", false));
    well(&world, &engine, engine.delete_machine(&ada(), "web", false, false));
    // As the trash lists them.
    let id = |all: Vec<String>| all.into_iter().next().unwrap();
    let data = id(engine
        .deleted_volumes()
        .unwrap()
        .iter()
        .filter(|v| v.name.as_str() == "data")
        .map(|v| v.id.to_string())
        .collect());
    let then = id(engine.deleted_snapshots().unwrap().iter().map(|s| s.id.to_string()).collect());
    let web = id(engine.deleted_machines().unwrap().iter().map(|m| m.id.to_string()).collect());

    well(&world, &engine, engine.restore_volume(&ada(), &data, &Restore::default()));
    well(&world, &engine, engine.undelete_snapshot(&ada(), &then, &Restore::default()));
    well(&world, &engine, engine.restore_machine(&ada(), &web, &Restore::default()));
    for refused in [
        engine.discard_volume(&ada(), &data),
        engine.discard_snapshot(&ada(), &then),
        engine.discard_machine(&ada(), &web),
    ] {
        assert_eq!(refused.unwrap_err().code, Code::NotDeleted);
    }
    settle(&world, &engine);
    assert_eq!((engine.volumes().unwrap().len(), engine.snapshots().unwrap().len()), (2, 1));

    // What was not, goes; by name as well.
    well(&world, &engine, engine.delete_machine(&ada(), "web", false, false));
    well(&world, &engine, engine.discard_machine(&ada(), "web"));
    assert!(engine.deleted_machines().unwrap().is_empty() && engine.deleted_volumes().unwrap().is_empty());
}
