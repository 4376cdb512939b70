//! What a volume needs in the machine that has it open, once its file is as it shall be.
//!
//! Invariant: a guest is told of a size only once the file has it; whatever a guest does not hear, it
//! finds at its next boot.

use super::{Answer, Wait};
use types::operation::Kind;
use types::{ByteSize, MachineId, RunId};

/// A step towards that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Tell the guest how large the disk is.
    Stretch {
        /// How large.
        to: ByteSize,
    },
    /// Let the guest make use of it.
    Fill {
        /// How large the disk is.
        to: ByteSize,
    },
    /// Let the guest give back what it does not use.
    Trim,
}

/// The machine that has a volume open, as far as the volume cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Live {
    /// None does, or not for long.
    Away,
    /// One is about to: look again when it has changed.
    Coming(MachineId),
    /// One does.
    Here(Open),
}

/// A volume that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// In which machine.
    pub machine: MachineId,
    /// In which run of it.
    pub run: RunId,
    /// Its size as the guest is told.
    pub size: ByteSize,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// The guest mounts it.
    pub mounted: bool,
    /// The guest has said hello.
    pub hello: bool,
    /// The guest stands, so that it hears nothing.
    pub stands: bool,
}

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// That the guest makes use of the size, and this was not tried.
    pub fill: bool,
    /// That the guest gives back what it does not use.
    pub trim: bool,
}

/// Answers for a volume of this size.
pub fn plan(size: ByteSize, live: &Live, asked: Asked) -> Answer<Step> {
    let open = match live {
        Live::Away => return Answer::Settled,
        Live::Coming(_) if asked == Asked::default() => return Answer::Settled,
        Live::Coming(machine) => {
            return Answer::Wait(Wait { until: None, on: vec![(Kind::Machine, machine.0)] });
        }
        Live::Here(open) => open,
    };
    // QEMU does not change the size of what it may only read; nor can the guest grow what is in it.
    if open.size < size && !open.read_only {
        return Answer::Do(Step::Stretch { to: size });
    }
    let deaf = open.stands || !open.mounted;
    match (open.hello, asked) {
        (_, Asked { fill: false, trim: false }) => Answer::Settled,
        (false, _) => Answer::Wait(Wait { until: None, on: vec![(Kind::Machine, open.machine.0)] }),
        (true, Asked { fill: true, .. }) if !deaf && !open.read_only => Answer::Do(Step::Fill { to: size }),
        (true, Asked { trim: true, .. }) if !open.stands => Answer::Do(Step::Trim),
        (true, _) => Answer::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn open() -> Open {
        Open {
            machine: MachineId(Uuid::from_u128(1)),
            run: RunId(Uuid::from_u128(2)),
            size: ByteSize::gib(2),
            read_only: false,
            mounted: true,
            hello: true,
            stands: false,
        }
    }

    #[test]
    fn a_disk_is_told_first_and_filled_then() {
        let asked = Asked { fill: true, trim: false };
        let answer = |open: Open, asked| plan(ByteSize::gib(4), &Live::Here(open), asked);
        assert_eq!(answer(open(), asked), Answer::Do(Step::Stretch { to: ByteSize::gib(4) }));
        let told = Open { size: ByteSize::gib(4), ..open() };
        assert_eq!(answer(told.clone(), asked), Answer::Do(Step::Fill { to: ByteSize::gib(4) }));
        assert_eq!(answer(told.clone(), Asked::default()), Answer::Settled);
        let booting = Open { hello: false, ..told.clone() };
        assert!(matches!(answer(booting, asked), Answer::Wait(_)));
        for deaf in [Open { stands: true, ..told.clone() }, Open { mounted: false, ..told }] {
            assert_eq!(answer(deaf, asked), Answer::Settled);
        }
        assert_eq!(answer(Open { read_only: true, ..open() }, asked), Answer::Settled);
    }

    #[test]
    fn what_no_guest_has_is_left_alone() {
        let all = Asked { fill: true, trim: true };
        assert_eq!(plan(ByteSize::gib(4), &Live::Away, all), Answer::Settled);
        let coming = Live::Coming(MachineId(Uuid::from_u128(1)));
        assert!(matches!(plan(ByteSize::gib(4), &coming, all), Answer::Wait(_)));
        assert_eq!(plan(ByteSize::gib(4), &coming, Asked::default()), Answer::Settled);
    }
}
