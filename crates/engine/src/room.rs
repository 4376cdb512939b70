//! Room in the pools: what is refused for want of it, and who is warned before.
//!
//! Invariant: only what cannot succeed is refused; all else is tried, and fails with `pool-full` when it
//! finds none. What one request makes is looked at as one: it has room for all of that, or is refused.
//! A warning says so once for each time that the mark is passed.

use crate::Engine;
use crate::admit::{DEFAULT_POOL, Draft};
use crate::port::{Capacity, Fault, FileObs, Fresh, Pool, no_room_to_receive};
use std::sync::{Arc, PoisonError};
use types::pool::PoolSpec;
use types::{ByteSize, Code, Name, Problem, SnapshotId, VolumeId};

/// What has to be left: for sidecars and whatever else is written on the way.
const LEFT: ByteSize = ByteSize::mib(8);

/// What a pool is warned of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mark {
    /// It is nearly full.
    Full,
    /// What its volumes may grow to is nearly what is allowed, or more than there is.
    Promised,
}

/// How full, in percent, rounded down.
fn percent(room: Capacity) -> u8 {
    let (total, free) = (u128::from(room.total.bytes()), u128::from(room.free.bytes()));
    let used = total.saturating_sub(free) * 100;
    used.checked_div(total).and_then(|p| u8::try_from(p).ok()).unwrap_or(0)
}

/// How it begins what is said of the promises of a pool.
fn may_grow(pool: &str) -> String {
    format!("the volumes of pool \"{pool}\" may grow to ")
}

impl Engine {
    /// The pool of this name.
    pub(crate) fn pool(&self, name: &str) -> Result<Arc<dyn Pool>, Fault> {
        self.0.ports.pools.get(name)
    }

    /// The names of all pools.
    pub(crate) fn pool_names(&self) -> Result<Vec<String>, Problem> {
        let made =
            self.0.db.records::<PoolSpec>()?.into_iter().map(|r| r.spec.value.name.as_str().to_owned());
        Ok(std::iter::once(DEFAULT_POOL.to_owned()).chain(made).collect())
    }

    fn room(&self, pool: &str) -> Result<Capacity, Fault> {
        self.pool(pool)?.capacity()
    }

    /// Refuses a volume for which there certainly is no room; `image` if it is made from one that is
    /// there.
    pub(crate) fn refuse_full(
        &self,
        draft: &mut Draft,
        (pool, name): (&str, &str),
        size: ByteSize,
        fresh: Fresh,
    ) -> Result<(), Problem> {
        // A pool that cannot be asked is told of by whoever tries.
        let needs = self.pool(pool).and_then(|pool| pool.needs(size, fresh));
        let Ok(needs) = needs else { return Ok(()) };
        self.refuse_less(draft, (pool, name), needs)
    }

    /// Refuses what takes so much, together with all that the same request makes in that pool.
    fn refuse_less(
        &self,
        draft: &mut Draft,
        (pool, name): (&str, &str),
        needs: ByteSize,
    ) -> Result<(), Problem> {
        let Ok(room) = self.room(pool) else { return Ok(()) };
        let sum = draft.needs.entry(pool.to_owned()).or_default();
        let what = match *sum {
            0 => format!("volume \"{name}\""),
            _ => format!("all that is asked for, up to volume \"{name}\""),
        };
        *sum = sum.saturating_add(needs.bytes());
        let needs = ByteSize(sum.saturating_add(LEFT.bytes()));
        let hint = crate::port::MAKE_ROOM;
        if room.free < needs {
            let text =
                format!("no room to make {what}: it takes {needs} at once, and {} are free", room.free);
            return Err(Problem::new(Code::PoolFull, text).hint(hint));
        }
        let reserve = self.settings().pool_reserve.of(room.total);
        if room.free.bytes() - needs.bytes() < reserve.bytes() {
            let text = format!(
                "no room to make {what}: {} are free, and pool.reserve keeps {reserve} so",
                room.free
            );
            return Err(
                Problem::new(Code::PoolFull, text).hint(format!("{hint}; or set a smaller pool.reserve"))
            );
        }
        Ok(())
    }

