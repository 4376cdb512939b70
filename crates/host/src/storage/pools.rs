//! The pools of this host, by name.
//!
//! Invariant: a pool is reached only through what it is on: nothing is ever written where that is missing.

use super::FilePool;
use crate::Layout;
use engine::port::{Fault, Pool, Pools};
use std::sync::Arc;
use types::volume::DEFAULT_POOL;
use types::{Code, Problem};

/// The pools of a data directory.
#[derive(Clone, Debug)]
pub struct HostPools {
    default: Arc<FilePool>,
}

impl HostPools {
    /// Opens the default pool.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn open(layout: Layout) -> Result<Self, Problem> {
        Ok(Self { default: Arc::new(FilePool::open(layout)?) })
    }
}

impl Pools for HostPools {
    fn get(&self, pool: &str) -> Result<Arc<dyn Pool>, Fault> {
        match pool {
            DEFAULT_POOL => Ok(self.default.clone()),
            other => Err(not_found(other)),
        }
    }
}

/// Where the pool of this name is.
///
/// # Errors
/// `pool-not-found`, `pool-offline`.
pub fn find(layout: &Layout, pool: &str) -> Result<Layout, Fault> {
    match pool {
        DEFAULT_POOL => Ok(layout.clone()),
        other => Err(not_found(other)),
    }
}

fn not_found(pool: &str) -> Fault {
    Fault::lasting(Code::PoolNotFound, format!("there is no pool \"{pool}\""))
        .hint("`sistemo status` shows what there is")
}
