//! What all volumes together may grow to, and how much of that is allowed.
//!
//! Invariant: the counter of a pool holds the sum of the sizes of its volumes that are not going, and
//! changes in the transaction that changes one of them. Absent and revision checks cannot guard a sum:
//! a hundred creates would all see room for one. Here each of them reads the counter and holds only
//! while it stays as read; whoever finds it moved, and nothing else, counts anew. A try is lost only to
//! somebody else's success, so not all can lose.

use crate::admit::DEFAULT_POOL;
use crate::db::{Change, Db, Rev, encode};
use crate::store::{Store, StoreError};
use crate::{Engine, key};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use types::machine::MachineSpec;
use types::volume::VolumeSpec;
use types::{ByteSize, Code, Problem};

/// How often a change is tried whose only hindrance is that the sum moves: more often than there can be
/// writers at once.
const TRIES: usize = 1000;

/// What counts of a volume.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    moving: Option<String>,
    size: ByteSize,
    deleting: Option<IgnoredAny>,
}

/// What counts of a machine: the volumes that it is yet to be given.
#[derive(Deserialize)]
struct Making {
    #[serde(default)]
    making: BTreeMap<String, serde_json::Value>,
}

/// Bytes by pool.
type Sums = BTreeMap<String, u64>;

/// What a volume's record adds to the sums.
fn counts(bytes: &[u8], sums: &mut Sums) {
    // One that cannot be read is told of by whoever reads it.
    if let Ok(Counted { pool, moving, size, deleting: None }) = serde_json::from_slice::<Counted>(bytes) {
        // One that is on its way needs room at both ends.
        for pool in [Some(pool.unwrap_or_else(|| DEFAULT_POOL.into())), moving].into_iter().flatten() {
            let sum = sums.entry(pool).or_default();
            *sum = sum.saturating_add(size.bytes());
        }
    }
}

/// What the record of a volume, or that of a machine that is being made, adds to the sums.
fn counts_in(key: &str, bytes: &[u8], sums: &mut Sums) {
    if is_volume(key) {
        return counts(bytes, sums);
    }
    let Ok(Making { making }) = serde_json::from_slice::<Making>(bytes) else { return };
    for (_, volume) in making.iter().filter(|(key, _)| is_volume(key)) {
        counts(&encode(volume), sums);
    }
}

fn is_counted(key: &str) -> bool {
    is_volume(key) || key.strip_prefix("machine/").is_some_and(|rest| rest.ends_with("/spec"))
}

fn is_volume(key: &str) -> bool {
    key.strip_prefix("volume/").is_some_and(|rest| rest.ends_with("/spec"))
}

/// What a change takes from each sum and adds to it.
fn moved(change: &Change, store: &dyn Store) -> Result<BTreeMap<String, (u64, u64)>, StoreError> {
    let (mut less, mut more) = (Sums::new(), Sums::new());
    let keys =
        change.txn.puts.iter().map(|(k, v)| (k, Some(v))).chain(change.txn.deletes.iter().map(|k| (k, None)));
    for (key, new) in keys.filter(|(key, _)| is_counted(key)) {
        if let Some(old) = store.get(key)? {
            counts_in(key, &old.value, &mut less);
        }
        if let Some(new) = new {
            counts_in(key, new, &mut more);
        }
    }
    let mut moved: BTreeMap<String, (u64, u64)> = less.into_iter().map(|(p, n)| (p, (n, 0))).collect();
    for (pool, n) in more {
        moved.entry(pool).or_default().1 = n;
    }
    moved.retain(|_, (less, more)| less != more);
    Ok(moved)
}

fn counter(db: &Db, pool: &str) -> Result<Rev<u64>, StoreError> {
    let key = key::sum(pool);
    Ok(match db.0.get(&key)? {
        Some(e) => Rev { value: serde_json::from_slice(&e.value).unwrap_or(0), key, revision: e.revision },
        None => Rev { value: 0, key, revision: 0 },
    })
}

/// Lets a change hold only while the sum of a pool stays as it is.
pub(crate) fn hold(change: &mut Change, db: &Db, pool: &str) -> Result<(), StoreError> {
    change.on(&counter(db, pool)?);
    Ok(())
}

/// Commits a change that nobody limits.
pub(crate) fn commit(change: Change, db: &Db) -> Result<u64, StoreError> {
    let unlimited = |_: &str, _, _| Ok::<(), std::convert::Infallible>(());
    match commit_if(change, db, unlimited) {
        Ok(committed) => committed,
        Err(never) => match never {},
    }
}

/// Commits a change if `allow` does, which is asked about the sum of a pool as it is and as it will be.
pub(crate) fn commit_if<E>(
    change: Change,
    db: &Db,
    allow: impl Fn(&str, u64, u64) -> Result<(), E>,
) -> Result<Result<u64, StoreError>, E> {
    let touches = change.txn.puts.iter().map(|(k, _)| k).chain(&change.txn.deletes).any(|k| is_counted(k));
    if !touches {
        return Ok(db.0.commit(change.txn));
    }
    let mut last = String::new();
    for _ in 0..TRIES {
        let mut counted = change.clone();
        let mut read = Vec::new();
        let moved = match moved(&change, &*db.0) {
            Ok(moved) => moved,
            Err(e) => return Ok(Err(e)),
        };
        for (pool, (less, more)) in moved {
            let have = match counter(db, &pool) {
                Ok(have) => have,
                Err(e) => return Ok(Err(e)),
            };
            let new = have.value.saturating_sub(less).saturating_add(more);
            allow(&pool, have.value, new)?;
            counted.update(&have, &new);
            read.push(have.key);
        }
        match db.0.commit(counted.txn) {
            // Only a sum has moved: everything else that was read still holds.
            Err(StoreError::Conflict(key)) if read.contains(&key) => last = key,
            ended => return Ok(ended),
        }
    }
    Ok(Err(StoreError::Conflict(last)))
}

