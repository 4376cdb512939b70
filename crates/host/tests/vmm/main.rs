//! Real hypervisors with a real kernel. Needs root, QEMU, apt and a few seconds for each guest.

#[path = "../common/mod.rs"]
mod common;
mod full;
mod guest;
mod kill;
#[path = "../common/mount.rs"]
mod mount;
mod world;

use engine::port::{Net, NicPlan, ProcessObs, Vmm};
use host::net::HostNet;
use std::fs;
use std::process::Command;
use types::network::NetworkSpec;
use types::{Code, NetworkId};
use uuid::Uuid;
use world::{World, refused, wait_for};

/// The value of a line of `/proc/PID/status`.
fn status_of(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_machine_lives_unprivileged_outlives_its_daemon_and_leaves_nothing() {
    let world = World::new("echo the guest is up; cat /sys/block/vd*/serial; echo");
    let (qemu, woken) = world.qemu();
    qemu.preflight().unwrap();
    let plan = world.plan(vec![world.disk(0), world.disk(1)]);
    let see = |q: &host::vmm::Qemu| q.observe(plan.machine, plan.run).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Absent);
    qemu.start(&plan).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Alive);
    qemu.start(&plan).unwrap();
    assert_eq!(qemu.status(plan.machine, plan.run).unwrap(), "running");

    let pid = world.pid(&plan);
    assert_eq!(status_of(pid, "Uid"), "200001 200001 200001 200001");
    assert_eq!(status_of(pid, "Gid"), "200001 200001 200001 200001");
    assert_eq!(status_of(pid, "Groups"), "");
    assert_eq!(status_of(pid, "Seccomp"), "2");
    assert_eq!(status_of(pid, "NoNewPrivs"), "1");
    assert_eq!(status_of(pid, "CapEff"), "0000000000000000");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core")).unwrap();
    assert!(core.contains(" 0 "), "{core}");

    let heard = world.hear(&qemu, &plan, &plan.disks[1].serial);
    assert!(heard.contains("the guest is up") && heard.contains(&plan.disks[0].serial), "{heard}");

    // Another run cannot have its volume, and leaves nothing.
    let thief = world.plan(vec![world.disk(0), plan.disks[1].clone()]);
    let fault = qemu.start(&thief).unwrap_err();
    assert_eq!(fault.problem.code, Code::VolumeInUse);
    assert!(fault.problem.message.contains("\"disk1\""), "{fault}");
    world.assert_nothing_left(&qemu, &thief);

    assert_eq!(refused_busy(&qemu, &plan), Code::Busy);
    // The daemon ends; another finds the machine.
    drop((qemu, woken));
    let (qemu, woken) = world.qemu();
    assert_eq!(see(&qemu), ProcessObs::Alive);
    assert_eq!(qemu.status(plan.machine, plan.run).unwrap(), "running");
    assert_eq!(world.pid(&plan), pid);
    qemu.kill(plan.machine, plan.run).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Exited { clean: false });
    assert_eq!(woken.recv_timeout(world::PATIENCE).unwrap(), plan.machine.0);
    qemu.start(&plan).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Exited { clean: false }, "a run is started once");
    for _ in 0..2 {
        qemu.kill(plan.machine, plan.run).unwrap();
        qemu.clean(plan.machine, plan.run).unwrap();
        world.assert_nothing_left(&qemu, &plan);
    }
    assert!(world.said(&qemu, &plan).contains("the guest is up"), "the console's log stays");
    qemu.write_sidecar(plan.machine, br#"{"generation": 3}"#).unwrap();
    assert_eq!(qemu.sidecar(plan.machine).unwrap(), Some(3));
    qemu.remove(plan.machine).unwrap();
    assert!(!world.layout().machine(plan.machine).exists());
}

fn refused_busy(qemu: &host::vmm::Qemu, plan: &engine::port::RunPlan) -> Code {
    let fault = qemu.clean(plan.machine, plan.run).unwrap_err();
    assert!(fault.passing);
    fault.problem.code
}

#[test]
fn a_guest_reboots_by_itself_and_ends_by_itself() {
    let world = World::new(
        "if grep -q once /dev/vda; then echo -n twice > /dev/vda; sync; echo the end; poweroff -f; fi
         echo -n once > /dev/vda; sync; reboot -f",
    );
    let (qemu, woken) = world.qemu();
    let plan = world.plan(vec![world.disk(0)]);
    qemu.start(&plan).unwrap();
    wait_for(&qemu, &woken, &plan, ProcessObs::Exited { clean: true });
    assert_eq!(world.content(&plan.disks[0]), "twice");
    qemu.clean(plan.machine, plan.run).unwrap();
    world.assert_nothing_left(&qemu, &plan);
    assert!(world.said(&qemu, &plan).contains("the end"));
}

