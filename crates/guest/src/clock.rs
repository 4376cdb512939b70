//! The guest's clock.
//!
//! Invariant: it is only ever set forward. The host says how late it is when the guest has stood
//! still; whoever set it ahead, a person or a time service, is not contradicted, and what was sent
//! before another pause does no harm after it.

use crate::log;
use proto::{Clock, ClockSet};
use rustix::time::{ClockId, Timespec, clock_settime};
use std::io;

/// A clock that is less behind than this, in milliseconds, is left to the guest's own time service.
const TOLERATED: u64 = 200;
/// The latest time that is believed, in seconds since 1970: the year 2514.
const LATEST: u64 = 1 << 34;

/// Sets the clock to `host`'s time, if it is behind.
///
/// # Errors
/// What the kernel says; `InvalidInput` for a time that makes no sense.
pub fn set(host: Clock) -> io::Result<ClockSet> {
    let Some(forward_ms) = forward(Clock::now(), host)? else { return Ok(ClockSet::default()) };
    let ms = i64::try_from(host.unix_ms).map_err(|_| io::ErrorKind::InvalidInput)?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) as _ })?;
    log::say(&format!("the machine stood still: its clock was set forward by {forward_ms} ms"));
    Ok(ClockSet { forward_ms })
}

/// How far to set forward, if at all.
fn forward(ours: Clock, host: Clock) -> io::Result<Option<u64>> {
    if host.unix_ms / 1000 > LATEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(Some(ours.behind(host)).filter(|ms| *ms > TOLERATED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_set_forward_and_never_back() {
        let at = |unix_ms| Clock { unix_ms };
        assert_eq!(forward(at(5000), at(65_000)).unwrap(), Some(60_000));
        assert_eq!(forward(at(5000), at(5100)).unwrap(), None);
        assert_eq!(forward(at(65_000), at(5000)).unwrap(), None);
        assert!(forward(at(0), at(u64::MAX)).is_err());
    }
}
