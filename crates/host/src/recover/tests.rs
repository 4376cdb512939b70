//! Reading real directories.

use super::*;
use proptest::prelude::*;
use std::fs::File;
use types::volume::VolumeSpec;

const SPEC: &str = r#"{"id":"0192f0c1-2345-7abc-8def-0123456789ab","name":"appdata","generation":4,
    "node":"localhost","created_at":"2026-01-31T12:00:00Z","role":"data","pool":"default",
    "size":1048576,"source":{"kind":"blank","fs_uuid":"0192f0c1-2345-4abc-8def-0123456789ab"},"owner":null}"#;
const ID: &str = "0192f0c1-2345-7abc-8def-0123456789ab";
const OTHER: &str = "0192f0c1-2345-7abc-8def-0123456789ac";

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("data"), dir.path().join("run"));
    for dir in [layout.volumes(), layout.trash(), layout.machines(), layout.images()] {
        durable::make_dir(&dir).unwrap();
    }
    (dir, layout)
}

fn put(path: PathBuf, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn what_is_there_is_found() {
    let (_dir, layout) = layout();
    assert!(!anything(&layout).unwrap());
    let volumes = layout.volumes();
    put(volumes.join(format!("{ID}.json")), SPEC);
    assert!(anything(&layout).unwrap());
    File::create(volumes.join(format!("{ID}.raw"))).unwrap().set_len(1 << 20).unwrap();
    put(volumes.join(format!(".{ID}.json.new")), &SPEC.replace(":4,", ":5,"));
    put(volumes.join(format!(".{OTHER}.raw.part")), "");
    put(volumes.join("notes.txt"), "");
    put(layout.trash().join(format!("1700000000000.{OTHER}.raw")), "x");
    let read = read(&layout).unwrap();
    assert_eq!(read.damaged, Vec::<PathBuf>::new());
    let [first, second] = &read.found.volumes[..] else { panic!("{read:?}") };
    let generations = |v: &FoundVolume| v.specs.iter().map(|s| s.generation).collect::<Vec<_>>();
    assert_eq!((first.file, first.sidecar, generations(first)), (Some(ByteSize(1 << 20)), true, vec![5, 4]));
    assert_eq!((second.part, second.trashed), (true, Some(Timestamp::from_millis(1_700_000_000_000))));
    assert_eq!(read.found.left.len(), 1);
    assert_eq!(read.found.holders, vec![]);
}

#[test]
fn what_cannot_be_read_is_told_and_kept() {
    let (_dir, layout) = layout();
    let sidecar = |id: &str| layout.volumes().join(format!("{id}.json"));
    put(sidecar(ID), "{\"id\":");
    put(sidecar(OTHER), SPEC);
    let large = "0192f0c1-2345-7abc-8def-0123456789ad";
    File::create(sidecar(large)).unwrap().set_len((1 << 20) + 1).unwrap();
    let link = "0192f0c1-2345-7abc-8def-0123456789ae";
    std::os::unix::fs::symlink("/etc/passwd", sidecar(link)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", layout.volumes().join(format!("{link}.raw"))).unwrap();
    fs::create_dir(layout.machines().join(ID)).unwrap();
    put(layout.machines().join(ID).join("machine.json"), "null");
    fs::create_dir(layout.machines().join("x")).unwrap();
    let read = read(&layout).unwrap();
    assert_eq!(read.damaged.len(), 4);
    assert_eq!(read.found.left.len(), 7, "{:#?}", read.found.left);
    assert_eq!(read.found.machines, vec![]);
    assert!(read.found.volumes.iter().all(|v| v.specs.is_empty() && v.sidecar && v.file.is_none()));
    set_aside(&read.damaged, Timestamp::from_millis(7)).unwrap();
    assert_eq!(
        fs::read_to_string(layout.volumes().join(format!("{ID}.json.damaged-7"))).unwrap(),
        "{\"id\":"
    );
    assert!(super::read(&layout).unwrap().damaged.is_empty());
}

#[test]
fn who_has_a_volume_open_is_seen() {
    let (_dir, layout) = layout();
    let path = layout.volumes().join(format!("{ID}.raw"));
    File::create(&path).unwrap().set_len(4096).unwrap();
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .stdin(File::options().read(true).write(true).open(&path).unwrap())
        .spawn()
        .unwrap();
    let holders = read(&layout).unwrap().found.holders;
    child.kill().unwrap();
    child.wait().unwrap();
    let expected = engine::recover::Holder { pid: child.id(), volumes: vec![ID.parse().unwrap()], run: None };
    assert_eq!(holders, vec![expected]);
}

#[test]
fn a_database_is_moved_with_what_is_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sistemo.db");
    let now = Timestamp::from_millis(5);
    assert_eq!(move_database(&path, now).unwrap(), None);
    put(path.clone(), "db");
    put(dir.path().join("sistemo.db-wal"), "wal");
    let moved = move_database(&path, now).unwrap().unwrap();
    assert_eq!(fs::read_to_string(moved).unwrap(), "db");
    assert_eq!(fs::read_to_string(dir.path().join("sistemo.db.corrupt-5-wal")).unwrap(), "wal");
    assert!(!path.exists());
}

proptest! {
    #[test]
    fn no_name_and_no_content_makes_it_panic(name in "\\.?[0-9a-f-]{0,40}\\.?(raw|json)?(\\.part)?", bytes: Vec<u8>) {
        let _ = Piece::parse(&name);
        let _ = files::trashed(&name);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, &bytes).unwrap();
        let _ = json::<VolumeSpec>(&path, |_| true);
    }

    #[test]
    fn a_sidecar_with_anything_in_it_is_read_or_refused(at in 0usize..SPEC.len(), with: u8) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut bytes = SPEC.as_bytes().to_vec();
        bytes[at] = with;
        fs::write(&path, &bytes).unwrap();
        let _ = json::<VolumeSpec>(&path, |_| true);
    }
}
