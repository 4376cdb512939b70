//! Pools on real file systems: XFS in files, directories on disks that come and go.

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::{names, tool};
use engine::port::{Pool, Pools};
use host::Layout;
use host::pools::HostPools;
use mount::Mount;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::fs::FileSystem;
use types::pool::{PoolOn, PoolSpec};
use types::{ByteSize, Code, Name, PoolId, Timestamp, VolumeId};
use uuid::Uuid;

fn layout(at: &Path) -> Layout {
    Layout::new(at.join("data"), at.join("run"))
}

fn spec(name: &str, on: PoolOn) -> PoolSpec {
    PoolSpec {
        id: PoolId(Uuid::now_v7()),
        name: Name::new(name).unwrap(),
        generation: 1,
        node: "localhost".into(),
        created_at: Timestamp::from_millis(0),
        on,
        deleting: None,
    }
}

fn in_file(name: &str, size: ByteSize) -> PoolSpec {
    spec(name, PoolOn::Loop { size, sparse: false })
}

/// All that a planner does until a pool is there.
fn ensure(pools: &HostPools, spec: &PoolSpec) -> Arc<dyn Pool> {
    let seen = pools.observe(spec).unwrap();
    if !seen.whole {
        pools.make(spec, &|_| ()).unwrap();
    }
    if !pools.observe(spec).unwrap().online {
        pools.bring(spec).unwrap();
    }
    pools.write_record(spec).unwrap();
    let seen = pools.observe(spec).unwrap();
    assert!(seen.whole && seen.online && seen.record == Some(spec.generation), "{seen:?}");
    pools.get(spec.name.as_str()).unwrap()
}

fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn devices(layout: &Layout, pool: &str) -> String {
    said("losetup", &["-n", "-O", "DIO", "-j", layout.pool_image(pool).to_str().unwrap()])
}

fn is_mounted(at: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&format!(" {} ", at.display()))
}

/// Unmounts, which has to wait where another thread is just forking: its child holds what is open until it runs
/// its program.
fn umount(at: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !Command::new("umount").arg(at).status().unwrap().success() {
        assert!(Instant::now() < end, "{at} stays mounted");
    }
}

