//! Copies of copies, before there is anything of them.

mod common;

use common::{ada, well};
use engine::Settings;
use engine::sim::run::settle;
use engine::sim::{Guests, World};
use types::Name;
use types::machine::DeployMachine;
use types::snapshot::{Consistency, TakeSnapshot};
use types::volume::CloneVolume;

#[test]
fn a_copy_of_what_is_yet_to_be_copied_is_as_consistent_as_that() {
    for (guests, consistency) in
        [(Guests::Good, Consistency::Filesystem), (Guests::Stubborn, Consistency::Crash)]
    {
        let world = World::new();
        world.state().guests = guests;
        let engine = world.boot(Settings::default()).unwrap();
        let (image, name) = (Some("debian".into()), Name::new("web").ok());
        well(
            &world,
            &engine,
            engine.deploy(&ada(), DeployMachine { image, name, ..DeployMachine::default() }),
        );
        well(&world, &engine, engine.stop_machine(&ada(), "web"));
        for (of, name) in [("web-root", "one"), ("one", "two"), ("two", "three")] {
            let name = Name::new(name).ok();
            engine.clone_volume(&ada(), of, CloneVolume { name, ..CloneVolume::default() }).unwrap();
        }
        settle(&world, &engine);
        for copy in ["one", "two", "three"] {
            let name = Name::new(&format!("of-{copy}")).ok();
            well(&world, &engine, engine.snapshot_volume(&ada(), copy, &TakeSnapshot { name }));
            let taken = engine.snapshot(&format!("of-{copy}")).unwrap();
            assert_eq!(taken.consistency, Some(consistency), "{copy}");
        }
    }
}
