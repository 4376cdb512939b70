//! A daemon that is killed while it starts a machine.

use crate::world::World;
use engine::port::{ProcessObs, RunPlan, Vmm};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use types::{MachineId, RunId, VolumeId};

const NAME: &str = "kill::a_start_that_is_killed_at_any_moment_is_taken_up";
const ROLE: &str = "SISTEMO_TEST_START";
/// Said right before the start.
const READY: &str = "ready to start";

/// The daemon to be killed: starts the plan that `told` describes.
fn starter(told: &str) {
    let words: Vec<&str> = told.split(' ').collect();
    let world = World::at(PathBuf::from(words[0]), "echo up");
    let mut plan = world.plan(vec![world.disk(0)]);
    plan.machine = MachineId(words[1].parse().unwrap());
    plan.run = RunId(words[2].parse().unwrap());
    plan.disks[0].volume = VolumeId(words[3].parse().unwrap());
    let (qemu, _woken) = world.qemu();
    println!("{READY}");
    qemu.start(&plan).unwrap();
    loop {
        std::thread::park();
    }
}

/// The processes that have this file open.
fn holders(file: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().path());
    let holds = |process: &PathBuf| {
        let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open == file)
    };
    processes.filter(holds).collect()
}

fn kill_after(world: &World, plan: &RunPlan, delay: Duration) {
    let disk = plan.disks[0].volume;
    let told = format!("{} {} {} {disk}", world.dir().display(), plan.machine, plan.run);
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(ROLE, told)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(daemon.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(READY)));
    // Not to wait for anything: this is the moment of the kill.
    std::thread::sleep(delay);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_start_that_is_killed_at_any_moment_is_taken_up() {
    if let Ok(told) = std::env::var(ROLE) {
        return starter(&told);
    }
    let world = World::new("echo up");
    let mut found = Vec::new();
    for moment in 0..24 {
        let plan = world.plan(vec![world.disk(0)]);
        kill_after(&world, &plan, Duration::from_millis(moment * moment));
        let (qemu, _woken) = world.qemu();
        found.push(qemu.observe(plan.machine, plan.run).unwrap());
        qemu.start(&plan).unwrap();
        assert_eq!(qemu.observe(plan.machine, plan.run).unwrap(), ProcessObs::Alive);
        let pid = world.pid(&plan);
        let file = world.layout().volume(plan.disks[0].volume);
        assert_eq!(holders(&file), [PathBuf::from(format!("/proc/{pid}"))], "after {moment}² ms");
        qemu.kill(plan.machine, plan.run).unwrap();
        qemu.clean(plan.machine, plan.run).unwrap();
        world.assert_nothing_left(&qemu, &plan);
        assert!(holders(&file).is_empty());
    }
    println!("{found:?}");
}
