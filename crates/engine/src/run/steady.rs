//! Notices that the clock on the wall was set.
//!
//! Invariant: what is kept until a time on the wall is never let go early because that clock was
//! set: after a jump nothing is let go until as long again has passed by the host's own clock.

use std::time::Duration;
use types::Timestamp;

/// A clock that is only being kept right (NTP slews at most 500 ppm) moves less than this between
/// two looks.
const TOLERATED: i64 = 10_000;

/// The two clocks as they were at the last look.
#[derive(Default)]
pub struct Steady {
    /// Wall and host, in milliseconds.
    seen: Option<(i64, i64)>,
    /// Until when on the host's clock nothing is let go.
    hold: i64,
}

impl Steady {
    /// Looks at both clocks. Returns by how many milliseconds the wall's was set since the last
    /// look, if it was; from then on things are kept for `keep`.
    pub fn look(&mut self, wall: Timestamp, up: Duration, keep: Duration) -> Option<i64> {
        let wall = wall.millis();
        let up = i64::try_from(up.as_millis()).unwrap_or(i64::MAX);
        let (was_wall, was_up) = self.seen.replace((wall, up))?;
        let set = (wall - was_wall) - (up - was_up);
        if set.abs() <= TOLERATED {
            return None;
        }
        self.hold = up.saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        Some(set)
    }

    /// Whether the wall's clock has been left alone for long enough to go by it.
    pub fn trusted(&self) -> bool {
        self.seen.is_some_and(|(_, up)| up >= self.hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_jump_nothing_is_let_go_for_a_while() {
        let (mut steady, keep) = (Steady::default(), Duration::from_secs(3600));
        let mut look = |wall: i64, up: u64| {
            let set = steady.look(Timestamp::from_millis(wall * 1000), Duration::from_secs(up), keep);
            (set.map(|ms| ms / 1000), steady.trusted())
        };
        assert_eq!(look(1000, 10), (None, true));
        assert_eq!(look(1031, 40), (None, true), "a second is no jump");
        assert_eq!(look(91_031, 100), (Some(89_940), false));
        assert_eq!(look(91_061, 130), (None, false));
        assert_eq!(look(94_631, 3700), (None, true));
        assert_eq!(look(4_631, 3700), (Some(-90_000), false));
    }
}
