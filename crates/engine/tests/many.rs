//! A machine with as many disks as it can have: what is asked of all of them at once is accepted, fits the
//! transactions of the store, and comes to rest.

mod common;

use common::{ada, well};
use engine::port::Fault;
use engine::sim::World;
use engine::sim::check::at_rest;
use engine::sim::run::settle;
use engine::{Engine, Settings};
use types::machine::{AttachVolume, CloneMachine, DISK_SLOTS, DeployMachine};
use types::operation::OperationState;
use types::snapshot::TakeSnapshot;
use types::volume::{CreateVolume, Restore};
use types::{ByteSize, Code, Name};

/// A machine "web" with its root and a data volume in each other slot, and the engine that runs it.
fn full(world: &World) -> Engine {
    let engine = world.boot(Settings::default()).unwrap();
    let mut attach = vec![];
    for n in 1..DISK_SLOTS {
        let volume = format!("v{n}");
        let (name, size_bytes) = (Name::new(&volume).ok(), ByteSize::mib(64).bytes());
        well(
            world,
            &engine,
            engine.create_volume(&ada(), CreateVolume { name, size_bytes, ..CreateVolume::default() }),
        );
        attach.push(AttachVolume { volume, mount: None, read_only: false });
    }
    let (image, name) = (Some("debian".into()), Name::new("web").ok());
    let deploy = DeployMachine { image, name, attach, ..DeployMachine::default() };
    well(world, &engine, engine.deploy(&ada(), deploy));
    engine
}

fn snapshots(engine: &Engine) -> usize {
    engine.snapshots().unwrap().len()
}

#[test]
fn all_disks_are_snapshotted_and_had_again() {
    let world = World::new();
    let engine = full(&world);
    let all = usize::from(DISK_SLOTS);
    let take = |name| TakeSnapshot { name: Name::new(name).ok() };
    well(&world, &engine, engine.snapshot_machine(&ada(), "web", &take("live")));
    well(&world, &engine, engine.stop_machine(&ada(), "web"));
    well(&world, &engine, engine.snapshot_machine(&ada(), "web", &take("calm")));
    assert_eq!(snapshots(&engine), 2 * all);
    well(&world, &engine, engine.restore_snapshot(&ada(), "live", true));
    assert_eq!(snapshots(&engine), 3 * all);
    // Nobody has them now.
    well(&world, &engine, engine.delete_machine(&ada(), "web", true, false));
    well(&world, &engine, engine.restore_snapshot(&ada(), "calm", true));
    assert_eq!(snapshots(&engine), 4 * all);
}

/// The machine is copied with all it has, and the copy goes again.
fn twin(world: &World, engine: &Engine) {
    let name = Name::new("twin").unwrap();
    well(world, engine, engine.clone_machine(&ada(), "web", CloneMachine { name }));
    let volumes = engine.volumes().unwrap();
    let of_it = volumes.iter().filter(|v| v.attached_to.as_ref().is_some_and(|m| m.as_str() == "twin"));
    assert_eq!(of_it.count(), usize::from(DISK_SLOTS));
    assert!(engine.snapshots().unwrap().is_empty());
    well(world, engine, engine.delete_machine(&ada(), "twin", false, true));
    for volume in engine.volumes().unwrap().iter().filter(|v| v.attached_to.is_none()) {
        well(world, engine, engine.delete_volume(&ada(), volume.name.as_str(), true));
    }
}

#[test]
fn all_disks_are_copied_whether_or_not_it_runs() {
    let world = World::new();
    let engine = full(&world);
    twin(&world, &engine);
    well(&world, &engine, engine.stop_machine(&ada(), "web"));
    twin(&world, &engine);
}

/// Volumes that are yet to be made, of a machine that does not run.
#[test]
fn all_disks_are_copied_before_any_of_them_is_there() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    let (image, name) = (Some("debian".into()), Name::new("web").ok());
    well(&world, &engine, engine.deploy(&ada(), DeployMachine { image, name, ..DeployMachine::default() }));
    well(&world, &engine, engine.stop_machine(&ada(), "web"));
    for n in 1..DISK_SLOTS {
        let volume = format!("v{n}");
        let (name, size_bytes) = (Name::new(&volume).ok(), ByteSize::mib(64).bytes());
        engine.create_volume(&ada(), CreateVolume { name, size_bytes, ..CreateVolume::default() }).unwrap();
        let attach = AttachVolume { volume, mount: None, read_only: false };
        engine.attach_volume(&ada(), "web", attach).unwrap();
    }
    twin(&world, &engine);
}

#[test]
fn a_copy_that_fails_leaves_nothing_of_all_its_disks() {
    let world = World::new();
    let engine = full(&world);
    let before = engine.volumes().unwrap();
    for call in ["backup", "create_from_snapshot"] {
        let fault = Fault::lasting(Code::PoolFull, "it was asked to fail");
        world.state().faults.insert(call, fault);
        let name = Name::new("twin").unwrap();
        let operation = engine.clone_machine(&ada(), "web", CloneMachine { name }).unwrap();
        settle(&world, &engine);
        assert_eq!(engine.operation(operation.id).unwrap().state, OperationState::Failed);
        assert_eq!(at_rest(&world, &engine), Vec::<String>::new());
        assert_eq!(engine.volumes().unwrap(), before);
        world.state().faults.clear();
    }
}

#[test]
fn a_machine_with_all_disks_goes_and_comes_back() {
    let world = World::new();
    let engine = full(&world);
    for preserve in [true, false] {
        well(&world, &engine, engine.delete_machine(&ada(), "web", preserve, false));
        well(&world, &engine, engine.restore_machine(&ada(), "web", &Restore::default()));
        well(&world, &engine, engine.start_machine(&ada(), "web"));
    }
    well(&world, &engine, engine.delete_machine(&ada(), "web", false, true));
    // A root volume that was kept once stays from then on.
    assert_eq!(engine.volumes().unwrap().len(), usize::from(DISK_SLOTS));
}
