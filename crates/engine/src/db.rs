//! Typed reading and writing of the store.
//!
//! Invariant: what a transaction was decided on is checked in it ([`Change::on`],
//! [`Change::absent`]); nothing is written on the strength of an unchecked read.

use crate::key;
use crate::store::{Cause, Check, Limit, Store, StoreError, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use types::image::{ImageSpec, ImageStatus};
use types::machine::{MachineSpec, MachineStatus};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::pool::{PoolSpec, PoolStatus};
use types::snapshot::{SnapshotSpec, SnapshotStatus};
use types::volume::{VolumeSpec, VolumeStatus};
use types::{Actor, Code, Name, OperationId, Problem, Verb};
use uuid::Uuid;

/// A value and the transaction that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rev<T> {
    /// Where it is.
    pub key: String,
    /// What it is.
    pub value: T,
    /// The transaction.
    pub revision: u64,
}

impl<T> std::ops::Deref for Rev<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A spec with its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<S, T> {
    /// What is wanted.
    pub spec: Rev<S>,
    /// What was seen; of revision 0 if never written.
    pub status: Rev<T>,
}

/// A machine's record.
pub type MachineRecord = Record<MachineSpec, MachineStatus>;
/// A volume's record.
pub type VolumeRecord = Record<VolumeSpec, VolumeStatus>;
/// A snapshot's record.
pub type SnapshotRecord = Record<SnapshotSpec, SnapshotStatus>;
/// A pool's record.
pub type PoolRecord = Record<PoolSpec, PoolStatus>;
/// An image's record.
pub type ImageRecord = Record<ImageSpec, ImageStatus>;

/// What all specs have.
pub trait Spec: DeserializeOwned + Serialize + Clone {
    /// What goes with it.
    type Status: DeserializeOwned + Serialize + Default + Clone + PartialEq;
    /// Its kind.
    const KIND: Kind;
    /// What to say if there is none.
    const MISSING: Code;
}

impl Spec for MachineSpec {
    type Status = MachineStatus;
    const KIND: Kind = Kind::Machine;
    const MISSING: Code = Code::MachineNotFound;
}

impl Spec for VolumeSpec {
    type Status = VolumeStatus;
    const KIND: Kind = Kind::Volume;
    const MISSING: Code = Code::VolumeNotFound;
}

impl Spec for SnapshotSpec {
    type Status = SnapshotStatus;
    const KIND: Kind = Kind::Snapshot;
    const MISSING: Code = Code::SnapshotNotFound;
}

impl Spec for ImageSpec {
    type Status = ImageStatus;
    const KIND: Kind = Kind::Image;
    const MISSING: Code = Code::ImageNotFound;
}

impl Spec for PoolSpec {
    type Status = PoolStatus;
    const KIND: Kind = Kind::Pool;
    const MISSING: Code = Code::PoolNotFound;
}

impl Spec for NetworkSpec {
    type Status = ();
    const KIND: Kind = Kind::Network;
    const MISSING: Code = Code::NetworkNotFound;
}

/// What to do about a database that is lost or damaged.
pub const REBUILD: &str = "`sistemo recover` rebuilds it from the data directory and destroys nothing";

/// Says a store's failure to a person.
pub fn store_problem(e: &StoreError) -> Problem {
    match e {
        StoreError::Conflict(key) => {
            Problem::new(Code::Conflict, format!("others keep changing the same thing ({key})"))
                .hint("try again")
        }
        StoreError::TooLarge => {
            let text = "that changes more at once than one transaction of the database holds";
            Problem::new(Code::LimitExceeded, text)
                .hint("do it in parts: the volumes of a machine that has very many can be copied one by one")
        }
        StoreError::Full => Problem::new(Code::PoolFull, "there is no room to write down what is asked")
            .hint(crate::port::MAKE_ROOM),
        StoreError::Failed(why) => Problem::new(Code::DatabaseFailed, format!("the database failed: {why}"))
            .hint("look for a full or failing disk below the data directory"),
        StoreError::Damaged(why) => {
            Problem::new(Code::DatabaseFailed, format!("the database is damaged: {why}")).hint(REBUILD)
        }
        StoreError::Newer { .. } => Problem::new(Code::DatabaseFailed, e.to_string())
            .hint("use the version of Sistemo that wrote it, or a later one"),
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        store_problem(&e)
    }
}

