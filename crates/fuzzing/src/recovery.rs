//! Sidecars: what a data directory says of itself, and the database that is made of it.

use engine::recover::{Around, Found, FoundMachine, FoundVolume, decide, write};
use engine::sim::World;
use engine::store::Mem;
use engine::{Engine, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::machine::MachineSpec;
use types::volume::VolumeSpec;
use types::{Actor, ByteSize, Timestamp};
use uuid::Uuid;

/// Each line is a sidecar. Its first byte says what else there is of the volume; then comes the JSON,
/// of a volume or a machine. Of what is found, a database is made that opens and can be read.
pub fn sidecar(data: &[u8]) {
    let (mut volumes, mut machines) = (BTreeMap::new(), BTreeMap::new());
    for line in data.split(|b| *b == b'\n').take(32) {
        let Some((flags, json)) = line.split_first() else { continue };
        if let Ok(spec) = serde_json::from_slice::<VolumeSpec>(json) {
            volume(&mut volumes, *flags, spec);
        } else if let Ok(spec) = serde_json::from_slice::<MachineSpec>(json) {
            let id = spec.id;
            let new =
                FoundMachine { id, specs: vec![], written_at: Timestamp::from_millis(i64::from(*flags)) };
            machines.entry(id).or_insert(new).specs.push(spec);
        }
    }
    let found = Found {
        volumes: volumes.into_values().collect(),
        machines: machines.into_values().collect(),
        ..Found::default()
    };
    let (settings, now) = (Settings::default(), Timestamp::from_millis(1_700_000_000_000));
    let fresh = Uuid::from_u128(7 << 76 | 2 << 62 | 1);
    let around = Around { settings: &settings, now, host_boot: "boot-0".into(), fresh };
    let Ok(recovery) = decide(&found, &around) else { return };
    let store = Mem::default();
    write(&store, &recovery, &Actor("root".into()), now).expect("what was decided can be written");
    let engine = Engine::open(Arc::new(store), World::new().ports(), settings).expect("it opens");
    let (seen, _) = (engine.volumes().expect("volumes"), engine.machines().expect("machines"));
    for v in found.volumes.iter().filter(|v| v.trashed.is_none() && v.file.is_some_and(|s| s.bytes() > 0)) {
        let gone = v.specs.iter().any(|s| s.deleting.is_some());
        assert!(gone || seen.iter().any(|s| s.id == v.id), "content is forgotten");
    }
}

fn volume(all: &mut BTreeMap<types::VolumeId, FoundVolume>, flags: u8, spec: VolumeSpec) {
    let bit = |n: u8| flags >> n & 1 == 1;
    let new = FoundVolume {
        id: spec.id,
        pool: "default".into(),
        specs: vec![],
        file: bit(0).then_some(if bit(1) { spec.size } else { ByteSize::gib(1) }),
        sidecar: bit(2),
        part: bit(3),
        trashed: bit(4).then(|| Timestamp::from_millis(if bit(5) { i64::MAX } else { 1 })),
        kept: bit(4) && bit(6),
    };
    all.entry(spec.id).or_insert(new).specs.push(spec);
}
