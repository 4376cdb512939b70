//! Which resources to look at, and when.
//!
//! Invariant: a key is handed to at most one worker at a time; a wake that comes while it is in
//! hand is not lost. Wakes carry no data, so any number of them is one.

use super::pass::Known;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use types::operation::Kind;
use uuid::Uuid;

/// A resource.
pub type Key = (Kind, Uuid);

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    queued: HashSet<Key>,
    in_hand: HashSet<Key>,
    /// Woken while in hand.
    again: HashSet<Key>,
    timers: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Keys that wait for a key; in order, so that a run of the simulation can be repeated.
    waiters: HashMap<Key, BTreeSet<Key>>,
    failures: HashMap<Key, u32>,
    /// Records of queued keys that nobody has woken since they were read.
    known: HashMap<Key, Known>,
    /// Since when something is ready and nothing was taken.
    kept_waiting: Option<Instant>,
    closed: bool,
}

/// The queue of the reconciler.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn push(&mut self, key: Key) {
        // Whoever wakes it may have changed it.
        self.known.remove(&key);
        if self.in_hand.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key) {
            self.ready.push_back(key);
            self.kept_waiting.get_or_insert_with(Instant::now);
        }
    }

    fn due(&mut self, now: Instant) {
        while let Some(Reverse((at, key))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.push(key);
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at `key` soon.
    pub fn wake(&self, key: Key) {
        self.state().push(key);
        self.changed.notify_all();
    }

    /// Looks at all of these soon; what was read of each is kept for that look, if it is the first
    /// to want one.
    pub fn wake_all(&self, keys: Vec<(Key, Option<Known>)>) {
        let mut s = self.state();
        for (key, known) in keys {
            let fresh = !s.queued.contains(&key) && !s.in_hand.contains(&key);
            s.push(key);
            if let Some(known) = known.filter(|_| fresh) {
                s.known.insert(key, known);
            }
        }
        drop(s);
        self.changed.notify_all();
    }

    /// What was read ahead of `key`, once.
    pub fn known(&self, key: Key) -> Option<Known> {
        self.state().known.remove(&key)
    }

    /// Looks at `key` after `delay`.
    pub fn wake_in(&self, key: Key, delay: Duration) {
        self.state().timers.push(Reverse((Instant::now() + delay, key)));
        self.changed.notify_all();
    }

    /// `key` wants to be woken when `on` has changed; whether that is new. If it is, `on` may have
    /// changed just before, so `key` must look once more.
    pub fn wait_for(&self, key: Key, on: Key) -> bool {
        self.state().waiters.entry(on).or_default().insert(key)
    }

    /// Wakes whoever waits for `key`.
    pub fn settled(&self, key: Key) {
        let mut s = self.state();
        for waiter in s.waiters.remove(&key).unwrap_or_default() {
            s.push(waiter);
        }
        drop(s);
        self.changed.notify_all();
    }

    /// Counts one more failure in a row; returns how many there are.
    pub fn failed(&self, key: Key) -> u32 {
        let mut s = self.state();
        let n = s.failures.entry(key).or_default();
        *n += 1;
        *n
    }

    /// Forgets the failures.
    pub fn succeeded(&self, key: Key) {
        self.state().failures.remove(&key);
    }

    /// The next key; blocks until there is one. `None` once the queue is closed.
    pub fn take(&self) -> Option<Key> {
        let mut s = self.state();
        loop {
            if s.closed {
                return None;
            }
            let now = Instant::now();
            s.due(now);
            if let Some(key) = s.ready.pop_front() {
                s.queued.remove(&key);
                s.in_hand.insert(key);
                s.kept_waiting = (!s.ready.is_empty()).then_some(now);
                return Some(key);
            }
            let until = s.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
            s = match until {
                Some(d) => self.changed.wait_timeout(s, d).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(s).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// For how long something has been ready without anything being taken.
    pub fn kept_waiting(&self) -> Duration {
        self.state().kept_waiting.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The next key, if one is ready now; timers do not count.
    pub fn try_take(&self) -> Option<Key> {
        let mut s = self.state();
        let key = s.ready.pop_front()?;
        s.queued.remove(&key);
        s.in_hand.insert(key);
        Some(key)
    }

    /// The worker is done with `key`.
    pub fn done(&self, key: Key) {
        let mut s = self.state();
        s.in_hand.remove(&key);
        if s.again.remove(&key) {
            s.push(key);
        }
        drop(s);
        self.changed.notify_all();
    }

    /// Hands out nothing more.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Waits for `delay`; whether the queue was closed meanwhile.
    pub fn closed_within(&self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        let mut s = self.state();
        while !s.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            s = self.changed.wait_timeout(s, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until no key is in hand, at most until `deadline`; whether it came to that.
    pub fn idle_until(&self, deadline: Instant) -> bool {
        let mut s = self.state();
        while !s.in_hand.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            s = self.changed.wait_timeout(s, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        (Kind::Volume, Uuid::from_u128(n))
    }

    #[test]
    fn one_at_a_time_and_no_wake_is_lost() {
        let q = Queue::default();
        q.wake(key(1));
        q.wake(key(1));
        assert_eq!(q.try_take(), Some(key(1)));
        assert_eq!(q.try_take(), None);
        q.wake(key(1));
        assert_eq!(q.try_take(), None, "it is in hand");
        q.done(key(1));
        assert_eq!(q.try_take(), Some(key(1)));
        q.done(key(1));
        assert_eq!(q.try_take(), None);
    }

    #[test]
    fn waiters_are_woken_once() {
        let q = Queue::default();
        q.wait_for(key(1), key(2));
        q.settled(key(2));
        q.settled(key(2));
        assert_eq!(q.try_take(), Some(key(1)));
        q.done(key(1));
        assert_eq!(q.try_take(), None);
    }

    #[test]
    fn timers_come_due_in_order_and_close_ends_it() {
        let q = Queue::default();
        q.wake_in(key(2), Duration::from_millis(500));
        q.wake_in(key(1), Duration::from_millis(1));
        assert_eq!(q.take(), Some(key(1)));
        assert_eq!(q.take(), Some(key(2)));
        q.close();
        assert_eq!(q.take(), None);
    }
}