#[test]
fn a_start_that_was_cut_is_completed_or_made_anew() {
    let world = World::new("echo up");
    let (qemu, _woken) = world.qemu();
    let plan = world.plan(vec![world.disk(0)]);
    let see = |q: &host::vmm::Qemu| q.observe(plan.machine, plan.run).unwrap();
    qemu.start(&plan).unwrap();
    let pid = world.pid(&plan);
    let dir = world.layout().run_of(plan.machine, plan.run);

    // Killed after the processors were set going, before that was noted.
    fs::remove_file(dir.join("started")).unwrap();
    drop(qemu);
    let (qemu, _woken) = world.qemu();
    assert_eq!(see(&qemu), ProcessObs::Starting);
    qemu.start(&plan).unwrap();
    assert_eq!((see(&qemu), world.pid(&plan)), (ProcessObs::Alive, pid));

    // Of a process without control nothing is left, and there is another.
    fs::remove_file(dir.join("started")).unwrap();
    fs::remove_file(dir.join("qmp.sock")).unwrap();
    drop(qemu);
    let (qemu, _woken) = world.qemu();
    qemu.start(&plan).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Alive);
    assert_ne!(world.pid(&plan), pid);

    // Left before there was a process.
    qemu.kill(plan.machine, plan.run).unwrap();
    fs::remove_file(dir.join("started")).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Absent);
    qemu.start(&plan).unwrap();
    assert_eq!(see(&qemu), ProcessObs::Alive);
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let world = World::new("");
    let (qemu, _woken) = world.qemu();
    let lost = world.plan(vec![world.disk(0)]);
    fs::remove_file(world.layout().volume(lost.disks[0].volume)).unwrap();
    assert_eq!(refused(qemu.start(&lost)), Code::VolumeLost);
    world.assert_nothing_left(&qemu, &lost);

    let mut huge = world.plan(vec![world.disk(0)]);
    huge.memory = types::ByteSize::gib(4096 * 60);
    assert_eq!(refused(qemu.start(&huge)), Code::BootFailed);
    world.assert_nothing_left(&qemu, &huge);

    let odd = World::new("").with_kernel(b"this is no kernel");
    let (qemu, _woken) = odd.qemu();
    let plan = odd.plan(vec![odd.disk(0)]);
    assert_eq!(refused(qemu.start(&plan)), Code::BootFailed);
    odd.assert_nothing_left(&qemu, &plan);
}

#[test]
fn every_slot_can_be_used() {
    let world =
        World::new("for d in /sys/block/vd*; do echo \"$(cat $d/serial) $(cat $d/ro)\"; done; echo all");
    let (qemu, _woken) = world.qemu();
    let mut disks: Vec<_> = (0..types::machine::DISK_SLOTS).map(|slot| world.disk(slot)).collect();
    disks[24].read_only = true;
    let plan = world.plan(disks);
    qemu.start(&plan).unwrap();
    let heard = world.hear(&qemu, &plan, "all\r");
    for disk in &plan.disks {
        let line = format!("{} {}", disk.serial, u8::from(disk.read_only));
        assert!(heard.contains(&line), "{line} in {heard}");
    }
}

#[test]
fn a_guest_reaches_its_gateway() {
    let world = World::new(
        "ip addr add 10.200.0.2/16 dev eth0; ip link set eth0 up
         until ping -c 1 -W 1 10.200.0.1 >/dev/null 2>&1; do sleep 1; done; echo reached
         ip addr add 10.200.0.3/16 dev eth0; ping -c 3 -W 1 -I 10.200.0.3 10.200.0.1 || echo forged in vain",
    );
    // SAFETY: only this thread's network namespace changes.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("root");
    let net = HostNet::new(world.runtime());
    let network = NetworkSpec {
        id: NetworkId(Uuid::now_v7()),
        name: "default".parse().unwrap(),
        created_at: types::Timestamp(jiff::Timestamp::UNIX_EPOCH),
        bridge: "sistemo0".into(),
        gateway: [10, 200, 0, 1].into(),
        prefix: 16,
    };
    let (qemu, _woken) = world.qemu();
    let mut plan = world.plan(vec![world.disk(0)]);
    let nic = NicPlan {
        machine: plan.machine,
        tap: format!("st{}", plan.machine.short()),
        uid: plan.uid,
        mac: "52:54:00:01:02:03".into(),
        address: [10, 200, 0, 2].into(),
    };
    net.ensure_network(&network).unwrap();
    net.ensure_nic(&network, &nic).unwrap();
    plan.nics = vec![(network.clone(), nic.clone())];
    qemu.start(&plan).unwrap();
    world.hear(&qemu, &plan, "reached");
    assert!(net.has_nic(&network, &nic).unwrap());
    net.ensure_nic(&network, &nic).unwrap();
    world.hear(&qemu, &plan, "forged in vain");
    qemu.kill(plan.machine, plan.run).unwrap();
    net.remove_nic(&nic).unwrap();
    assert!(!Command::new("ip").args(["link", "show", &nic.tap]).output().unwrap().status.success());
}
