//! Whatever is found, the records agree.

use super::tests::{Dying, NOW, all, around, read, root, volume};
use super::*;
use crate::sim::World;
use crate::store::{Mem, Store};
use crate::{Engine, key};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use types::NetworkId;
use types::OperationId;
use types::machine::{Desired, Disk, MachineDeletion, Mount, Nic, RestartPolicy};
use types::operation::Kind;
use types::volume::{VolumeDeletion, VolumeRole};

const DAY: i64 = 86_400_000;

prop_compose! {
    fn some_volume()(
        n in 1u128..8, name in "[ab]", size in 1u64..4, generation in 1u64..4, file in proptest::option::of(0u64..4),
        sidecar in any::<bool>(), part in any::<bool>(), readable in any::<bool>(), trashed in proptest::option::of(0i64..9),
        owner in proptest::option::of(100u128..104), marked in prop::bool::weighted(0.1), kept in any::<bool>(),
    ) -> FoundVolume {
        let mut spec = volume(n, &name);
        (spec.size, spec.generation) = (ByteSize::gib(size), generation);
        spec.owner = owner.map(|m| MachineId(Uuid::from_u128(m)));
        spec.deleting = marked.then(|| VolumeDeletion {
            at: NOW, keep_until: None, operation: OperationId(Uuid::nil()), because: None,
        });
        FoundVolume {
            id: spec.id, pool: "default".into(), file: file.map(ByteSize::gib), sidecar, part,
            trashed: trashed.map(|t| Timestamp::from_millis(NOW.millis() + t)),
            kept: kept && trashed.is_some() && file.is_none(),
            specs: if readable { vec![spec] } else { vec![] },
        }
    }
}

prop_compose! {
    fn some_machine()(
        n in 100u128..104, name in "[ab]", disks in proptest::collection::vec((1u128..9, 0u8..3, any::<bool>()), 0..4),
        uid in 0u32..3, address in 0u32..4, mac in 0u8..3, network in 1u128..3, running in any::<bool>(), written in 0i64..9,
        deleted in proptest::option::weighted(0.2, proptest::option::of(0i64..9)),
    ) -> FoundMachine {
        let id = MachineId(Uuid::from_u128(n));
        let disk = |(v, slot, data): (u128, u8, bool)| Disk {
            volume: VolumeId(Uuid::from_u128(v)), slot,
            role: if data { VolumeRole::Data } else { VolumeRole::Root },
            mount: Mount::At("/proc".into()), read_only: false, leaving: None,
        };
        let spec = MachineSpec {
            making: std::collections::BTreeMap::default(),
            id, name: Name::new(&name).unwrap(), generation: 1, node: "localhost".into(), created_at: NOW,
            vcpus: 0, memory: ByteSize(0), image: None,
            desired: if running { Desired::Running } else { Desired::Stopped }, epoch: 0,
            disks: disks.into_iter().map(disk).collect(),
            nics: vec![Nic {
                network: NetworkId(Uuid::from_u128(network)),
                address: Ipv4Addr::from(0x0ac8_0000 + address),
                mac: if mac == 0 { "evil,id=x".into() } else { format!("52:54:00:00:00:0{mac}") },
            }],
            uid: if uid == 0 { 0 } else { crate::admit::FIRST_UID + uid }, protected: false, labels: Default::default(), deleting: deleted.map(|keep| MachineDeletion {
                at: NOW, keep_until: keep.map(|t| Timestamp::from_millis(NOW.millis() + t)), released: keep.is_some(),
                operation: OperationId(Uuid::nil()), because: None,
            }), restart: RestartPolicy::No, resumes: 0,
        };
        FoundMachine { id, specs: vec![spec], written_at: Timestamp::from_millis(written) }
    }
}

fn one_each<T: Clone, K: Ord>(all: &[T], key: impl Fn(&T) -> K) -> Vec<T> {
    let by: BTreeMap<K, T> = all.iter().map(|x| (key(x), x.clone())).collect();
    by.into_values().collect()
}