#[test]
fn a_pool_in_a_file_is_fast_and_comes_back_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let spec = in_file("fast", ByteSize::mib(400));
    assert_eq!(pools.probe(&spec.name, &spec.on).unwrap(), spec.on);
    assert_eq!(pools.get("fast").map(drop).unwrap_err().problem.code, Code::PoolNotFound);
    let fast = ensure(&pools, &spec);
    ensure(&pools, &spec);
    assert_eq!(devices(&layout, "fast").trim(), "1", "one device, with direct I/O");
    let seen = layout.pool_image("fast").metadata().unwrap();
    assert!(seen.blocks() * 512 >= 400 << 20, "it has its room: {}", seen.blocks() * 512);
    assert!(fast.shares());
    assert_eq!(pools.probe(&spec.name, &spec.on).unwrap_err().code, Code::Conflict);

    // From the default pool, which is another file system, then within.
    let (first, copy) = (VolumeId(Uuid::now_v7()), VolumeId(Uuid::now_v7()));
    let default = pools.get("default").unwrap();
    default
        .create_blank(first, ByteSize::mib(256), (FileSystem::Ext4, Uuid::now_v7()), b"{}", &|_| ())
        .unwrap();
    File::options()
        .write(true)
        .open(layout.volume(first))
        .unwrap()
        .write_all_at(&vec![7; 32 << 20], 100 << 20)
        .unwrap();
    fast.create_copy(first, ("default", first), ByteSize::mib(256), b"{}", &|_| ()).unwrap();
    let at = layout.in_pool(layout.pool_mount("fast"));
    assert!(is_mounted(&layout.pool_mount("fast")));
    assert_eq!(fs::read(layout.volume(first)).unwrap(), fs::read(at.volume(first)).unwrap());
    default.remove(first).unwrap();
    let before = fast.capacity().unwrap().free;
    fast.create_copy(copy, ("fast", first), ByteSize::mib(256), b"{}", &|_| ()).unwrap();
    let took = before.bytes() - fast.capacity().unwrap().free.bytes();
    assert!(took < 1 << 20, "a copy within shares its blocks, and took {took}");

    // It grows while it is in use.
    let total = fast.capacity().unwrap().total;
    let held = File::open(at.volume(first)).unwrap();
    pools.grow(&spec, ByteSize::mib(600)).unwrap();
    pools.grow(&spec, ByteSize::mib(600)).unwrap();
    assert_eq!(pools.observe(&spec).unwrap().size, Some(ByteSize::mib(600)));
    let more = fast.capacity().unwrap().total.bytes() - total.bytes();
    assert!(more > 190 << 20, "{more}");

    // While somebody has something open, it does not go; nor with what nobody knows.
    let busy = pools.remove(&spec, true).unwrap_err();
    assert_eq!(busy.problem.code, Code::PoolInUse, "{busy}");
    fast.remove(first).unwrap();
    fast.remove(copy).unwrap();
    fs::write(at.pool().join("notes.txt"), "mine").unwrap();
    assert_eq!(pools.remove(&spec, true).unwrap_err().problem.code, Code::PoolInUse);
    fs::remove_file(at.pool().join("notes.txt")).unwrap();
    let busy = pools.remove(&spec, true).unwrap_err();
    assert!(busy.problem.code == Code::Busy && busy.passing, "{busy}");
    drop(held);

    // The host boots: the next daemon mounts it.
    umount(layout.pool_mount("fast").to_str().unwrap());
    assert_eq!(pools.get("fast").map(drop).unwrap_err().problem.code, Code::PoolOffline);
    assert!(!pools.observe(&spec).unwrap().online && pools.observe(&spec).unwrap().whole);
    let again = HostPools::open(layout.clone()).unwrap();
    assert!(again.get("fast").is_ok());
    assert_eq!(devices(&layout, "fast").trim(), "1", "still one device");

    again.remove(&spec, true).unwrap();
    again.remove(&spec, true).unwrap();
    assert!(!again.observe(&spec).unwrap().any);
    assert_eq!(names(&layout.pools()), ["default"]);
    assert!(!said("losetup", &["-n", "-O", "BACK-FILE"]).contains(dir.path().to_str().unwrap()));
}

#[test]
fn a_full_disk_makes_no_pool_and_grows_none() {
    let disk = Mount::new("ext4", 900);
    let layout = layout(&disk.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let large = in_file("fast", ByteSize::gib(2));
    assert_eq!(pools.probe(&large.name, &large.on).unwrap_err().code, Code::PoolFull);
    // What is not seen before is seen when it is tried.
    assert_eq!(pools.make(&large, &|_| ()).unwrap_err().problem.code, Code::PoolFull);
    assert_eq!(names(&layout.pools()), ["default"]);
    assert!(!pools.observe(&large).unwrap().any);

    let small = in_file("fast", ByteSize::mib(320));
    ensure(&pools, &small);
    assert_eq!(pools.probe_growth(&small.name, ByteSize::gib(2)).unwrap_err().code, Code::PoolFull);
    assert_eq!(pools.grow(&small, ByteSize::gib(2)).unwrap_err().problem.code, Code::PoolFull);
    let seen = layout.pool_image("fast").metadata().unwrap();
    assert_eq!(seen.len(), 320 << 20);
    assert!(seen.blocks() * 512 < 330 << 20, "what it had found is free again");
    pools.remove(&small, true).unwrap();
    // One without its room can be larger than the disk: that was asked for.
    let sparse = spec("fast", PoolOn::Loop { size: ByteSize::gib(2), sparse: true });
    pools.probe(&sparse.name, &sparse.on).unwrap();
    let pool = ensure(&pools, &sparse);
    assert!(pool.capacity().unwrap().total > ByteSize::gib(1));
    pools.remove(&sparse, true).unwrap();
    assert_eq!(names(&layout.pools()), ["default"]);
}

#[test]
fn what_was_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let spec = in_file("fast", ByteSize::mib(320));
    // A part of a file, as a kill leaves it.
    fs::write(layout.pool_part("fast"), vec![1; 1 << 20]).unwrap();
    assert!(pools.observe(&spec).unwrap().any && !pools.observe(&spec).unwrap().whole);
    pools.make(&spec, &|_| ()).unwrap();
    // A device without a mount.
    tool("losetup", &["--find", "--direct-io=on", layout.pool_image("fast").to_str().unwrap()]);
    let pool = ensure(&pools, &spec);
    assert_eq!(devices(&layout, "fast").trim(), "1");
    assert!(pool.capacity().unwrap().total > ByteSize::mib(200));
    // Unmounted, and the device still there.
    umount(layout.pool_mount("fast").to_str().unwrap());
    pools.remove(&spec, true).unwrap();
    assert_eq!(names(&layout.pools()), ["default"]);
    assert_eq!(devices(&layout, "fast"), "");
}

