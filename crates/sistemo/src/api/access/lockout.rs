//! Who has failed to log in too often, and until when nothing is heard of them.
//!
//! Invariant: bounded memory; it locks a pair of user and address, so that nobody can lock another
//! out from elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that cost nothing.
const FREE: u32 = 4;
/// The first lock; doubled with each further failure.
const FIRST: Duration = Duration::from_secs(2);
/// The longest lock, and how long a failure is remembered.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The most pairs that are remembered; the one that failed longest ago makes room.
const MOST: usize = 10_000;

type Pair = (String, IpAddr);

struct Failures {
    count: u32,
    last: Instant,
}

/// The failures of late.
#[derive(Default)]
pub struct Lockout(Mutex<HashMap<Pair, Failures>>);

impl Lockout {
    /// For how long a login is not even looked at, if at all.
    pub fn locked(&self, user: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get(&key(user, address))?;
        let over = failures.count.checked_sub(FREE + 1)?;
        let span = FIRST.saturating_mul(1 << over.min(16)).min(LONGEST);
        (failures.last + span).checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a failure.
    pub fn failed(&self, user: &str, address: IpAddr, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, f| now.saturating_duration_since(f.last) < LONGEST);
        }
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, f)| f.last).map(|(k, _)| k.clone());
            oldest.and_then(|k| all.remove(&k));
        }
        let f = all.entry(key(user, address)).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(f.last) > LONGEST {
            f.count = 0;
        }
        f.count = f.count.saturating_add(1);
        f.last = now;
    }

    /// Forgets the failures: it was the right password.
    pub fn succeeded(&self, user: &str, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(user, address));
    }
}

/// No user has a longer name, and whoever writes one must not fill the memory with it.
fn key(user: &str, address: IpAddr) -> Pair {
    (user.chars().take(types::Name::MAX + 1).collect(), super::limit::one(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_per_user_and_address() {
        let lockout = Lockout::default();
        let (here, there): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let mut now = Instant::now();
        for _ in 0..FREE {
            lockout.failed("ada", here, now);
            assert_eq!(lockout.locked("ada", here, now), None);
        }
        lockout.failed("ada", here, now);
        assert_eq!(lockout.locked("ada", here, now), Some(FIRST));
        assert_eq!(lockout.locked("ada", there, now), None);
        assert_eq!(lockout.locked("bob", here, now), None);
        now += FIRST;
        assert_eq!(lockout.locked("ada", here, now), None);
        lockout.failed("ada", here, now);
        assert_eq!(lockout.locked("ada", here, now), Some(2 * FIRST));
        for _ in 0..100 {
            lockout.failed("ada", here, now);
        }
        assert_eq!(lockout.locked("ada", here, now), Some(LONGEST));
        now += LONGEST + Duration::from_secs(1);
        lockout.failed("ada", here, now);
        assert_eq!(lockout.locked("ada", here, now), None);
        lockout.succeeded("ada", here);
        assert!(lockout.0.lock().unwrap().is_empty());
    }

    #[test]
    fn remembers_no_more_than_it_may() {
        let lockout = Lockout::default();
        let now = Instant::now();
        for n in 0..MOST + 50 {
            lockout.failed(&format!("{n}{}", "x".repeat(1000)), [10, 0, 0, 1].into(), now);
        }
        let all = lockout.0.lock().unwrap();
        assert!(all.len() <= MOST);
        assert!(all.keys().all(|(user, _)| user.len() <= 64));
    }
}