    /// Refuses a copy of a volume, which lives in the pool `from`, for which there certainly is no room.
    pub(crate) fn refuse_full_copy(
        &self,
        draft: &mut Draft,
        to: (&str, &str),
        (from, of): (&str, VolumeId),
    ) -> Result<(), Problem> {
        self.refuse_copy(draft, to, from, |pool| pool.observe(of).map(|seen| seen.file))
    }

    /// Refuses a copy that a hypervisor makes, of a volume of this size that it has open, in that volume's
    /// pool: it sets all of that aside until it is done.
    pub(crate) fn refuse_full_live_copy(
        &self,
        draft: &mut Draft,
        (pool, name): (&str, &str),
        size: ByteSize,
    ) -> Result<(), Problem> {
        let shared = self.pool(pool).is_ok_and(|pool| pool.shares());
        let takes = if shared { ByteSize::default() } else { size };
        self.refuse_less(draft, (pool, name), takes).map_err(|problem| match shared {
            true => problem,
            false => problem.hint(format!(
                "{}; or stop the machine first: then only the data in it is copied",
                crate::port::MAKE_ROOM
            )),
        })
    }

    /// Refuses a copy of a snapshot, which lives in the pool `from`, for which there certainly is no room.
    pub(crate) fn refuse_full_snapshot_copy(
        &self,
        draft: &mut Draft,
        to: (&str, &str),
        (from, of): (&str, SnapshotId),
    ) -> Result<(), Problem> {
        self.refuse_copy(draft, to, from, |pool| pool.observe_snapshot(of).map(|seen| seen.file))
    }

    /// Where blocks are shared a copy takes none; elsewhere what its original has, as far as that can be seen.
    fn refuse_copy(
        &self,
        draft: &mut Draft,
        (pool, name): (&str, &str),
        from: &str,
        look: impl FnOnce(&dyn Pool) -> Result<Option<FileObs>, Fault>,
    ) -> Result<(), Problem> {
        let shared = pool == from && self.pool(pool).is_ok_and(|pool| pool.shares());
        let original =
            if shared { None } else { self.pool(from).and_then(|pool| look(&*pool)).ok().flatten() };
        let takes = original.map_or_else(ByteSize::default, |file| file.allocated);
        self.refuse_less(draft, (pool, name), takes)
    }

    /// What is to be said where a copy costs as much as what is copied.
    pub(crate) fn slow_copy_warning(&self, pool: &str) -> Option<String> {
        self.pool(pool).is_ok_and(|pool| !pool.shares()).then(|| {
            "the pool's file system cannot share blocks, so every byte is copied; on XFS with reflink or \
             on Btrfs a copy takes no room and a moment. `sistemo pool create fast --size 100GB` makes such a \
             pool: give new volumes `--pool fast`, or bring them there with `sistemo volume move`"
                .to_owned()
        })
    }

    /// What is to be said about a pool that is nearly full; nothing about one that is not.
    pub fn room_warning(&self, pool: &str) -> Option<String> {
        let room = self.room(pool).ok()?;
        let full = percent(room);
        (full >= self.settings().pool_warn)
            .then(|| format!("pool \"{pool}\" is {full} % full: {} of {} are free", room.free, room.total))
    }

    /// What the volumes of a pool of this size may grow to, if that is limited.
    pub(crate) fn promise_limit(&self, total: ByteSize) -> Option<ByteSize> {
        let most = u128::from(total.bytes()) * u128::from(self.settings().pool_overcommit?) / 100;
        Some(ByteSize(u64::try_from(most).unwrap_or(u64::MAX)))
    }