#[test]
fn a_disk_that_is_not_there_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Mount::new("ext4", 64);
    let layout = layout(dir.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let path = disk.path().to_str().unwrap().to_owned();
    let probe =
        |path: &str| pools.probe(&Name::new("big").unwrap(), &PoolOn::Directory { path: path.into() });
    let on = probe(&path).unwrap();
    for (bad, code) in [
        ("mnt/disk", Code::InvalidRequest),
        ("/nowhere/at/all", Code::InvalidRequest),
        ("/etc/passwd", Code::InvalidRequest),
        (layout.pools().to_str().unwrap(), Code::InvalidRequest),
    ] {
        let refused = probe(bad).unwrap_err();
        assert!(refused.code == code && refused.hint.is_some(), "{bad}: {refused}");
    }
    let spec = spec("big", on);
    let big = ensure(&pools, &spec);
    assert_eq!(probe(&path).unwrap_err().code, Code::Conflict);
    let volume = VolumeId(Uuid::now_v7());
    big.create_blank(
        volume,
        ByteSize::mib(8),
        (FileSystem::Ext4, Uuid::now_v7()),
        br#"{"generation":1}"#,
        &|_| (),
    )
    .unwrap();
    fs::write(disk.path().join("mine.txt"), "mine").unwrap();

    tool("umount", &["-l", &path]);
    let gone = pools.get("big").map(drop).unwrap_err();
    assert!(gone.problem.code == Code::PoolOffline && gone.passing && gone.problem.hint.is_some(), "{gone}");
    let seen = pools.observe(&spec).unwrap();
    assert!(seen.any && !seen.whole && !seen.online, "{seen:?}");
    assert!(HostPools::open(layout.clone()).unwrap().get("big").is_err());
    assert!(names(Path::new(&path)).is_empty(), "nothing is below the mount point");
    let found = host::recover::list(&layout).unwrap();
    assert_eq!((found.offline.as_slice(), found.pools.len()), (&["big".to_owned()][..], 0));

    tool("mount", &["-o", "loop", disk.path().with_file_name("file").to_str().unwrap(), &path]);
    assert!(pools.get("big").unwrap().observe(volume).unwrap().file.is_some());
    let found = host::recover::list(&layout).unwrap();
    assert_eq!((found.pools.len(), found.volumes.len()), (1, 1));
    assert_eq!((found.volumes[0].id, found.volumes[0].pool.as_str()), (volume, "big"));
    assert_eq!(pools.remove(&spec, true).unwrap_err().problem.code, Code::PoolInUse);
    pools.get("big").unwrap().remove(volume).unwrap();
    pools.remove(&spec, true).unwrap();
    assert_eq!(names(Path::new(&path)), ["lost+found", "mine.txt"]);
    assert!(probe(&path).is_ok());
}

