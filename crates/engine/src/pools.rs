//! Pools as people see them.

use crate::Engine;
use crate::admit::DEFAULT_POOL;
use crate::db::PoolRecord;
use types::pool::{Pool, PoolKind, PoolOn, PoolSpec, PoolState};
use types::volume::VolumeSpec;
use types::{Name, Problem};

/// Room in a pool that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolRoom {
    /// The pool's name.
    pub name: String,
    /// The file system's size, in bytes.
    pub total_bytes: u64,
    /// What is free, in bytes.
    pub free_bytes: u64,
    /// What its volumes may grow to, all together, in bytes.
    pub committed_bytes: u64,
    /// What is to be said about it, if anything.
    pub warning: Option<String>,
}

impl Engine {
    /// All pools, the default one first, then by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn pools(&self) -> Result<Vec<Pool>, Problem> {
        let mut records = self.0.db.records::<PoolSpec>()?;
        records.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let volumes = self.pools_of_volumes()?;
        let mut all = vec![self.pool_seen(None, &volumes)?];
        for record in &records {
            all.push(self.pool_seen(Some(record), &volumes)?);
        }
        Ok(all)
    }

    /// One pool, by id or name.
    ///
    /// # Errors
    /// `pool-not-found`, `database-failed`.
    pub fn show_pool(&self, id_or_name: &str) -> Result<Pool, Problem> {
        let record = match id_or_name {
            DEFAULT_POOL => None,
            other => Some(self.0.db.find::<PoolSpec>(other)?),
        };
        self.pool_seen(record.as_ref(), &self.pools_of_volumes()?)
    }

    /// Room in every pool that is there, the default one first.
    ///
    /// # Errors
    /// `database-failed`; what the default pool says if it cannot be asked.
    pub fn pools_room(&self) -> Result<Vec<PoolRoom>, Problem> {
        let mut all = Vec::new();
        for name in self.pool_names()? {
            let room = match self.pool(&name).and_then(|pool| pool.capacity()) {
                Ok(room) => room,
                Err(fault) if name == DEFAULT_POOL => return Err(fault.problem),
                // One that is not there is missing, which an alarm can see.
                Err(_) => continue,
            };
            all.push(PoolRoom {
                total_bytes: room.total.bytes(),
                free_bytes: room.free.bytes(),
                committed_bytes: self.committed(&name)?.bytes(),
                warning: Some(self.room_warnings(&name).join("; ")).filter(|said| !said.is_empty()),
                name,
            });
        }
        Ok(all)
    }

    /// The pool that each volume is in.
    fn pools_of_volumes(&self) -> Result<Vec<String>, Problem> {
        Ok(self.0.db.records::<VolumeSpec>()?.into_iter().map(|v| v.spec.value.pool).collect())
    }

    fn pool_seen(&self, record: Option<&PoolRecord>, volumes: &[String]) -> Result<Pool, Problem> {
        let name = match record {
            Some(record) => record.spec.name.clone(),
            None => Name::new(DEFAULT_POOL)?,
        };
        let on = record.map(|r| &r.spec.on);
        let open = match record {
            // Before it is made there is nothing of it.
            Some(r) if !r.status.made => None,
            _ => Some(self.pool(name.as_str())),
        };
        let offline = open.as_ref().and_then(|open| open.as_ref().err()).map(|fault| fault.problem.clone());
        let open = open.and_then(Result::ok);
        let room = open.as_ref().and_then(|pool| pool.capacity().ok());
        let status = match record {
            Some(r) if r.spec.deleting.is_some() => PoolState::Deleting,
            Some(r) if !r.status.made => PoolState::Creating,
            _ if offline.is_some() => PoolState::Offline,
            _ => PoolState::Online,
        };
        Ok(Pool {
            id: record.map(|r| r.spec.id),
            kind: if on.is_some_and(|on| on.size().is_some()) { PoolKind::Loop } else { PoolKind::Directory },
            status,
            path: self.0.ports.pools.path(&name, on),
            size_bytes: room.map(|room| room.total.bytes()),
            free_bytes: room.map(|room| room.free.bytes()),
            committed_bytes: self.committed(name.as_str())?.bytes(),
            shares_blocks: open.map(|pool| pool.shares()),
            sparse: matches!(on, Some(PoolOn::Loop { sparse: true, .. })),
            volumes: volumes.iter().filter(|pool| **pool == name.as_str()).count() as u64,
            fault: record.and_then(|r| r.status.fault.clone()).or(offline),
            created_at: record.map(|r| r.spec.created_at),
            revision: record.map_or(0, |r| r.spec.revision),
            name,
        })
    }
}
