//! What the pool says is on disk, is: also when a daemon died between an effect and its flush.

use e2e::cut::{Kind, Place};
use engine::port::Pool;
use host::Layout;
use host::storage::FilePool;
use std::fs::File;
use types::fs::FileSystem;
use types::{ByteSize, VolumeId};
use uuid::Uuid;

#[test]
fn a_size_that_was_seen_is_durable() {
    let place = Place::new().unwrap();
    for kind in [Kind::Ext4, Kind::Xfs] {
        for seed in 0..5 {
            place.format(kind, 320 << 20).unwrap();
            let powered = place.power(kind, false).unwrap();
            let layout = Layout::new(powered.at().join("data"), "/run/sistemo-none");
            let id = VolumeId(Uuid::now_v7());
            let pool = FilePool::open(layout.clone()).unwrap();
            pool.create_blank(
                id,
                ByteSize::mib(16),
                (FileSystem::Ext4, Uuid::now_v7()),
                b"{\"generation\":1}",
                &|_| {},
            )
            .unwrap();
            // A daemon that is killed after the first half of a growth …
            let file = File::options().write(true).open(layout.volume(id)).unwrap();
            file.set_len(32 << 20).unwrap();
            drop(file);
            // … and the next one, which sees that there is nothing left to do and says so.
            let pool = FilePool::open(layout.clone()).unwrap();
            let seen = pool.observe(id).unwrap().file.unwrap().size;
            powered.cut(seed);
            drop(powered);
            let powered = place.power(kind, false).unwrap();
            let now = FilePool::open(layout).unwrap().observe(id).unwrap().file.unwrap().size;
            assert_eq!(now, seen, "{kind:?}, cut {seed}");
            drop(powered);
        }
    }
}
