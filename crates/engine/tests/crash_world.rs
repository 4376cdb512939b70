//! The crash world: every scenario, killed at every point, and then once more during recovery.

use engine::sim::scenario::{Scenario, all, run};

fn assert_well(scenario: &Scenario, kills: &[u64]) -> u64 {
    let outcome = run(scenario, kills);
    assert!(
        outcome.wrong.is_empty(),
        "scenario \"{}\" killed at {kills:?}:\n  {}",
        scenario.name,
        outcome.wrong.join("\n  ")
    );
    outcome.ticks
}

#[test]
fn every_scenario_without_a_kill() {
    for scenario in all() {
        assert!(assert_well(&scenario, &[]) > 0);
    }
}

#[test]
fn every_scenario_killed_at_every_point() {
    let mut states = 0;
    for scenario in all() {
        let ticks = assert_well(&scenario, &[]);
        for at in 1..=ticks {
            assert_well(&scenario, &[at]);
            states += 1;
        }
    }
    println!("crash world: {states} states with one kill");
    assert!(states > 500);
}

#[test]
fn every_scenario_killed_twice() {
    // Every point of the first kill; for the second, the points right after the start that
    // follows, where recovery does its work.
    let mut states = 0;
    for scenario in all() {
        let ticks = assert_well(&scenario, &[]);
        for first in 1..=ticks {
            for second in 1..=12 {
                assert_well(&scenario, &[first, second]);
                states += 1;
            }
        }
    }
    println!("crash world: {states} states with two kills");
    assert!(states > 5000);
}
