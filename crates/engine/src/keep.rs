//! What is kept for a while and then goes: history, ended operations, marks of requests made once.
//!
//! Invariant: only the oldest goes, and of operations only what has ended; a kill in between leaves
//! less to do for the next time.

use crate::condition::Done;
use crate::db::Change;
use crate::store::{Entry, Limit};
use crate::{Engine, key};
use types::{Operation, OperationState, Problem, Timestamp};

/// How much is looked at or removed at a time: a transaction holds 128 operations.
const PAGE: usize = 100;

impl Engine {
    /// Removes what has been kept long enough.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn housekeep(&self) -> Result<(), Problem> {
        let now = self.now();
        let keep = i64::try_from(self.settings().history_keep.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millis(now.millis().saturating_sub(keep).max(0));
        self.trim(key::HISTORY, oldest)?;
        self.trim(key::OPERATIONS, oldest)?;
        self.forget_made(now)
    }

    /// Removes from the beginning of an ordered log what is too old or too much.
    fn trim(&self, prefix: &str, oldest: Timestamp) -> Result<(), Problem> {
        let too_much = self.excess(prefix)?;
        loop {
            let first = self.0.db.0.scan(prefix, Limit::First(PAGE))?;
            let goes: Vec<&Entry> = first
                .iter()
                .filter(|e| {
                    let old = made_at(&e.value).is_some_and(|at| at < oldest);
                    (old || too_much.as_ref().is_some_and(|end| e.key <= *end)) && !self.is_open(e)
                })
                .collect();
            if goes.is_empty() {
                return Ok(());
            }
            let mut change = Change::system();
            for entry in &goes {
                change.delete(entry.key.clone());
            }
            change.commit(&self.0.db)?;
            // What stays among the first would hide what follows from the next round.
            if goes.len() < first.len() {
                return Ok(());
            }
        }
    }

    fn is_open(&self, entry: &Entry) -> bool {
        entry.key.starts_with(key::OPERATIONS)
            && serde_json::from_slice::<Operation>(&entry.value)
                .is_ok_and(|op| op.state == OperationState::Running)
    }

    /// The newest key that is beyond the size that may be kept.
    fn excess(&self, prefix: &str) -> Result<Option<String>, Problem> {
        let most = self.settings().history_size.bytes();
        let mut page = self.0.db.0.scan(prefix, Limit::Last(PAGE))?;
        let mut held = 0u64;
        loop {
            for e in &page {
                held += (e.key.len() + e.value.len()) as u64;
                if held > most {
                    return Ok(Some(e.key.clone()));
                }
            }
            let Some(last) = page.last() else { return Ok(None) };
            page = self.0.db.0.scan(prefix, Limit::Before(&last.key, PAGE))?;
        }
    }

    fn forget_made(&self, now: Timestamp) -> Result<(), Problem> {
        let all = self.0.db.scan::<Done>(key::ONCE, Limit::All)?;
        let expired: Vec<_> = all.into_iter().filter(|d| d.expires_at <= now).collect();
        for some in expired.chunks(PAGE) {
            let mut change = Change::system();
            for done in some {
                change.on(done).delete(done.key.clone());
            }
            match change.commit(&self.0.db) {
                // Somebody uses one of these keys anew at this moment: the next time, then.
                Ok(_) | Err(crate::store::StoreError::Conflict(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// When a line or an operation was made.
fn made_at(value: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct When {
        #[serde(alias = "created_at")]
        time: Timestamp,
    }
    serde_json::from_slice::<When>(value).ok().map(|w| w.time)
}

#[cfg(test)]
mod tests {
    use crate::sim::World;
    use crate::{HistoryQuery, Settings};
    use std::time::Duration;
    use types::operation::{Kind, Target};
    use types::{Actor, ByteSize, Verb};

    fn lines(engine: &crate::Engine, world: &World, n: usize) {
        for i in 0..n {
            world.pass(1000);
            let target = Target { kind: Kind::Token, id: None, name: i.to_string() };
            engine.used(&Actor("ada".into()), Verb::TokenUse, target).unwrap();
        }
    }

    fn kept(engine: &crate::Engine) -> Vec<String> {
        let all = engine.history(&HistoryQuery { limit: 10_000, ..HistoryQuery::default() }).unwrap();
        all.into_iter().map(|l| l.target.name).collect()
    }

    #[test]
    fn the_oldest_goes_by_age() {
        let world = World::new();
        let settings = Settings { history_keep: Duration::from_secs(100), ..Settings::default() };
        let engine = world.boot(settings).unwrap();
        lines(&engine, &world, 500);
        engine.housekeep().unwrap();
        let kept = kept(&engine);
        assert!((95..=105).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[0], "499");
    }

    #[test]
    fn the_oldest_goes_by_size() {
        let world = World::new();
        let settings = Settings { history_size: ByteSize(64 << 10), ..Settings::default() };
        let engine = world.boot(settings).unwrap();
        lines(&engine, &world, 1000);
        engine.housekeep().unwrap();
        let kept = kept(&engine);
        assert!((100..400).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[0], "999");
        engine.housekeep().unwrap();
        assert_eq!(self::kept(&engine).len(), kept.len());
    }
}
