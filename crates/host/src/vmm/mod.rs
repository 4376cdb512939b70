//! The hypervisor: QEMU, one unprivileged process per run.
//!
//! A run's files are `<run>/<machine>/<run>/{qmp,agent,console}.sock` and `started`, its processes
//! are in the cgroup `sistemo/<run>`; the names come from the ids. The daemon holds nothing that it
//! could not find again there, so machines outlive it, and a restarted one takes them over.
//!
//! Invariant: a process of a run is in the run's cgroup, or does not exist; `started` is written
//! after the virtual processors were set going and before [`Vmm::start`] returns.

mod accel;
mod args;
mod cgroup;
mod console;
mod disk;
mod fault;
mod initrd;
mod launch;
mod process;
mod qmp;
mod sidecar;
mod watch;

pub use accel::Setting as Accel;

use crate::kernel::BootFiles;
use crate::{Layout, durable};
use bytes::Bytes;
use cgroup::Cgroup;
use console::Console;
use engine::port::{Fault, ProcessObs, RunPlan, Vmm, Wake};
use futures_util::stream::BoxStream;
use process::Ended;
use qmp::{Failed, Qmp};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use types::{Code, MachineId, Problem, RunId};
use watch::{Attached, Run};

/// What gives the files to boot a version of the kernel with: `Kernels::boot_files`.
pub type BootSource = Arc<dyn Fn(&str) -> Result<BootFiles, Fault> + Send + Sync>;
/// What makes the archive of a boot's configuration: `kernel::boot_archive`.
pub type BootArchive = Arc<dyn Fn(&proto::GuestConfig) -> Vec<u8> + Send + Sync>;

/// How long QEMU may take from its first instruction to its first answer, on a busy host.
const START: Duration = Duration::from_secs(60);
/// How long it may take for any later answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone: it may wait for a disk that does not answer.
const DEATH: Duration = Duration::from_secs(30);

/// Settings of the hypervisor.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmmSettings {
    /// What executes the guests' instructions.
    pub accel: Accel,
}

/// The hypervisors of this host.
pub struct Qemu {
    layout: Layout,
    boot_files: BootSource,
    boot_archive: BootArchive,
    extras: crate::guest::Extras,
    settings: VmmSettings,
    tokio: tokio::runtime::Handle,
    wake: Wake,
    hierarchy: OnceLock<PathBuf>,
    runs: Mutex<HashMap<RunId, Attached>>,
    consoles: Mutex<HashMap<MachineId, Arc<Console>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_cgroup() -> Problem {
    Problem::new(Code::NoHypervisor, "this host has no cgroup hierarchy of version 2")
        .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
}

impl Qemu {
    /// The hypervisors of a data directory. `tokio` carries sockets and watchers, `wake` is told of
    /// every change that is noticed.
    pub fn new(
        layout: Layout,
        boot_files: BootSource,
        boot_archive: BootArchive,
        extras: crate::guest::Extras,
        settings: VmmSettings,
        tokio: tokio::runtime::Handle,
        wake: Wake,
    ) -> Self {
        Self {
            layout,
            boot_files,
            boot_archive,
            extras,
            settings,
            tokio,
            wake,
            hierarchy: OnceLock::new(),
            runs: Mutex::default(),
            consoles: Mutex::default(),
        }
    }

    /// What the machine's serial console said, in pieces; with `follow`, also what it will say, until
    /// the machine is removed. Bounded: the last one to two MiB. What was said while no daemon ran is
    /// not in it.
    ///
    /// # Errors
    /// Items are errors when the log cannot be read; the stream ends with the first.
    pub fn console(&self, machine: MachineId, follow: bool) -> BoxStream<'static, io::Result<Bytes>> {
        self.console_of(machine).read(follow)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// `guest-unreachable` (passing) if the hypervisor does not answer.
    pub fn power_button(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        let qmp = self.attach(run, &self.run(machine, run)?);
        qmp.execute("system_powerdown", Value::Null, ANSWER).map(drop).map_err(unreachable)
    }

    /// The run's state in QEMU's words: `running`, `paused`, `io-error`, `shutdown`, ….
    ///
    /// # Errors
    /// `guest-unreachable` (passing) if the hypervisor does not answer.
    pub fn status(&self, machine: MachineId, run: RunId) -> Result<String, Fault> {
        status(&self.attach(run, &self.run(machine, run)?), ANSWER).map_err(unreachable)
    }

    fn console_of(&self, machine: MachineId) -> Arc<Console> {
        let make = || Console::new(self.layout.machine(machine));
        lock(&self.consoles).entry(machine).or_insert_with(make).clone()
    }

    fn hierarchy(&self) -> Result<&Path, Problem> {
        if self.hierarchy.get().is_none() {
            let mount = cgroup::mounted().ok().flatten().ok_or_else(no_cgroup)?;
            return Ok(self.hierarchy.get_or_init(|| mount));
        }
        self.hierarchy.get().map(PathBuf::as_path).ok_or_else(no_cgroup)
    }

    fn run(&self, machine: MachineId, run: RunId) -> Result<Run, Fault> {
        let (name, dir) = (run.short(), self.layout.run_of(machine, run));
        let cgroup = Cgroup::new(self.hierarchy()?, &name);
        Ok(Run { machine, name, dir, cgroup })
    }

    /// Holds on to a run, if nobody does yet; its control.
    fn attach(&self, id: RunId, run: &Run) -> Qmp {
        let console = self.console_of(run.machine);
        let make = || Attached::new(&self.tokio, run, console, &self.wake);
        lock(&self.runs).entry(id).or_insert_with(make).qmp()
    }

