//! Runs a scenario under a schedule.
//!
//! Invariant: after a kill the daemon comes back, finishes or fails what it had accepted without
//! being asked, and whoever saw no answer types the command again. What only the world did is done.

use super::meanwhile::{Meanwhile, sooner};
use super::scenario::{Act, Scenario};
use super::schedule::Schedule;
use super::{Killed, World, check};
use crate::plan::machine::after;
use crate::{Engine, Settings, key};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use types::{Actor, Timestamp};

/// So often is everything looked at until a world has to be at rest.
const ROUNDS: usize = 400;
/// So many turns may one look at everything take.
const TURNS: usize = 10_000;

/// A scenario on its way.
pub struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    next: usize,
    second: usize,
    seed: u64,
    point: Option<u64>,
    points: u64,
}

/// What a run of a scenario came to.
pub struct Outcome {
    /// What was wrong.
    pub wrong: Vec<String>,
    /// The names of the ticks.
    pub trace: Vec<&'static str>,
}

fn settings(scenario: &Scenario) -> Settings {
    Settings {
        trash_keep: Duration::from_secs(3600),
        restart_after_boot: scenario.after_boot,
        ..Settings::default()
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

/// Runs the engine until nothing is left to do and every operation has ended, letting time pass.
pub fn settle(world: &World, engine: &Engine) {
    let mut quiet = 0;
    for _ in 0..ROUNDS {
        let ticks = world.state().ticks;
        if let Err(p) = engine.resync() {
            world.state().violations.push(format!("resync: {p}"));
        }
        let Ok(until) = engine.run_until_idle(TURNS) else {
            world.state().violations.push("it does not settle".into());
            return;
        };
        let until = sooner(until, world.earliest_of_others());
        let event = world.next_event();
        let open = world.disk().any(key::OPEN);
        if !open && event.is_none() && check::unfinished(world, engine).is_empty() {
            return;
        }
        // Nothing moves and nothing will: what is not as it shall be stays so, for a reason.
        quiet =
            if world.state().ticks == ticks && until.is_none() && event.is_none() { quiet + 1 } else { 0 };
        if quiet > 1 {
            return;
        }
        let event = event.map(Timestamp::from_millis);
        let now = Timestamp::from_millis(world.state().now);
        let next = sooner(until, event).unwrap_or_else(|| after(now, Duration::from_secs(1)));
        world.pass((next.millis() - now.millis()).max(1));
    }
    world.state().violations.push("it never comes to rest".into());
}

impl<'a> Run<'a> {
    /// The scenario up to where it begins. Kills in the schedule are for [`Run::go`].
    pub fn new(scenario: &'a Scenario, schedule: &Schedule) -> Self {
        let world = World::new();
        world.state().guests = scenario.guests;
        let run = Self {
            scenario,
            world,
            next: 0,
            second: 0,
            seed: schedule.seed,
            point: schedule.point,
            points: 0,
        };
        if !scenario.setup.is_empty() {
            let engine = run.boot();
            for act in &scenario.setup {
                act.carry_out(&run.world, &engine, &first());
                settle(&run.world, &engine);
            }
        }
        let mut s = run.world.state();
        if let Some((call, code)) = scenario.fault {
            s.faults.insert(call, crate::port::Fault::lasting(code, "it was asked to fail"));
        }
        s.ticks = 0;
        s.trace.clear();
        s.answers.clear();
        drop(s);
        run
    }

    /// The same once more, with nobody at home.
    #[must_use]
    pub fn fork(&self) -> Self {
        let world = self.world.fork();
        Self { world, ..*self }
    }

    /// The same with another second worker or client.
    #[must_use]
    pub fn with(&self, seed: u64, point: Option<u64>) -> Self {
        Self { seed, point, ..self.fork() }
    }

    fn boot(&self) -> Engine {
        self.world.boot(settings(self.scenario)).expect("a world opens")
    }

    /// Goes on, with a daemon that has just started, to the end or until a kill `kill` ticks from
    /// now. Returns whether it came to the end.
    pub fn go(&mut self, kill: Option<u64>) -> bool {
        let ticks = self.world.state().ticks;
        self.world.state().kill_at = kill.map(|k| ticks + k);
        let ended = alive(|| self.script()).is_some();
        self.leave();
        self.world.state().kill_at = None;
        if !ended && self.scenario.power {
            self.world.reboot_host();
        }
        ended
    }

    /// How many points there were for others to get in between, since the last start.
    pub fn points(&self) -> u64 {
        self.points
    }

    fn leave(&mut self) {
        self.second += self.world.second_done();
        self.points = self.points.max(self.world.points());
        self.world.meanwhile(None);
        // A second client whose daemon died does not wait for the point that never came.
        self.point = self.point.map(|_| 1);
    }

    fn enter(&self) -> Engine {
        let engine = self.boot();
        let mut others = Meanwhile::new(engine.clone(), self.seed);
        if let Some(point) = self.point {
            others = others.client(&self.scenario.second[self.second..], point);
        }
        self.world.meanwhile(Some(others));
        engine
    }

    fn script(&mut self) {
        let mut engine = self.enter();
        settle(&self.world, &engine);
        while let Some(act) = self.scenario.acts.get(self.next).copied() {
            match act {
                Act::Ask(_) => act.carry_out(&self.world, &engine, &first()),
                Act::World(_) => {
                    self.next += 1;
                    act.carry_out(&self.world, &engine, &first());
                }
                Act::Away(_) => {
                    self.leave();
                    self.next += 1;
                    act.carry_out(&self.world, &engine, &first());
                    engine = self.enter();
                }
            }
            settle(&self.world, &engine);
            self.next += usize::from(matches!(act, Act::Ask(_)));
        }
        self.leave();
        while let Some(act) = self.scenario.second[self.second..].first().filter(|_| self.point.is_some()) {
            act.carry_out(&self.world, &engine, &super::meanwhile::second());
            settle(&self.world, &engine);
            self.second += 1;
        }
    }

    /// Lets a last daemon come, and says what is wrong then.
    pub fn outcome(&self, killed: bool) -> Outcome {
        let engine = self.boot();
        settle(&self.world, &engine);
        let mut wrong = check::at_rest(&self.world, &engine);
        if let Some(holds) = self.scenario.holds {
            wrong.extend(holds(&self.world, &engine));
        }
        let s = self.world.state();
        let won = s.answers.iter().filter(|(_, answer)| answer.is_ok()).count();
        if self.scenario.exclusive && !killed && self.point.is_some() && won != 1 {
            wrong.push(format!("one of them had to win: {:?}", s.answers));
        }
        Outcome { wrong, trace: s.trace.clone() }
    }
}

fn first() -> Actor {
    Actor("first".into())
}

/// Runs a scenario under a whole schedule.
pub fn replay(scenario: &Scenario, schedule: &Schedule) -> Outcome {
    let mut run = Run::new(scenario, schedule);
    let mut kills = schedule.kills.iter().copied();
    loop {
        let kill = kills.next();
        if run.go(kill) {
            break;
        }
    }
    run.outcome(!schedule.kills.is_empty())
}
