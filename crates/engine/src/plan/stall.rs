//! What a guest needs that stands because a write of it failed.
//!
//! Invariant: a guest whose pool was full goes on by itself once there is room, and not before; any
//! other failed write waits for a person. Once it goes again, its clock is set before anything else
//! is believed of it.

use super::machine::{Look, Step};
use crate::port::Health;
use std::time::Duration;
use types::machine::{MachineSpec, Run, Stall, StallReason};
use types::{ByteSize, Code, Name, Problem};

/// A guest is let go on once so much is free: less would be gone before it has done anything.
pub const ROOM: ByteSize = ByteSize::mib(32);
/// How often it is looked whether there is room. Asking costs one call to the file system.
pub const PROBE: Duration = Duration::from_secs(2);
/// A guest that has gone for so long goes: the next failed write is a new story.
pub const CALM: Duration = Duration::from_secs(20);
/// An agent that could not be told the time for so long is told no more.
pub const UNHEARD: Duration = Duration::from_secs(60);

/// What is to be done about a guest that stands, or did so a moment ago.
pub fn step(spec: &MachineSpec, run: &Run, look: &Look) -> Option<Step> {
    let Some(stall) = &run.stall else {
        return matches!(look.health, Health::Stands { .. }).then_some(Step::NoteStall);
    };
    match look.health {
        Health::Stands { slot, why } => {
            let volume = volume_in(spec, slot);
            if stall.going || stall.why != why || stall.volume != volume {
                return Some(Step::NoteStall);
            }
            let asked = spec.resumes > stall.heard;
            let by_itself = why == StallReason::PoolFull && look.room && due(stall, look);
            (asked || by_itself).then_some(Step::Resume)
        }
        Health::Running if !stall.going => Some(Step::NoteGoing),
        Health::Running if !stall.clock_set => Some(Step::SetClock),
        Health::Running if passed(stall, look, CALM) => Some(Step::ForgetStall),
        Health::Running => None,
    }
}

/// Whether it may be tried again: 2, 4, 8, … seconds after the last time, since every try costs
/// whoever else needs the little room there is.
fn due(stall: &Stall, look: &Look) -> bool {
    stall.tries == 0 || passed(stall, look, back_off(stall.tries))
}

fn back_off(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(5))
}

/// Whether so long has passed since it was last set going.
pub fn passed(stall: &Stall, look: &Look, span: Duration) -> bool {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    stall.tried_up.is_none_or(|at| look.up.saturating_sub(at) >= span)
}

/// Writes down in `run` what a step of this story comes to, once its effect is there.
pub fn carry_out(spec: &MachineSpec, run: &mut Run, look: &Look, step: &Step) {
    match (step, &mut run.stall) {
        (Step::NoteStall, stall) => *stall = noted(spec, stall.as_ref(), look),
        (Step::ForgetStall, stall) => *stall = None,
        (_, None) => {}
        (Step::Resume, Some(stall)) => {
            stall.tries = stall.tries.saturating_add(1);
            stall.tried_up = Some(look.up);
            stall.heard = spec.resumes;
            stall.going = true;
        }
        (Step::NoteGoing, Some(stall)) => {
            stall.tried_up = Some(look.up);
            stall.going = true;
        }
        (Step::SetClock, Some(stall)) => stall.clock_set = true,
        _ => {}
    }
}

/// The stall as it is seen now; what was tried before counts on.
fn noted(spec: &MachineSpec, before: Option<&Stall>, look: &Look) -> Option<Stall> {
    let Health::Stands { slot, why } = look.health else { return before.cloned() };
    let same = before.filter(|s| !s.going);
    Some(Stall {
        volume: volume_in(spec, slot),
        why,
        since: same.map_or(look.now, |s| s.since),
        heard: same.map_or(spec.resumes, |s| s.heard),
        tries: before.map_or(0, |s| s.tries),
        tried_up: before.and_then(|s| s.tried_up),
        going: false,
        clock_set: false,
    })
}

