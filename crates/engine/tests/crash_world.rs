//! The crash world: every scenario, killed at every point, and once more during recovery, with a
//! second worker, a second client and the world getting in between.
//!
//! `SISTEMO_FULL=1` explores every second kill instead of the first ones, more seeds and more pairs.
//! `SISTEMO_ONLY=word` explores only the scenarios that have the word in their name.
//! `SISTEMO_REPLAY="scenario:3,17:seed"`, as a violation prints it, runs just that.

use engine::sim::run::{Run, replay};
use engine::sim::scenario::{Scenario, all, host_ends, more_pairs, pairs, surprised, surprises};
use engine::sim::schedule::Schedule;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

fn alone() -> Vec<Scenario> {
    wanted([all(), surprises(), host_ends()].concat())
}

fn wanted(mut all: Vec<Scenario>) -> Vec<Scenario> {
    if let Some(word) = only() {
        all.retain(|s| s.name.contains(&word));
    }
    all
}

fn only() -> Option<String> {
    std::env::var("SISTEMO_ONLY").ok()
}

fn together() -> Vec<Scenario> {
    let more = if full() { more_pairs() } else { vec![] };
    wanted([pairs(), surprised(), more].concat())
}

/// One of so many points at which a second client comes is explored with kills, too.
const KILLED_POINTS: u64 = 18;

fn full() -> bool {
    std::env::var_os("SISTEMO_FULL").is_some()
}

/// Where in what was explored something is wrong.
fn assert_well(run: &Run<'_>, scenario: &Scenario, schedule: &Schedule) {
    let outcome = run.outcome(!schedule.kills.is_empty());
    let last = outcome.trace.len().saturating_sub(60);
    assert!(
        outcome.wrong.is_empty(),
        "a violation:\n  {}\nafter … {}\nto see it again: SISTEMO_REPLAY=\"{}:{schedule}\" cargo test -p \
         sistemo-engine --test crash_world replay -- --nocapture",
        outcome.wrong.join("\n  "),
        outcome.trace[last..].join(" → "),
        scenario.name,
    );
}

/// Counts what was explored.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    /// A run without a kill, one with each kill, and with each of these the kills that come within
    /// `second` ticks after it.
    fn explore(&self, scenario: &Scenario, base: &Run<'_>, schedule: &Schedule, second: u64) {
        for first in 0.. {
            let mut run = base.fork();
            let kills = if first == 0 { vec![] } else { vec![first] };
            let ended = run.go((first > 0).then_some(first));
            if first > 0 && ended {
                return;
            }
            self.recover(scenario, run, &Schedule { kills, ..schedule.clone() }, ended, second);
        }
    }

    /// What follows after a kill, or after the end.
    fn recover(&self, scenario: &Scenario, run: Run<'_>, schedule: &Schedule, ended: bool, more: u64) {
        let mut last = run.fork();
        if !ended {
            assert!(last.go(None));
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        assert_well(&last, scenario, schedule);
        if ended {
            return;
        }
        for next in 1..=more {
            let mut again = run.fork();
            if again.go(Some(next)) {
                return;
            }
            let mut schedule = schedule.clone();
            schedule.kills.push(next);
            self.recover(scenario, again, &schedule, false, 0);
        }
    }
}

/// Spreads the work over the processors.
fn in_parallel<T: Sync>(work: &[T], f: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(one)));
                    if let Err(why) = tried {
                        next.store(work.len(), Ordering::Relaxed);
                        failed.lock().unwrap().get_or_insert(why);
                    }
                }
            });
        }
    });
    if let Some(why) = failed.into_inner().unwrap() {
        std::panic::resume_unwind(why);
    }
}

#[test]
fn every_scenario_without_a_kill() {
    for scenario in alone().iter().chain(&together()) {
        let schedule = Schedule::default();
        let mut run = Run::new(scenario, &schedule);
        assert!(run.go(None));
        assert_well(&run, scenario, &schedule);
    }
}

/// Every point of the first kill; for the second, the points right after the start that follows,
/// where recovery does its work, or in full all of them.
fn one_client() -> u64 {
    let seeds = if full() { 8 } else { 1 };
    let all = alone();
    let work: Vec<_> = all.iter().flat_map(|s| (0..=seeds).map(move |seed| (s, seed))).collect();
    let count = Count::default();
    in_parallel(&work, |(scenario, seed)| {
        let schedule = Schedule { seed: *seed, ..Schedule::default() };
        let base = Run::new(scenario, &schedule);
        count.explore(scenario, &base, &schedule, if full() { u64::MAX } else { 12 });
    });
    count.0.into_inner()
}

/// The second client comes at every point; in full, or at some of these points, somebody is killed
/// at every tick too.
fn two_clients() -> u64 {
    let seeds = if full() { 4 } else { 1 };
    let pairs = together();
    let mut work = Vec::new();
    for scenario in &pairs {
        let mut alone = Run::new(scenario, &Schedule { point: Some(u64::MAX), ..Schedule::default() });
        assert!(alone.go(None));
        for point in 1..=alone.points() {
            work.extend((0..=seeds).map(|seed| (scenario, seed, point)));
        }
    }
    let count = Count::default();
    in_parallel(&work, |(scenario, seed, point)| {
        let schedule = Schedule { seed: *seed, point: Some(*point), ..Schedule::default() };
        let base = Run::new(scenario, &schedule);
        if full() || (point + seed) % KILLED_POINTS == 0 {
            count.explore(scenario, &base, &schedule, if full() { 12 } else { 0 });
        } else {
            let mut run = base.fork();
            let ended = run.go(None);
            count.recover(scenario, run, &schedule, ended, 0);
        }
    });
    count.0.into_inner()
}

#[test]
fn killed_at_every_point() {
    let (one, two) = (one_client(), two_clients());
    // Not by a macro, whose output the harness would hold back.
    let _ = writeln!(
        std::io::stderr(),
        "crash world: {} states explored: {one} of one client, {two} of two (or of one and the world); 0 violations",
        one + two
    );
    assert!(one + two >= 50_000 || only().is_some());
}

#[test]
fn replay_what_a_violation_printed() {
    let Ok(text) = std::env::var("SISTEMO_REPLAY") else { return };
    let (name, schedule) = text.split_once(':').expect("scenario:kills:seed");
    let schedule: Schedule = schedule.parse().expect("kills:seed or kills:seed@point");
    let known = [alone(), together(), more_pairs()].concat();
    let scenario = known.iter().find(|s| s.name == name).expect("a scenario of this name");
    let outcome = replay(scenario, &schedule);
    println!("{}", outcome.trace.join("\n"));
    assert!(outcome.wrong.is_empty(), "{}", outcome.wrong.join("\n"));
}
