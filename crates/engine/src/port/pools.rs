//! Which pools there are, and how they come and go.

use super::{Capacity, Fault, OnProgress, Pool, Space};
use std::sync::Arc;
use types::pool::{PoolOn, PoolSpec};
use types::{ByteSize, Name, Problem};

/// What is there of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolObs {
    /// Anything at all.
    pub any: bool,
    /// It was made as a whole: what it is on has its mark.
    pub whole: bool,
    /// Its volumes can be reached.
    pub online: bool,
    /// The length of the file it is in, of one that is in a file.
    pub size: Option<ByteSize>,
    /// The generation in the record that is kept in the data directory, if one is there and readable.
    pub record: Option<u64>,
}

/// The pools of one node. The pool `default` is always there and is only ever asked for by
/// [`Pools::get`]; all others have a [`PoolSpec`].
pub trait Pools: Send + Sync {
    /// The pool of this name.
    ///
    /// # Errors
    /// `pool-not-found`; `pool-offline` (passing) while what it is on is not there.
    fn get(&self, pool: &str) -> Result<Arc<dyn Pool>, Fault>;

    /// Where the volumes of a pool are, for a person.
    fn path(&self, pool: &Name, on: Option<&PoolOn>) -> String;

    /// Judges, before anything is written, whether a pool can be made on this; answers with the same in
    /// the one form that it has.
    ///
    /// # Errors
    /// `invalid-request`, `conflict` if it is in use, `pool-full`, `tool-missing`, `no-permission`.
    fn probe(&self, pool: &Name, on: &PoolOn) -> Result<PoolOn, Problem>;

    /// Judges, before anything is written, whether there is room for a pool that is so much larger.
    ///
    /// # Errors
    /// `pool-full`.
    fn probe_growth(&self, pool: &Name, by: ByteSize) -> Result<(), Problem>;

    /// Room in the file system that the files of pools are in; `None` if it cannot be looked at.
    fn room_for_files(&self) -> Option<Capacity>;

    /// Looks at a pool; never at its volumes.
    ///
    /// # Errors
    /// `io-error`.
    fn observe(&self, pool: &PoolSpec) -> Result<PoolObs, Fault>;

    /// Looks at everything that is kept on the file systems of these pools; never at the content of
    /// anything. A pool that cannot be looked at is left out, as is a file. What the data directory holds
    /// beside pools counts with the first pool that is on its file system.
    fn space(&self, pools: &[String]) -> Vec<Space>;

    /// Makes the pool: a mark in its directory; or its file, with all of its room unless it is sparse, and an
    /// empty file system in it, published as a whole. Does nothing if it is whole.
    ///
    /// # Errors
    /// `pool-full`, `tool-missing`, `format-failed`, `io-error`.
    fn make(&self, pool: &PoolSpec, progress: OnProgress<'_>) -> Result<(), Fault>;

    /// Makes the volumes of a pool that is whole reachable: mounts its file, with direct I/O.
    ///
    /// # Errors
    /// `pool-offline`, `tool-missing`, `no-permission`, `io-error`.
    fn bring(&self, pool: &PoolSpec) -> Result<(), Fault>;

    /// Makes the file of a pool that is online at least `to` bytes long, and lets its file system make
    /// use of it. When there is no room, it is as it was.
    ///
    /// # Errors
    /// `pool-full`, `tool-missing`, `io-error`.
    fn grow(&self, pool: &PoolSpec, to: ByteSize) -> Result<(), Fault>;

    /// Writes the pool's record into the data directory.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    fn write_record(&self, pool: &PoolSpec) -> Result<(), Fault>;

    /// Removes all that Sistemo has made of the pool, its record last; what else is in a directory stays.
    /// Of one that was once whole (`made`) nothing goes that was not looked at.
    ///
    /// # Errors
    /// `pool-in-use` if something is in it that Sistemo does not know of, `pool-offline` if its file is there
    /// and nobody can see what is in it, `busy` (passing), `io-error`.
    fn remove(&self, pool: &PoolSpec, made: bool) -> Result<(), Fault>;

    /// Removes the record of a pool that is lost, and nothing else: what it is on is left as it is.
    ///
    /// # Errors
    /// `io-error`.
    fn abandon(&self, pool: &PoolSpec) -> Result<(), Fault>;
}