fn volume_in(spec: &MachineSpec, slot: Option<u8>) -> Option<types::VolumeId> {
    spec.disks.iter().find(|d| Some(d.slot) == slot).map(|d| d.volume)
}

/// Why a machine stands and what to do about it, in words.
pub fn problem(machine: &Name, volume: Option<&Name>, why: StallReason) -> Problem {
    let what = match volume {
        Some(volume) => format!("a write to volume \"{volume}\""),
        None => "a write to one of its volumes".into(),
    };
    match why {
        StallReason::PoolFull => {
            Problem::new(Code::PoolFull, format!("machine \"{machine}\" is paused: {what} found no room"))
                .hint("make room on the disk of its pool, or grow that (`sistemo pool list`): it goes on by itself then")
        }
        StallReason::IoError => {
            Problem::new(Code::IoError, format!("machine \"{machine}\" is paused: {what} failed on the host"))
                .hint(format!(
                    "the kernel's log (journalctl -k) says what is wrong with the disk; once it is mended, \
                     `sistemo machine start {machine}` lets the machine go on"
                ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::machine::tests::{look, machine, run};

    const STANDS: Health = Health::Stands { slot: Some(0), why: StallReason::PoolFull };

    fn seen(health: Health, room: bool, up: u64) -> Look {
        Look { health, room, up, ..look() }
    }

    /// What is done about a guest at so many seconds, and the run after it.
    fn next(run: &mut Run, health: Health, room: bool, seconds: u64) -> Option<Step> {
        let (spec, look) = (machine(), seen(health, room, seconds * 1000));
        let step = step(&spec, run, &look)?;
        carry_out(&spec, run, &look, &step);
        Some(step)
    }

    #[test]
    fn room_comes_and_the_guest_goes_on_with_the_right_time() {
        let mut run = run();
        assert_eq!(next(&mut run, Health::Running, true, 1), None);
        assert_eq!(next(&mut run, STANDS, false, 1), Some(Step::NoteStall));
        assert_eq!(next(&mut run, STANDS, false, 2), None);
        assert_eq!(next(&mut run, STANDS, true, 3), Some(Step::Resume));
        assert!(run.standing().is_none());
        assert_eq!(next(&mut run, Health::Running, true, 3), Some(Step::SetClock));
        assert_eq!(next(&mut run, Health::Running, true, 4), None);
        assert_eq!(next(&mut run, Health::Running, true, 3 + CALM.as_secs()), Some(Step::ForgetStall));
        assert_eq!(run.stall, None);
    }

    #[test]
    fn a_guest_that_stands_again_and_again_is_let_go_less_and_less_often() {
        let mut run = run();
        let (mut at, mut tried) = (0, vec![]);
        next(&mut run, STANDS, true, at);
        while tried.len() < 8 {
            if next(&mut run, STANDS, true, at) == Some(Step::Resume) {
                tried.push(at);
                next(&mut run, STANDS, true, at);
            }
            at += 1;
        }
        let gaps: Vec<_> = tried.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(gaps, [2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn another_failure_waits_for_a_person() {
        let (mut run, mut spec) = (run(), machine());
        let bad = Health::Stands { slot: None, why: StallReason::IoError };
        assert_eq!(next(&mut run, bad, true, 1), Some(Step::NoteStall));
        assert_eq!(run.stall.as_ref().unwrap().volume, None);
        assert_eq!(next(&mut run, bad, true, 1000), None);
        spec.resumes += 1;
        let look = seen(bad, false, 2_000_000);
        assert_eq!(step(&spec, &run, &look), Some(Step::Resume));
        carry_out(&spec, &mut run, &look, &Step::Resume);
        // It failed again: that was heard, and is not tried again unasked.
        assert_eq!(step(&spec, &run, &look), Some(Step::NoteStall));
        carry_out(&spec, &mut run, &look, &Step::NoteStall);
        assert_eq!(step(&spec, &run, &seen(bad, true, 9_000_000)), None);
    }
}