    /// What is to be said about a pool whose volumes may grow to so much: nearly to what `pool.overcommit`
    /// allows, or to more than there is, if nothing limits them.
    fn promise_warning(&self, pool: &str, promised: ByteSize) -> Option<String> {
        let total = self.room(pool).ok()?.total;
        let Some(most) = self.promise_limit(total) else {
            return (promised > total).then(|| {
                format!("{}{promised}, and it has {total}; pool.overcommit limits that", may_grow(pool))
            });
        };
        let free = ByteSize(most.bytes().saturating_sub(promised.bytes()));
        (percent(Capacity { total: most, free }) >= self.settings().pool_warn)
            .then(|| format!("{}{promised}, and pool.overcommit allows {most}", may_grow(pool)))
    }

    /// The same of what is promised now.
    fn promised_warning(&self, pool: &str) -> Option<String> {
        self.promise_warning(pool, self.committed(pool).ok()?)
    }

    /// All that is to be said about the room of a pool.
    pub fn room_warnings(&self, pool: &str) -> Vec<String> {
        self.room_warning(pool).into_iter().chain(self.promised_warning(pool)).collect()
    }

    /// Says in a draft all that is to be said about the room of a pool once that is carried out.
    pub(crate) fn warn_of_room(&self, draft: &mut Draft, pool: &str) {
        if let Some(full) = self.room_warning(pool) {
            draft.warn(full);
        }
        let promised = self.committed_with(&draft.change, pool).ok();
        if let Some(text) = promised.and_then(|promised| self.promise_warning(pool, promised)) {
            // Every volume of a request adds to it: the last word counts.
            draft.operation.warnings.retain(|said| !said.starts_with(&may_grow(pool)));
            draft.warn(text);
        }
    }

    /// The reserve of a file system of this size: what is set, and at least a hundredth of it, of which
    /// 1 GiB is enough. With less free than that its trash goes.
    fn reserve(&self, total: ByteSize) -> ByteSize {
        let least = (total.bytes() / 100).min(ByteSize::gib(1).bytes());
        ByteSize(self.settings().pool_reserve.of(total).bytes().max(least))
    }

    /// What the pool lacks to its reserve. `None` if it has it.
    pub(crate) fn below_reserve(&self, pool: &str) -> Option<ByteSize> {
        let room = self.room(pool).ok()?;
        let reserve = self.reserve(room.total).bytes();
        reserve.checked_sub(room.free.bytes()).filter(|short| *short > 0).map(ByteSize)
    }

    /// What has to stay free in a pool while something is received into it, so that none of its trash goes
    /// for what may be refused in the end; refuses where there is not even that. How much room what is sent
    /// takes, nobody knows before: zeros take none.
    pub(crate) fn room_to_receive(&self, pool: &str) -> Result<ByteSize, Problem> {
        // A pool that cannot be asked is told of by whoever tries.
        let Ok(room) = self.room(pool) else { return Ok(LEFT) };
        let keep = ByteSize(self.reserve(room.total).bytes().saturating_add(LEFT.bytes()));
        if room.free <= keep { Err(no_room_to_receive(room.free, keep)) } else { Ok(keep) }
    }

    /// Refuses a file of a pool that takes so much of the host's own file system, which keeps its reserve.
    pub(crate) fn refuse_file_of_pool(&self, pool: &Name, takes: ByteSize) -> Result<(), Problem> {
        let Some(room) = self.0.ports.pools.room_for_files() else { return Ok(()) };
        let reserve = self.reserve(room.total);
        if room.free.bytes() >= takes.bytes().saturating_add(reserve.bytes()) {
            return Ok(());
        }
        let text = format!(
            "no room to make the file of pool \"{pool}\": it takes {takes}, {} are free, and {reserve} of that \
             stay so",
            room.free
        );
        Err(Problem::new(Code::PoolFull, text).hint(
            "ask for less, make room on the disk of the data directory, set a smaller pool.reserve, or make the \
             pool in a directory of another disk with --path",
        ))
    }

