//! Whether disk, database and memory of the clients agree.

use crate::model::{Change, Model, Volume};
use e2e::{Host, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a daemon may take to finish what it was in the middle of.
const SETTLING: Duration = Duration::from_secs(60);

/// The database in a data directory without a daemon is whole, whatever its log holds.
pub fn database(data: &Path) {
    if !data.join("sistemo.db").exists() {
        return;
    }
    // On a copy: recovering the log is the daemon's to do.
    let copy = tempfile::tempdir().unwrap();
    for name in ["sistemo.db", "sistemo.db-wal"] {
        if data.join(name).exists() {
            std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
        }
    }
    let opened = rusqlite::Connection::open(copy.path().join("sistemo.db")).unwrap();
    let answer: String = opened.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
}

/// Waits until nothing is under way; returns the list.
fn settled(host: &Host) -> Vec<Value> {
    until("the daemon has finished what it was doing", SETTLING, || {
        let ran = host.run("volume list -o json");
        assert_eq!(ran.code, 0, "{ran:?}");
        let list: Value = serde_json::from_str(&ran.out).unwrap();
        let list = list["items"].as_array().unwrap().clone();
        let busy =
            list.iter().any(|v| !v["condition"].is_null() || v["observed_generation"] != v["generation"]);
        (!busy).then_some(list)
    })
}

/// Everything acknowledged is there, nothing else is, and the files are what the list says.
pub fn volumes(host: &Host, models: &[Model]) -> BTreeMap<String, Volume> {
    let list = settled(host);
    let mut seen = BTreeMap::new();
    for item in &list {
        let volume = Volume {
            id: item["id"].as_str().unwrap().to_owned(),
            size: item["size_bytes"].as_u64().unwrap(),
        };
        assert!(item["fault"].is_null(), "{item}");
        let before = seen.insert(item["name"].as_str().unwrap().to_owned(), volume);
        assert!(before.is_none(), "twice in the list: {item}");
    }
    for (client, model) in models.iter().enumerate() {
        let mine = |name: &str| name.starts_with(&format!("c{client}-"));
        let under_way = model.under_way.iter().map(|(name, _)| name);
        let names: BTreeSet<&String> =
            seen.keys().filter(|n| mine(n)).chain(model.volumes.keys()).chain(under_way).collect();
        for name in names {
            let (known, now) = (model.volumes.get(name), seen.get(name));
            let what = &model.under_way;
            assert!(model.allows(name, now), "{name}: known {known:?}, under way {what:?}, now {now:?}");
        }
    }
    files(&host.data().join("pools/default"), &seen, models);
    seen
}

/// The pool holds exactly the files of the list, whole, and in its trash what was deleted.
fn files(pool: &Path, seen: &BTreeMap<String, Volume>, models: &[Model]) {
    let mut expected = BTreeSet::new();
    for (name, volume) in seen {
        let path = pool.join("volumes").join(format!("{}.raw", volume.id));
        let length = path.metadata().unwrap_or_else(|e| panic!("{name} has no file: {e}")).len();
        assert_eq!(length, volume.size, "{name}: the list and the file disagree");
        let check = Command::new("e2fsck").arg("-fn").arg(&path).output().unwrap();
        assert!(check.status.success(), "{name}: {}", String::from_utf8_lossy(&check.stdout));
        let sidecar = std::fs::read(path.with_extension("json")).unwrap();
        let sidecar: Value = serde_json::from_slice(&sidecar).expect("a sidecar is JSON");
        assert_eq!(sidecar["name"], **name);
        assert_eq!(sidecar["size"], volume.size);
        expected.extend([format!("{}.raw", volume.id), format!("{}.json", volume.id)]);
    }
    assert_eq!(names(&pool.join("volumes")), expected, "what is in the pool and in the list differs");
    let trash: BTreeSet<String> = names(&pool.join("trash"));
    for id in models.iter().flat_map(|m| &m.deleted) {
        assert!(trash.iter().any(|n| n.ends_with(&format!(".{id}.raw"))), "{id} is not in the trash");
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Every accepted operation has ended, each failed one with its reason.
pub fn operations(host: &Host) {
    let ran = host.run("history -n 1000 -o json");
    let history: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    for entry in history["items"].as_array().unwrap() {
        assert_ne!(entry["outcome"], "running", "{entry}");
        assert!(entry["outcome"] != "failed" || !entry["problem"].is_null(), "{entry}");
    }
}

/// What was under way can be asked for again, and so can anything else.
pub fn again(host: &Host, model: &Model, seen: &BTreeMap<String, Volume>) -> BTreeMap<String, Volume> {
    let mut now = seen.clone();
    let Some((name, change)) = &model.under_way else { return now };
    let ran = host.run(&change.line(name));
    let expected = match (change, seen.contains_key(name)) {
        (Change::Create(_), true) => 4,
        (Change::Resize(_) | Change::Delete, false) => 3,
        _ => 0,
    };
    assert_eq!(ran.code, expected, "{name} {change:?} again: {ran:?}");
    if ran.code == 0 {
        let mut after = Model::default();
        after.adopt(now);
        after.acknowledge(name, *change, &ran.out);
        now = after.volumes;
    }
    now
}
