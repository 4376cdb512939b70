//! Tokens, users and sessions: what is kept of them, and how that changes.
//!
//! Invariant: what is kept opens nothing: of a token or session only a hash, of a password only
//! what argon2id made of it. Every change is in the transaction that writes its line in the
//! history, and every change moves [`Engine::access_epoch`], so that nobody trusts an old answer.

mod token;
mod user;

pub use token::TokenRecord;
pub use user::{SessionRecord, UserRecord};

use crate::condition::Before;
use crate::db::Change;
use crate::store::StoreError;
use crate::{Engine, key};
use std::sync::atomic::Ordering;
use types::operation::{Kind, Target};
use types::{Actor, Code, Problem, Verb};
use uuid::Uuid;

/// How often a change is decided anew because what it was decided on has changed.
const TRIES: usize = 50;

impl Engine {
    /// Moves with every change of tokens, users or sessions.
    pub fn access_epoch(&self) -> u64 {
        self.0.access_epoch.load(Ordering::Acquire)
    }

    /// Decides and commits a change of who may do what, with its line in the history.
    fn settle<T>(
        &self,
        actor: &Actor,
        verb: Verb,
        (kind, name): (Kind, &str),
        decide: impl Fn(&mut Change) -> Result<(Option<Uuid>, T), Problem>,
    ) -> Result<T, Problem> {
        let mut outcome = Err(StoreError::Conflict(name.to_owned()).into());
        for _ in 0..TRIES {
            let mut change = Change::new(actor, None, verb);
            let decided = self.made_before().and_then(|before| match before {
                Before::No(expired) => Ok((expired, decide(&mut change)?)),
                _ => Err(Self::answered()),
            });
            let committed = decided.map(|(expired, (id, made))| {
                self.mark_made(&mut change, expired.as_ref(), None);
                let line = self.line(actor, verb, Target { kind, id, name: name.to_owned() }, None);
                change.put(key::history(line.id), &line);
                (change.commit(&self.0.db), made)
            });
            outcome = match committed {
                Ok((Ok(_), made)) => Ok(made),
                Ok((Err(StoreError::Conflict(_)), _)) => continue,
                Ok((Err(other), _)) => Err(other.into()),
                Err(problem) => Err(problem),
            };
            break;
        }
        // Also after a failure: it is not known then whether the store took it.
        self.0.access_epoch.fetch_add(1, Ordering::AcqRel);
        if let Err(problem) = &outcome {
            let name = name.chars().take(128).collect();
            self.refused(actor, verb, Target { kind, id: None, name }, problem);
        }
        outcome
    }

    /// Records that something was used that leaves no other trace.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn used(&self, actor: &Actor, verb: Verb, target: Target) -> Result<(), Problem> {
        let line = self.line(actor, verb, target, None);
        let mut change = Change::new(actor, None, verb);
        change.put(key::history(line.id), &line);
        change.commit(&self.0.db)?;
        Ok(())
    }
}

/// The refusal of a name that is in use.
fn taken(kind: Kind, name: &str) -> Problem {
    Problem::new(Code::NameTaken, format!("there is a {kind} \"{name}\" already"))
        .hint(format!("choose another name; `sistemo {kind} list` shows what there is"))
}