/// How many values a request looks at in search of those it wants.
const LOOK_AT_MOST: usize = 200_000;

/// Whether a value is wanted.
pub enum Take {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Neither it nor any older one is.
    Stop,
}

/// The store, typed.
#[derive(Clone)]
pub struct Db(pub Arc<dyn Store>);

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        Problem::new(Code::DatabaseFailed, format!("the record {key} cannot be read: {e}"))
            .hint("it was written by another version or damaged")
    })
}

/// Serialises a record. Our records always can be: they hold no maps with other than text keys.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records serialise")
}

impl Db {
    /// One value.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Rev<T>>, Problem> {
        let Some(e) = self.0.get(key)? else { return Ok(None) };
        Ok(Some(Rev { value: decode(&e.key, &e.value)?, key: e.key, revision: e.revision }))
    }

    /// All values below a prefix.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn scan<T: DeserializeOwned>(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Rev<T>>, Problem> {
        self.0
            .scan(prefix, limit)?
            .into_iter()
            .map(|e| Ok(Rev { value: decode(&e.key, &e.value)?, key: e.key, revision: e.revision }))
            .collect()
    }

    /// At most `limit` values below a prefix and before a key, newest first, of those that `take`
    /// takes. However few that are, so much is looked at and no more.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn newest<T: DeserializeOwned>(
        &self,
        prefix: &str,
        before: Option<String>,
        limit: usize,
        take: impl Fn(&Rev<T>) -> Take,
    ) -> Result<Vec<Rev<T>>, Problem> {
        let mut out = Vec::new();
        let mut before = before;
        let mut looked = 0;
        while out.len() < limit && looked < LOOK_AT_MOST {
            let n = limit.saturating_sub(out.len()).clamp(100, 1000);
            let page = self.scan::<T>(
                prefix,
                match &before {
                    Some(key) => Limit::Before(key, n),
                    None => Limit::Last(n),
                },
            )?;
            let Some(last) = page.last() else { break };
            before = Some(last.key.clone());
            looked += page.len();
            for read in page {
                match take(&read) {
                    Take::Yes if out.len() < limit => out.push(read),
                    Take::Yes | Take::No => {}
                    Take::Stop => return Ok(out),
                }
            }
        }
        Ok(out)
    }

    /// A record by its id.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn record<S: Spec>(&self, id: Uuid) -> Result<Option<Record<S, S::Status>>, Problem> {
        let status_key = key::status(S::KIND, id);
        let Some(spec) = self.get::<S>(&key::spec(S::KIND, id))? else { return Ok(None) };
        let status = self.get::<S::Status>(&status_key)?.unwrap_or(Rev {
            key: status_key,
            value: S::Status::default(),
            revision: 0,
        });
        Ok(Some(Record { spec, status }))
    }

    /// A record by its id or name; one that is going is found by its id only.
    ///
    /// # Errors
    /// `…-not-found`, `invalid-name`, `database-failed`.
    pub fn find<S: Spec>(&self, id_or_name: &str) -> Result<Record<S, S::Status>, Problem> {
        let missing = || {
            Problem::new(S::MISSING, format!("there is no {} \"{id_or_name}\"", S::KIND))
                .hint(format!("`sistemo {} list` shows what there is", S::KIND))
        };
        let id = match Uuid::parse_str(id_or_name) {
            Ok(id) => id,
            Err(_) => {
                let name = Name::new(id_or_name)?;
                let claim = self.get::<Uuid>(&key::name(S::KIND, name.as_str()))?;
                claim.ok_or_else(missing)?.value
            }
        };
        self.record(id)?.ok_or_else(missing)
    }

    /// All records of a kind, in the order of their ids.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn records<S: Spec>(&self) -> Result<Vec<Record<S, S::Status>>, Problem> {
        let mut out: Vec<Record<S, S::Status>> = Vec::new();
        for e in self.0.scan(&key::all(S::KIND), Limit::All)? {
            // A scan is ordered, so a spec comes right before its status.
            if let Some((_, id)) = key::id_of(&e.key, "spec") {
                let status = Rev { key: key::status(S::KIND, id), value: S::Status::default(), revision: 0 };
                out.push(Record {
                    spec: Rev { value: decode(&e.key, &e.value)?, key: e.key, revision: e.revision },
                    status,
                });
            } else if let Some(last) = out.last_mut().filter(|r| r.status.key == e.key) {
                last.status = Rev { value: decode(&e.key, &e.value)?, key: e.key, revision: e.revision };
            }
        }
        Ok(out)
    }
}

