//! How far a host's end is.
//!
//! Invariant: it is reached once no machine has a run, and never said to be while one has.

use super::{Answer, Wait};
use types::operation::Kind;
use types::{MachineId, Problem};

/// Nothing is done about a host itself: its machines do it all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {}

/// A machine that has a run, as far as its host cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunLook {
    /// The machine.
    pub id: MachineId,
    /// Not even pulling its plug ended it, and why.
    pub stuck: Option<Problem>,
}

/// Answers for a host that is shutting down or not.
pub fn plan(halting: bool, runs: &[RunLook]) -> Answer<Step> {
    if !halting || runs.is_empty() {
        return Answer::Settled;
    }
    let ending: Vec<_> = runs.iter().filter(|r| r.stuck.is_none()).map(|r| (Kind::Machine, r.id.0)).collect();
    match runs.iter().find_map(|r| r.stuck.clone()) {
        Some(problem) if ending.is_empty() => Answer::Stuck(problem),
        _ => Answer::Wait(Wait { until: None, on: ending }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Code;
    use uuid::Uuid;

    #[test]
    fn it_ends_with_the_last_run_or_with_what_cannot_be_ended() {
        let run = |n, stuck: bool| RunLook {
            id: MachineId(Uuid::from_u128(n)),
            stuck: stuck.then(|| Problem::new(Code::IoError, "it stays")),
        };
        let on = |n| (Kind::Machine, Uuid::from_u128(n));
        assert_eq!(plan(true, &[]), Answer::Settled);
        assert_eq!(plan(false, &[run(1, false)]), Answer::Settled);
        let both = Answer::Wait(Wait { until: None, on: vec![on(1), on(2)] });
        assert_eq!(plan(true, &[run(1, false), run(2, false)]), both);
        let one = Answer::Wait(Wait { until: None, on: vec![on(2)] });
        assert_eq!(plan(true, &[run(1, true), run(2, false)]), one);
        assert!(matches!(plan(true, &[run(1, true)]), Answer::Stuck(_)));
    }
}
