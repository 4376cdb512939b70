//! The pools of the world.

use super::World;
use super::ports::InPool;
use crate::port::{Capacity, Fault, Footprint, Kept, OnProgress, Pool, PoolObs, Pools, Sharing, Space};
use std::sync::Arc;
use types::operation::Progress;
use types::pool::{DEFAULT_POOL, PoolOn, PoolSpec};
use types::{ByteSize, Code, Name, Problem};

/// What there is of a pool besides its volumes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Made {
    /// What it is on was made as a whole.
    pub whole: bool,
    /// It is mounted; a directory always is.
    pub mounted: bool,
    /// The disk that it is on is not there.
    pub unplugged: bool,
    /// The length of its file.
    pub size: Option<ByteSize>,
    /// What its file system makes use of.
    pub used: Option<ByteSize>,
    /// The generation in its record.
    pub record: Option<u64>,
}

impl Made {
    /// It was told lost, and is nobody's any more.
    pub(super) fn left_behind(&self) -> bool {
        self.unplugged && self.record.is_none()
    }

    fn online(&self) -> bool {
        self.whole && self.mounted && !self.unplugged
    }
}

impl World {
    /// Somebody takes away the disk that every pool but the default one is on, or brings it back.
    pub fn unplug_pools(&self, gone: bool) {
        self.state().pools.values_mut().for_each(|made| made.unplugged = gone);
    }

    fn made(&self, pool: &PoolSpec, change: impl FnOnce(&mut Made)) {
        change(self.state().pools.entry(pool.name.as_str().to_owned()).or_default());
    }
}

impl Pools for World {
    fn get(&self, pool: &str) -> Result<Arc<dyn Pool>, Fault> {
        if pool != DEFAULT_POOL {
            let s = self.state();
            let Some(made) = s.pools.get(pool).filter(|made| made.record.is_some()) else {
                return Err(Fault::lasting(Code::PoolNotFound, format!("there is no pool \"{pool}\"")));
            };
            if !made.online() {
                return Err(Fault::passing(Code::PoolOffline, format!("pool \"{pool}\" is not there")));
            }
        }
        Ok(Arc::new(InPool { world: self.clone(), pool: pool.into() }))
    }

    fn path(&self, pool: &Name, _: Option<&PoolOn>) -> String {
        format!("/pools/{pool}")
    }

    fn probe(&self, _: &Name, on: &PoolOn) -> Result<PoolOn, Problem> {
        self.probe_room(on.size().unwrap_or_default())?;
        Ok(on.clone())
    }

    fn probe_growth(&self, _: &Name, by: ByteSize) -> Result<(), Problem> {
        self.probe_room(by)
    }

    fn room_for_files(&self) -> Option<Capacity> {
        Pools::get(self, DEFAULT_POOL).ok()?.capacity().ok()
    }

    fn observe(&self, pool: &PoolSpec) -> Result<PoolObs, Fault> {
        let s = self.state();
        let Some(made) = s.pools.get(pool.name.as_str()) else { return Ok(PoolObs::default()) };
        Ok(PoolObs {
            any: true,
            whole: made.whole && !made.unplugged,
            online: made.online(),
            size: made.size,
            record: made.record,
        })
    }

    fn space(&self, pools: &[String]) -> Vec<Space> {
        let there = pools.iter().filter_map(|name| Some((name, Pools::get(self, name).ok()?)));
        let spaces = there.filter_map(|(name, pool)| {
            let room = pool.capacity().ok()?;
            let s = self.state();
            let of = |place: &super::Place| (place.0 == *name).then_some(place.1);
            let volumes = s.files.iter().filter_map(|(at, f)| Some((Kept::Volume(of(at)?), taken(f.size))));
            let trash =
                s.trash.iter().filter_map(|(at, (f, _))| Some((Kept::Deleted(of(at)?), taken(f.size))));
            Some(Space {
                pool: name.clone(),
                total: room.total,
                used: ByteSize(room.total.bytes() - room.free.bytes()),
                free: room.free,
                shared: ByteSize(0),
                dedicated: name != DEFAULT_POOL,
                files: volumes.chain(trash).collect(),
            })
        });
        spaces.collect()
    }

    fn make(&self, pool: &PoolSpec, progress: OnProgress<'_>) -> Result<(), Fault> {
        self.begin("make pool")?;
        self.room()?;
        let in_file = pool.on.size();
        // Part of a file, or of what is in the directory.
        self.made(pool, |made| made.size = None);
        progress(Progress { what: "formatting".into(), done: 0, total: None, unit: "bytes".into() });
        self.tick("pool half made");
        self.made(pool, |made| {
            if !made.whole {
                let mounted = in_file.is_none();
                *made = Made { whole: true, mounted, size: in_file, used: in_file, ..made.clone() };
            }
        });
        self.tick("pool made");
        Ok(())
    }

    fn bring(&self, pool: &PoolSpec) -> Result<(), Fault> {
        self.begin("bring pool")?;
        self.made(pool, |made| made.mounted = true);
        self.tick("pool mounted");
        Ok(())
    }

    fn grow(&self, pool: &PoolSpec, to: ByteSize) -> Result<(), Fault> {
        self.begin("grow pool")?;
        self.room()?;
        self.made(pool, |made| made.size = made.size.max(Some(to)));
        self.tick("file of pool grown");
        self.made(pool, |made| made.used = made.size);
        self.tick("pool grown");
        Ok(())
    }

    fn write_record(&self, pool: &PoolSpec) -> Result<(), Fault> {
        self.begin("pool record")?;
        self.made(pool, |made| made.record = Some(pool.generation));
        self.tick("pool record written");
        Ok(())
    }

    fn remove(&self, pool: &PoolSpec, _: bool) -> Result<(), Fault> {
        self.begin("remove pool")?;
        let name = pool.name.as_str();
        let mut s = self.state();
        if s.files.keys().chain(s.trash.keys()).any(|(p, _)| p == name) {
            s.violations.push(format!("pool {name} goes with what is in it"));
        }
        drop(s);
        self.made(pool, |made| *made = Made { record: made.record, ..Made::default() });
        self.tick("pool half removed");
        self.state().pools.remove(name);
        self.tick("pool removed");
        Ok(())
    }

    fn abandon(&self, pool: &PoolSpec) -> Result<(), Fault> {
        self.begin("abandon pool")?;
        self.made(pool, |made| made.record = None);
        self.tick("pool abandoned");
        Ok(())
    }
}

/// What a file of this size takes: it is nearly empty.
pub(super) fn taken(size: ByteSize) -> Footprint {
    let exclusive = ByteSize(size.bytes() >> 7);
    let sharing = Some(Sharing { exclusive, shared: ByteSize(0) });
    Footprint { size, allocated: exclusive, sharing }
}

impl World {
    fn probe_room(&self, size: ByteSize) -> Result<(), Problem> {
        if self.state().full || size > ByteSize::gib(500) {
            return Err(Problem::new(Code::PoolFull, "no room for the pool").hint("make room"));
        }
        Ok(())
    }
}