    fn look(&self, run: &Run) -> Result<ProcessObs, Fault> {
        let failed = |e| fault::io(&format!("look at run {}", run.name), &e);
        // In this order: a process that ends in between was started, if it says so.
        let populated = run.cgroup.populated().map_err(failed)?;
        let started = run.dir.join("started").try_exists().map_err(failed)?;
        Ok(match (populated, started) {
            (false, false) => ProcessObs::Absent,
            (true, false) => ProcessObs::Starting,
            (true, true) => ProcessObs::Alive,
            (false, true) => ProcessObs::Exited,
        })
    }

    /// Takes a process that is there to its running processors.
    fn complete(&self, id: RunId, run: &Run) -> Result<(), Fault> {
        let qmp = self.attach(id, run);
        let status = status(&qmp, START).map_err(unreachable)?;
        // Anything else has run already: the daemon was killed before it wrote so.
        if matches!(status.as_str(), "prelaunch" | "paused") {
            qmp.execute("cont", Value::Null, ANSWER).map_err(unreachable)?;
        }
        File::create(run.dir.join("started"))
            .map(drop)
            .map_err(|e| fault::io(&format!("note that run {} was started", run.name), &e))
    }

    fn end(&self, run: &Run) -> Result<(), Fault> {
        let what = format!("kill run {}", run.name);
        run.cgroup.kill().map_err(|e| fault::io(&what, &e))?;
        run.cgroup.wait_empty(DEATH).map_err(|e| match e.kind() {
            ErrorKind::TimedOut => Fault::passing(
                types::Code::IoError,
                format!("the process of run {} was killed and is not gone yet", run.name),
            )
            .hint("it waits for a disk that does not answer: the kernel's log (journalctl -k) tells which"),
            _ => fault::io(&what, &e),
        })
    }

    fn clear(&self, id: RunId, run: &Run) -> Result<(), Fault> {
        let what = format!("clear away run {}", run.name);
        if run.cgroup.populated().map_err(|e| fault::io(&what, &e))? {
            return Err(busy(run));
        }
        let attached = lock(&self.runs).remove(&id);
        if let Some(attached) = attached {
            // Its last words are often why somebody looks.
            attached.drain(Duration::from_secs(2));
        }
        launch::clear(run).map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => busy(run),
            _ => fault::io(&what, &e),
        })?;
        durable::remove(&initrd::path(&self.layout.machine(run.machine))).map_err(|e| fault::io(&what, &e))
    }
}

fn busy(run: &Run) -> Fault {
    Fault::passing(Code::Busy, format!("run {} still has a process", run.name))
}

fn unreachable(failed: Failed) -> Fault {
    if let Failed::Refused(why) = &failed {
        tracing::error!(%why, "the hypervisor refused a command");
    }
    Fault::passing(Code::GuestUnreachable, "the machine's hypervisor does not answer")
        .hint("the daemon's log says more")
}

fn status(qmp: &Qmp, deadline: Duration) -> Result<String, Failed> {
    let answer = qmp.execute("query-status", Value::Null, deadline)?;
    answer["status"].as_str().map(str::to_owned).ok_or(Failed::Silent)
}

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

    fn start(&self, plan: &RunPlan) -> Result<(), Fault> {
        let run = self.run(plan.machine, plan.run)?;
        match self.look(&run)? {
            ProcessObs::Alive | ProcessObs::Exited => return Ok(()),
            ProcessObs::Starting => match self.complete(plan.run, &run) {
                Ok(()) => return Ok(()),
                Err(e) => tracing::warn!(run = %run.name, "a half-made process cannot be completed: {e}"),
            },
            ProcessObs::Absent => {}
        }
        self.end(&run)?;
        self.clear(plan.run, &run)?;
        let made = self.launch(plan, &run);
        let done = made
            .and_then(|ended| self.complete(plan.run, &run).map_err(|fault| explain(plan, fault, &ended)));
        if done.is_err() {
            // What fails now, the next start or the end of the run does again.
            if let Err(e) = self.end(&run).and_then(|()| self.clear(plan.run, &run)) {
                tracing::warn!(run = %run.name, "cannot clear away a failed start: {e}");
            }
        }
        done
    }

    fn kill(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.end(&self.run(machine, run)?)
    }

    fn clean(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.clear(run, &self.run(machine, run)?)
    }

    fn sidecar(&self, machine: MachineId) -> Result<Option<u64>, Fault> {
        sidecar::generation(&self.layout.machine_sidecar(machine))
            .map_err(|e| fault::io(&format!("read the sidecar of machine {machine}"), &e))
    }

    fn write_sidecar(&self, machine: MachineId, sidecar: &[u8]) -> Result<(), Fault> {
        sidecar::write(&self.layout.machine_sidecar(machine), sidecar)
            .map_err(|e| fault::io(&format!("write the sidecar of machine {machine}"), &e))
    }

    fn remove(&self, machine: MachineId) -> Result<(), Fault> {
        if let Some(console) = lock(&self.consoles).remove(&machine) {
            console.close();
        }
        let ours = ["machine.json", ".machine.json.new", "initrd.new", console::NEW, console::OLD];
        sidecar::remove(&self.layout.machine(machine), &ours)
            .map_err(|e| fault::io(&format!("remove the directory of machine {machine}"), &e))
    }
}

/// What became of a process that did not get as far as its running processors.
fn explain(plan: &RunPlan, fault: Fault, ended: &Receiver<Ended>) -> Fault {
    match ended.recv_timeout(Duration::from_secs(2)) {
        Ok(ended) => launch::diagnose(plan, &ended.said),
        Err(_) if fault.problem.code == Code::GuestUnreachable => Fault::lasting(
            Code::BootFailed,
            format!("the hypervisor of machine \"{}\" did not answer in time", plan.name),
        )
        .hint("the host may be too busy: try again"),
        Err(_) => fault,
    }
}
