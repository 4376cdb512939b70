//! Which guests trim just now: a worker waits for each of them, for minutes at worst.
//!
//! Invariant: a machine trims one volume at a time, and all of them together leave workers for everything
//! else: a guest that does not answer holds up only those who want a trim, too.

use super::queue::Key;
use crate::Engine;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use types::operation::Kind;
use types::{MachineId, VolumeId};

/// So many at once at most, however many workers there are.
const MOST: usize = 2;

/// The trims under way: of each machine that does one, which volume.
#[derive(Default)]
pub struct Trims(Mutex<BTreeMap<MachineId, VolumeId>>);

impl Trims {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<MachineId, VolumeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, or says of which others one has to end first.
    fn begin(&self, machine: MachineId, volume: VolumeId, most: usize) -> Result<(), Vec<Key>> {
        let mut under_way = self.under_way();
        let before: Vec<VolumeId> = match under_way.get(&machine).copied() {
            Some(other) => vec![other],
            None if under_way.len() >= most => under_way.values().copied().collect(),
            None => {
                under_way.insert(machine, volume);
                return Ok(());
            }
        };
        Err(before.into_iter().map(|v| (Kind::Volume, v.0)).collect())
    }
}

/// A trim under way, until this is dropped.
pub(super) struct Turn<'a> {
    engine: &'a Engine,
    machine: MachineId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let ended = self.engine.0.trims.under_way().remove(&self.machine);
        if let Some(volume) = ended {
            self.engine.0.queue.settled((Kind::Volume, volume.0));
        }
    }
}

impl Engine {
    /// Begins a trim, or says of which volumes one has to come to its end first.
    pub(super) fn begin_trim(&self, machine: MachineId, volume: VolumeId) -> Result<Turn<'_>, Vec<Key>> {
        let most = (self.settings().workers / 2).clamp(1, MOST);
        self.0.trims.begin(machine, volume, most)?;
        Ok(Turn { engine: self, machine })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn one_in_each_machine_and_few_in_all() {
        let trims = Trims::default();
        let begin = |machine: u128, volume: u128| {
            trims.begin(MachineId(Uuid::from_u128(machine)), VolumeId(Uuid::from_u128(volume)), 2)
        };
        let key = |volume: u128| (Kind::Volume, Uuid::from_u128(volume));
        assert_eq!(begin(1, 10), Ok(()));
        assert_eq!(begin(1, 11), Err(vec![key(10)]));
        assert_eq!(begin(2, 20), Ok(()));
        assert_eq!(begin(3, 30), Err(vec![key(10), key(20)]));
        trims.under_way().remove(&MachineId(Uuid::from_u128(1)));
        assert_eq!(begin(3, 30), Ok(()));
        assert_eq!(begin(1, 11), Err(vec![key(20), key(30)]));
    }
}