fn judge(found: &Found, store: &dyn Store) {
    let volumes: Vec<VolumeSpec> = read(store, Kind::Volume);
    let machines: Vec<MachineSpec> = read(store, Kind::Machine);
    let mut want: BTreeMap<String, Uuid> = BTreeMap::new();
    let mut claim = |key: String, id: Uuid| assert!(want.insert(key.clone(), id).is_none(), "{key} twice");
    for v in &volumes {
        claim(key::tail(&v.id.short()), v.id.0);
        if v.deleting.is_none() {
            claim(key::name(Kind::Volume, v.name.as_str()), v.id.0);
        }
        if let Some(owner) = v.owner {
            assert!(machines.iter().any(|m| m.id == owner && m.disks.iter().any(|d| d.volume == v.id)));
        }
    }
    for m in &machines {
        assert_eq!((m.disks[0].slot, m.disks[0].role), (0, VolumeRole::Root));
        assert_eq!(m.desired, Desired::Stopped);
        claim(key::tail(&m.id.short()), m.id.0);
        claim(key::uid(m.uid), m.id.0);
        assert!(m.uid >= crate::admit::FIRST_UID);
        assert!(m.nics.iter().all(|nic| nic.mac.starts_with("52:54:00:")));
        if let Some(going) = &m.deleting {
            assert!(going.released && going.keep_until.is_some_and(|t| t.millis() >= NOW.millis() + DAY));
            continue;
        }
        claim(key::name(Kind::Machine, m.name.as_str()), m.id.0);
        for nic in &m.nics {
            claim(key::address(nic.network, nic.address), m.id.0);
            claim(key::mac(&nic.mac), m.id.0);
            assert!(nic.mac.starts_with("52:54:00:") && nic.address != Ipv4Addr::new(10, 200, 0, 1));
        }
        for d in &m.disks {
            claim(key::attach(d.volume), m.id.0);
            assert!(volumes.iter().any(|v| v.id == d.volume && v.deleting.is_none()));
        }
    }
    let have: BTreeMap<String, Uuid> = all(store)
        .into_iter()
        .filter(|(k, _)| k.starts_with("claim/") && !k.starts_with("claim/name/network/"))
        .map(|(k, v)| (k, serde_json::from_slice(&v).unwrap()))
        .collect();
    assert_eq!(have, want);
    // No content is forgotten, and nothing that was deleted lives.
    for f in &found.volumes {
        let spec = volumes.iter().find(|v| v.id == f.id);
        let marked = f.specs.iter().any(|s| s.deleting.is_some());
        let coming = f.kept && f.sidecar && !f.specs.is_empty() && !marked;
        let gone = (f.trashed.is_some() || marked) && !coming;
        match spec {
            None => assert!(f.file.is_none_or(|s| s.bytes() == 0)),
            Some(spec) => assert_eq!(spec.deleting.is_some(), gone),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_is_found_the_records_agree_and_a_kill_changes_nothing(
        volumes in proptest::collection::vec(some_volume(), 0..9),
        machines in proptest::collection::vec(some_machine(), 0..6),
    ) {
        let found = Found {
            volumes: one_each(&volumes, |v| v.id), machines: one_each(&machines, |m| m.id), ..Found::default()
        };
        let settings = Settings::default();
        let recovery = decide(&found, &around(&settings)).unwrap();
        let whole = Mem::default();
        write(&whole, &recovery, &root(), NOW).unwrap();
        judge(&found, &whole);
        let ids: BTreeSet<_> = recovery.report().items.iter().map(|r| r.id).collect();
        prop_assert_eq!(ids.len(), recovery.restored.len());
        for kill in 0.. {
            let dying = Dying { inner: Mem::default(), commits: AtomicI64::new(kill) };
            if write(&dying, &recovery, &root(), NOW).is_ok() {
                break;
            }
            // Another time, another recovery of the same: the first one's beginning counts.
            let later = Timestamp::from_millis(NOW.millis() + if kill == 0 { 0 } else { DAY });
            write(&dying.inner, &recovery, &root(), later).unwrap();
            prop_assert_eq!(all(&dying.inner), all(&whole));
        }
        let world = World::new();
        let store: Arc<dyn Store> = Arc::new(whole);
        let engine = Engine::open(store, world.ports(), settings.clone()).unwrap();
        prop_assert!(engine.machines().is_ok() && engine.volumes().is_ok());
    }
}
