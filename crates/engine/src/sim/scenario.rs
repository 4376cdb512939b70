//! Scenarios: what a person does, and the same with a kill at any point of it.
//!
//! Invariant: a scenario is a list of commands a person would type. After a kill the daemon comes
//! back, finishes or fails what it had accepted without being asked, and the person types the
//! command again.

use super::{Guests, Killed, World, check};
use crate::{Engine, Settings};
use std::panic::{AssertUnwindSafe, catch_unwind};
use types::machine::{AttachVolume, DeployMachine, DetachVolume};
use types::volume::{CreateVolume, ResizeVolume};
use types::{Actor, ByteSize, Code, Name, Operation, Problem};

/// One command.
pub type Command = fn(&Engine, &Actor) -> Result<Operation, Problem>;

/// A named list of commands, and how guests behave meanwhile.
pub struct Scenario {
    /// What it is called in a trace.
    pub name: &'static str,
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// How guests behave.
    pub guests: Guests,
    /// A port call that always fails, and with which code.
    pub fault: Option<(&'static str, Code)>,
    /// The host itself restarts at the end.
    pub host_reboots: bool,
}

fn name(text: &str) -> Option<Name> {
    Name::new(text).ok()
}

fn deploy(engine: &Engine, who: &Actor, machine: &str, attach: &[&str]) -> Result<Operation, Problem> {
    let attach =
        attach.iter().map(|v| AttachVolume { volume: (*v).into(), mount: None, read_only: false }).collect();
    let image = Some("debian".into());
    engine.deploy(who, DeployMachine { image, name: name(machine), attach, ..DeployMachine::default() })
}

fn create(e: &Engine, who: &Actor, volume: &str) -> Result<Operation, Problem> {
    e.create_volume(who, CreateVolume { name: name(volume), size_bytes: ByteSize::gib(2).bytes() })
}

fn resize(e: &Engine, who: &Actor, volume: &str, gib: u64) -> Result<Operation, Problem> {
    e.resize_volume(who, volume, ResizeVolume { size_bytes: ByteSize::gib(gib).bytes() })
}

fn attach(e: &Engine, who: &Actor, machine: &str, volume: &str) -> Result<Operation, Problem> {
    e.attach_volume(who, machine, AttachVolume { volume: volume.into(), mount: None, read_only: false })
}

fn detach(e: &Engine, who: &Actor, machine: &str, volume: &str) -> Result<Operation, Problem> {
    e.detach_volume(who, machine, DetachVolume { volume: volume.into() })
}

/// Every verb there is, in the orders that people use them.
pub fn all() -> Vec<Scenario> {
    let plain = |name, commands: Vec<Command>| Scenario {
        name,
        commands,
        guests: Guests::Good,
        fault: None,
        host_reboots: false,
    };
    let web: Command = |e, a| deploy(e, a, "web", &[]);
    let appdata: Command = |e, a| create(e, a, "appdata");
    let stop: Command = |e, a| e.stop_machine(a, "web");
    let start: Command = |e, a| e.start_machine(a, "web");
    let join: Command = |e, a| attach(e, a, "web", "appdata");
    let part: Command = |e, a| detach(e, a, "web", "appdata");
    let grow: Command = |e, a| resize(e, a, "web-root", 10);
    let delete: Command = |e, a| e.delete_machine(a, "web", false);
    let preserve: Command = |e, a| e.delete_machine(a, "web", true);
    let reuse: Command = |e, a| {
        let volume = Some("web-root".into());
        e.deploy(a, DeployMachine { volume, name: name("web2"), ..DeployMachine::default() })
    };
    vec![
        plain("announcement", vec![web, appdata, stop, join, start, stop, grow, start, preserve]),
        plain("boot again", vec![web, preserve, reuse, |e, a| e.delete_machine(a, "web2", false)]),
        plain(
            "move",
            vec![
                web,
                appdata,
                stop,
                join,
                start,
                stop,
                part,
                |e, a| deploy(e, a, "api", &["appdata"]),
                delete,
            ],
        ),
        plain(
            "volume life",
            vec![appdata, |e, a| resize(e, a, "appdata", 4), |e, a| e.delete_volume(a, "appdata")],
        ),
        plain("restart", vec![web, |e, a| e.restart_machine(a, "web"), delete]),
        plain(
            "images",
            vec![
                |e, a| e.pull_image(a, types::image::PullImage { image: "debian".into() }),
                web,
                |e, a| e.delete_image(a, "debian"),
                delete,
            ],
        ),
        Scenario { guests: Guests::Stubborn, ..plain("plug pulled", vec![web, stop, start, delete]) },
        Scenario { guests: Guests::Silent, ..plain("no hello", vec![web, delete]) },
        Scenario { host_reboots: true, ..plain("host restarts", vec![web, appdata, stop, join, start]) },
        Scenario { fault: Some(("start", Code::BootFailed)), ..plain("no start", vec![web, web]) },
        Scenario { fault: Some(("build", Code::ImageFailed)), ..plain("no image", vec![web, web]) },
        Scenario {
            fault: Some(("create_from_image", Code::PoolFull)),
            ..plain("no room", vec![web, appdata])
        },
        Scenario {
            fault: Some(("create_blank", Code::PoolFull)),
            ..plain("no room for data", vec![appdata, appdata])
        },
        Scenario { fault: Some(("ensure_nic", Code::NetworkFailed)), ..plain("no network", vec![web]) },
        Scenario {
            fault: Some(("ensure_kernel", Code::KernelFailed)),
            ..plain("no kernel", vec![appdata, web])
        },
        Scenario {
            fault: Some(("grow", Code::PoolFull)),
            ..plain("no room to grow", vec![appdata, |e, a| resize(e, a, "appdata", 4)])
        },
    ]
}

/// What a run of a scenario came to.
pub struct Outcome {
    /// How many points there were to be killed at.
    pub ticks: u64,
    /// What was wrong, with the trace up to there.
    pub wrong: Vec<String>,
}

fn settings() -> Settings {
    Settings { trash_keep: std::time::Duration::from_secs(3600), ..Settings::default() }
}

/// Runs the engine until nothing is left to do and every operation has ended, letting time pass.
fn settle(world: &World, engine: &Engine) {
    for _ in 0..1000 {
        if engine.run_until_idle(10_000).is_err() {
            world.state().violations.push("it does not settle".into());
            return;
        }
        let waiting = !check::unfinished(world, engine).is_empty();
        if !waiting {
            return;
        }
        world.pass(1000);
        if let Err(p) = engine.resync() {
            world.state().violations.push(format!("resync: {p}"));
        }
    }
}

/// Runs `f`; `None` if the world killed it.
fn alive<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(v) => Some(v),
        Err(payload) if payload.is::<Killed>() => None,
        Err(other) => std::panic::resume_unwind(other),
    }
}

