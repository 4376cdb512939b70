//! What is known of operations between two transactions: progress, and who wants to hear of it.
//!
//! Invariant: nothing here is truth. Losing all of it loses no more than a progress bar.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::operation::{Kind, OperationState, Progress};
use types::{Operation, OperationId};
use uuid::Uuid;

/// Told of every change of an operation, progress included. Must not block.
pub type OnOperation = Arc<dyn Fn(&Operation) + Send + Sync>;

#[derive(Default)]
struct State {
    open: HashMap<OperationId, Operation>,
    /// The open ones by what they touch, oldest first.
    touching: HashMap<(Kind, Uuid), BTreeSet<OperationId>>,
    /// Ended before anybody was told that they were accepted: a worker can be that quick.
    early: HashSet<OperationId>,
    listeners: Vec<OnOperation>,
}

impl State {
    fn add(&mut self, op: &Operation) {
        for touched in touched(op) {
            self.touching.entry(touched).or_default().insert(op.id);
        }
        self.open.insert(op.id, op.clone());
    }

    /// Whether it was there.
    fn remove(&mut self, id: OperationId) -> bool {
        let Some(op) = self.open.remove(&id) else { return false };
        for touched in touched(&op) {
            let Some(ids) = self.touching.get_mut(&touched) else { continue };
            ids.remove(&id);
            if ids.is_empty() {
                self.touching.remove(&touched);
            }
        }
        true
    }
}

fn touched(op: &Operation) -> impl Iterator<Item = (Kind, Uuid)> {
    op.resources.iter().filter_map(|target| Some((target.kind, target.id?)))
}

/// The operations that have not ended, as far as this process knows.
#[derive(Default)]
pub struct Live(Mutex<State>, Condvar);

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a listener, for good.
    pub fn listen(&self, f: OnOperation) {
        self.state().listeners.push(f);
    }

    /// An operation was accepted, changed or ended.
    pub fn changed(&self, op: &Operation) {
        let mut s = self.state();
        if op.state == OperationState::Running {
            if s.early.remove(&op.id) {
                return;
            }
            s.add(op);
        } else {
            if !s.remove(op.id) {
                s.early.insert(op.id);
            }
            self.1.notify_all();
        }
        let listeners = s.listeners.clone();
        drop(s);
        for l in listeners {
            l(op);
        }
    }

    /// Waits until none is open, or for `at_most`; whether it came to that.
    pub fn idle_within(&self, at_most: Duration) -> bool {
        let busy = |s: &mut State| !s.open.is_empty();
        let waited = self.1.wait_timeout_while(self.state(), at_most, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Something that operations wait for got further.
    pub fn progress(&self, kind: Kind, id: Uuid, progress: &Progress) {
        let mut s = self.state();
        let mut told = Vec::new();
        for op in s.open.values_mut() {
            if op.resources.iter().any(|t| t.kind == kind && t.id == Some(id)) {
                op.progress = Some(progress.clone());
                told.push(op.clone());
            }
        }
        let listeners = s.listeners.clone();
        drop(s);
        for op in &told {
            for l in &listeners {
                l(op);
            }
        }
    }

    /// The oldest operations that touch a resource, at most so many. What is open is not gone through.
    pub fn touching(&self, kind: Kind, id: Uuid, at_most: usize) -> Vec<OperationId> {
        let s = self.state();
        s.touching.get(&(kind, id)).into_iter().flatten().take(at_most).copied().collect()
    }

    /// The last progress of an operation.
    pub fn progress_of(&self, id: OperationId) -> Option<Progress> {
        self.state().open.get(&id).and_then(|op| op.progress.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::operation::Target;
    use types::{Actor, Timestamp, Verb};

    fn operation(n: u128, state: OperationState, resources: Vec<Target>) -> Operation {
        Operation {
            id: OperationId(Uuid::from_u128(n)),
            verb: Verb::VolumeCreate,
            actor: Actor::system(),
            target: Target { kind: Kind::Volume, id: None, name: "v".into() },
            resources,
            generation: 1,
            state,
            problem: None,
            warnings: vec![],
            progress: None,
            restorable_until: None,
            created_at: Timestamp::from_millis(0),
            trimmed_bytes: None,
            ended_at: None,
        }
    }

    #[test]
    fn an_end_that_is_told_first_is_the_end() {
        let live = Live::default();
        let mut op = operation(1, OperationState::Succeeded, vec![]);
        live.changed(&op);
        op.state = OperationState::Running;
        live.changed(&op);
        assert!(live.idle_within(Duration::ZERO));
        live.changed(&op);
        assert!(!live.idle_within(Duration::ZERO));
        op.state = OperationState::Failed;
        live.changed(&op);
        assert!(live.idle_within(Duration::ZERO));
    }

    #[test]
    fn what_touches_a_resource_is_known_until_it_ends() {
        let live = Live::default();
        let target = Target { kind: Kind::Volume, id: Some(Uuid::from_u128(7)), name: "v".into() };
        let mut ops = [2, 1].map(|n| operation(n, OperationState::Running, vec![target.clone()]));
        ops.iter().for_each(|op| live.changed(op));
        let touching = |at_most| live.touching(Kind::Volume, Uuid::from_u128(7), at_most);
        assert_eq!(touching(9), [ops[1].id, ops[0].id], "the oldest first");
        assert_eq!(touching(1), [ops[1].id]);
        assert!(live.touching(Kind::Machine, Uuid::from_u128(7), 9).is_empty());
        for op in &mut ops {
            op.state = OperationState::Succeeded;
            live.changed(op);
        }
        assert!(touching(9).is_empty());
    }
}