impl Engine {
    /// What the volumes of a pool may grow to, all together.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn committed(&self, pool: &str) -> Result<ByteSize, Problem> {
        Ok(ByteSize(counter(&self.0.db, pool)?.value))
    }

    /// What the volumes of a pool may grow to, all together, once a change is made.
    pub(crate) fn committed_with(&self, change: &Change, pool: &str) -> Result<ByteSize, Problem> {
        let have = counter(&self.0.db, pool)?.value;
        let (less, more) = moved(change, &*self.0.db.0)?.get(pool).copied().unwrap_or_default();
        Ok(ByteSize(have.saturating_sub(less).saturating_add(more)))
    }

    /// Refuses what would promise more than `pool.overcommit` allows; what takes back is always allowed.
    pub(crate) fn within_overcommit(&self, pool: &str, have: u64, new: u64) -> Result<(), Problem> {
        if self.settings().pool_overcommit.is_none() || new <= have {
            return Ok(());
        }
        let Ok(room) = self.pool(pool).and_then(|pool| pool.capacity()) else { return Ok(()) };
        let most = match self.promise_limit(room.total) {
            Some(most) if new > most.bytes() => most,
            _ => return Ok(()),
        };
        Err(Problem::new(
            Code::LimitExceeded,
            format!(
                "the volumes of pool \"{pool}\" would add up to {}, and pool.overcommit allows {most}",
                ByteSize(new)
            ),
        )
        .hint(format!(
            "they add up to {} now: ask for less, delete volumes, or raise pool.overcommit",
            ByteSize(have)
        )))
    }

    /// Makes the counters right where no daemon of this version wrote them: an older database, or one
    /// that was recovered.
    pub(crate) fn ensure_sum(&self) -> Result<(), Problem> {
        let mut sums: Sums = self.pool_names()?.into_iter().map(|pool| (pool, 0)).collect();
        for volume in self.0.db.records::<VolumeSpec>()? {
            counts(&encode(&volume.spec.value), &mut sums);
        }
        for machine in self.0.db.records::<MachineSpec>()? {
            counts_in(&machine.spec.key, &encode(&machine.spec.value), &mut sums);
        }
        for (pool, sum) in sums {
            let have = counter(&self.0.db, &pool)?;
            if sum == have.value {
                continue;
            }
            tracing::info!(pool, was = have.value, is = sum, "the sum of the volumes was counted anew");
            let mut change = Change::system();
            change.update(&have, &sum);
            self.0.db.0.commit(change.txn)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::sim::World;
    use types::volume::{CreateVolume, ResizeVolume};
    use types::{Actor, Name, Operation};

    fn create(engine: &Engine, name: &str, gib: u64) -> Result<Operation, Problem> {
        let asked = CreateVolume {
            name: Some(Name::new(name)?),
            size_bytes: ByteSize::gib(gib).bytes(),
            ..CreateVolume::default()
        };
        engine.create_volume(&Actor("ada".into()), asked)
    }

    #[test]
    fn a_hundred_creates_at_once_are_not_more_than_there_is_room_for() {
        let world = World::new();
        // The simulated pool has 1000 GiB: 40 of the hundred find room.
        let settings = Settings { pool_overcommit: Some(200), ..Settings::default() };
        let engine = world.boot(settings).unwrap();
        let results: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..100)
                .map(|n| {
                    let engine = engine.clone();
                    s.spawn(move || create(&engine, &format!("v{n}"), 50))
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let refused: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        assert_eq!(results.len() - refused.len(), 40);
        assert!(refused.iter().all(|p| p.code == Code::LimitExceeded && p.hint.is_some()), "{refused:?}");
        assert_eq!(engine.committed(DEFAULT_POOL).unwrap(), ByteSize::gib(2000));
        engine.run_until_idle(10_000).unwrap();
        assert_eq!(crate::sim::check::at_rest(&world, &engine), Vec::<String>::new());
    }

    #[test]
    fn the_sum_follows_growth_and_deletion_and_a_lost_counter_is_counted_anew() {
        let world = World::new();
        let settings = Settings { pool_overcommit: Some(1), ..Settings::default() };
        let engine = world.boot(settings.clone()).unwrap();
        let ada = Actor("ada".into());
        create(&engine, "a", 4).unwrap();
        engine.run_until_idle(100).unwrap();
        let grow =
            |gib| engine.resize_volume(&ada, "a", ResizeVolume { size_bytes: ByteSize::gib(gib).bytes() });
        assert_eq!(grow(11).unwrap_err().code, Code::LimitExceeded);
        grow(10).unwrap();
        engine.run_until_idle(100).unwrap();
        assert_eq!(engine.committed(DEFAULT_POOL).unwrap(), ByteSize::gib(10));
        assert_eq!(create(&engine, "b", 1).unwrap_err().code, Code::LimitExceeded);
        engine.delete_volume(&ada, "a", false).unwrap();
        assert_eq!(engine.committed(DEFAULT_POOL).unwrap(), ByteSize(0));
        create(&engine, "b", 1).unwrap();
        engine.run_until_idle(100).unwrap();
        let mut lose = Change::system();
        lose.delete(key::sum(DEFAULT_POOL));
        engine.0.db.0.commit(lose.txn).unwrap();
        assert_eq!(engine.committed(DEFAULT_POOL).unwrap(), ByteSize(0));
        let engine = world.boot(settings).unwrap();
        assert_eq!(engine.committed(DEFAULT_POOL).unwrap(), ByteSize::gib(1));
    }
}
