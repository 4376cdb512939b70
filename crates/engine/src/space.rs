//! What volumes take, and where the room of pools is.
//!
//! Invariant: whoever reads pays, and nobody else waits: nothing here writes, no list does this unless it
//! is asked to, and a guest that does not answer is left out. One thing that cannot be seen is `null`
//! and spoils no answer.

use crate::Engine;
use crate::port::{Footprint, Kept, Space};
use std::collections::{HashMap, HashSet};
use types::machine::MachineSpec;
use types::storage::{GuestUsage, KindUsage, PoolContent, PoolUsage, VolumeUsage};
use types::volume::Volume;
use types::{Problem, RunId, SnapshotId, VolumeId};

/// What guests say is in use, by volume, in bytes.
type InGuests = HashMap<VolumeId, u64>;

impl From<Footprint> for VolumeUsage {
    fn from(seen: Footprint) -> Self {
        Self {
            allocated_bytes: Some(seen.allocated.bytes()),
            exclusive_bytes: seen.sharing.map(|s| s.exclusive.bytes()),
            shared_bytes: seen.sharing.map(|s| s.shared.bytes()),
            ..Self::default()
        }
    }
}

impl Engine {
    /// Adds what they take to volumes of a list.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn add_usage(&self, volumes: &mut [Volume]) -> Result<(), Problem> {
        let inside = self.in_guests(|_| true)?;
        let files = self.0.ports.pools.space(&self.pool_names()?).into_iter().flat_map(|space| space.files);
        let seen: HashMap<VolumeId, Footprint> = files
            .filter_map(|(kept, seen)| match kept {
                Kept::Volume(id) | Kept::Deleted(id) => Some((id, seen)),
                _ => None,
            })
            .collect();
        for v in volumes {
            let usage = seen.get(&v.id).map_or_else(VolumeUsage::default, |seen| (*seen).into());
            v.usage = Some(usage.in_guest(used(&inside, v.id, v.size_bytes)));
        }
        Ok(())
    }

    /// Adds what it takes to one volume.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn add_usage_of(&self, volume: &mut Volume) -> Result<(), Problem> {
        let id = volume.id;
        let inside = self.in_guests(|spec| spec.disks.iter().any(|d| d.volume == id))?;
        // A pool that cannot be asked says so where it is shown itself.
        let seen = self.pool(&volume.pool).and_then(|pool| pool.footprint(id)).ok().flatten();
        let usage = seen.map_or_else(VolumeUsage::default, VolumeUsage::from);
        volume.usage = Some(usage.in_guest(used(&inside, id, volume.size_bytes)));
        Ok(())
    }

    /// Where the room of every pool is, the default one first, then by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn storage(&self) -> Result<Vec<PoolUsage>, Problem> {
        let inside = self.in_guests(|_| true)?;
        let pools = self.pools()?;
        let deleted: HashSet<SnapshotId> =
            self.deleted_snapshots()?.into_iter().map(|snapshot| snapshot.id).collect();
        let names: Vec<String> = pools.iter().map(|p| p.name.as_str().to_owned()).collect();
        let mut spaces: HashMap<String, Space> =
            self.0.ports.pools.space(&names).into_iter().map(|space| (space.pool.clone(), space)).collect();
        let usage = pools.into_iter().map(|pool| {
            let name = pool.name.as_str().to_owned();
            let content = spaces.remove(&name).map(|space| content(&space, &inside, &deleted));
            PoolUsage {
                status: pool.status,
                committed_bytes: pool.committed_bytes,
                committed_limit_bytes: content
                    .as_ref()
                    .and_then(|c| self.promise_limit(types::ByteSize(c.size_bytes)))
                    .map(types::ByteSize::bytes),
                content,
                warnings: self.room_warnings(&name),
                name,
            }
        });
        Ok(usage.collect())
    }

    /// What the guests of machines that run say of their volumes.
    fn in_guests(&self, wanted: impl Fn(&MachineSpec) -> bool) -> Result<InGuests, Problem> {
        let machines = self.0.db.records::<MachineSpec>()?;
        let up = machines.iter().filter(|m| wanted(&m.spec));
        let up: Vec<_> = up.filter_map(|m| Some((m, m.status.run.as_ref()?.id))).collect();
        let runs: Vec<(types::MachineId, RunId)> = up.iter().map(|(m, run)| (m.spec.id, *run)).collect();
        let said = self.0.ports.guest.disk_usage(&runs);
        let mut all = InGuests::new();
        for (m, run) in up {
            let Some(disks) = said.get(&run) else { continue };
            for disk in &m.spec.disks {
                // It is believed for what its machine has, and for nothing else.
                if let Some((_, used)) = disks.iter().find(|(serial, _)| *serial == disk.volume.short()) {
                    all.insert(disk.volume, used.bytes());
                }
            }
        }
        Ok(all)
    }
}