    /// Says so in the log, once.
    pub(crate) fn watch_room(&self) -> Result<(), Problem> {
        for pool in self.pool_names()? {
            let marks =
                [(Mark::Full, self.room_warning(&pool)), (Mark::Promised, self.promised_warning(&pool))];
            for (mark, text) in marks {
                let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
                let key = (pool.clone(), mark);
                let Some(text) = text else {
                    if warned.remove(&key) && mark == Mark::Full {
                        tracing::info!("pool \"{pool}\" is less full again");
                    }
                    continue;
                };
                if warned.insert(key) {
                    match mark {
                        Mark::Full => tracing::warn!(
                            "{text}; when it is full, guests that write stand until there is room"
                        ),
                        Mark::Promised => tracing::warn!("{text}"),
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::sim::World;
    use crate::sim::run::settle;
    use types::machine::{AttachVolume, CloneMachine, DeployMachine};
    use types::pool::{CreatePool, ResizePool};
    use types::snapshot::TakeSnapshot;
    use types::volume::{CloneVolume, CreateVolume, ImportVolume, VolumeRole};
    use types::{Actor, Operation};

    fn create(engine: &Engine) -> Result<Operation, Problem> {
        engine.create_volume(
            &Actor("ada".into()),
            CreateVolume { name: None, size_bytes: ByteSize::gib(1).bytes(), ..CreateVolume::default() },
        )
    }

    #[test]
    fn a_full_pool_refuses_and_a_nearly_full_one_warns() {
        let world = World::new();
        let engine = world.boot(Settings { pool_warn: 51, ..Settings::default() }).unwrap();
        assert_eq!(engine.room_warning(DEFAULT_POOL), None);
        assert!(create(&engine).unwrap().warnings.is_empty());
        let engine = world.boot(Settings { pool_warn: 50, ..Settings::default() }).unwrap();
        let warnings = create(&engine).unwrap().warnings;
        assert_eq!(warnings, ["pool \"default\" is 50 % full: 500.0GB of 1000.0GB are free"]);
        world.state().full = true;
        let refused = create(&engine).unwrap_err();
        assert_eq!(refused.code, Code::PoolFull);
        assert!(refused.hint.is_some());
        assert!(engine.room_warning(DEFAULT_POOL).unwrap().contains("100 % full"));
    }

    /// A machine "web" that runs with three volumes of 100 GiB each and a root volume of 2 GiB.
    fn with_disks(world: &World, engine: &Engine) {
        let ada = Actor("ada".into());
        let mut attach = vec![];
        for volume in ["a", "b", "c"] {
            let (name, size_bytes) = (Name::new(volume).ok(), ByteSize::gib(100).bytes());
            engine.create_volume(&ada, CreateVolume { name, size_bytes, ..CreateVolume::default() }).unwrap();
            settle(world, engine);
            attach.push(AttachVolume { volume: volume.into(), mount: None, read_only: false });
        }
        let (image, name) = (Some("debian".into()), Name::new("web").ok());
        engine.deploy(&ada, DeployMachine { image, name, attach, ..DeployMachine::default() }).unwrap();
        settle(world, engine);
    }

    #[test]
    fn what_a_request_makes_has_room_together_or_not_at_all() {
        let ada = Actor("ada".into());
        // 500 GiB are free, and its disks take 302.
        for (reserve, running) in [(300, true), (300, false), (190, true), (190, false)] {
            let world = World::new();
            let pool_reserve = crate::Reserve::Bytes(ByteSize::gib(reserve));
            let engine = world.boot(Settings { pool_reserve, ..Settings::default() }).unwrap();
            with_disks(&world, &engine);
            if !running {
                engine.stop_machine(&ada, "web").unwrap();
                settle(&world, &engine);
            }
            let there =
                || (engine.volumes().unwrap(), engine.snapshots().unwrap(), engine.machines().unwrap());
            let before = there();
            let clone = || {
                let name = Name::new("twin").unwrap();
                engine.clone_machine(&ada, "web", CloneMachine { name })
            };
            if reserve == 190 {
                assert_eq!(clone().unwrap().problem, None);
                continue;
            }
            for refused in [clone(), engine.snapshot_machine(&ada, "web", &TakeSnapshot { name: None })] {
                let refused = refused.unwrap_err();
                assert_eq!(refused.code, Code::PoolFull);
                assert!(refused.message.contains("all that is asked for"), "{refused}");
                assert!(refused.hint.is_some());
            }
            assert_eq!(there(), before);
            // One of them alone finds room.
            engine.clone_volume(&ada, "a", CloneVolume::default()).unwrap();
        }
    }

    #[test]
    fn more_than_there_is_is_promised_with_a_warning_and_said_once_in_one_request() {
        let ada = Actor("ada".into());
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let create = |name: &str, gib| {
            let (name, size_bytes) = (Name::new(name).ok(), ByteSize::gib(gib).bytes());
            let asked = CreateVolume { name, size_bytes, ..CreateVolume::default() };
            engine.create_volume(&ada, asked).unwrap().warnings
        };
        let said = |promised: &str| {
            format!(
                "the volumes of pool \"default\" may grow to {promised}, and it has 1000.0GB; pool.overcommit \
                 limits that"
            )
        };
        assert_eq!(create("a", 600), Vec::<String>::new());
        assert_eq!(create("b", 400), Vec::<String>::new());
        assert_eq!(create("c", 1), [said("1001.0GB")]);
        assert_eq!(engine.room_warnings(DEFAULT_POOL), [said("1001.0GB")]);
        settle(&world, &engine);
        let image = Some("debian".into());
        let attach = ["a", "b"].map(|v| AttachVolume { volume: v.into(), mount: None, read_only: false });
        let (name, attach) = (Name::new("web").ok(), attach.to_vec());
        engine.deploy(&ada, DeployMachine { image, name, attach, ..DeployMachine::default() }).unwrap();
        settle(&world, &engine);
        engine.stop_machine(&ada, "web").unwrap();
        settle(&world, &engine);
        // A copy of each would find no room.
        world.state().shares = true;
        let name = Name::new("twin").unwrap();
        let made = engine.clone_machine(&ada, "web", CloneMachine { name }).unwrap();
        let told: Vec<_> = made.warnings.iter().filter(|w| w.contains("may grow to")).collect();
        assert_eq!(told.len(), 1, "{made:?}");
        settle(&world, &engine);
        // Whoever limits what is promised has decided.
        let limited = Settings { pool_overcommit: Some(1000), ..Settings::default() };
        assert!(world.boot(limited).unwrap().room_warnings(DEFAULT_POOL).is_empty());
    }

    #[test]
    fn what_is_reserved_stays_free() {
        let world = World::new();
        // 500 of 1000 GiB are free.
        for (reserve, refused) in [
            (crate::Reserve::Percent(49), false),
            (crate::Reserve::Percent(50), true),
            (crate::Reserve::Bytes(ByteSize::gib(499)), false),
            (crate::Reserve::Bytes(ByteSize::gib(500)), true),
        ] {
            let engine = world.boot(Settings { pool_reserve: reserve, ..Settings::default() }).unwrap();
            let made = create(&engine);
            assert_eq!(made.is_err(), refused, "{reserve:?}");
            if let Err(p) = made {
                assert_eq!(p.code, Code::PoolFull);
                assert!(p.message.contains("pool.reserve"), "{p}");
            }
        }
    }

    #[test]
    fn what_is_sent_never_costs_the_trash() {
        let world = World::new();
        let asked = ImportVolume {
            name: None,
            pool: None,
            role: VolumeRole::Data,
            size_bytes: None,
            labels: types::label::Labels::default(),
        };
        // 500 of 1000 GiB are free; whatever is set, at least 1 GiB stays so, and what is written on the way.
        for (reserve, keep) in [(0, Some(1)), (499, Some(499)), (500, None), (600, None)] {
            let pool_reserve = crate::Reserve::Bytes(ByteSize::gib(reserve));
            let engine = world.boot(Settings { pool_reserve, ..Settings::default() }).unwrap();
            let expected = engine.expect_import(&asked, None);
            match keep {
                Some(gib) => {
                    let bounds = expected.unwrap().bounds;
                    assert_eq!(bounds.keep, ByteSize(ByteSize::gib(gib).bytes() + LEFT.bytes()));
                }
                None => {
                    let refused = expected.unwrap_err();
                    assert_eq!(refused.code, Code::PoolFull);
                    assert!(refused.hint.is_some() && refused.message.contains("stay so"), "{refused}");
                }
            }
        }
        let max_storage = ByteSize::gib(4);
        let engine = world.boot(Settings { max_storage, ..Settings::default() }).unwrap();
        let limited = |size_bytes, length| {
            let asked = ImportVolume { size_bytes, ..asked.clone() };
            engine.expect_import(&asked, length).map(|e| e.bounds.most).map_err(|p| p.code)
        };
        let gib = |n| Some(ByteSize::gib(n).bytes());
        assert_eq!(limited(gib(4), gib(4)), Ok(max_storage));
        assert_eq!(limited(gib(5), None), Err(Code::LimitExceeded));
        assert_eq!(limited(None, gib(5)), Err(Code::LimitExceeded));
    }

    #[test]
    fn a_pool_in_a_file_leaves_the_host_its_reserve() {
        let world = World::new();
        let ada = Actor("ada".into());
        let pool_reserve = crate::Reserve::Bytes(ByteSize::gib(480));
        let engine = world.boot(Settings { pool_reserve, ..Settings::default() }).unwrap();
        let create = |name: &str, gib, sparse| {
            let (name, size_bytes) = (Name::new(name).unwrap(), Some(ByteSize::gib(gib).bytes()));
            engine.create_pool(&ada, &CreatePool { name, path: None, size_bytes, sparse }).map_err(|p| p.code)
        };
        assert_eq!(create("large", 21, false).unwrap_err(), Code::PoolFull);
        create("sparse", 21, true).unwrap();
        create("fast", 20, false).unwrap();
        settle(&world, &engine);
        let grow = |gib| {
            let asked = ResizePool { size_bytes: ByteSize::gib(gib).bytes() };
            engine.resize_pool(&ada, "fast", &asked).map_err(|p| p.code)
        };
        assert_eq!(grow(41).unwrap_err(), Code::PoolFull);
        grow(40).unwrap();
    }

    #[test]
    fn a_restored_snapshot_needs_room_for_what_is_kept_and_for_what_comes() {
        let ada = Actor("ada".into());
        // 500 GiB are free; what is there is kept in 100 of them, and what was is copied to 100 more.
        for (reserve, refused) in [(310, true), (290, false)] {
            let world = World::new();
            let engine = world.boot(Settings::default()).unwrap();
            let (name, size_bytes) = (Name::new("a").ok(), ByteSize::gib(100).bytes());
            engine.create_volume(&ada, CreateVolume { name, size_bytes, ..CreateVolume::default() }).unwrap();
            settle(&world, &engine);
            engine.snapshot_volume(&ada, "a", &TakeSnapshot { name: Name::new("was").ok() }).unwrap();
            settle(&world, &engine);
            let pool_reserve = crate::Reserve::Bytes(ByteSize::gib(reserve));
            let engine = world.boot(Settings { pool_reserve, ..Settings::default() }).unwrap();
            let restored = engine.restore_snapshot(&ada, "was", false);
            assert_eq!(restored.as_ref().err().map(|p| p.code), refused.then_some(Code::PoolFull));
            if !refused {
                settle(&world, &engine);
            }
        }
    }

    #[test]
    fn percents_are_whole_and_never_too_many() {
        let of = |total, free| percent(Capacity { total: ByteSize(total), free: ByteSize(free) });
        assert_eq!([of(0, 0), of(1000, 101), of(1000, 100), of(10, 0), of(10, 20)], [0, 89, 90, 100, 0]);
        assert_eq!(of(u64::MAX, 1), 99);
    }
}
