//! The pools of this host: the data directory's own, directories, and file systems in files.
//!
//! `pools/<name>.json` is the record of a pool: its spec. A directory that holds a pool, and the root of a file
//! system that is one, have a mark, [`place::MARK`], which says which pool it is.
//!
//! Invariant: a pool is reached only where its mark is: nothing is ever written below a mount point whose
//! disk is not there, nor into a pool that has taken another's place.

mod directory;
mod image;
mod looped;
mod mount;
pub mod place;

use crate::space::Spaces;
use crate::storage::FilePool;
use crate::{Layout, durable, fault};
use engine::port::{Capacity, Fault, OnProgress, Pool, PoolObs, Pools, Space};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::pool::{DEFAULT_POOL, PoolOn, PoolSpec};
use types::{ByteSize, Name, PoolId, Problem};

/// The pools of a data directory.
#[derive(Debug)]
pub struct HostPools {
    layout: Layout,
    default: Arc<FilePool>,
    open: Mutex<HashMap<PoolId, Arc<FilePool>>>,
    spaces: Spaces,
}

impl HostPools {
    /// Opens the default pool, and mounts those that are in files, so that what is in them can be looked at
    /// at once. One that cannot be is told of in the log, and tried again by whoever looks after it.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    pub fn open(layout: Layout) -> Result<Self, Problem> {
        let default = Arc::new(FilePool::open(layout.clone())?);
        mount_all(&layout)?;
        Ok(Self { layout, default, open: Mutex::default(), spaces: Spaces::default() })
    }

    /// The files of a pool.
    ///
    /// # Errors
    /// `pool-not-found`, `pool-offline`, `io-error`.
    pub fn files(&self, pool: &str) -> Result<Arc<FilePool>, Problem> {
        match pool {
            DEFAULT_POOL => Ok(Arc::clone(&self.default)),
            other => {
                let place = place::find(&self.layout, other).map_err(|fault| fault.problem)?;
                self.at(&place).map_err(|fault| fault.problem)
            }
        }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<PoolId, Arc<FilePool>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_record(&self, pool: &PoolSpec) -> Result<(), Fault> {
        let path = self.layout.pool_record(pool.name.as_str());
        durable::remove(&path)
            .and_then(|()| durable::sync_dir(&self.layout.pools()))
            .map_err(|e| fault::io(&format!("remove the record of pool \"{}\"", pool.name), &path, &e))
    }

    /// The pool in a place that has its mark.
    fn at(&self, place: &place::Place) -> Result<Arc<FilePool>, Fault> {
        if let Some(open) = self.opened().get(&place.id) {
            return Ok(Arc::clone(open));
        }
        let open = Arc::new(FilePool::open(self.layout.in_pool(place.root.clone()))?);
        Ok(Arc::clone(self.opened().entry(place.id).or_insert(open)))
    }
}

/// Mounts every pool that is in a file and has a record. One that cannot be is told of in the log.
///
/// # Errors
/// `io-error` if it cannot be seen which pools there are.
pub fn mount_all(layout: &Layout) -> Result<(), Problem> {
    for spec in place::records(layout)?.into_iter().filter_map(Result::ok) {
        if let PoolOn::Loop { .. } = &spec.on {
            if let Err(fault) = looped::bring(layout, &spec) {
                tracing::warn!(pool = %spec.name, code = %fault.problem.code, "cannot be mounted: {fault}");
            }
        }
    }
    Ok(())
}

impl Pools for HostPools {
    fn get(&self, pool: &str) -> Result<Arc<dyn Pool>, Fault> {
        if pool == DEFAULT_POOL {
            return Ok(self.default.clone());
        }
        Ok(self.at(&place::find(&self.layout, pool)?)?)
    }

    fn path(&self, pool: &Name, on: Option<&PoolOn>) -> String {
        let root = match on {
            Some(on) => place::root(&self.layout, pool.as_str(), on),
            None => self.layout.pool().to_owned(),
        };
        root.display().to_string()
    }

    fn probe(&self, pool: &Name, on: &PoolOn) -> Result<PoolOn, Problem> {
        match on {
            PoolOn::Directory { path } => directory::probe(&self.layout, path),
            PoolOn::Loop { size, sparse } => {
                looped::probe(&self.layout, pool, *size, *sparse)?;
                Ok(on.clone())
            }
        }
    }

    fn probe_growth(&self, pool: &Name, by: ByteSize) -> Result<(), Problem> {
        image::refuse_full(&self.layout, pool, by)
    }

    fn room_for_files(&self) -> Option<Capacity> {
        fault::room(&self.layout.pools())
    }

    fn observe(&self, pool: &PoolSpec) -> Result<PoolObs, Fault> {
        let record = place::record(&self.layout, pool.name.as_str());
        let there = record.is_ok() || self.layout.pool_record(pool.name.as_str()).symlink_metadata().is_ok();
        let record = record.ok().filter(|spec| spec.id == pool.id).map(|spec| spec.generation);
        let seen = match &pool.on {
            PoolOn::Directory { path } => {
                let whole = place::marked(Path::new(path), pool.id);
                PoolObs { any: whole, whole, online: whole, size: None, record }
            }
            PoolOn::Loop { .. } => looped::observe(&self.layout, pool, record)?,
        };
        Ok(PoolObs { any: seen.any || there, ..seen })
    }

    fn space(&self, pools: &[String]) -> Vec<Space> {
        let open = pools.iter().filter_map(|pool| Some((pool.clone(), self.files(pool).ok()?)));
        self.spaces.look(&self.layout, open.collect())
    }

    fn make(&self, pool: &PoolSpec, progress: OnProgress<'_>) -> Result<(), Fault> {
        match &pool.on {
            PoolOn::Directory { path } => directory::make(Path::new(path), pool),
            PoolOn::Loop { size, sparse } => image::make(&self.layout, pool, *size, *sparse, progress),
        }
    }

    fn bring(&self, pool: &PoolSpec) -> Result<(), Fault> {
        match &pool.on {
            // It is there or it is not; the planner asks for nothing else.
            PoolOn::Directory { .. } => Ok(()),
            PoolOn::Loop { .. } => looped::bring(&self.layout, pool),
        }
    }

    fn grow(&self, pool: &PoolSpec, to: ByteSize) -> Result<(), Fault> {
        match &pool.on {
            PoolOn::Directory { .. } => Ok(()),
            PoolOn::Loop { sparse, .. } => looped::grow(&self.layout, pool, to, *sparse),
        }
    }

    fn write_record(&self, pool: &PoolSpec) -> Result<(), Fault> {
        let path = self.layout.pool_record(pool.name.as_str());
        self.layout
            .must(|| durable::write(&path, &place::encode(pool), 0o600))
            .map_err(|e| fault::io(&format!("write the record of pool \"{}\"", pool.name), &path, &e))
    }

    fn remove(&self, pool: &PoolSpec, made: bool) -> Result<(), Fault> {
        self.opened().remove(&pool.id);
        match &pool.on {
            PoolOn::Directory { path } => directory::remove(Path::new(path), pool)?,
            PoolOn::Loop { .. } => looped::remove(&self.layout, pool, made)?,
        }
        self.remove_record(pool)
    }

    fn abandon(&self, pool: &PoolSpec) -> Result<(), Fault> {
        self.opened().remove(&pool.id);
        if pool.on.size().is_some() {
            // Only an empty directory goes, at which nothing is mounted.
            let _ = std::fs::remove_dir(self.layout.pool_mount(pool.name.as_str()));
        }
        self.remove_record(pool)
    }
}