/// Runs a scenario, with kills at these ticks (the second counts from the first).
pub fn run(scenario: &Scenario, kills: &[u64]) -> Outcome {
    let world = World::new();
    world.state().guests = scenario.guests;
    if let Some((call, code)) = scenario.fault {
        world.state().faults.insert(call, crate::port::Fault::lasting(code, "it was asked to fail"));
    }
    let mut kills = kills.iter().copied();
    world.state().kill_at = kills.next();
    let who = Actor("test".into());
    let mut engine: Option<Engine> = None;
    for command in &scenario.commands {
        // Each round ends with a kill or with the command's end; kills are few.
        while alive(|| {
            let e = match engine.take() {
                Some(e) => e,
                None => world.boot(settings()).expect("a world opens"),
            };
            settle(&world, &e);
            // A refusal is an answer too: after a kill the first try may have gone through.
            let _ = command(&e, &who);
            settle(&world, &e);
            engine = Some(e);
        })
        .is_none()
        {
            let ticks = world.state().ticks;
            world.state().kill_at = kills.next().map(|k| ticks + k);
        }
    }
    if scenario.host_reboots {
        engine = None;
        world.reboot_host();
    }
    world.state().kill_at = None;
    let engine = engine.unwrap_or_else(|| world.boot(settings()).expect("a world opens"));
    settle(&world, &engine);
    let wrong = check::at_rest(&world, &engine);
    let ticks = world.state().ticks;
    Outcome { ticks, wrong }
}
