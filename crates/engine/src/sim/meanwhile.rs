//! What others do between two effects of one: a second client, a second worker, the world itself.
//!
//! Invariant: whatever gets in between does so as a whole, on the same thread, so a run is repeated
//! by repeating its schedule. A request's only effect is one commit, so a request that comes as a
//! whole at every point of another is every interleaving of the two that can be told apart.

use super::World;
use super::scenario::Act;
use crate::Engine;
use std::sync::PoisonError;
use types::{Actor, Timestamp};

/// Points between two commands of the second client are at most this far apart.
const GAP: u64 = 24;

/// What others do.
pub struct Meanwhile {
    /// The daemon they talk to.
    engine: Engine,
    /// What the second client does, and at which points.
    script: Vec<(u64, Act)>,
    /// How much of it is done.
    done: usize,
    /// Points so far.
    points: u64,
    /// Decides where the second worker takes a turn; 0: there is none.
    seed: u64,
    /// Somebody is in between already.
    inside: bool,
    /// The earliest time that a turn in between waits for.
    earliest: Option<Timestamp>,
}

/// The next number of a sequence (splitmix64).
pub fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

enum Turn {
    Ask(Engine, Act),
    Work(Engine),
}

impl Meanwhile {
    /// Nothing yet, in this daemon.
    pub fn new(engine: Engine, seed: u64) -> Self {
        Self { engine, script: vec![], done: 0, points: 0, seed, inside: false, earliest: None }
    }

    /// A second client: its first command comes at `point`, the others after it.
    #[must_use]
    pub fn client(mut self, script: &[Act], point: u64) -> Self {
        let mut gaps = self.seed ^ point;
        let mut at = point;
        for act in script {
            self.script.push((at, *act));
            at = at.saturating_add(1 + random(&mut gaps) % GAP);
        }
        self
    }

    fn due(&mut self) -> Option<Turn> {
        if self.inside {
            return None;
        }
        self.points += 1;
        if let Some((_, act)) = self.script.get(self.done).filter(|(at, _)| *at <= self.points) {
            self.inside = true;
            return Some(Turn::Ask(self.engine.clone(), *act));
        }
        if self.seed != 0 && random(&mut self.seed).is_multiple_of(4) {
            self.inside = true;
            return Some(Turn::Work(self.engine.clone()));
        }
        None
    }
}

/// Who the second client is.
pub fn second() -> Actor {
    Actor("second".into())
}

impl World {
    fn others(&self) -> std::sync::MutexGuard<'_, Option<Meanwhile>> {
        self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on others are there too; or nobody, which also lets go of the daemon.
    pub fn meanwhile(&self, others: Option<Meanwhile>) {
        *self.others() = others;
    }

    /// How many commands of the second client have been carried out.
    pub fn second_done(&self) -> usize {
        self.others().as_ref().map_or(0, |m| m.done)
    }

    /// How many points there were at which others could get in between.
    pub fn points(&self) -> u64 {
        self.others().as_ref().map_or(0, |m| m.points)
    }

    /// The earliest time that turns in between waited for since the last time this was asked.
    pub(super) fn earliest_of_others(&self) -> Option<Timestamp> {
        self.others().as_mut().and_then(|m| m.earliest.take())
    }

    /// A point at which others may get in between.
    pub(crate) fn point(&self) {
        let turn = self.others().as_mut().and_then(Meanwhile::due);
        let Some(turn) = turn else { return };
        let asked = matches!(turn, Turn::Ask(..));
        let until = match turn {
            Turn::Ask(engine, act) => {
                act.carry_out(self, &engine, &second());
                None
            }
            Turn::Work(engine) => engine.turn().flatten(),
        };
        if let Some(m) = self.others().as_mut() {
            m.inside = false;
            m.done += usize::from(asked);
            m.earliest = sooner(m.earliest, until);
        }
    }
}

/// The earlier of two times, as far as they exist.
pub(super) fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