/// What a guest says of a volume: no more than it can hold.
fn used(inside: &InGuests, volume: VolumeId, size: u64) -> Option<u64> {
    inside.get(&volume).map(|used| size.min(*used))
}

fn content(space: &Space, inside: &InGuests, deleted: &HashSet<SnapshotId>) -> PoolContent {
    let mut all = PoolContent {
        size_bytes: space.total.bytes(),
        used_bytes: space.used.bytes(),
        free_bytes: space.free.bytes(),
        shared_bytes: space.shared.bytes(),
        dedicated: space.dedicated,
        ..PoolContent::default()
    };
    for (kept, seen) in &space.files {
        let kind = match kept {
            Kept::Volume(id) => {
                if let Some(used) = used(inside, *id, seen.size.bytes()) {
                    tell(&mut all.guests, VolumeUsage::from(*seen).in_guest(Some(used)));
                }
                &mut all.volumes
            }
            Kept::Snapshot(id) if deleted.contains(id) => &mut all.trash,
            Kept::Snapshot(_) => &mut all.snapshots,
            Kept::Deleted(_) => &mut all.trash,
            Kept::Image => &mut all.images,
            Kept::Pool => &mut all.pools,
            Kept::Unfinished => &mut all.unfinished,
            Kept::System => &mut all.system,
        };
        add(kind, seen);
    }
    all.overhead_bytes = all.used_bytes.saturating_sub(all.accounted());
    all
}

fn add(kind: &mut KindUsage, seen: &Footprint) {
    let more = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
    kind.count += 1;
    more(&mut kind.size_bytes, seen.size.bytes());
    more(&mut kind.allocated_bytes, seen.allocated.bytes());
    more(&mut kind.exclusive_bytes, seen.sharing.map_or(0, |s| s.exclusive.bytes()));
}

