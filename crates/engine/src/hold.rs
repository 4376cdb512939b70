//! Holding a volume still while it is read.
//!
//! Invariant: a hold is taken in the transaction that accepts what reads, and let go in the one that
//! records that reading is over, so a crash leaves neither a reader without a hold nor a hold
//! without a reader. Whoever begins a run, grows or removes a volume does so in a transaction that
//! checks that nobody holds it.

use crate::db::{Change, Rev};
use crate::run::queue::Key;
use crate::store::Check;
use crate::{Engine, key};
use types::{Code, Name, Problem};
use uuid::Uuid;

impl Engine {
    fn hold_of(&self, what: Uuid) -> Result<Option<Rev<Vec<Key>>>, Problem> {
        self.0.db.get::<Vec<Key>>(&key::hold(what))
    }

    /// Whether `by` holds `what`.
    pub(crate) fn is_held_by(&self, what: Uuid, by: Key) -> Result<bool, Problem> {
        Ok(self.hold_of(what)?.is_some_and(|hold| hold.value.contains(&by)))
    }

    /// Who reads `what`, if anybody does; the change then holds only while that stays so.
    pub(crate) fn readers(&self, change: &mut Change, what: Uuid) -> Result<Vec<Key>, Problem> {
        match self.hold_of(what)? {
            Some(hold) => {
                change.on(&hold);
                Ok(hold.value)
            }
            None => {
                change.check(key::hold(what), Check::Absent);
                Ok(vec![])
            }
        }
    }

    /// Takes a hold.
    pub(crate) fn take_hold(&self, change: &mut Change, what: Uuid, by: Key) -> Result<(), Problem> {
        self.take_holds(change, what, &[by])
    }

    /// Takes several holds of the same.
    pub(crate) fn take_holds(&self, change: &mut Change, what: Uuid, by: &[Key]) -> Result<(), Problem> {
        let mut readers = self.readers(change, what)?;
        readers.extend(by);
        change.put(key::hold(what), &readers);
        Ok(())
    }

    /// Lets a hold go, if it is held.
    pub(crate) fn release_hold(&self, change: &mut Change, what: Uuid, by: Key) -> Result<(), Problem> {
        let mut readers = self.readers(change, what)?;
        readers.retain(|reader| *reader != by);
        if readers.is_empty() {
            change.delete(key::hold(what));
        } else {
            change.put(key::hold(what), &readers);
        }
        Ok(())
    }

    /// Refuses a volume that somebody reads; else the change holds only while nobody does.
    pub(crate) fn refuse_held(&self, change: &mut Change, what: Uuid, name: &Name) -> Result<(), Problem> {
        match self.readers(change, what)?.first() {
            None => Ok(()),
            Some(_) => Err(held(name)),
        }
    }
}

/// The refusal of a volume that is being read.
pub(crate) fn held(name: &Name) -> Problem {
    Problem::new(Code::Busy, format!("volume \"{name}\" is being copied"))
        .hint("`sistemo operation list` shows how far that is; try again once it has ended")
}
