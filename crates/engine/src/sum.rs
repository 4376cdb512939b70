//! What all volumes together may grow to, and how much of that is allowed.
//!
//! Invariant: the counter of a pool holds the sum of the sizes of its volumes that are not going, and
//! changes in the transaction that changes one of them. Absent and revision checks cannot guard a sum:
//! a hundred creates would all see room for one. Here each of them reads the counter and holds only
//! while it stays as read; whoever finds it moved, and nothing else, counts anew. A try is lost only to
//! somebody else's success, so not all can lose.

use crate::admit::DEFAULT_POOL;
use crate::db::{Change, Db, Rev};
use crate::store::{Store, StoreError};
use crate::{Engine, key};
use serde::Deserialize;
use serde::de::IgnoredAny;
use types::operation::Kind;
use types::volume::VolumeSpec;
use types::{ByteSize, Code, Problem};

/// How often a change is tried whose only hindrance is that the sum moves: more often than there can be
/// writers at once.
const TRIES: usize = 1000;

/// What counts of a volume.
#[derive(Deserialize)]
struct Counted {
    size: ByteSize,
    deleting: Option<IgnoredAny>,
}

/// What a volume's record adds to the sum.
fn counts(bytes: &[u8]) -> u64 {
    match serde_json::from_slice::<Counted>(bytes) {
        Ok(Counted { size, deleting: None }) => size.bytes(),
        // One that cannot be read is told of by whoever reads it.
        _ => 0,
    }
}

fn is_volume(key: &str) -> bool {
    key.strip_prefix("volume/").is_some_and(|rest| rest.ends_with("/spec"))
}

/// What a change takes from the sum and adds to it.
fn moved(change: &Change, store: &dyn Store) -> Result<(u64, u64), StoreError> {
    let (mut less, mut more) = (0u64, 0u64);
    let keys =
        change.txn.puts.iter().map(|(k, v)| (k, Some(v))).chain(change.txn.deletes.iter().map(|k| (k, None)));
    for (key, new) in keys.filter(|(key, _)| is_volume(key)) {
        less = less.saturating_add(store.get(key)?.map_or(0, |old| counts(&old.value)));
        more = more.saturating_add(new.map_or(0, |bytes| counts(bytes)));
    }
    Ok((less, more))
}

fn counter(db: &Db) -> Result<Rev<u64>, StoreError> {
    let key = key::sum(DEFAULT_POOL);
    Ok(match db.0.get(&key)? {
        Some(e) => Rev { value: serde_json::from_slice(&e.value).unwrap_or(0), key, revision: e.revision },
        None => Rev { value: 0, key, revision: 0 },
    })
}

/// Commits a change that nobody limits.
pub(crate) fn commit(change: Change, db: &Db) -> Result<u64, StoreError> {
    let unlimited = |_, _| Ok::<(), std::convert::Infallible>(());
    match commit_if(change, db, unlimited) {
        Ok(committed) => committed,
        Err(never) => match never {},
    }
}

/// Commits a change if `allow` does, which is asked about the sum as it is and as it will be.
pub(crate) fn commit_if<E>(
    change: Change,
    db: &Db,
    allow: impl Fn(u64, u64) -> Result<(), E>,
) -> Result<Result<u64, StoreError>, E> {
    let touches = change.txn.puts.iter().map(|(k, _)| k).chain(&change.txn.deletes).any(|k| is_volume(k));
    if !touches {
        return Ok(db.0.commit(change.txn));
    }
    for _ in 0..TRIES {
        let (have, less, more) = match (counter(db), moved(&change, &*db.0)) {
            (Ok(have), Ok((less, more))) => (have, less, more),
            (Err(e), _) | (_, Err(e)) => return Ok(Err(e)),
        };
        let mut counted = change.clone();
        if less != more {
            let new = have.value.saturating_sub(less).saturating_add(more);
            allow(have.value, new)?;
            counted.update(&have, &new);
        }
        match db.0.commit(counted.txn) {
            // Only the sum has moved: everything else that was read still holds.
            Err(StoreError::Conflict(key)) if key == have.key => {}
            ended => return Ok(ended),
        }
    }
    Ok(Err(StoreError::Conflict(key::sum(DEFAULT_POOL))))
}

impl Engine {
    /// What the volumes of the pool may grow to, all together.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn committed(&self) -> Result<ByteSize, Problem> {
        Ok(ByteSize(counter(&self.0.db)?.value))
    }

    /// Refuses what would promise more than `pool.overcommit` allows; what takes back is always allowed.
    pub(crate) fn within_overcommit(&self, have: u64, new: u64) -> Result<(), Problem> {
        let Some(percent) = self.0.settings.pool_overcommit else { return Ok(()) };
        let Ok(room) = self.0.ports.pool.capacity() else { return Ok(()) };
        let most = u128::from(room.total.bytes()) * u128::from(percent) / 100;
        if new <= have || u128::from(new) <= most {
            return Ok(());
        }
        let most = ByteSize(u64::try_from(most).unwrap_or(u64::MAX));
        Err(Problem::new(
            Code::LimitExceeded,
            format!(
                "the volumes of pool \"{DEFAULT_POOL}\" would add up to {}, and pool.overcommit allows {most}",
                ByteSize(new)
            ),
        )
        .hint(format!(
            "they add up to {} now: ask for less, delete volumes, or raise pool.overcommit",
            ByteSize(have)
        )))
    }

    /// Makes the counter right where no daemon of this version wrote it: an older database, or one that
    /// was recovered.
    pub(crate) fn ensure_sum(&self) -> Result<(), Problem> {
        let have = counter(&self.0.db)?;
        let volumes = self.0.db.records::<VolumeSpec>()?;
        let live = volumes.iter().filter(|v| v.spec.deleting.is_none());
        let sum = live.fold(0u64, |sum, v| sum.saturating_add(v.spec.size.bytes()));
        if sum == have.value {
            return Ok(());
        }
        tracing::info!(was = have.value, is = sum, "the sum of the {} was counted anew", Kind::Volume);
        let mut change = Change::system();
        change.update(&have, &sum);
        Ok(self.0.db.0.commit(change.txn).map(|_| ())?)
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
            labels: Default::default(),
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
        assert_eq!(engine.committed().unwrap(), ByteSize::gib(2000));
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
        assert_eq!(engine.committed().unwrap(), ByteSize::gib(10));
        assert_eq!(create(&engine, "b", 1).unwrap_err().code, Code::LimitExceeded);
        engine.delete_volume(&ada, "a", false).unwrap();
        assert_eq!(engine.committed().unwrap(), ByteSize(0));
        create(&engine, "b", 1).unwrap();
        engine.run_until_idle(100).unwrap();
        let mut lose = Change::system();
        lose.delete(key::sum(DEFAULT_POOL));
        engine.0.db.0.commit(lose.txn).unwrap();
        assert_eq!(engine.committed().unwrap(), ByteSize(0));
        let engine = world.boot(settings).unwrap();
        assert_eq!(engine.committed().unwrap(), ByteSize::gib(1));
    }
}
