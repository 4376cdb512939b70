//! Many threads ask one engine for conflicting things while its own workers work: afterwards
//! everything has ended and nothing disagrees. The crash world explores the same orders one by one;
//! this is the real thing, with real locks.

use engine::Settings;
use engine::sim::World;
use engine::sim::check::at_rest;
use engine::sim::meanwhile::random;
use engine::sim::run::settle;
use engine::store::{Sqlite, Store};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use types::machine::{AttachVolume, DeployMachine, DetachVolume};
use types::volume::{CreateVolume, ResizeVolume};
use types::{Actor, ByteSize, Name, Operation, Problem};

const CLIENTS: u64 = 8;
const REQUESTS: u64 = 400;

fn ask(e: &engine::Engine, dice: &mut u64) -> Result<Operation, Problem> {
    let who = Actor("test".into());
    let mut pick = |n: u64| random(dice) % n;
    let machine = format!("m{}", pick(4));
    let volume = format!("v{}", pick(4));
    let size_bytes = ByteSize::gib(1 + pick(8)).bytes();
    match pick(12) {
        0..=2 => e.create_volume(
            &who,
            CreateVolume { name: Name::new(&volume).ok(), size_bytes, ..CreateVolume::default() },
        ),
        3 => e.delete_volume(&who, &volume, false),
        4 => e.resize_volume(&who, &volume, ResizeVolume { size_bytes }),
        5 => e.attach_volume(&who, &machine, AttachVolume { volume, mount: None, read_only: false }),
        6 => e.detach_volume(&who, &machine, DetachVolume { volume, force: false }),
        7 => e.stop_machine(&who, &machine),
        8 => e.start_machine(&who, &machine),
        9 => e.delete_machine(&who, &machine, pick(2) == 0, false),
        _ => {
            let (image, name) = (Some("debian".into()), Name::new(&machine).ok());
            e.deploy(&who, DeployMachine { image, name, ..DeployMachine::default() })
        }
    }
}

#[test]
fn threads_on_the_same_things() {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    engine.start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Time, of which a second passes in a few milliseconds.
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(2));
                world.pass(200);
                engine.resync().unwrap();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut dice = n;
                    for _ in 0..REQUESTS {
                        if let Err(p) = ask(engine, &mut dice) {
                            assert!(matches!(p.code.exit(), 3 | 4), "{}: {p}", p.code);
                        }
                    }
                })
            })
            .collect();
        let failed = clients.into_iter().any(|c| c.join().is_err());
        engine.refuse_changes();
        let finished = engine.finish(Duration::from_secs(60));
        done.store(true, Ordering::Relaxed);
        assert!(!failed && finished, "everything that was accepted has ended");
    });
    assert!(engine.well().is_ok());
    assert!(engine.drain(Duration::from_secs(10)));
    let engine = world.boot(Settings::default()).unwrap();
    settle(&world, &engine);
    let wrong = at_rest(&world, &engine);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Not by a macro, whose output the harness would hold back.
    let _ = writeln!(
        std::io::stderr(),
        "threads: {} requests of {CLIENTS} threads, 0 violations",
        CLIENTS * REQUESTS
    );
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap())
}

/// What a look at everything costs once everything is as it shall be. The figure is for the release
/// profile on a quiet machine; the bound holds for whatever this runs on.
#[test]
fn a_pass_over_a_thousand_settled_machines_is_cheap() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("s.db")).unwrap());
    let engine = engine::Engine::open(Arc::clone(&store), world.ports(), Settings::default()).unwrap();
    let who = Actor("test".into());
    for n in 0..1000 {
        let (image, name) = (Some("debian".into()), Name::new(&format!("m{n}")).ok());
        engine.deploy(&who, DeployMachine { image, name, ..DeployMachine::default() }).unwrap();
    }
    for _ in 0..10 {
        engine.run_until_idle(1_000_000).unwrap();
        world.pass(1000);
        engine.resync().unwrap();
    }
    engine.run_until_idle(1_000_000).unwrap();
    let running = engine.machines().unwrap().iter().filter(|m| m.started_at.is_some()).count();
    assert_eq!(running, 1000);

    let revision = store.revision().unwrap();
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let before = cpu();
        engine.resync().unwrap();
        engine.run_until_idle(1_000_000).unwrap();
        best = best.min(cpu() - before);
    }
    assert_eq!(store.revision().unwrap(), revision, "nothing was written");
    // Not by a macro, whose output the harness would hold back.
    let _ = writeln!(
        std::io::stderr(),
        "reconciler: a pass over 1000 settled machines costs {:.1} ms CPU",
        best.as_secs_f64() * 1e3
    );
    assert!(cfg!(debug_assertions) || best < Duration::from_millis(50), "{best:?}");
}
