//! The pool on real file systems: ext4, which copies, and XFS, which shares.

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::{names, tool};
use engine::port::{Bounds, Pool};
use host::Layout;
use host::storage::FilePool;
use mount::Mount;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use types::fs::FileSystem;
use types::{ByteSize, Code, ImageId, Timestamp, VolumeId};
use uuid::Uuid;

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn id() -> VolumeId {
    VolumeId(Uuid::now_v7())
}

fn layout(at: &Path) -> Layout {
    Layout::new(at.join("data"), at.join("run"))
}

/// An image of 64 MiB: 8 MiB of data behind 3 MiB of hole.
fn image(layout: &Layout) -> ImageId {
    let image = ImageId(Uuid::now_v7());
    fs::create_dir_all(layout.images()).unwrap();
    let file = File::create(layout.image_content(DIGEST)).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&content(), 3 << 20).unwrap();
    let record = format!(r#"{{"digest":"{DIGEST}","size":{}}}"#, 64 << 20);
    fs::write(layout.image_record(image), record).unwrap();
    image
}

fn content() -> Vec<u8> {
    (0..8u32 << 20).map(|i| (i % 251) as u8).collect()
}

/// The life of volumes on one file system.
fn life(at: &Path) {
    let layout = layout(at);
    let pool = FilePool::open(layout.clone()).unwrap();
    FilePool::open(layout.clone()).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&layout.volumes()), 0o711);

    let (blank, fs_uuid) = (id(), Uuid::now_v7());
    assert_eq!(pool.observe(blank).unwrap(), Default::default());
    pool.create_blank(
        blank,
        ByteSize::mib(512),
        (FileSystem::Ext4, fs_uuid),
        br#"{"generation":3}"#,
        &|_| (),
    )
    .unwrap();
    let seen = pool.observe(blank).unwrap();
    assert_eq!(seen.file.unwrap().size, ByteSize::mib(512));
    assert!(seen.file.unwrap().allocated < ByteSize::mib(8), "{seen:?}");
    assert_eq!((seen.sidecar, seen.trashed), (Some(3), false));
    let raw = layout.volume(blank);
    assert_eq!(mode(&raw), 0o600);
    assert_eq!(mode(&layout.volume_sidecar(blank)), 0o600);
    tool("e2fsck", &["-fn", raw.to_str().unwrap()]);
    let head = Command::new("dumpe2fs").arg("-h").arg(&raw).output().unwrap().stdout;
    assert!(String::from_utf8(head).unwrap().contains(&fs_uuid.to_string()));

    // Made once: a repeated call changes nothing.
    let before = raw.metadata().unwrap();
    pool.create_blank(blank, ByteSize::mib(8), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ()).unwrap();
    assert_eq!((raw.metadata().unwrap().ino(), raw.metadata().unwrap().len()), (before.ino(), before.len()));

    let image = image(&layout);
    let root = id();
    let small = pool.create_from_image(root, image, ByteSize::mib(63), b"{}", &|_| ()).unwrap_err();
    assert_eq!(small.problem.code, Code::VolumeTooSmall);
    pool.create_from_image(root, image, ByteSize::gib(2), br#"{"generation":1}"#, &|_| ()).unwrap();
    complete(&layout, root, 2 << 30);
    assert!(pool.observe(root).unwrap().file.unwrap().allocated <= ByteSize::mib(9));
    let lost = ImageId(Uuid::now_v7());
    let unknown = pool.create_from_image(id(), lost, ByteSize::gib(1), b"{}", &|_| ()).unwrap_err();
    assert_eq!(unknown.problem.code, Code::ImageNotFound);

    // A copy is as sparse as what it is made of, larger if asked, and neither follows the other.
    let copy = id();
    let cut = pool.create_copy(copy, ("default", root), ByteSize::gib(1), b"{}", &|_| ()).unwrap_err();
    assert_eq!(cut.problem.code, Code::VolumeTooSmall);
    pool.create_copy(copy, ("default", root), ByteSize::gib(4), br#"{"generation":1}"#, &|_| ()).unwrap();
    pool.create_copy(copy, ("default", root), ByteSize::gib(9), b"{}", &|_| ()).unwrap();
    assert!(pool.observe(copy).unwrap().file.unwrap().allocated <= ByteSize::mib(9));
    File::options().write(true).open(layout.volume(root)).unwrap().write_all_at(b"x", 0).unwrap();
    complete(&layout, copy, 4 << 30);
    let gone = pool.create_copy(id(), ("default", id()), ByteSize::gib(1), b"{}", &|_| ()).unwrap_err();
    assert_eq!(gone.problem.code, Code::VolumeLost);
    pool.remove(copy).unwrap();

    pool.grow(root, ByteSize::gib(3)).unwrap();
    pool.grow(root, ByteSize::gib(1)).unwrap();
    assert_eq!(pool.observe(root).unwrap().file.unwrap().size, ByteSize::gib(3));
    assert_eq!(pool.grow(id(), ByteSize::gib(1)).unwrap_err().problem.code, Code::VolumeLost);

    pool.write_sidecar(root, br#"{"generation":7,"name":"x"}"#).unwrap();
    assert_eq!(pool.observe(root).unwrap().sidecar, Some(7));
    for unreadable in [vec![b' '; 2 << 20], b"not json".to_vec(), br#"{"generation":-1}"#.to_vec()] {
        fs::write(layout.volume_sidecar(root), unreadable).unwrap();
        assert_eq!(pool.observe(root).unwrap().sidecar, None);
    }

    fs::write(layout.trash().join("5.foreign.raw"), b"").unwrap();
    fs::write(layout.volumes().join("notes.txt"), b"").unwrap();
    pool.trash(root, Timestamp::from_millis(2_000)).unwrap();
    pool.trash(root, Timestamp::from_millis(2_000)).unwrap();
    let seen = pool.observe(root).unwrap();
    assert_eq!((seen.file, seen.sidecar, seen.trashed), (None, None, true));
    assert_eq!(pool.purge_trash(Timestamp::from_millis(1_999), &|_| false).unwrap(), []);
    assert_eq!(pool.purge_trash(Timestamp::from_millis(2_000), &|_| false).unwrap(), [root]);
    assert_eq!(pool.purge_trash(Timestamp::from_millis(2_000), &|_| false).unwrap(), []);
    assert!(!pool.observe(root).unwrap().trashed);

    pool.remove(blank).unwrap();
    pool.remove(blank).unwrap();
    assert_eq!(names(&layout.volumes()), ["notes.txt"]);
    assert_eq!(names(&layout.trash()), ["5.foreign.raw"]);
    let room = pool.capacity().unwrap();
    assert!(room.free <= room.total && room.free > ByteSize(0));
}

/// The volume is the image's content and then zeros.
fn complete(layout: &Layout, volume: VolumeId, size: u64) {
    let file = File::open(layout.volume(volume)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size);
    let mut bytes = vec![1; 8 << 20];
    file.read_exact_at(&mut bytes, 3 << 20).unwrap();
    assert!(bytes == content());
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..3 << 20].iter().all(|&b| b == 0));
}

