//! How many requests one address may make.
//!
//! Invariant: bounded memory however many addresses come: a full table forgets those whose bucket
//! is full again, and while none is, newcomers share one.

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most addresses with a bucket of their own.
pub const MOST: usize = 65_536;
/// How many times one address's share all newcomers have while the table is full.
const SHARED: u32 = 50;

/// One bucket per address.
pub struct Limiter {
    each: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    rest: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    clock: DefaultClock,
    began: Instant,
    /// Milliseconds since `began` at the last clearing: looking through all of it is not for every request.
    cleared: AtomicU64,
}

impl Limiter {
    /// So many requests within `period`, and `burst` at once.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let one = NonZeroU32::MIN;
        let count = NonZeroU32::new(count).unwrap_or(one);
        let burst = NonZeroU32::new(burst).unwrap_or(one);
        let quota = |n: u32| {
            let each = (period / count.get().saturating_mul(n)).max(Duration::from_nanos(1));
            Quota::with_period(each).unwrap_or(Quota::per_second(count))
        };
        let shared = NonZeroU32::new(burst.get().saturating_mul(SHARED)).unwrap_or(burst);
        Self {
            each: RateLimiter::hashmap(quota(1).allow_burst(burst)),
            rest: RateLimiter::direct(quota(SHARED).allow_burst(shared)),
            clock: DefaultClock::default(),
            began: Instant::now(),
            cleared: AtomicU64::new(0),
        }
    }

    /// Takes one; otherwise says after how long there will be another.
    pub fn take(&self, address: IpAddr) -> Result<(), Duration> {
        if self.each.len() >= MOST && !self.clear() {
            return self.rest.check().map_err(|no| self.wait(&no));
        }
        self.each.check_key(&one(address)).map_err(|no| self.wait(&no))
    }

    /// Makes room; whether there is some.
    fn clear(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.cleared.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= 500;
        if due
            && self.cleared.compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.each.retain_recent();
            self.each.shrink_to_fit();
        }
        self.each.len() < MOST
    }

    fn wait(&self, no: &NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
        no.wait_time_from(self.clock.now())
    }

    /// How many addresses have a bucket now.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.each.len()
    }
}

/// Whoever has an IPv6 address usually has a whole /64 of them.
pub fn one(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Tells what is new from what was just seen, at bounded memory: for lines of the history that
/// would otherwise repeat with every request.
pub struct Seen {
    every: Duration,
    all: Mutex<HashMap<String, Instant>>,
}

impl Seen {
    /// Whatever was not seen for so long is new.
    pub fn new(every: Duration) -> Self {
        Self { every, all: Mutex::default() }
    }

    /// Whether `what` is new; it is not from now on. A full memory holds nothing for new.
    pub fn is_new(&self, what: &str, now: Instant) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(what).is_some_and(|at| now.saturating_duration_since(*at) < self.every) {
            return false;
        }
        if all.len() >= 4096 {
            all.retain(|_, at| now.saturating_duration_since(*at) < self.every);
        }
        let room = all.len() < 4096;
        if room {
            all.insert(what.to_owned(), now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_by_one() {
        let limiter = Limiter::new(1, Duration::from_secs(3600), 3);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!((0..10).filter(|_| limiter.take(a).is_ok()).count(), 3);
        let wait = limiter.take(a).unwrap_err();
        assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600), "{wait:?}");
        assert!(limiter.take(b).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let limiter = Limiter::new(1, Duration::from_secs(3600), 1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(limiter.take(address("2001:db8::1")).is_ok());
        assert!(limiter.take(address("2001:db8::ffff:2")).is_err());
        assert!(limiter.take(address("2001:db8:0:1::1")).is_ok());
        assert!(limiter.take(address("::ffff:10.0.0.1")).is_ok());
        assert!(limiter.take(address("10.0.0.1")).is_err());
        assert!(limiter.take(address("::ffff:10.0.0.2")).is_ok());
    }

    #[test]
    fn a_million_addresses_do_not_fill_the_memory() {
        let limiter = Limiter::new(1, Duration::from_secs(3600), 1);
        let mut let_in = 0;
        for n in 0..1_000_000u32 {
            let_in += usize::from(limiter.take(IpAddr::V4(n.into())).is_ok());
            if n % 10_000 == 0 {
                assert!(limiter.len() <= MOST);
            }
        }
        assert!(limiter.len() <= MOST);
        assert!((MOST..MOST + 200).contains(&let_in), "{let_in}");
    }

    #[test]
    fn a_full_table_forgets_whose_bucket_is_full() {
        let limiter = Limiter::new(1000, Duration::from_millis(1), 1);
        for n in 0..200_000u32 {
            limiter.take(IpAddr::V4(n.into())).unwrap();
        }
        assert!(limiter.len() <= MOST);
    }

    #[test]
    fn what_was_just_seen_is_not_new() {
        let seen = Seen::new(Duration::from_secs(60));
        let now = Instant::now();
        assert!(seen.is_new("a", now) && !seen.is_new("a", now) && seen.is_new("b", now));
        assert!(seen.is_new("a", now + Duration::from_secs(61)));
        for n in 0..10_000 {
            seen.is_new(&n.to_string(), now);
        }
        assert!(seen.all.lock().unwrap().len() <= 4096);
    }
}
