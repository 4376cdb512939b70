//! The end of a daemon, and whether it is well until then.
//!
//! Invariant: whatever is cut off here is taken up by the next daemon's first look; ending only
//! spares people the wait.

use super::queue::Key;
use super::{Next, back_off};
use crate::store::Limit;
use crate::{Engine, key};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A resource that is ready to be looked at and that no worker has taken for so long shows that the
/// workers hang: every step that may take long has a limit below this.
const STALLED: Duration = Duration::from_secs(3600);
/// How often the store is asked whether an operation is still open that nobody has heard of.
const ASKED_EVERY: Duration = Duration::from_millis(20);

impl Engine {
    /// From now on every change is refused with `shutting-down`; reading goes on.
    pub fn refuse_changes(&self) {
        self.0.ending.store(true, Ordering::Relaxed);
    }

    /// Waits for the operations under way, at most so long; whether all of them ended. Changes
    /// should be refused before, or this may never be so.
    pub fn finish(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        loop {
            let heard = self.0.live.idle_within(until.saturating_duration_since(Instant::now()));
            if !heard {
                return false;
            }
            // One may have been accepted a moment ago, before anybody was told.
            match self.0.db.0.scan(key::OPEN, Limit::Last(1)) {
                Ok(open) if open.is_empty() => return true,
                _ if Instant::now() >= until => return false,
                _ => std::thread::sleep(ASKED_EVERY),
            }
        }
    }

    /// Takes up no further step, and waits for those in flight, at most so long. Returns whether
    /// all of them ended; those that did not are taken up again at the next start.
    pub fn drain(&self, at_most: Duration) -> bool {
        self.0.queue.close();
        self.0.queue.idle_until(Instant::now() + at_most)
    }

    /// Whether the store answers and the workers work. Blocks as long as the store does.
    ///
    /// # Errors
    /// What is not well.
    pub fn well(&self) -> Result<(), String> {
        self.0.db.0.revision().map_err(|e| e.to_string())?;
        let (have, want) = (self.0.workers.load(Ordering::Relaxed), self.settings().workers.max(1));
        if have < want {
            return Err(format!("{have} of {want} workers are left"));
        }
        match self.0.queue.kept_waiting() {
            waited if waited > STALLED => Err(format!("no worker was free for {} s", waited.as_secs())),
            _ => Ok(()),
        }
    }

    /// One look that cannot take its worker along: whatever goes wrong in it, the key is free again
    /// afterwards and the worker takes the next.
    pub(super) fn guarded(&self, key: Key) -> Next {
        catch_unwind(AssertUnwindSafe(|| self.reconcile(key.0, key.1))).unwrap_or_else(|_| {
            let _within = self.on_behalf(key).entered();
            let n = self.0.queue.failed(key);
            tracing::error!(kind = %key.0, id = %key.1, failures = n, "a look at this failed badly");
            Next::Later(back_off(n))
        })
    }
}