#[test]
fn a_life_on_ext4() {
    life(&Mount::new("ext4", 400).path());
}

#[test]
fn a_life_on_xfs() {
    life(&Mount::new("xfs", 400).path());
}

#[test]
fn clones_on_xfs_share_their_content() {
    let mount = Mount::new("xfs", 400);
    assert_eq!(host::filesystem::of(&mount.path()).unwrap().reflink, Some(true));
    let layout = layout(&mount.path());
    let pool = FilePool::open(layout.clone()).unwrap();
    let image = image(&layout);
    let before = pool.capacity().unwrap().free;
    for _ in 0..100 {
        pool.create_from_image(id(), image, ByteSize::gib(2), b"{}", &|_| ()).unwrap();
    }
    let taken = before.bytes() - pool.capacity().unwrap().free.bytes();
    assert!(taken < 64 << 20, "{taken}");
}

#[test]
fn a_full_pool_is_told_and_nothing_is_left() {
    for kind in ["ext4", "xfs"] {
        let mount = Mount::new(kind, 320);
        let layout = layout(&mount.path());
        let pool = FilePool::open(layout.clone()).unwrap();
        let image = image(&layout);
        let whole = id();
        pool.create_blank(whole, ByteSize::mib(64), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ())
            .unwrap();
        let ballast = mount.path().join("ballast");
        let file = File::create(&ballast).unwrap();
        for piece in [16u64 << 20, 1 << 20, 4096] {
            let mut at = file.metadata().unwrap().len();
            while rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, piece).is_ok() {
                at += piece;
            }
        }
        let blank = pool
            .create_blank(id(), ByteSize::gib(1), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ())
            .unwrap_err();
        assert_eq!(blank.problem.code, Code::PoolFull, "{kind}: {blank}");
        assert!(blank.problem.hint.is_some());
        assert_eq!(names(&layout.volumes()).len(), 2, "{kind}");
        if kind == "ext4" {
            let root = pool.create_from_image(id(), image, ByteSize::gib(1), b"{}", &|_| ()).unwrap_err();
            assert_eq!(root.problem.code, Code::PoolFull, "{root}");
            assert_eq!(names(&layout.volumes()).len(), 2);
        }
        // Room for sidecars is kept, so that what is there can still be changed, as often as it has to be.
        for n in 1..=200 {
            pool.write_sidecar(whole, format!(r#"{{"generation":{n}}}"#).as_bytes()).unwrap();
        }
        let sidecar = pool.write_sidecar(whole, &vec![b' '; 3 << 20]).unwrap_err();
        assert_eq!(sidecar.problem.code, Code::PoolFull, "{kind}: {sidecar}");
        assert_eq!(pool.observe(whole).unwrap().sidecar, Some(200), "{kind}");
        let doomed = id();
        fs::rename(layout.volume_sidecar(whole), layout.volume_sidecar(doomed)).unwrap();
        pool.trash(doomed, Timestamp::from_millis(1)).unwrap();
        assert_eq!(names(&layout.trash()).len(), 1, "{kind}");
        fs::remove_file(&ballast).unwrap();
        drop(file);
        pool.grow(whole, ByteSize::gib(1)).unwrap();
        pool.create_blank(id(), ByteSize::mib(128), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ())
            .unwrap();
    }
}

#[test]
fn a_file_too_long_for_the_file_system_is_told() {
    let mount = Mount::new("ext4", 64);
    let pool = FilePool::open(layout(&mount.path())).unwrap();
    let volume = id();
    pool.create_blank(volume, ByteSize::mib(16), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ()).unwrap();
    // This small an ext4 has blocks of 1 KiB, and files of at most 4 TiB.
    let fault = pool.grow(volume, ByteSize::gib(8 << 10)).unwrap_err();
    assert_eq!(fault.problem.code, Code::PoolFull);
    assert_eq!(pool.observe(volume).unwrap().file.unwrap().size, ByteSize::mib(16));
}

#[test]
fn a_dead_or_read_only_disk_is_told() {
    let mount = Mount::new("xfs", 320);
    let layout = layout(&mount.path());
    let pool = FilePool::open(layout.clone()).unwrap();
    let volume = id();
    pool.create_blank(
        volume,
        ByteSize::mib(64),
        (FileSystem::Ext4, Uuid::now_v7()),
        br#"{"generation":1}"#,
        &|_| (),
    )
    .unwrap();
    let at = mount.path();
    tool("mount", &["-o", "remount,ro", at.to_str().unwrap()]);
    let fault = pool
        .create_blank(id(), ByteSize::mib(64), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ())
        .unwrap_err();
    assert_eq!(fault.problem.code, Code::IoError);
    assert!(fault.problem.hint.unwrap().contains("read-only"));
    assert_eq!(pool.observe(volume).unwrap().sidecar, Some(1));
    tool("mount", &["-o", "remount,rw", at.to_str().unwrap()]);
    tool("xfs_io", &["-x", "-c", "shutdown", at.to_str().unwrap()]);
    for fault in [
        pool.grow(volume, ByteSize::gib(1)).unwrap_err(),
        pool.write_sidecar(volume, b"{}").unwrap_err(),
        pool.trash(volume, Timestamp::from_millis(1)).unwrap_err(),
        pool.observe(volume).unwrap_err(),
    ] {
        assert_eq!(fault.problem.code, Code::IoError);
    }
}

/// What a kill can leave at each point of creating and of trashing.
#[test]
fn every_half_done_state_converges() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let pool = FilePool::open(layout.clone()).unwrap();
    let image = image(&layout);
    let volumes = layout.volumes();
    for left in 0..4 {
        let v = id();
        if left > 0 {
            fs::write(volumes.join(format!(".{v}.raw.part")), vec![0xff; 100_000]).unwrap();
        }
        if left > 1 {
            fs::write(volumes.join(format!(".{v}.json.part")), b"{").unwrap();
        }
        if left > 2 {
            fs::write(layout.volume_sidecar(v), br#"{"generation":9}"#).unwrap();
        }
        if left % 2 == 0 {
            pool.create_from_image(v, image, ByteSize::mib(64), br#"{"generation":1}"#, &|_| ()).unwrap();
            complete(&layout, v, 64 << 20);
        } else {
            pool.create_blank(
                v,
                ByteSize::mib(64),
                (FileSystem::Ext4, Uuid::now_v7()),
                br#"{"generation":1}"#,
                &|_| (),
            )
            .unwrap();
        }
        assert_eq!(pool.observe(v).unwrap().sidecar, Some(1));
        assert_eq!(names(&volumes).len(), 2, "{left}");

        let until = Timestamp::from_millis(1_000);
        if left > 1 {
            // Killed after the sidecar's rename.
            let kept = layout.trash().join(format!("1000.{v}.json"));
            fs::rename(layout.volume_sidecar(v), kept).unwrap();
        }
        fs::write(volumes.join(format!(".{v}.json.new")), b"{").unwrap();
        pool.trash(v, until).unwrap();
        assert!(pool.observe(v).unwrap().trashed);
        assert!(names(&volumes).is_empty());
        if left > 2 {
            // A purge that was killed between the two.
            fs::remove_file(layout.trash().join(format!("1000.{v}.raw"))).unwrap();
        }
        pool.purge_trash(until, &|_| false).unwrap();
        assert!(names(&layout.trash()).is_empty());
    }
}

/// Not a test by itself: what [`a_kill_at_any_instant_leaves_nothing_or_the_whole`] kills.
#[test]
fn victim() {
    let Ok(at) = std::env::var("POOL_VICTIM") else { return };
    let layout = layout(Path::new(&at));
    let pool = FilePool::open(layout.clone()).unwrap();
    let word = |name| std::env::var(name).unwrap();
    let (volume, image) = (word("POOL_VOLUME").parse().unwrap(), word("POOL_IMAGE").parse().unwrap());
    println!("ready");
    pool.create_from_image(volume, image, ByteSize::gib(1), br#"{"generation":1}"#, &|_| ()).unwrap();
}

#[test]
fn a_kill_at_any_instant_leaves_nothing_or_the_whole() {
    let mount = Mount::new("ext4", 400);
    let layout = layout(&mount.path());
    let pool = FilePool::open(layout.clone()).unwrap();
    let image = image(&layout);
    let mut halves = 0;
    for round in 0..24u64 {
        let volume = id();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env("POOL_VICTIM", mount.path())
            .env("POOL_VOLUME", volume.to_string())
            .env("POOL_IMAGE", image.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.any(|l| l.unwrap().contains("ready")));
        // The instants are spread over what creating takes.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(1500 * round) && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let seen = pool.observe(volume).unwrap();
        if seen.file.is_some() {
            complete(&layout, volume, 1 << 30);
            assert_eq!(seen.sidecar, Some(1));
        } else {
            halves += 1;
        }
        pool.create_from_image(volume, image, ByteSize::gib(1), br#"{"generation":1}"#, &|_| ()).unwrap();
        complete(&layout, volume, 1 << 30);
        assert_eq!(names(&layout.volumes()).len(), 2);
        pool.remove(volume).unwrap();
    }
    assert!(halves > 0, "no kill came in time");
}

#[test]
fn what_is_received_stops_before_what_has_to_stay_free() {
    let disk = Mount::new("ext4", 200);
    let layout = layout(&disk.path());
    let pool = FilePool::open(layout.clone()).unwrap();
    let before = pool.capacity().unwrap().free;
    let bounds = Bounds { keep: ByteSize::mib(60), most: ByteSize::MAX };
    let mut sent = pool.receive(id(), bounds).unwrap();
    let mut at = 0;
    let refused = loop {
        // Zeros take no room.
        sent.data(at + (1 << 30), &[0; 1 << 16]).unwrap();
        match sent.data(at, &[7; 1_000_000]) {
            Ok(()) => at += 1_000_000,
            Err(problem) => break problem,
        }
        assert!(pool.capacity().unwrap().free >= bounds.keep, "{at}");
    };
    assert_eq!(refused.code, Code::PoolFull);
    assert!(refused.hint.is_some() && at > 50_000_000, "{at}: {refused}");
    drop(sent);
    assert_eq!(names(&layout.volumes()), [""; 0]);
    assert!(pool.capacity().unwrap().free.bytes() + (1 << 20) > before.bytes());
}
