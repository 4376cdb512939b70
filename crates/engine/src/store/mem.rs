//! The store in memory, for tests.

use super::{Change, Check, Entry, Limit, Store, StoreError, Txn, Watch};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
struct State {
    revision: u64,
    keys: BTreeMap<String, (Vec<u8>, u64)>,
    log: Vec<Change>,
    compacted: u64,
}

/// A store that lives as long as its process.
#[derive(Default)]
pub struct Mem(Mutex<State>);

impl Mem {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that kills the engine by unwinding must find the store as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store of its own with the same content.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Mutex::new(self.state().clone()))
    }

    /// Whether any key begins with `prefix`.
    pub fn any(&self, prefix: &str) -> bool {
        self.state().keys.range(prefix.to_owned()..).next().is_some_and(|(k, _)| k.starts_with(prefix))
    }

    /// Forgets the change log up to and including `revision`.
    pub fn compact(&self, revision: u64) {
        let mut s = self.state();
        s.compacted = revision.min(s.revision);
        let upto = s.compacted;
        s.log.retain(|c| c.revision > upto);
    }
}

impl Store for Mem {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let s = self.state();
        Ok(s.keys.get(key).map(|(v, r)| Entry { key: key.into(), value: v.clone(), revision: *r }))
    }

    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        let s = self.state();
        let all = s
            .keys
            .range(prefix.to_owned()..)
            .take_while(|(k, _)| k.starts_with(prefix))
            .map(|(k, (v, r))| Entry { key: k.clone(), value: v.clone(), revision: *r });
        Ok(match limit {
            Limit::All => all.collect(),
            Limit::First(n) => all.take(n).collect(),
            Limit::Before(end, n) => {
                let mut v: Vec<_> = all.take_while(|e| e.key.as_str() < end).collect();
                v.reverse();
                v.truncate(n);
                v
            }
            Limit::Last(n) => {
                let mut v: Vec<_> = all.collect();
                v.reverse();
                v.truncate(n);
                v
            }
        })
    }

    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        if !txn.within_limits() {
            return Err(StoreError::TooLarge);
        }
        let mut s = self.state();
        for (key, check) in &txn.checks {
            let have = s.keys.get(key).map(|(_, r)| *r);
            let holds = match check {
                Check::Absent => have.is_none(),
                Check::RevisionIs(r) => have == Some(*r),
            };
            if !holds {
                return Err(StoreError::Conflict(key.clone()));
            }
        }
        s.revision += 1;
        let revision = s.revision;
        for (key, value) in txn.puts {
            s.keys.insert(key.clone(), (value, revision));
            s.log.push(Change { revision, key, deleted: false });
        }
        for key in txn.deletes {
            if s.keys.remove(&key).is_some() {
                s.log.push(Change { revision, key, deleted: true });
            }
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        let s = self.state();
        if from < s.compacted {
            return Ok(Watch::Compacted);
        }
        let changes = s.log.iter().filter(|c| c.revision > from && c.key.starts_with(prefix));
        Ok(Watch::Changes(changes.cloned().collect()))
    }

    fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.state().revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        conformance::all(&mut || Box::new(Mem::default()));
    }

    #[test]
    fn a_compacted_log_says_so() {
        let store = Mem::default();
        for n in 0..3 {
            store.commit(conformance::put(&format!("k{n}"), "v")).unwrap();
        }
        store.compact(2);
        assert_eq!(store.watch("", 1).unwrap(), Watch::Compacted);
        assert!(matches!(store.watch("", 2).unwrap(), Watch::Changes(c) if c.len() == 1));
    }
}
