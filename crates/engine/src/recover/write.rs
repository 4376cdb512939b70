//! Writing what was decided, so that a kill anywhere leaves something to be repeated.
//!
//! Invariant: the first transaction sets a mark and the last one takes it away; every one in between
//! holds only while the mark is there, and no engine opens a store that has it. Records of a store
//! without the mark are never touched.

use super::{Group, Recovery};
use crate::db::{REBUILD, encode};
use crate::key;
use crate::store::{Cause, Check, Limit, MAX_OPS, Store, StoreError, Txn};
use std::collections::HashSet;
use types::operation::{HistoryEntry, Kind, Outcome as Ended, Target};
use types::{Actor, Code, Problem, Timestamp, Verb};
use uuid::Uuid;

/// Bytes of one transaction: far from the limit, since keys count too.
const MAX_BYTES: usize = 512 << 10;
/// What is written anew, and so removed first.
const RECORDS: &[&str] =
    &["machine/", "volume/", "snapshot/", "image/", "network/", "claim/", key::HOLDS, key::UNCLEAN];

/// What a store holds, as far as a recovery cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No machine, volume or image.
    Empty,
    /// A recovery of it has begun and not ended.
    HalfDone,
    /// Records that a recovery must not touch.
    Records,
}

/// What the store holds.
///
/// # Errors
/// See [`Store::get`].
pub fn state(store: &dyn Store) -> Result<State, StoreError> {
    if store.get(key::RECOVERY)?.is_some() {
        return Ok(State::HalfDone);
    }
    for kind in [Kind::Machine, Kind::Volume, Kind::Snapshot, Kind::Image] {
        if !store.scan(&key::all(kind), Limit::Last(1))?.is_empty() {
            return Ok(State::Records);
        }
    }
    Ok(State::Empty)
}

/// Refuses a store in which a recovery has begun and not ended.
pub(crate) fn refuse_half(store: &dyn Store) -> Result<(), Problem> {
    match store.get(key::RECOVERY)? {
        None => Ok(()),
        Some(_) => {
            Err(Problem::new(Code::DatabaseFailed, "a recovery of the database has begun and not ended")
                .hint("`sistemo recover` again ends it"))
        }
    }
}

/// The refusal to write over records.
pub fn healthy() -> Problem {
    Problem::new(Code::Conflict, "the database is whole and has machines, volumes or images in it")
        .hint("nothing has to be recovered; to rebuild it all the same, move sistemo.db away first")
}

/// Writes a recovery into a store that is empty or half recovered.
///
/// # Errors
/// `conflict` if the store has records; `database-failed`.
pub fn write(store: &dyn Store, recovery: &Recovery, actor: &Actor, now: Timestamp) -> Result<(), Problem> {
    let (mark, began) = match store.get(key::RECOVERY)? {
        Some(entry) => (entry.revision, serde_json::from_slice::<Timestamp>(&entry.value).unwrap_or(now)),
        None if state(store)? == State::Records => return Err(healthy()),
        None => {
            let mut first = txn(actor, Check::Absent);
            first.puts.push((key::RECOVERY.into(), encode(&now)));
            (store.commit(first)?, now)
        }
    };
    let marked = || txn(actor, Check::RevisionIs(mark));
    for prefix in RECORDS {
        let keys: Vec<String> = store.scan(prefix, Limit::All)?.into_iter().map(|e| e.key).collect();
        for some in keys.chunks(MAX_OPS) {
            store.commit(Txn { deletes: some.to_vec(), ..marked() })?;
        }
    }
    let mut taken = HashSet::new();
    let lines = recovery.restored.iter().map(|r| line(r, actor, began, &mut taken));
    let groups = recovery.groups.iter().cloned().chain(lines);
    for puts in packed(groups) {
        store.commit(Txn { puts, ..marked() })?;
    }
    store.commit(Txn { deletes: vec![key::RECOVERY.into()], ..marked() })?;
    Ok(())
}

fn txn(actor: &Actor, mark: Check) -> Txn {
    let cause = Cause { actor: actor.clone(), operation: None, verb: Verb::Recover };
    Txn { checks: vec![(key::RECOVERY.into(), mark)], puts: vec![], deletes: vec![], cause }
}

/// Groups put together, as many as fit into each transaction; no group is split.
fn packed(groups: impl Iterator<Item = Group>) -> Vec<Group> {
    let size = |g: &Group| g.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let mut all: Vec<(Group, usize)> = vec![];
    for group in groups.filter(|g| !g.is_empty()) {
        let bytes = size(&group);
        match all.last_mut() {
            Some((last, have)) if last.len() + group.len() <= MAX_OPS && *have + bytes <= MAX_BYTES => {
                last.extend(group);
                *have += bytes;
            }
            _ => all.push((group, bytes)),
        }
    }
    all.into_iter().map(|(group, _)| group).collect()
}

/// A line of the audit log. Its id follows from when the recovery began, so that a repetition
/// writes the same line again. Ids that end alike are told apart by their order.
fn line(restored: &super::Restored, actor: &Actor, began: Timestamp, taken: &mut HashSet<u128>) -> Group {
    let ms = u128::from(began.millis().unsigned_abs()) & ((1 << 48) - 1);
    let mut tail = restored.id.as_u128() & ((1 << 62) - 1);
    while !taken.insert(tail) {
        tail = (tail + 1) & ((1 << 62) - 1);
    }
    let id = Uuid::from_u128((ms << 80) | (7 << 76) | (2 << 62) | tail);
    let entry = HistoryEntry {
        id,
        time: began,
        actor: actor.clone(),
        action: Verb::Recover,
        target: Target { kind: restored.kind, id: Some(restored.id), name: restored.name.to_string() },
        outcome: Ended::Succeeded,
        problem: None,
        warnings: restored.notes.clone(),
        duration_ms: None,
        operation: None,
    };
    vec![(key::history(id), encode(&entry))]
}

/// The refusal to begin anew beside what a data directory has.
pub fn absent(place: &str) -> Problem {
    Problem::new(Code::DatabaseFailed, format!("there is no database in {place}, but machines or volumes"))
        .hint(REBUILD)
}
