//! How operations end.
//!
//! Invariant: an operation ends in the transaction that records the state it waited for, together
//! with its line in the history; it ends once.

use super::Broken;
use crate::db::Change;
use crate::store::Limit;
use crate::{Engine, history, key};
use types::operation::{Kind, OperationState, Target};
use types::{Operation, OperationId, Problem, Verb};
use uuid::Uuid;

/// At most so many operations end in one transaction: each takes three of its writes, and a
/// transaction holds 128.
const BATCH: usize = 25;

/// How one operation ends.
pub(super) struct Ending {
    /// Why it failed, if it did.
    pub problem: Option<Problem>,
    /// What went differently than hoped.
    pub warnings: Vec<String>,
    /// What a trim gave back, in bytes.
    pub trimmed_bytes: Option<u64>,
}

impl Ending {
    /// It went as asked.
    pub fn well() -> Self {
        Self { problem: None, warnings: vec![], trimmed_bytes: None }
    }

    /// It failed.
    pub fn failed(problem: Problem) -> Self {
        Self { problem: Some(problem), ..Self::well() }
    }

    /// It went as asked, and these things are to be known.
    pub fn with(warnings: Vec<String>) -> Self {
        Self { warnings, ..Self::well() }
    }
}

impl Engine {
    /// The operations on a resource that have not ended, oldest first.
    pub(super) fn open_operations(
        &self,
        kind: Kind,
        id: Uuid,
    ) -> Result<Vec<crate::db::Rev<Operation>>, Problem> {
        let mut out = Vec::new();
        for open in self.0.db.scan::<OperationId>(&key::opens(kind, id), Limit::All)? {
            if let Some(op) = self.0.db.get::<Operation>(&key::operation(open.value))? {
                out.push(op);
            }
        }
        Ok(out)
    }

    /// Commits `change`, and with it the end of every open operation for which `ending` has one.
    /// Reading ends when its reader does, whatever becomes of what is read.
    pub(super) fn commit_and_close(
        &self,
        change: Change,
        kind: Kind,
        id: Uuid,
        ending: impl Fn(&Operation) -> Option<Ending>,
    ) -> Result<(), Broken> {
        self.close(change, kind, id, |op| (op.verb != Verb::VolumeExport).then(|| ending(op))?)
    }

    /// As [`Engine::commit_and_close`], of operations of any verb.
    pub(super) fn close(
        &self,
        mut change: Change,
        kind: Kind,
        id: Uuid,
        ending: impl Fn(&Operation) -> Option<Ending>,
    ) -> Result<(), Broken> {
        let mut ended = Vec::new();
        for read in self.open_operations(kind, id)? {
            let Some(end) = ending(&read.value) else { continue };
            let mut op = read.value.clone();
            op.state = match end.problem {
                Some(_) => OperationState::Failed,
                None => OperationState::Succeeded,
            };
            op.problem = end.problem;
            op.warnings.extend(end.warnings);
            op.trimmed_bytes = end.trimmed_bytes;
            op.ended_at = Some(self.0.ports.clock.now());
            let line = self.0.ports.clock.new_id();
            change.update(&read, &op);
            change.delete(key::open(kind, id, op.id));
            change.put(key::history(line), &history::line(line, &op));
            ended.push(op);
            if ended.len() % BATCH == 0 {
                let full = std::mem::replace(&mut change, Change::system());
                full.commit(&self.0.db)?;
            }
        }
        if !change.is_empty() {
            change.commit(&self.0.db)?;
        }
        for op in &ended {
            self.0.live.changed(op);
            tell(op);
        }
        Ok(())
    }
}

/// Says in the log that an operation has ended, and how.
fn tell(op: &Operation) {
    let Target { kind, id, name } = &op.target;
    let (operation, verb, outcome) = (op.id, op.verb, op.state);
    let (resource, ms) = (id.unwrap_or_default(), history::took(op).unwrap_or_default());
    match &op.problem {
        None => tracing::info!(%operation, %verb, %kind, %resource, %name, %outcome, ms, "ended"),
        Some(why) => {
            let code = why.code;
            tracing::info!(%operation, %verb, %kind, %resource, %name, %outcome, ms, %code, "ended: {why}");
        }
    }
}
