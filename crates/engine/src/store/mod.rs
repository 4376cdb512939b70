//! The store: keys with revisions, compare-and-swap transactions, and a log of changes.
//!
//! Invariant: four calls and nothing more, each of which etcd has too (v3 `Range`, `Txn`, `Watch`),
//! so the same engine can run on several hosts one day. A transaction is all or nothing and durable
//! once `commit` returns; every change names its cause.

pub mod conformance;
mod mem;
mod reserve;
mod sqlite;
mod telling;

pub use mem::Mem;
pub use reserve::{Reserved, Spare};
pub use sqlite::Sqlite;
pub use telling::OnCommit;
pub(crate) use telling::Telling;

use types::{Actor, OperationId, Verb};

/// The most operations in one transaction (etcd's default `--max-txn-ops`).
pub const MAX_OPS: usize = 128;
/// The most bytes in one transaction (etcd's default `--max-request-bytes`).
pub const MAX_BYTES: usize = 1_572_864;

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `/`-separated path.
    pub key: String,
    /// JSON.
    pub value: Vec<u8>,
    /// The transaction that wrote it last.
    pub revision: u64,
}

/// What must hold of a key for a transaction to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The key does not exist.
    Absent,
    /// The key was last written by this transaction.
    RevisionIs(u64),
}

/// Why a transaction happens; mandatory, so that the audit log cannot be forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// Within which operation.
    pub operation: Option<OperationId>,
    /// Doing what.
    pub verb: Verb,
}

/// A transaction. Every key appears at most once among `puts` and `deletes` (etcd refuses doubles).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Txn {
    /// All of these must hold.
    pub checks: Vec<(String, Check)>,
    /// Keys to write.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Keys to remove; absent ones are no error.
    pub deletes: Vec<String>,
    /// Why.
    pub cause: Cause,
}

impl Txn {
    /// Whether the transaction fits etcd's defaults; both stores refuse one that does not.
    pub fn within_limits(&self) -> bool {
        let ops = self.checks.len().max(self.puts.len() + self.deletes.len());
        let bytes: usize = self.puts.iter().map(|(k, v)| k.len() + v.len()).sum();
        let mut keys: Vec<&str> = self
            .puts
            .iter()
            .map(|(k, _)| k.as_str())
            .chain(self.deletes.iter().map(String::as_str))
            .collect();
        let n = keys.len();
        keys.sort_unstable();
        keys.dedup();
        ops <= MAX_OPS && bytes <= MAX_BYTES && keys.len() == n
    }
}

/// How much a scan returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit<'a> {
    /// Everything, in ascending order.
    All,
    /// At most so many from the beginning, in ascending order.
    First(usize),
    /// At most so many from the end, in descending order.
    Last(usize),
    /// At most so many of those before a key, in descending order.
    Before(&'a str, usize),
}

/// A key that changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The transaction.
    pub revision: u64,
    /// The key.
    pub key: String,
    /// Whether it was removed.
    pub deleted: bool,
}

/// What a watch from some revision on sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watch {
    /// The changes after that revision, oldest first.
    Changes(Vec<Change>),
    /// The log no longer reaches back so far: scan, and watch from now.
    Compacted,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// A check did not hold; nothing was changed.
    #[error("conflict on {0}")]
    Conflict(String),
    /// The transaction is larger than the limits or names a key twice; nothing was changed.
    #[error("the transaction is too large or names a key twice")]
    TooLarge,
    /// There is no room on the medium; nothing was changed.
    #[error("there is no room for the database")]
    Full,
    /// The medium failed.
    #[error("database: {0}")]
    Failed(String),
    /// What is on the medium is no database, or no longer a whole one.
    #[error("damaged database: {0}")]
    Damaged(String),
    /// It was written by a later version of this program.
    #[error("the database has version {have}, this program knows {known}")]
    Newer {
        /// The version of what is there.
        have: i64,
        /// The latest version that can be read.
        known: i64,
    },
}

/// The store.
pub trait Store: Send + Sync {
    /// One key.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All keys that begin with `prefix`, of one moment.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn scan(&self, prefix: &str, limit: Limit<'_>) -> Result<Vec<Entry>, StoreError>;

    /// Carries out a transaction, durably; returns its revision.
    ///
    /// # Errors
    /// Any [`StoreError`]; after one other than `Failed` or `Damaged`, nothing has changed.
    fn commit(&self, txn: Txn) -> Result<u64, StoreError>;

    /// What changed below `prefix` after revision `from`.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError>;

    /// The revision of the last transaction; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Damaged`].
    fn revision(&self) -> Result<u64, StoreError>;
}
