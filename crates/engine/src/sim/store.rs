//! The store of the world: in memory, with a point to be killed at before and after each commit, and
//! one at which others may get in between before each reading.
//!
//! Invariant: a commit is one effect, whole or not at all.

use super::World;
use crate::store::{Entry, Limit, Store, StoreError, Txn, Watch};

/// A store that can be killed around its commits.
pub(super) struct Ticking(pub World);

impl Store for Ticking {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.point();
        self.0.disk().get(key)
    }

    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        self.0.point();
        self.0.disk().scan(prefix, limit)
    }

    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        self.0.tick("before commit");
        let result = self.0.disk().commit(txn);
        self.0.tick("after commit");
        result
    }

    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.0.disk().watch(prefix, from)
    }

    fn revision(&self) -> Result<u64, StoreError> {
        self.0.disk().revision()
    }
}
