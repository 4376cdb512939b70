//! A store that tells of its commits, so that followers need not ask again and again.
//!
//! Invariant: whoever is told finds at least that revision; nothing else about it is promised, and
//! with a store that others write to as well, some would not be told of.

use super::{Entry, Limit, Store, StoreError, Txn, Watch};
use std::sync::{Arc, Mutex, PoisonError};

/// Told of every revision once it is there. Must not block.
pub type OnCommit = Arc<dyn Fn(u64) + Send + Sync>;

/// A store and whoever listens.
pub(crate) struct Telling {
    store: Arc<dyn Store>,
    listeners: Mutex<Vec<OnCommit>>,
}

impl Telling {
    /// Over `store`, with no listener yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, listeners: Mutex::default() }
    }

    /// Adds a listener, for good.
    pub fn listen(&self, f: OnCommit) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(f);
    }
}

impl Store for Telling {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError> {
        self.store.scan(prefix, limit)
    }

    fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        let revision = self.store.commit(txn)?;
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for told in listeners {
            told(revision);
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        self.store.watch(prefix, from)
    }

    fn revision(&self) -> Result<u64, StoreError> {
        self.store.revision()
    }
}
