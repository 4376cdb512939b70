//! Requests about this host: its end, and that it was called off.
//!
//! Invariant: the end of the host changes nothing of what is wanted of a machine. It is one mark that
//! holds for one boot of the host, so the next boot is without it, whatever happens in between.

use super::Draft;
use crate::db::{Change, Rev};
use crate::store::Limit;
use crate::{Engine, key};
use serde::{Deserialize, Serialize};
use types::operation::Kind;
use types::{Actor, Code, Operation, Problem, Verb};
use uuid::Uuid;

/// Whether a host is shutting down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Halting {
    /// The host's id, for operations about it.
    pub id: Uuid,
    /// The boot that is ending; `None` if it was called off.
    pub host_boot: Option<String>,
}

impl Engine {
    /// Accepts the end of the host: every guest is asked to shut down, and nothing is started until
    /// the next boot or until it is called off. Which machines shall run stays as it is. Ends once no
    /// machine runs.
    ///
    /// # Errors
    /// `shutting-down`, `database-failed`.
    pub fn shut_down_host(&self, actor: &Actor) -> Result<Operation, Problem> {
        self.mark_host(actor, Verb::HostShutdown, Some(self.0.ports.clock.host_boot()))
    }

    /// Accepts that the host does not end after all: machines that were held back run again.
    ///
    /// # Errors
    /// `shutting-down`, `database-failed`.
    pub fn resume_host(&self, actor: &Actor) -> Result<Operation, Problem> {
        self.mark_host(actor, Verb::HostResume, None)
    }

    /// Whether this host is shutting down.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn halting(&self) -> Result<bool, Problem> {
        Ok(self.mark()?.is_some_and(|mark| self.holds(&mark)))
    }

    /// The same, for a change that holds only while this is so.
    pub(crate) fn read_halting(&self, change: &mut Change) -> Result<bool, Problem> {
        match self.mark()? {
            Some(mark) => {
                change.on(&mark);
                Ok(self.holds(&mark))
            }
            None => {
                change.absent(key::halting(&self.settings().node));
                Ok(false)
            }
        }
    }

    /// The mark, whatever it says.
    pub(crate) fn mark(&self) -> Result<Option<Rev<Halting>>, Problem> {
        self.0.db.get(&key::halting(&self.settings().node))
    }

    /// Whether a mark is of the present boot.
    pub(crate) fn holds(&self, mark: &Halting) -> bool {
        mark.host_boot.as_ref() == Some(&self.0.ports.clock.host_boot())
    }

    /// Refuses what would run a machine while the host is shutting down.
    pub(super) fn refuse_halting(&self, draft: &mut Draft) -> Result<(), Problem> {
        if !self.read_halting(&mut draft.change)? {
            return Ok(());
        }
        Err(Problem::new(Code::HostHalting, "the host is shutting down and starts no machines")
            .hint("ask again once it is back; `sistemo host resume` calls its end off"))
    }

    fn mark_host(&self, actor: &Actor, verb: Verb, host_boot: Option<String>) -> Result<Operation, Problem> {
        let node = self.settings().node.clone();
        let accepted = self.admit(actor, verb, (Kind::Node, &node), |draft| {
            let read = self.mark()?;
            let id = read.as_ref().map_or_else(|| self.0.ports.clock.new_id(), |mark| mark.id);
            let new = Halting { id, host_boot: host_boot.clone() };
            match &read {
                Some(mark) => draft.change.update(mark, &new),
                None => draft.change.claim(key::halting(&node), &new),
            };
            draft.about(Kind::Node, id, &node, 0);
            Ok(())
        })?;
        // Whoever is not woken here is looked at by the next pass.
        for e in self.0.db.0.scan(&key::all(Kind::Machine), Limit::All).unwrap_or_default() {
            if let Some((_, id)) = key::id_of(&e.key, "spec") {
                self.wake(Kind::Machine, id);
            }
        }
        Ok(accepted)
    }
}