fn tell(guests: &mut GuestUsage, usage: VolumeUsage) {
    guests.count += 1;
    guests.used_bytes = guests.used_bytes.saturating_add(usage.guest_used_bytes.unwrap_or(0));
    guests.reclaimable_bytes = guests.reclaimable_bytes.saturating_add(usage.reclaimable_bytes.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::admit::DEFAULT_POOL;
    use crate::port::Sharing;
    use crate::sim::World;
    use proptest::prelude::*;
    use types::volume::CreateVolume;
    use types::{Actor, ByteSize, Name};
    use uuid::Uuid;

    fn file(allocated: u64, shared: u64) -> Footprint {
        let sharing = Sharing { exclusive: ByteSize(allocated - shared), shared: ByteSize(shared) };
        Footprint { size: ByteSize(1 << 30), allocated: ByteSize(allocated), sharing: Some(sharing) }
    }

    #[test]
    fn what_cannot_be_told_is_overhead() {
        let id = |n| VolumeId(Uuid::from_u128(n));
        let snapshot = |n| SnapshotId(Uuid::from_u128(n));
        let encoded = Footprint { sharing: None, ..file(1000, 0) };
        let space = Space {
            pool: "p".into(),
            total: ByteSize(100_000),
            used: ByteSize(10_000),
            free: ByteSize(90_000),
            shared: ByteSize(300),
            dedicated: true,
            files: vec![
                (Kept::Volume(id(1)), file(2000, 300)),
                (Kept::Volume(id(2)), encoded),
                (Kept::Deleted(id(3)), file(300, 300)),
                (Kept::Image, file(500, 0)),
                (Kept::Snapshot(snapshot(4)), file(40, 0)),
                (Kept::Snapshot(snapshot(5)), file(60, 0)),
            ],
        };
        let deleted = [snapshot(5)].into();
        let seen = content(&space, &[(id(1), 600), (id(2), 5000)].into(), &deleted);
        assert_eq!(
            (seen.volumes.count, seen.volumes.allocated_bytes, seen.volumes.exclusive_bytes),
            (2, 3000, 1700)
        );
        assert_eq!((seen.trash.exclusive_bytes, seen.images.exclusive_bytes), (60, 500));
        assert_eq!((seen.trash.count, seen.snapshots.exclusive_bytes), (2, 40));
        assert_eq!(seen.accounted(), 1700 + 500 + 300 + 100);
        assert_eq!(seen.accounted() + seen.overhead_bytes, 10_000);
        assert_eq!(seen.guests, GuestUsage { count: 2, used_bytes: 5600, reclaimable_bytes: 1400 });
    }

    proptest! {
        #[test]
        fn it_always_adds_up(files in prop::collection::vec((0u64..1 << 40, 0u64..100), 0..20), rest in 0u64..1 << 40) {
            let files: Vec<_> = files.iter().map(|(a, s)| (Kept::Image, file(*a, a / 100 * s))).collect();
            let shared: u64 = files.iter().map(|(_, f)| f.sharing.unwrap().shared.bytes()).max().unwrap_or(0);
            let own: u64 = files.iter().map(|(_, f)| f.sharing.unwrap().exclusive.bytes()).sum();
            let used = ByteSize(own + shared + rest);
            let (pool, total, free) = (String::new(), ByteSize(u64::MAX), ByteSize(0));
            let space = Space { pool, total, used, free, shared: ByteSize(shared), dedicated: false, files };
            let seen = content(&space, &InGuests::new(), &HashSet::new());
            prop_assert_eq!(seen.overhead_bytes, rest);
            prop_assert_eq!(seen.accounted() + seen.overhead_bytes, seen.used_bytes);
        }
    }

    #[test]
    fn a_volume_that_cannot_be_seen_spoils_no_list() {
        let world = World::new();
        let engine = world.boot(Settings { pool_overcommit: Some(200), ..Settings::default() }).unwrap();
        for name in ["a", "b"] {
            let (name, size_bytes) = (Some(Name::new(name).unwrap()), ByteSize::gib(1).bytes());
            let asked = CreateVolume { name, size_bytes, ..CreateVolume::default() };
            engine.create_volume(&Actor("ada".into()), asked).unwrap();
        }
        engine.run_until_idle(100).unwrap();
        let mut volumes = engine.volumes().unwrap();
        assert!(volumes.iter().all(|v| v.usage.is_none()));
        world.state().files.retain(|(_, id), _| *id != volumes[0].id);
        engine.add_usage(&mut volumes).unwrap();
        assert_eq!(volumes[0].usage, Some(VolumeUsage::default()));
        let seen = volumes[1].usage.unwrap();
        assert!(seen.allocated_bytes.is_some() && seen.guest_used_bytes.is_none(), "{seen:?}");
        for v in &mut volumes {
            let listed = v.usage.take();
            engine.add_usage_of(v).unwrap();
            assert_eq!(v.usage, listed);
        }
        let pools = engine.storage().unwrap();
        let default = &pools[0];
        assert_eq!(
            (default.name.as_str(), default.committed_bytes),
            (DEFAULT_POOL, ByteSize::gib(2).bytes())
        );
        assert_eq!(default.committed_limit_bytes, Some(ByteSize::gib(2000).bytes()));
        assert_eq!(default.content.as_ref().unwrap().volumes.count, 1);
    }
}
