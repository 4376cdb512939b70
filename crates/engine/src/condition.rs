//! Conditions of a request: do it once, and only if nothing has changed.
//!
//! Invariant: both are checked in the transaction that accepts the request, so of a hundred retries
//! that race one is accepted, and no change slips in between look and act.

use crate::db::{Change, Rev};
use crate::store::Check;
use crate::{Engine, key};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use types::operation::Kind;
use types::{Code, Name, Operation, OperationId, Problem, Timestamp};
use uuid::Uuid;

/// How long a request is known as done.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What must hold for a request to be accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// It was not accepted before.
    pub once: Option<Once>,
    /// Its target's spec has this revision.
    pub if_match: Option<u64>,
}

/// Tells a request from others and a repetition from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Once {
    /// Whose, and which: ASCII without `/`.
    pub key: String,
    /// The same for requests that ask for the same.
    pub print: String,
}

/// What is kept of a request that was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    print: String,
    operation: Option<OperationId>,
    pub(crate) expires_at: Timestamp,
}

/// What there is to do about a request that may have been made before.
pub(crate) enum Before {
    /// It was, and this came of it.
    Operation(Box<Operation>),
    /// It was, and cannot be answered again.
    Answered,
    /// It was not; an expired mark may be in the way.
    No(Option<Rev<Done>>),
}

impl Engine {
    /// Whether the request was made before.
    ///
    /// # Errors
    /// `conflict` if its key was used for another request.
    pub(crate) fn made_before(&self) -> Result<Before, Problem> {
        let Some(once) = self.1.as_ref().and_then(|c| c.once.as_ref()) else { return Ok(Before::No(None)) };
        let Some(done) = self.0.db.get::<Done>(&key::once(&once.key))? else { return Ok(Before::No(None)) };
        if done.expires_at <= self.now() {
            return Ok(Before::No(Some(done)));
        }
        if done.print != once.print {
            return Err(Problem::new(Code::Conflict, "this Idempotency-Key was used for another request")
                .hint("use a new key for each request, and the same one only to repeat it"));
        }
        match done.operation {
            Some(id) => self.operation(id).map(|op| Before::Operation(Box::new(op))),
            None => Ok(Before::Answered),
        }
    }

    /// What came of this request, if it was accepted before.
    ///
    /// # Errors
    /// `conflict` if its key was used for another request.
    pub fn accepted_before(&self) -> Result<Option<Operation>, Problem> {
        match self.made_before()? {
            Before::Operation(operation) => Ok(Some(*operation)),
            Before::Answered => Err(Self::answered()),
            Before::No(_) => Ok(None),
        }
    }

    /// The refusal of a repeated request whose answer is kept nowhere.
    pub(crate) fn answered() -> Problem {
        Problem::new(Code::Conflict, "this request was carried out before, under the same Idempotency-Key")
            .hint("look at what there is; use a new key to do it again")
    }

    /// Marks the request as made.
    pub(crate) fn mark_made(
        &self,
        change: &mut Change,
        expired: Option<&Rev<Done>>,
        operation: Option<OperationId>,
    ) {
        let Some(once) = self.1.as_ref().and_then(|c| c.once.as_ref()) else { return };
        let expires_at = crate::plan::machine::after(self.now(), KEPT);
        let done = Done { print: once.print.clone(), operation, expires_at };
        match expired {
            Some(old) => change.update(old, &done),
            None => change.claim(key::once(&once.key), &done),
        };
    }

