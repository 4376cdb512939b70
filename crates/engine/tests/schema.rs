//! Databases of earlier versions, kept as they were written, are opened by this one.

use engine::recover::Listed;
use engine::sim::World;
use engine::store::{Sqlite, Store};
use engine::{Engine, Settings};
use std::path::Path;
use std::sync::Arc;
use types::volume::ResizeVolume;
use types::{Actor, ByteSize};

/// A database from a stored dump.
fn stored(version: &str, path: &Path) {
    let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{version}.sql"));
    let c = rusqlite::Connection::open(path).unwrap();
    c.execute_batch(&std::fs::read_to_string(dump).unwrap()).unwrap();
}

fn number(path: &Path, pragma: &str) -> i64 {
    let c = rusqlite::Connection::open(path).unwrap();
    c.query_row(&format!("PRAGMA {pragma}"), [], |r| r.get(0)).unwrap()
}

#[test]
fn version_1_is_upgraded_and_has_everything_still() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sistemo.db");
    stored("v1", &path);
    assert_eq!((number(&path, "user_version"), number(&path, "application_id")), (1, 0));
    let listed = Listed::read(&path).unwrap().unwrap();
    assert_eq!((listed.volumes.len(), listed.machines.len(), listed.images.len()), (2, 1, 1));
    assert_eq!(number(&path, "user_version"), 1, "looking changes nothing");

    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).unwrap());
    let revision = store.revision().unwrap();
    assert_eq!((number(&path, "user_version"), number(&path, "application_id")), (2, 0x5349_5354));
    let engine = Engine::open(Arc::clone(&store), World::new().ports(), Settings::default()).unwrap();
    let volumes = engine.volumes().unwrap();
    let shown: Vec<_> = volumes
        .iter()
        .map(|v| format!("{} {} {}", v.name, ByteSize(v.size_bytes), v.attached_to.as_ref().unwrap()))
        .collect();
    assert_eq!(shown, ["appdata 2.0GB web", "web-root 5.0GB web"]);
    assert_eq!(engine.machine("web").unwrap().address.unwrap().to_string(), "10.200.0.2");
    assert_eq!(engine.history(&engine::HistoryQuery::default()).unwrap().len(), 5);
    let larger = ResizeVolume { size_bytes: ByteSize::gib(3).bytes() };
    engine.resize_volume(&Actor("root".into()), "appdata", larger).unwrap();
    assert!(store.revision().unwrap() > revision);
    drop((engine, store));
    Sqlite::open(&path).unwrap();
}
