//! A guest that writes more than its host can keep.

use crate::common::{names, tool};
use crate::mount::Mount;
use crate::world::{PATIENCE, World};
use engine::port::{Health, RunPlan, Vmm};
use host::vmm::Qemu;
use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use types::machine::StallReason;
use uuid::Uuid;

const FULL: Health = Health::Stands { slot: Some(1), why: StallReason::PoolFull };

fn wait_for(qemu: &Qemu, woken: &Receiver<Uuid>, plan: &RunPlan, wanted: Health) {
    let deadline = Instant::now() + PATIENCE;
    while qemu.health(plan.machine, plan.run).unwrap() != wanted {
        let left = deadline.saturating_duration_since(Instant::now());
        assert_eq!(woken.recv_timeout(left).expect("a wake in time"), plan.machine.0);
    }
}

/// Takes all room but so many bytes.
fn fill(at: &Path, leave: u64) -> std::path::PathBuf {
    let path = at.join("filler");
    let file = File::create(&path).unwrap();
    let stat = rustix::fs::statvfs(at).unwrap();
    let room = (stat.f_bavail * stat.f_frsize).saturating_sub(leave);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, room).unwrap();
    path
}

#[test]
fn a_guest_without_room_stands_and_goes_on_where_it_stood() {
    for kind in ["ext4", "xfs"] {
        let mount = Mount::new(kind, 400);
        let world = World::at(
            mount.path().join("w"),
            "i=0; while [ $i -lt 12 ]; do \
             { printf \"piece %7d\\n\" $i; dd if=/dev/zero bs=1048562 count=1 2>/dev/null; } > /piece;
             dd if=/piece of=/dev/vdb bs=1M count=1 seek=$i conv=notrunc,fsync 2>/dev/null || echo FAILED; \
             i=$((i+1)); done; echo all written",
        );
        let (qemu, woken) = world.qemu();
        let plan = world.plan(vec![world.disk(0), world.disk(1)]);
        qemu.start(&plan).unwrap();
        let filler = fill(&mount.path(), 4 << 20);
        wait_for(&qemu, &woken, &plan, FULL);
        assert_eq!(qemu.status(plan.machine, plan.run).unwrap(), "io-error");

        // A daemon that was not there when it happened finds the same.
        drop((qemu, woken));
        let (qemu, woken) = world.qemu();
        assert_eq!(qemu.health(plan.machine, plan.run).unwrap(), FULL);
        // Without room it stands again.
        qemu.resume(plan.machine, plan.run).unwrap();
        wait_for(&qemu, &woken, &plan, FULL);

        fs::remove_file(filler).unwrap();
        qemu.resume(plan.machine, plan.run).unwrap();
        wait_for(&qemu, &woken, &plan, Health::Running);
        let said = world.hear(&qemu, &plan, "all written");
        assert!(!said.contains("FAILED"), "{said}");
        let content = fs::read(world.layout().volume(plan.disks[1].volume)).unwrap();
        for i in 0..12 {
            let head = format!("piece {i:7}\n");
            assert_eq!(&content[i << 20..][..head.len()], head.as_bytes(), "{kind}");
        }
        assert_eq!(names(&world.layout().volumes()).len(), 2);
        drop(world);
    }
}

#[test]
fn a_guest_on_a_dead_disk_stands_for_another_reason() {
    let mount = Mount::new("xfs", 400);
    let world = World::at(
        mount.path().join("w"),
        "echo up; while true; do dd if=/dev/zero of=/dev/vdb bs=1M count=1 conv=fsync; done",
    );
    let (qemu, woken) = world.qemu();
    let plan = world.plan(vec![world.disk(0), world.disk(1)]);
    qemu.start(&plan).unwrap();
    world.hear(&qemu, &plan, "up");
    tool("xfs_io", &["-x", "-c", "shutdown", mount.path().to_str().unwrap()]);
    let bad = Health::Stands { slot: Some(1), why: StallReason::IoError };
    wait_for(&qemu, &woken, &plan, bad);
    qemu.resume(plan.machine, plan.run).unwrap();
    wait_for(&qemu, &woken, &plan, bad);
    qemu.kill(plan.machine, plan.run).unwrap();
}
