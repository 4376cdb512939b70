//! What was in a pool that is lost.
//!
//! Invariant: nothing of such a pool is touched or waited for. That it goes is decided of each volume and
//! snapshot in its spec, some at a time; its own planner then forgets it, as if nothing of it were there.

use super::Broken;
use super::queue::Key;
use crate::admit::{go_for_good, going_snapshot, mark_deleting};
use crate::db::{Change, PoolRecord};
use crate::plan::pool::Inside;
use crate::store::Check;
use crate::{Engine, key};
use types::operation::Kind;
use types::pool::PoolSpec;
use types::snapshot::{SnapshotDeletion, SnapshotSpec};
use types::volume::{VolumeDeletion, VolumeSpec};
use types::{MachineId, Problem};
use uuid::Uuid;

/// How many are let go at once: each takes two writes and as many checks, and a transaction holds 128.
const BATCH: usize = 25;

impl Engine {
    /// Whether this pool goes because it is lost.
    pub(super) fn is_lost(&self, pool: &str) -> Result<bool, Problem> {
        let Some(id) = self.0.db.get::<Uuid>(&key::name(Kind::Pool, pool))? else { return Ok(false) };
        let record = self.0.db.record::<PoolSpec>(id.value)?;
        Ok(record.is_some_and(|r| r.spec.deleting.as_ref().is_some_and(|going| going.lost)))
    }

