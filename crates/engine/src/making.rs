//! What a request accepts and another transaction writes.
//!
//! Invariant: what is put off is of ids that nobody else knows, so nothing can contradict it meanwhile;
//! names, sums and holds are taken when it is accepted. It stands in the spec of the machine that it is
//! made for, and nothing else is done about that before it is written.

use crate::Engine;
use crate::db::{Change, MachineRecord};
use crate::key;
use crate::store::StoreError;
use std::collections::BTreeMap;
use types::operation::Kind;

impl Change {
    /// Takes out what would be written to these keys, to be written later.
    pub fn put_off(&mut self, ours: impl Fn(&str) -> bool) -> BTreeMap<String, serde_json::Value> {
        self.txn.checks.retain(|(key, _)| !ours(key));
        let (later, now) = std::mem::take(&mut self.txn.puts).into_iter().partition(|(key, _)| ours(key));
        self.txn.puts = now;
        let later: Vec<(String, Vec<u8>)> = later;
        let value = |bytes: &[u8]| serde_json::from_slice(bytes).expect("a record is JSON");
        later.into_iter().map(|(key, bytes)| (key, value(&bytes))).collect()
    }
}

impl Engine {
    /// Writes what was put off.
    pub(crate) fn make(&self, record: &MachineRecord) -> Result<(), StoreError> {
        let mut spec = record.spec.value.clone();
        let later = std::mem::take(&mut spec.making);
        let mut change = Change::system();
        change.update(&record.spec, &spec);
        for (key, value) in &later {
            change.put(key.clone(), value);
        }
        change.commit(&self.0.db)?;
        for key in later.keys() {
            let Some((_, id)) = key::id_of(key, "spec") else { continue };
            for kind in [Kind::Volume, Kind::Snapshot].into_iter().filter(|k| *key == key::spec(*k, id)) {
                self.wake(kind, id);
            }
        }
        Ok(())
    }
}