    /// The check of `If-Match` on what a request is about, if there is such a thing.
    ///
    /// # Errors
    /// `precondition-failed`.
    pub(crate) fn matching(&self, kind: Kind, id_or_name: &str) -> Result<Option<(String, Check)>, Problem> {
        let Some(wanted) = self.1.as_ref().and_then(|c| c.if_match) else { return Ok(None) };
        let id = match Uuid::parse_str(id_or_name) {
            Ok(id) => Some(id),
            Err(_) => match Name::new(id_or_name) {
                Ok(name) => self.0.db.get::<Uuid>(&key::name(kind, name.as_str()))?.map(|c| c.value),
                Err(_) => None,
            },
        };
        // What is not there is refused in its own words.
        let Some(id) = id else { return Ok(None) };
        let spec = key::spec(kind, id);
        match self.0.db.0.get(&spec)? {
            Some(entry) if entry.revision != wanted => Err(Problem::new(
                Code::PreconditionFailed,
                format!(
                    "{kind} \"{id_or_name}\" has changed: it has revision {}, not {wanted}",
                    entry.revision
                ),
            )
            .hint("look at it again, and ask with its new ETag if it is still wanted")),
            Some(_) => Ok(Some((spec, Check::RevisionIs(wanted)))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::sim::World;
    use types::Actor;
    use types::machine::DeployMachine;
    use types::volume::{CreateVolume, ResizeVolume};

    fn once(key: &str, print: &str) -> Conditions {
        Conditions { once: Some(Once { key: key.into(), print: print.into() }), if_match: None }
    }

    fn debian() -> DeployMachine {
        DeployMachine { image: Some("debian".into()), ..DeployMachine::default() }
    }

    #[test]
    fn of_many_retries_one_machine_comes() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let root = Actor("root".into());
        let ids: Vec<_> = std::thread::scope(|s| {
            let all: Vec<_> = (0..16)
                .map(|_| s.spawn(|| engine.under(once("k", "deploy")).deploy(&root, debian()).unwrap().id))
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(engine.machines().unwrap().len(), 1);
        let other = engine.under(once("k", "another")).deploy(&root, debian()).unwrap_err();
        assert_eq!(other.code, Code::Conflict);
        let came = |key, print| engine.under(once(key, print)).accepted_before();
        assert_eq!(came("k", "deploy").unwrap().map(|op| op.id), Some(ids[0]));
        assert_eq!(came("k", "another").unwrap_err().code, Code::Conflict);
        assert_eq!(came("k2", "deploy").unwrap(), None);
        assert_ne!(engine.under(once("k2", "deploy")).deploy(&root, debian()).unwrap().id, ids[0]);
        world.pass(25 * 3600 * 1000);
        assert_ne!(engine.under(once("k", "another")).deploy(&root, debian()).unwrap().id, ids[0]);
        assert_eq!(engine.machines().unwrap().len(), 3);
        world.pass(25 * 3600 * 1000);
        engine.housekeep().unwrap();
        assert!(engine.0.db.0.scan(key::ONCE, crate::store::Limit::All).unwrap().is_empty());
    }

    #[test]
    fn a_refusal_is_not_remembered() {
        let engine = World::new().boot(Settings::default()).unwrap();
        let root = Actor("root".into());
        let asked = CreateVolume {
            name: Some(Name::new("v").unwrap()),
            size_bytes: 1 << 30,
            ..CreateVolume::default()
        };
        let conditional = engine.under(once("k", "p"));
        engine.create_volume(&root, asked.clone()).unwrap();
        assert_eq!(conditional.create_volume(&root, asked.clone()).unwrap_err().code, Code::NameTaken);
        let other = CreateVolume { name: None, ..asked };
        conditional.create_volume(&root, other).unwrap();
    }

    #[test]
    fn what_has_changed_is_not_changed_again() {
        let engine = World::new().boot(Settings::default()).unwrap();
        let root = Actor("root".into());
        let asked = CreateVolume {
            name: Some(Name::new("v").unwrap()),
            size_bytes: 1 << 30,
            ..CreateVolume::default()
        };
        engine.create_volume(&root, asked).unwrap();
        let seen = engine.volume("v").unwrap().revision;
        let under = |revision| engine.under(Conditions { if_match: Some(revision), ..Conditions::default() });
        let larger = ResizeVolume { size_bytes: 2 << 30 };
        under(seen).resize_volume(&root, "v", larger.clone()).unwrap();
        // The status may move as it likes; only the spec counts.
        engine.run_until_idle(1000).unwrap();
        for again in ["v", &engine.volume("v").unwrap().id.to_string()] {
            let problem = under(seen).resize_volume(&root, again, larger.clone()).unwrap_err();
            assert_eq!(problem.code, Code::PreconditionFailed);
            assert_eq!(
                under(seen).delete_volume(&root, again, false).unwrap_err().code,
                Code::PreconditionFailed
            );
        }
        let now = engine.volume("v").unwrap().revision;
        under(now).delete_volume(&root, "v", false).unwrap();
    }
}
