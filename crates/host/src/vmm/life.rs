//! A run from nothing to its end.
//!
//! Invariant: `started` is written after the virtual processors were set going; a run's files go only
//! once no process of it is left.

use super::process::Ended;
use super::watch::Run;
use super::{Qemu, initrd, launch, lock, status, unreachable, watch};
use crate::{durable, fault};
use engine::port::{Fault, ProcessObs, RunPlan};
use serde_json::Value;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use types::{Code, RunId};

/// How long QEMU may take from its first instruction to its first answer, on a busy host.
const START: Duration = Duration::from_secs(60);
/// How long a killed process may take to be gone: it may wait for a disk that does not answer.
const DEATH: Duration = Duration::from_secs(30);

impl Qemu {
    pub(super) fn look(&self, run: &Run) -> Result<ProcessObs, Fault> {
        let failed = |e| fault::io(&format!("look at run {}", run.name), &run.dir, &e);
        // In this order: a process that ends in between was started, if it says so.
        let populated = run.cgroup.populated().map_err(failed)?;
        let started = run.dir.join("started").try_exists().map_err(failed)?;
        Ok(match (populated, started) {
            (false, false) => ProcessObs::Absent,
            (true, false) => ProcessObs::Starting,
            (true, true) => ProcessObs::Alive,
            (false, true) => {
                ProcessObs::Exited { clean: run.dir.join(watch::CLEAN).try_exists().map_err(failed)? }
            }
        })
    }

    /// Takes a process that is there to its running processors.
    pub(super) fn complete(&self, id: RunId, run: &Run) -> Result<(), Fault> {
        let qmp = self.attach(id, run);
        let status = status(&qmp, START).map_err(unreachable)?;
        // Anything else has run already: the daemon was killed before it wrote so.
        if matches!(status.as_str(), "prelaunch" | "paused") {
            qmp.execute("cont", Value::Null, super::ANSWER).map_err(unreachable)?;
        }
        File::create(run.dir.join("started"))
            .map(drop)
            .map_err(|e| fault::io(&format!("note that run {} was started", run.name), &run.dir, &e))
    }

    pub(super) fn end(&self, run: &Run) -> Result<(), Fault> {
        let what = format!("kill run {}", run.name);
        run.cgroup.kill().map_err(|e| fault::io(&what, &run.dir, &e))?;
        run.cgroup.wait_empty(DEATH).map_err(|e| match e.kind() {
            ErrorKind::TimedOut => Fault::passing(
                types::Code::IoError,
                format!("the process of run {} was killed and is not gone yet", run.name),
            )
            .hint("it waits for a disk that does not answer: the kernel's log (journalctl -k) tells which"),
            _ => fault::io(&what, &run.dir, &e),
        })
    }

    pub(super) fn clear(&self, id: RunId, run: &Run) -> Result<(), Fault> {
        let what = format!("clear away run {}", run.name);
        if run.cgroup.populated().map_err(|e| fault::io(&what, &run.dir, &e))? {
            return Err(busy(run));
        }
        let attached = lock(&self.runs).remove(&id);
        if let Some(attached) = attached {
            // Its last words are often why somebody looks.
            attached.drain(Duration::from_secs(2));
        }
        launch::clear(run).map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => busy(run),
            _ => fault::io(&what, &run.dir, &e),
        })?;
        durable::remove(&initrd::path(&self.layout.machine(run.machine)))
            .map_err(|e| fault::io(&what, &run.dir, &e))
    }

    /// See [`engine::port::Vmm::start`].
    pub(super) fn ensure_started(&self, plan: &RunPlan) -> Result<(), Fault> {
        let run = self.run(plan.machine, plan.run)?;
        match self.look(&run)? {
            ProcessObs::Alive | ProcessObs::Exited { .. } => return Ok(()),
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
}

fn busy(run: &Run) -> Fault {
    Fault::passing(Code::Busy, format!("run {} still has a process", run.name))
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
