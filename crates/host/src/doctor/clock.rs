//! Time: ids, expiry of the trash and guests' clocks come from the host's.

use super::{Finding, Subject};

const CHECK: &str = "clock";
const FIX: &str = "timedatectl set-ntp true, or install chrony";

pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    vec![judge(jiff::Timestamp::now().as_second(), subject.built, synchronised())]
}

fn judge(now: i64, built: i64, synchronised: Option<bool>) -> Finding {
    if now < built {
        return Finding::fail(CHECK, "the clock shows a time before this program was built", FIX);
    }
    match synchronised {
        Some(true) => Finding::ok(CHECK, "it is set from the network"),
        Some(false) => Finding::warn(CHECK, "nothing sets it from the network", FIX),
        None => Finding::ok(CHECK, "it is plausible; whether something sets it is not known"),
    }
}

/// Whether the kernel holds its clock to be synchronised; `None` where it may not be asked.
fn synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain numbers, for which zeroes are valid.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a valid `timex`; with `modes` 0 nothing is changed (adjtimex(2)).
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_seen() {
        assert_eq!(judge(10, 20, Some(true)).state, State::Fail);
        assert_eq!(judge(20, 10, Some(true)).state, State::Ok);
        assert_eq!(judge(20, 10, Some(false)).state, State::Warn);
        assert_eq!(judge(20, 10, None).state, State::Ok);
        let _ = synchronised();
    }
}
