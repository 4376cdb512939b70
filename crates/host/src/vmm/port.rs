//! The port, as far as it is not a run's life.
//!
//! Invariant: see [`engine::port::Vmm`].

use super::{Qemu, accel, backup, console, hotplug, launch, lock, process, sidecar, unreachable};
use crate::fault;
use engine::port::{Backup, DiskObs, Fault, Health, ProcessObs, RunDisk, RunPlan, Vmm};
use std::fs::File;
use types::{ByteSize, Code, MachineId, Problem, RunId};

impl Vmm for Qemu {
    fn preflight(&self) -> Result<(), Problem> {
        if process::find().is_none() {
            return Err(launch::missing());
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Problem::new(Code::NoPermission, "only root can run machines")
                .hint("run the daemon as root: `sudo sistemo up`"));
        }
        File::options().read(true).write(true).open("/dev/net/tun").map_err(|e| {
            let text = format!("/dev/net/tun does not open: {}", fault::said(&e));
            Problem::new(Code::NoPermission, text).hint("modprobe tun; in a container, give it this device")
        })?;
        accel::choose(self.settings.accel)?;
        let groups = self.hierarchy()?.join("sistemo");
        std::fs::create_dir_all(&groups).map_err(|e| {
            let text = format!("cannot make {}: {}", groups.display(), fault::said(&e));
            Problem::new(Code::NoPermission, text).hint("in a container, mount the cgroup hierarchy writable")
        })
    }

    fn observe(&self, machine: MachineId, run: RunId) -> Result<ProcessObs, Fault> {
        let at = self.run(machine, run)?;
        let seen = self.look(&at)?;
        if seen == ProcessObs::Alive {
            self.attach(run, &at);
        }
        Ok(seen)
    }

    fn health(&self, machine: MachineId, run: RunId) -> Result<Health, Fault> {
        let at = self.run(machine, run)?;
        let (qmp, known) = self.hold(run, &at);
        Ok(known.look(&qmp, &self.layout.late_clock(machine, run)))
    }

    fn resume(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        let at = self.run(machine, run)?;
        let (qmp, known) = self.hold(run, &at);
        known.resume(&qmp).map_err(unreachable)
    }

    fn while_paused(&self, machine: MachineId, run: RunId, then: &dyn Fn()) -> Result<(), Fault> {
        let at = self.run(machine, run)?;
        let (qmp, known) = self.hold(run, &at);
        known.while_paused(&qmp, then).map_err(unreachable)
    }

    fn disks(&self, machine: MachineId, run: RunId) -> Result<Vec<DiskObs>, Fault> {
        let at = self.run(machine, run)?;
        let (qmp, known) = self.hold(run, &at);
        Ok(known.disks(&qmp).map_err(unreachable)?.iter().map(DiskObs::from).collect())
    }

    fn plug(&self, machine: MachineId, run: RunId, disk: &RunDisk) -> Result<(), Fault> {
        self.with_disks(machine, run, |qmp| hotplug::plug(qmp, &self.layout, disk))
    }

    fn unplug(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault> {
        self.with_disks(machine, run, |qmp| hotplug::unplug(qmp, serial))
    }

    fn stretch(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<(), Fault> {
        self.with_disks(machine, run, |qmp| hotplug::stretch(qmp, serial, to))
    }

    fn backup(&self, machine: MachineId, run: RunId, backup: &Backup<'_>) -> Result<(), Fault> {
        let at = self.run(machine, run)?;
        let (qmp, _) = self.hold(run, &at);
        backup::run(&qmp, &self.layout, backup)
    }

    fn start(&self, plan: &RunPlan) -> Result<(), Fault> {
        self.ensure_started(plan)
    }

    fn kill(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.end(&self.run(machine, run)?)
    }

    fn clean(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.clear(run, &self.run(machine, run)?)
    }

    fn sidecar(&self, machine: MachineId) -> Result<Option<u64>, Fault> {
        sidecar::generation(&self.layout.machine_sidecar(machine)).map_err(|e| {
            fault::io(&format!("read the sidecar of machine {machine}"), &self.layout.machines(), &e)
        })
    }

    fn write_sidecar(&self, machine: MachineId, sidecar: &[u8]) -> Result<(), Fault> {
        let path = self.layout.machine_sidecar(machine);
        self.layout.must(|| sidecar::write(&path, sidecar)).map_err(|e| {
            fault::io(&format!("write the sidecar of machine {machine}"), &self.layout.machines(), &e)
        })
    }

    fn remove(&self, machine: MachineId) -> Result<(), Fault> {
        if let Some(console) = lock(&self.consoles).remove(&machine) {
            console.close();
        }
        let ours = ["machine.json", ".machine.json.new", "initrd.new", console::NEW, console::OLD];
        sidecar::remove(&self.layout.machine(machine), &ours).map_err(|e| {
            fault::io(&format!("remove the directory of machine {machine}"), &self.layout.machines(), &e)
        })
    }
}
