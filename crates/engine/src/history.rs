//! The audit log: one line for every request that was refused or has ended.
//!
//! Invariant: a line is written in the transaction that ends its operation, and never changed.

use crate::db::{Change, Take};
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
        let mut change = Change::new(actor, None, verb);
        let entry = self.entry(actor.clone(), verb, target, Outcome::Refused);
        let entry = HistoryEntry { problem: Some(problem.clone()), ..entry };
        change.put(key::history(entry.id), &entry);
        if let Err(e) = change.commit(&self.0.db) {
            tracing::error!(error = %e, %verb, "a refusal could not be recorded");
        }
    }

    /// Writes into a change what it does without being asked, and why.
    pub(crate) fn note(&self, change: &mut Change, verb: Verb, target: Target, why: String) {
        let entry = self.entry(Actor::system(), verb, target, Outcome::Succeeded);
        let entry = HistoryEntry { warnings: vec![why], ..entry };
        change.put(key::history(entry.id), &entry);
    }

    /// A line of now, of no operation.
    fn entry(&self, actor: Actor, action: Verb, target: Target, outcome: Outcome) -> HistoryEntry {
        HistoryEntry {
            id: self.0.ports.clock.new_id(),
            time: self.0.ports.clock.now(),
            actor,
            action,
            target,
            outcome,
            problem: None,
            warnings: vec![],
            duration_ms: None,
            operation: None,
        }
    }

    /// The audit log, newest first, with the operations that are under way on top.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryEntry>, Problem> {
        let mut lines = Vec::new();
        // Those under way belong to the first page.
        if query.before.is_none() {
            for open in self.0.db.scan::<types::OperationId>(key::OPEN, Limit::All)? {
                if let Some(op) = self.0.db.get::<Operation>(&key::operation(open.value))? {
                    lines.push(line(op.id.0, &op.value));
                }
            }
        }
        lines.retain(|l| query.wants(l));
        let found = self.0.db.newest::<HistoryEntry>(
            key::HISTORY,
            query.before.map(key::history),
            query.limit,
            |_, line| match query.after {
                Some(after) if line.id <= after => Take::Stop,
                _ if query.wants(line) => Take::Yes,
                _ => Take::No,
            },
        )?;
        for entry in found {
            // It may have ended between the two scans.
            lines.retain(|l| l.operation.is_none() || l.operation != entry.value.operation);
            lines.push(entry.value);
        }
        // Before they are put in order: the next page goes on after the last one here.
        lines.truncate(query.limit);
        lines.sort_by_key(|l| std::cmp::Reverse((l.time, l.id)));
        Ok(lines)
    }
}

/// Which lines of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// At most so many.
    pub limit: usize,
    /// Older than this line.
    pub before: Option<Uuid>,
    /// Newer than this line.
    pub after: Option<Uuid>,
    /// Asked at this time or later.
    pub since: Option<Timestamp>,
    /// What was asked: a verb, or the beginning of some up to a dot.
    pub action: Option<String>,
    /// The id or name of what it is about.
    pub target: Option<String>,
    /// Who asked, with or without their address.
    pub actor: Option<String>,
    /// Only what was refused or failed.
    pub failed: bool,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self {
            limit: 50,
            before: None,
            after: None,
            since: None,
            action: None,
            target: None,
            actor: None,
            failed: false,
        }
    }
}

impl HistoryQuery {
    fn wants(&self, line: &HistoryEntry) -> bool {
        let begins = |whole: &str, part: &str, at: char| {
            whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(at))
        };
        let is_target =
            |t: &String| line.target.name == *t || line.target.id.is_some_and(|id| id.to_string() == *t);
        self.since.is_none_or(|since| line.time >= since)
            && self.action.as_ref().is_none_or(|a| begins(&line.action.to_string(), a, '.'))
            && self.target.as_ref().is_none_or(is_target)
            && self.actor.as_ref().is_none_or(|a| begins(&line.actor.0, a, '@'))
            && (!self.failed || matches!(line.outcome, Outcome::Failed | Outcome::Refused))
    }
}
