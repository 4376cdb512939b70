//! Admission: what can be seen to be impossible is refused before anything is written.
//!
//! Invariant: a request is decided on what was read, and what was read is checked in the one
//! transaction that accepts it; a refused request leaves a line in the history and nothing else.

mod copy;
mod edit;
mod export;
mod host;
mod image;
mod import;
pub(crate) mod machine;
mod moving;
mod network;
mod pool;
mod reset;
mod restore;
mod snapshot;
mod volume;

pub use export::{Export, Reading};
pub use import::Expected;
pub(crate) use machine::{
    FIRST_UID, UIDS, abandon as abandon_machine, forget as forget_machine, mount, release as release_machine,
};
pub(crate) use network::DEFAULT as DEFAULT_NETWORK;
pub(crate) use restore::{go_for_good, restorable};
pub(crate) use snapshot::going_snapshot;
pub(crate) use types::pool::DEFAULT_POOL;
pub(crate) use volume::{mark_deleting, no_guest_to_trim};

use crate::condition::Before;
use crate::db::Change;
use crate::store::StoreError;
use crate::{Engine, key};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use types::operation::{Kind, OperationState, Target};
use types::{Actor, Code, Name, Operation, OperationId, Problem, Verb};
use uuid::Uuid;

/// How often a request is decided anew because what it was decided on has changed. Every conflict
/// means that somebody else's change went through, so this bounds unfairness, not progress.
const TRIES: usize = 200;

/// An accepted request before it is committed.
pub(crate) struct Draft {
    pub change: Change,
    pub operation: Operation,
    /// Bytes that what it makes takes at once, by pool.
    pub needs: BTreeMap<String, u64>,
}

impl Draft {
    /// Touches one more resource.
    pub fn touch(&mut self, kind: Kind, id: Uuid, name: &str) {
        let target = Target { kind, id: Some(id), name: name.to_owned() };
        if !self.operation.resources.contains(&target) {
            self.operation.resources.push(target);
        }
    }

    /// Something to be known, once.
    pub fn warn(&mut self, warning: String) {
        if !self.operation.warnings.contains(&warning) {
            self.operation.warnings.push(warning);
        }
    }

    /// The request is about this resource, at this generation of its spec.
    pub fn about(&mut self, kind: Kind, id: Uuid, name: &str, generation: u64) {
        self.operation.target = Target { kind, id: Some(id), name: name.to_owned() };
        self.operation.generation = generation;
        self.touch(kind, id, name);
    }
}

impl Engine {
    /// Decides and commits a request, again if it raced with others.
    fn admit(
        &self,
        actor: &Actor,
        verb: Verb,
        (kind, name): (Kind, &str),
        decide: impl Fn(&mut Draft) -> Result<(), Problem>,
    ) -> Result<Operation, Problem> {
        let mut outcome = Err(StoreError::Conflict(name.to_owned()).into());
        for _ in 0..TRIES {
            if self.0.ending.load(Ordering::Relaxed) {
                outcome = Err(Problem::new(Code::ShuttingDown, "the daemon is ending and takes no changes")
                    .hint("ask again once it is back; machines go on running meanwhile"));
                break;
            }
            outcome = match self.try_admit(actor, verb, (kind, name), &decide) {
                Ok(Ok(op)) => Ok(op),
                Ok(Err(StoreError::Conflict(_))) => continue,
                Ok(Err(other)) => Err(other.into()),
                Err(problem) => Err(problem),
            };
            break;
        }
        match &outcome {
            Ok(op) => {
                self.0.live.changed(op);
                for r in &op.resources {
                    if let Some(id) = r.id {
                        self.wake(r.kind, id);
                    }
                }
            }
            Err(problem) => {
                // Names in refused requests are whatever was typed: keep the record small.
                let name = name.chars().take(128).collect();
                self.refused(actor, verb, Target { kind, id: None, name }, problem);
            }
        }
        outcome
    }

    fn try_admit(
        &self,
        actor: &Actor,
        verb: Verb,
        (kind, name): (Kind, &str),
        decide: &impl Fn(&mut Draft) -> Result<(), Problem>,
    ) -> Result<Result<Operation, StoreError>, Problem> {
        let expired = match self.made_before()? {
            Before::Operation(op) => return Ok(Ok(*op)),
            Before::Answered => return Err(Self::answered()),
            Before::No(expired) => expired,
        };
        let matching = self.matching(kind, name)?;
        let id = OperationId(self.0.ports.clock.new_id());
        let mut draft = Draft {
            change: Change::new(actor, Some(id), verb),
            operation: Operation {
                id,
                verb,
                actor: actor.clone(),
                target: Target { kind, id: None, name: name.to_owned() },
                resources: vec![],
                generation: 0,
                state: OperationState::Running,
                problem: None,
                warnings: vec![],
                progress: None,
                restorable_until: None,
                created_at: self.0.ports.clock.now(),
                trimmed_bytes: None,
                ended_at: None,
            },
            needs: BTreeMap::new(),
        };
        decide(&mut draft)?;
        let Draft { mut change, operation, .. } = draft;
        let target = operation.target.id.expect("a decided request is about something");
        if let Some((key, check)) = matching {
            change.check(key, check);
        }
        self.mark_made(&mut change, expired.as_ref(), Some(id));
        change.put(key::operation(id), &operation);
        change.put(key::open(operation.target.kind, target, id), &id);
        let committed = crate::sum::commit_if(change, &self.0.db, |pool, have, new| {
            self.within_overcommit(pool, have, new)
        })?;
        Ok(committed.map(|_| {
            let Target { kind, name, .. } = &operation.target;
            // Within the request's span: this line is what ties the two together.
            tracing::info!(operation = %id, %verb, %kind, resource = %target, %name, %actor, "accepted");
            operation
        }))
    }
}

impl Engine {
    /// Claims a name in a draft.
    fn take_name(&self, draft: &mut Draft, kind: Kind, name: &Name, id: Uuid) -> Result<(), Problem> {
        let claim = key::name(kind, name.as_str());
        if self.0.db.0.get(&claim)?.is_some() {
            return Err(taken(kind, name.as_str()));
        }
        draft.change.claim(claim, &id);
        Ok(())
    }
}

/// The refusal of a name that is in use.
fn taken(kind: Kind, name: &str) -> Problem {
    Problem::new(Code::NameTaken, format!("there is a {kind} \"{name}\" already"))
        .hint(format!("choose another name, or see `sistemo {kind} show {name}`"))
}

/// A made-up name: `prefix-xxxx`.
pub(crate) fn made_up(prefix: &str, id: Uuid) -> String {
    let tail = id.simple().to_string();
    format!("{prefix}-{}", &tail[tail.len() - 5..])
}
