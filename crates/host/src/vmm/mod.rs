//! The hypervisor: QEMU, one unprivileged process per run.
//!
//! A run's files are `<run>/<machine>/<run>/{qmp,agent,console}.sock` and `started`, its processes
//! are in the cgroup `sistemo/<run>`; the names come from the ids. The daemon holds nothing that it
//! could not find again there, so machines outlive it, and a restarted one takes them over.
//!
//! Invariant: a process of a run is in the run's cgroup, or does not exist; `started` is written
//! after the virtual processors were set going and before [`engine::port::Vmm::start`] returns.

mod accel;
mod args;
mod backup;
mod block;
mod cgroup;
mod console;
mod disk;
mod health;
mod hotplug;
mod initrd;
mod launch;
mod life;
mod message;
mod port;
mod process;
mod qmp;
mod sidecar;
mod usage;
mod watch;

pub use accel::Setting as Accel;
#[doc(hidden)]
pub use message::{Lines, parse as message};
pub use usage::Usage;

use crate::Layout;
use crate::kernel::BootFiles;
use bytes::Bytes;
use cgroup::Cgroup;
use console::Console;
use engine::port::{Fault, ProcessObs, Wake};
use futures_util::stream::BoxStream;
use qmp::{Failed, Qmp};
use serde_json::Value;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use types::{Code, MachineId, Problem, RunId};
use watch::{Attached, Run};

/// What gives the files to boot a version of the kernel with: `Kernels::boot_files`.
pub type BootSource = Arc<dyn Fn(&str) -> Result<BootFiles, Fault> + Send + Sync>;
/// What makes the archive of a boot's configuration: `kernel::boot_archive`.
pub type BootArchive = Arc<dyn Fn(&proto::GuestConfig) -> Vec<u8> + Send + Sync>;

/// How long QEMU may take to answer, once it has answered at all.
const ANSWER: Duration = Duration::from_secs(10);

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
        let qmp = self.control(machine, run)?;
        qmp.execute("system_powerdown", Value::Null, ANSWER).map(drop).map_err(unreachable)
    }

    /// The run's state in QEMU's words: `running`, `paused`, `io-error`, `shutdown`, ….
    ///
    /// # Errors
    /// `guest-unreachable` (passing) if the hypervisor does not answer.
    pub fn status(&self, machine: MachineId, run: RunId) -> Result<String, Fault> {
        status(&self.control(machine, run)?, ANSWER).map_err(unreachable)
    }

    /// The control of a run that has a process.
    fn control(&self, machine: MachineId, id: RunId) -> Result<Qmp, Fault> {
        let run = self.run(machine, id)?;
        match self.look(&run)? {
            ProcessObs::Starting | ProcessObs::Alive => Ok(self.attach(id, &run)),
            ProcessObs::Absent | ProcessObs::Exited { .. } => Err(unreachable(Failed::Silent)),
        }
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
        self.hold(id, run).0
    }

    /// As [`Qemu::attach`], with what is known of the guest.
    fn hold(&self, id: RunId, run: &Run) -> (Qmp, Arc<health::Known>) {
        let console = self.console_of(run.machine);
        let make = || Attached::new(&self.tokio, run, console, &self.wake);
        let mut runs = lock(&self.runs);
        let attached = runs.entry(id).or_insert_with(make);
        (attached.qmp(), attached.known())
    }
}

impl Qemu {
    /// Changes disks of a run; what was known of them is not any more, however that ends.
    fn with_disks(
        &self,
        machine: MachineId,
        run: RunId,
        change: impl FnOnce(&Qmp) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let at = self.run(machine, run)?;
        let (qmp, known) = self.hold(run, &at);
        let done = change(&qmp);
        known.forget();
        done
    }
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