#[test]
fn what_nobody_knows_does_not_go_with_a_pool_that_is_not_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let spec = in_file("fast", ByteSize::mib(320));
    ensure(&pools, &spec);
    let (image, at) = (layout.pool_image("fast"), layout.pool_mount("fast"));
    fs::write(at.join("notes.txt"), "mine").unwrap();
    umount(at.to_str().unwrap());
    let refused = pools.remove(&spec, true).unwrap_err();
    assert_eq!(refused.problem.code, Code::PoolInUse, "{refused}");
    assert!(refused.problem.hint.as_ref().unwrap().contains("notes.txt"), "{refused}");
    assert_eq!(fs::read(at.join("notes.txt")).unwrap(), b"mine");

    // A file system that cannot be mounted may hold anything.
    umount(at.to_str().unwrap());
    tool(
        "losetup",
        &["--detach", said("losetup", &["-n", "-O", "NAME", "-j", image.to_str().unwrap()]).trim()],
    );
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut head = [0; 4096];
    file.read_exact_at(&mut head, 0).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    file.sync_all().unwrap();
    let refused = pools.remove(&spec, true).unwrap_err();
    assert!(refused.problem.code == Code::PoolOffline && !refused.passing, "{refused}");
    assert!(refused.problem.hint.as_ref().unwrap().contains("--lost"), "{refused}");
    assert!(image.exists() && pools.observe(&spec).unwrap().record.is_some());
    file.write_all_at(&head, 0).unwrap();
    file.sync_all().unwrap();
    drop(file);

    ensure(&pools, &spec);
    fs::remove_file(at.join("notes.txt")).unwrap();
    umount(at.to_str().unwrap());
    pools.remove(&spec, true).unwrap();
    assert_eq!(names(&layout.pools()), ["default"]);

    // What never was a pool has nothing in it.
    fs::write(&image, "half").unwrap();
    pools.remove(&spec, false).unwrap();
    assert_eq!(names(&layout.pools()), ["default"]);
}

#[test]
fn a_pool_that_is_lost_is_forgotten_and_its_disk_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Mount::new("ext4", 64);
    let layout = layout(dir.path());
    let pools = HostPools::open(layout.clone()).unwrap();
    let path = disk.path().to_str().unwrap().to_owned();
    let spec = spec("big", PoolOn::Directory { path: path.clone() });
    let (big, volume) = (ensure(&pools, &spec), VolumeId(Uuid::now_v7()));
    let with = (FileSystem::Ext4, Uuid::now_v7());
    big.create_blank(volume, ByteSize::mib(8), with, br#"{"generation":1}"#, &|_| ()).unwrap();
    tool("umount", &["-l", &path]);
    for _ in 0..2 {
        pools.abandon(&spec).unwrap();
        assert_eq!(pools.observe(&spec).unwrap().record, None);
    }
    assert_eq!(pools.get("big").map(drop).unwrap_err().problem.code, Code::PoolNotFound);
    tool("mount", &["-o", "loop", disk.path().with_file_name("file").to_str().unwrap(), &path]);
    assert!(layout.in_pool(disk.path()).volume(volume).exists());

    // The file of one that is in a file, too.
    let fast = in_file("fast", ByteSize::mib(320));
    ensure(&pools, &fast);
    let (image, at) = (layout.pool_image("fast"), layout.pool_mount("fast"));
    umount(at.to_str().unwrap());
    tool(
        "losetup",
        &["--detach", said("losetup", &["-n", "-O", "NAME", "-j", image.to_str().unwrap()]).trim()],
    );
    pools.abandon(&fast).unwrap();
    assert_eq!(names(&layout.pools()), ["default", "fast.img"]);
}