/// A transaction being put together.
#[derive(Clone)]
pub struct Change {
    pub(crate) txn: Txn,
}

impl Change {
    /// Nothing yet, for this reason.
    pub fn new(actor: &Actor, operation: Option<OperationId>, verb: Verb) -> Self {
        let cause = Cause { actor: actor.clone(), operation, verb };
        Self { txn: Txn { checks: vec![], puts: vec![], deletes: vec![], cause } }
    }

    /// The reconciler's change.
    pub fn system() -> Self {
        Self::new(&Actor::system(), None, Verb::Reconcile)
    }

    /// Holds only if `read` is still what the store has.
    pub fn on<T>(&mut self, read: &Rev<T>) -> &mut Self {
        let check = if read.revision == 0 { Check::Absent } else { Check::RevisionIs(read.revision) };
        self.check(read.key.clone(), check)
    }

    /// Holds only if this does.
    pub fn check(&mut self, key: String, check: Check) -> &mut Self {
        // Two checks of one key are one, or they contradict each other and the store says so.
        if !self.txn.checks.contains(&(key.clone(), check)) {
            self.txn.checks.push((key, check));
        }
        self
    }

    /// Takes a claim: holds only if the key does not exist.
    pub fn absent(&mut self, key: String) -> &mut Self {
        self.txn.checks.push((key, Check::Absent));
        self
    }

    /// Takes a claim with this value.
    pub fn claim<T: Serialize>(&mut self, key: String, value: &T) -> &mut Self {
        self.absent(key.clone()).put(key, value)
    }

    /// Writes a key; the last write of a key counts.
    pub fn put<T: Serialize>(&mut self, key: String, value: &T) -> &mut Self {
        self.txn.deletes.retain(|k| *k != key);
        let bytes = encode(value);
        match self.txn.puts.iter_mut().find(|(k, _)| *k == key) {
            Some((_, v)) => *v = bytes,
            None => self.txn.puts.push((key, bytes)),
        }
        self
    }

    /// Replaces what was read.
    pub fn update<T: Serialize>(&mut self, read: &Rev<T>, value: &T) -> &mut Self {
        self.on(read).put(read.key.clone(), value)
    }

    /// Removes a key.
    pub fn delete(&mut self, key: String) -> &mut Self {
        self.txn.puts.retain(|(k, _)| *k != key);
        if !self.txn.deletes.contains(&key) {
            self.txn.deletes.push(key);
        }
        self
    }

    /// Whether it would write anything.
    pub fn is_empty(&self) -> bool {
        self.txn.puts.is_empty() && self.txn.deletes.is_empty()
    }

    /// Carries it out, and keeps the sum of the volumes.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn commit(self, db: &Db) -> Result<u64, StoreError> {
        crate::sum::commit(self, db)
    }
}