    /// What is in a pool that is lost.
    pub(super) fn inside(&self, pool: &str) -> Result<Inside, Problem> {
        let mut inside = Inside::default();
        let mut add = |key: Key, wanted: bool| {
            inside.wanted |= wanted;
            inside.last = Some(key);
        };
        for volume in self.0.db.records::<VolumeSpec>()? {
            let spec = &volume.spec;
            if spec.pool == pool {
                match self.0.db.get::<MachineId>(&key::attach(spec.id))? {
                    // It was attached in the last moment, and goes once it is not.
                    Some(machine) => add((Kind::Machine, machine.value.0), false),
                    None => {
                        let going = spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_none());
                        add((Kind::Volume, spec.id.0), !going);
                    }
                }
            } else if spec.leaving.as_deref() == Some(pool) {
                add((Kind::Volume, spec.id.0), true);
            } else if spec.moving.as_deref() == Some(pool) {
                add((Kind::Volume, spec.id.0), false);
            }
        }
        for snapshot in self.0.db.records::<SnapshotSpec>()?.iter().filter(|s| s.spec.pool == pool) {
            let going = snapshot.spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_none());
            add((Kind::Snapshot, snapshot.spec.id.0), !going);
        }
        Ok(inside)
    }

    /// Decides of some of what is in a pool that is lost that it goes for good; of what has left it, that
    /// nothing is left there.
    pub(super) fn let_go_of_lost(&self, pool: &PoolRecord) -> Result<(), Broken> {
        let name = pool.spec.name.as_str();
        let Some(operation) = pool.spec.deleting.as_ref().map(|going| going.operation) else {
            return Err(Broken::Raced);
        };
        let at = self.0.ports.clock.now();
        let mut change = Change::system();
        let mut woken: Vec<Key> = vec![];
        for volume in self.0.db.records::<VolumeSpec>()? {
            let spec = &volume.spec;
            let claim = key::attach(spec.id);
            if woken.len() == BATCH {
                break;
            }
            if spec.pool != name {
                if spec.leaving.as_deref() != Some(name) {
                    continue;
                }
                let mut new = spec.value.clone();
                new.leaving = None;
                new.generation += 1;
                change.update(spec, &new);
            } else if self.0.db.0.get(&claim)?.is_some() {
                continue;
            } else {
                match &spec.deleting {
                    Some(going) if going.keep_until.is_none() => continue,
                    Some(_) => _ = go_for_good(&mut change, &volume),
                    None => {
                        let going = VolumeDeletion { at, keep_until: None, operation, because: None };
                        change.check(claim, Check::Absent);
                        mark_deleting(&mut change, &volume, going);
                    }
                }
            }
            woken.push((Kind::Volume, spec.id.0));
        }
        for snapshot in self.0.db.records::<SnapshotSpec>()?.iter().filter(|s| s.spec.pool == name) {
            if woken.len() == BATCH {
                break;
            }
            match &snapshot.spec.deleting {
                Some(going) if going.keep_until.is_none() => continue,
                Some(_) => _ = go_for_good(&mut change, snapshot),
                None => {
                    let going = SnapshotDeletion { at, keep_until: None, operation, because: None };
                    going_snapshot(&mut change, snapshot, going);
                }
            }
            woken.push((Kind::Snapshot, snapshot.spec.id.0));
        }
        change.on(&pool.spec);
        change.commit(&self.0.db)?;
        woken.into_iter().for_each(|(kind, id)| self.wake(kind, id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::World;
    use crate::sim::run::settle;
    use crate::store::Limit;
    use crate::{Engine, Settings, key};
    use types::label::Edit;
    use types::machine::{AttachVolume, DeployMachine, DetachVolume};
    use types::operation::{HistoryEntry, OperationState};
    use types::pool::CreatePool;
    use types::snapshot::TakeSnapshot;
    use types::volume::CreateVolume;
    use types::{Actor, ByteSize, Code, Name};

    fn volume(engine: &Engine, name: &str, pool: &str) {
        let (name, pool) = (Name::new(name).ok(), Some(pool.to_owned()));
        let size_bytes = ByteSize::gib(1).bytes();
        let asked = CreateVolume { name, pool, size_bytes, ..CreateVolume::default() };
        engine.create_volume(&Actor("ada".into()), asked).unwrap();
    }

    #[test]
    fn a_pool_that_is_lost_goes_with_all_that_is_known_of_it_and_nothing_else() {
        let (world, ada) = (World::new(), Actor("ada".into()));
        let engine = world.boot(Settings::default()).unwrap();
        let name = |text| Name::new(text).unwrap();
        let big =
            CreatePool { name: name("big"), path: Some("/mnt/big".into()), size_bytes: None, sparse: false };
        engine.create_pool(&ada, &big).unwrap();
        settle(&world, &engine);
        // More than one transaction holds.
        (0..70).for_each(|n| volume(&engine, &format!("v{n}"), "big"));
        volume(&engine, "mine", "default");
        settle(&world, &engine);
        engine.snapshot_volume(&ada, "v1", &TakeSnapshot { name: Some(name("snap")) }).unwrap();
        engine.delete_volume(&ada, "v2", false).unwrap();
        let image = Some("debian".into());
        let attach = vec![AttachVolume { volume: "v3".into(), mount: None, read_only: false }];
        engine
            .deploy(&ada, DeployMachine { image, name: Some(name("web")), attach, ..Default::default() })
            .unwrap();
        engine.edit_volume(&ada, "v4", &Edit { protected: Some(true), ..Edit::default() }).unwrap();
        settle(&world, &engine);
        let lose = || engine.delete_pool(&ada, "big", true);
        assert_eq!(lose().unwrap_err().code, Code::Conflict, "it is there");
        engine.stop_machine(&ada, "web").unwrap();
        settle(&world, &engine);
        world.unplug_pools(true);
        engine.resync().unwrap();
        let idle = || engine.run_until_idle(10_000).unwrap();
        idle();
        assert_eq!(lose().unwrap_err().code, Code::Protected);
        engine.edit_volume(&ada, "v4", &Edit { protected: Some(false), ..Edit::default() }).unwrap();
        let attached = lose().unwrap_err();
        assert_eq!(attached.code, Code::VolumeInUse);
        assert!(attached.message.contains("\"v3\"") && attached.message.contains("\"web\""), "{attached}");
        engine.detach_volume(&ada, "web", DetachVolume { volume: "v3".into(), force: false }).unwrap();
        idle();
        assert_eq!(engine.delete_pool(&ada, "big", false).unwrap_err().code, Code::PoolInUse);

        let files = world.state().files.len();
        let op = lose().unwrap();
        assert!(op.warnings[0].contains("70 volumes and 1 snapshot of"), "{:?}", op.warnings);
        settle(&world, &engine);
        assert_eq!(engine.operation(op.id).unwrap().state, OperationState::Succeeded);
        let left: Vec<_> = engine.volumes().unwrap().into_iter().map(|v| v.name.to_string()).collect();
        assert_eq!((left.len(), left.contains(&"mine".to_owned())), (2, true), "{left:?}");
        assert!(engine.deleted_volumes().unwrap().is_empty() && engine.snapshots().unwrap().is_empty());
        assert_eq!(engine.pools().unwrap().len(), 1);
        assert_eq!(world.state().files.len(), files, "its disk is untouched");
        let db = &engine.0.db;
        assert!(db.0.scan(key::OPEN, Limit::All).unwrap().is_empty());
        let lines = db.scan::<HistoryEntry>(key::HISTORY, Limit::All).unwrap();
        assert!(lines.iter().any(|line| line.operation == Some(op.id) && line.warnings == op.warnings));
        assert_eq!(crate::sim::check::at_rest(&world, &engine), Vec::<String>::new());
    }
}
