//! What the disks of a machine that is up need.
//!
//! Invariant: a disk that leaves is taken from the list, and its claim released, only once no
//! process has its file open; the guest lets go of a disk before it is pulled out, unless forced.

use super::machine::{Look, Step};
use super::{Answer, Wait, stall};
use types::machine::{Disk, MachineSpec, Run};
use types::operation::Kind;
use types::{Code, Problem};

/// The first disk that is not as it shall be; `None` if all are.
pub fn step(spec: &MachineSpec, run: &Run, look: &Look) -> Option<Answer<Step>> {
    let leaving = spec.disks.iter().find_map(|d| leave(spec, run, look, d));
    leaving.or_else(|| spec.disks.iter().filter(|d| d.leaving.is_none()).find_map(|d| come(look, d)))
}

fn leave(spec: &MachineSpec, run: &Run, look: &Look, disk: &Disk) -> Option<Answer<Step>> {
    let leaving = disk.leaving?;
    let volume = disk.volume;
    if !look.open.iter().any(|d| d.serial == volume.short()) {
        return Some(Answer::Do(Step::Drop { volume }));
    }
    Some(Answer::Do(match run.standing() {
        Some(stall) if !leaving.force => {
            Step::Keep { volume, why: stall::problem(&spec.name, None, stall.why) }
        }
        _ => Step::Unplug { volume, force: leaving.force },
    }))
}

/// Whether every disk that shall be there is.
pub fn all_came(spec: &MachineSpec, look: &Look) -> bool {
    spec.disks.iter().filter(|d| d.leaving.is_none()).all(|d| come(look, d).is_none())
}

fn come(look: &Look, disk: &Disk) -> Option<Answer<Step>> {
    let volume = disk.volume;
    if look.open.iter().any(|d| d.ready && d.serial == volume.short()) {
        return None;
    }
    Some(match look.disks.iter().find(|d| d.id == volume) {
        Some(d) if d.settled => Answer::Do(Step::Plug { volume }),
        Some(d) => match &d.fault {
            Some(why) => Answer::Do(Step::Refuse { volume, why: why.clone() }),
            None => Answer::Wait(Wait { until: None, on: vec![(Kind::Volume, volume.0)] }),
        },
        None => {
            let why = Problem::new(Code::VolumeNotFound, "one of its volumes does not exist any more");
            Answer::Do(Step::Refuse { volume, why })
        }
    })
}
