//! Where guests mount volumes: two of one machine are never at one place.

mod common;

use common::{ada, well};
use engine::sim::World;
use engine::{Engine, Settings};
use types::label::Edit;
use types::machine::{AttachVolume, CloneMachine, DeployMachine};
use types::volume::{CreateVolume, Restore};
use types::{ByteSize, Code, Name, Operation, Problem};

fn at(volume: &str, mount: Option<&str>) -> AttachVolume {
    AttachVolume { volume: volume.into(), mount: mount.map(str::to_owned), read_only: false }
}

fn deploy(engine: &Engine, attach: Vec<AttachVolume>) -> Result<Operation, Problem> {
    let (image, name) = (Some("debian".into()), Name::new("web").ok());
    engine.deploy(&ada(), DeployMachine { image, name, attach, ..DeployMachine::default() })
}

fn rename(engine: &Engine, volume: &str, to: &str) -> Result<Operation, Problem> {
    engine.edit_volume(&ada(), volume, &Edit { name: Name::new(to).ok(), ..Edit::default() })
}

fn copy(engine: &Engine, to: &str) -> Result<Operation, Problem> {
    engine.clone_machine(&ada(), "web", CloneMachine { name: Name::new(to).unwrap() })
}

fn refused(asked: Result<Operation, Problem>) {
    let problem = asked.unwrap_err();
    assert!(problem.code == Code::InvalidRequest && problem.hint.is_some(), "{problem}");
    assert!(problem.message.contains("both be mounted at"), "{problem}");
}

/// With the volumes a, b and c.
fn world() -> (World, Engine) {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    for volume in ["a", "b", "c"] {
        let (name, size_bytes) = (Name::new(volume).ok(), ByteSize::gib(1).bytes());
        let asked = CreateVolume { name, size_bytes, ..CreateVolume::default() };
        well(&world, &engine, engine.create_volume(&ada(), asked));
    }
    (world, engine)
}

#[test]
fn a_place_that_another_has_by_its_name_is_taken() {
    let (world, engine) = world();
    refused(deploy(&engine, vec![at("a", Some("/mnt/b")), at("b", None)]));
    refused(deploy(&engine, vec![at("b", None), at("a", Some("/mnt//b/"))]));
    refused(deploy(&engine, vec![at("b", Some("/srv")), at("a", Some("/srv"))]));
    // One inside of the other is another place.
    well(&world, &engine, deploy(&engine, vec![at("a", Some("/mnt/b/inner")), at("b", None)]));
    let join = |attach| engine.attach_volume(&ada(), "web", attach);
    refused(join(at("c", Some("/mnt/b"))));
    well(&world, &engine, join(at("c", Some("/mnt/d"))));
    refused(rename(&engine, "b", "d"));
    let names: Vec<_> = engine.volumes().unwrap().iter().map(|v| v.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "web-root"]);
    // Of one that was given a place, the name does not matter.
    well(&world, &engine, rename(&engine, "c", "d"));
    well(&world, &engine, rename(&engine, "b", "e"));
}

#[test]
fn a_machine_comes_back_without_what_has_no_place_any_more() {
    let (world, engine) = world();
    well(&world, &engine, deploy(&engine, vec![at("b", None), at("c", Some("/mnt/d"))]));
    well(&world, &engine, engine.delete_machine(&ada(), "web", false, false));
    well(&world, &engine, rename(&engine, "b", "d"));
    let back = engine.restore_machine(&ada(), "web", &Restore::default());
    let warnings = back.as_ref().unwrap().warnings.clone();
    assert!(warnings[0].contains("\"c\" stays detached") && warnings[0].contains("/mnt/d"), "{warnings:?}");
    well(&world, &engine, back);
    let web = &engine.machines().unwrap()[0];
    let has: Vec<_> = web.volumes.iter().map(|v| v.name.to_string()).collect();
    assert_eq!(has, ["web-root", "d"]);
}

#[test]
fn a_copy_says_where_it_mounts_what_has_another_name() {
    let (world, engine) = world();
    well(&world, &engine, deploy(&engine, vec![at("a", None), at("b", Some("/srv"))]));
    well(&world, &engine, engine.stop_machine(&ada(), "web"));
    let copied = copy(&engine, "twin");
    let warnings = copied.as_ref().unwrap().warnings.clone();
    let of_places: Vec<_> = warnings.iter().filter(|w| w.contains("/mnt/")).collect();
    assert_eq!(of_places.len(), 1, "{warnings:?}");
    assert!(of_places[0].contains("/mnt/a") && of_places[0].contains("/mnt/twin-a"), "{warnings:?}");
    well(&world, &engine, copied);
    let twin = engine.machines().unwrap().into_iter().find(|m| m.name.as_str() == "twin").unwrap();
    let places: Vec<_> = twin.volumes.iter().filter_map(|v| v.mount.clone()).collect();
    assert_eq!(places, ["/", "/mnt/twin-a", "/srv"]);
    // What it has at a place of its own may be where the name of another's copy would put that.
    let join = engine.attach_volume(&ada(), "web", at("c", Some("/mnt/next-a")));
    well(&world, &engine, join);
    refused(copy(&engine, "next"));
}
