//! The audit log: one line for every request that was refused or has ended.
//!
//! Invariant: a line is written in the transaction that ends its operation, and never changed.

use crate::db::Change;
use crate::store::Limit;
use crate::{Engine, key};
use types::operation::{HistoryEntry, OperationState, Outcome, Target};
use types::{Actor, Operation, Problem, Timestamp, Verb};
use uuid::Uuid;

/// The line of an operation that has ended; for one that has not, what it would be now.
pub fn line(id: Uuid, op: &Operation) -> HistoryEntry {
    let outcome = match op.state {
        OperationState::Running => Outcome::Running,
        OperationState::Succeeded => Outcome::Succeeded,
        OperationState::Failed => Outcome::Failed,
    };
    let span = |end: Timestamp| u64::try_from(end.millis() - op.created_at.millis()).unwrap_or(0);
    HistoryEntry {
        id,
        time: op.created_at,
        actor: op.actor.clone(),
        action: op.verb,
        target: op.target.clone(),
        outcome,
        problem: op.problem.clone(),
        warnings: op.warnings.clone(),
        duration_ms: op.ended_at.map(span),
        operation: Some(op.id),
    }
}

impl Engine {
    /// Records a request that was refused. A database that cannot take it does not change the
    /// refusal; it is said in the log.
    pub fn refused(&self, actor: &Actor, verb: Verb, target: Target, problem: &Problem) {
        let id = self.0.ports.clock.new_id();
        let entry = HistoryEntry {
            id,
            time: self.0.ports.clock.now(),
            actor: actor.clone(),
            action: verb,
            target,
            outcome: Outcome::Refused,
            problem: Some(problem.clone()),
            warnings: vec![],
            duration_ms: None,
            operation: None,
        };
        let mut change = Change::new(actor, None, verb);
        change.put(key::history(id), &entry);
        if let Err(e) = change.commit(&self.0.db) {
            tracing::error!(error = %e, %verb, "a refusal could not be recorded");
        }
    }

    /// The audit log, newest first, with the operations that are under way on top.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>, Problem> {
        let mut lines = Vec::new();
        for open in self.0.db.scan::<types::OperationId>(key::OPEN, Limit::All)? {
            if let Some(op) = self.0.db.get::<Operation>(&key::operation(open.value))? {
                lines.push(line(op.id.0, &op.value));
            }
        }
        for entry in self.0.db.scan::<HistoryEntry>(key::HISTORY, Limit::Last(limit))? {
            // It may have ended between the two scans.
            if !lines.iter().any(|l| l.operation.is_some() && l.operation == entry.value.operation) {
                lines.push(entry.value);
            }
        }
        lines.sort_by_key(|l| std::cmp::Reverse((l.time, l.id)));
        lines.truncate(limit);
        Ok(lines)
    }
}
