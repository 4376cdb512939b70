//! What a machine needs next.
//!
//! Invariant: a run is committed before its process is made, and forgotten only once no process
//! of it is left; a process is made only while every disk is settled; a guest is asked to shut down
//! before the plug is pulled.

use super::{Answer, Wait};
use crate::port::{GuestObs, ProcessObs};
use std::time::Duration;
use types::machine::{Desired, MachineSpec, MachineStatus, Run};
use types::operation::Kind;
use types::{Code, Problem, Timestamp, VolumeId};

/// A step towards what is wanted of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Publish the sidecar of this generation.
    WriteSidecar,
    /// Make a kernel present and remember which.
    PinKernel,
    /// Decide on a run of this epoch.
    Begin,
    /// Make the bridge and the taps.
    EnsureNetwork,
    /// Make the process.
    Start,
    /// The agent said hello: remember it.
    NoteHello,
    /// Decide to stop, and until when the guest may take.
    BeginStop,
    /// Ask the guest to shut down.
    AskShutdown,
    /// The guest took too long: decide to pull the plug.
    DecideKill,
    /// Pull the plug.
    Kill,
    /// No process is left: remove what the run left, then forget the run.
    End {
        /// See [`types::machine::LastExit::how`].
        how: &'static str,
    },
    /// Nothing runs: remove the directory, release the claims, remove the record.
    Forget,
}

/// A disk as far as its machine cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskLook {
    /// The volume.
    pub id: VolumeId,
    /// It exists, and what is wanted of it is done: filled, grown, sidecar current.
    pub settled: bool,
    /// What keeps it from that.
    pub fault: Option<Problem>,
}

/// What was seen of a machine's world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// Now.
    pub now: Timestamp,
    /// This boot of the host.
    pub host_boot: String,
    /// The process of `status.run`.
    pub process: ProcessObs,
    /// The agent of `status.run`.
    pub guest: GuestObs,
    /// The generation in the published sidecar.
    pub sidecar: Option<u64>,
    /// The kernel in `status.kernel` is present.
    pub kernel: bool,
    /// Bridge and taps of `status.run` are there.
    pub nics: bool,
    /// The disks.
    pub disks: Vec<DiskLook>,
}

/// Adds a span to a point in time.
pub fn after(t: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_millis(t.millis().saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

/// Whether a run of the present epoch is wanted and has not ended yet.
pub fn wants_run(spec: &MachineSpec, status: &MachineStatus) -> bool {
    spec.deleting.is_none() && spec.desired == Desired::Running && status.ended_epoch < spec.epoch
}

/// Answers for a machine.
pub fn plan(spec: &MachineSpec, status: &MachineStatus, look: &Look, boot_timeout: Duration) -> Answer<Step> {
    match &status.run {
        Some(run) => with_run(spec, status, run, look, boot_timeout),
        None => without_run(spec, status, look),
    }
}

fn with_run(
    spec: &MachineSpec,
    status: &MachineStatus,
    run: &Run,
    look: &Look,
    boot_timeout: Duration,
) -> Answer<Step> {
    if run.host_boot != look.host_boot {
        return Answer::Do(Step::End { how: "host" });
    }
    let wanted = wants_run(spec, status) && run.epoch == spec.epoch && run.stop_deadline.is_none();
    match look.process {
        ProcessObs::Exited if run.kill => Answer::Do(Step::End { how: "killed" }),
        ProcessObs::Exited if run.stop_deadline.is_some() => Answer::Do(Step::End { how: "shutdown" }),
        ProcessObs::Exited => Answer::Do(Step::End { how: "ended" }),
        ProcessObs::Absent if run.kill => Answer::Do(Step::End { how: "killed" }),
        ProcessObs::Absent if !wanted => Answer::Do(Step::End { how: "shutdown" }),
        ProcessObs::Starting if run.kill || !wanted => Answer::Do(Step::Kill),
        ProcessObs::Absent | ProcessObs::Starting if !look.nics => Answer::Do(Step::EnsureNetwork),
        ProcessObs::Absent | ProcessObs::Starting => Answer::Do(Step::Start),
        ProcessObs::Alive if run.kill => Answer::Do(Step::Kill),
        ProcessObs::Alive if wanted => running(spec, run, look, boot_timeout),
        ProcessObs::Alive => stopping(run, look),
    }
}

fn running(spec: &MachineSpec, run: &Run, look: &Look, boot_timeout: Duration) -> Answer<Step> {
    if !look.nics {
        return Answer::Do(Step::EnsureNetwork);
    }
    if run.hello_at.is_some() {
        if look.sidecar != Some(spec.generation) {
            return Answer::Do(Step::WriteSidecar);
        }
        return Answer::Settled;
    }
    if look.guest.hello && look.guest.root_mounted {
        return Answer::Do(Step::NoteHello);
    }
    let failed = |why: String| {
        Answer::Stuck(
            Problem::new(Code::BootFailed, why)
                .hint(format!("`sistemo machine logs {}` shows its console", spec.name)),
        )
    };
    if let (true, Some(why)) = (look.guest.hello, &look.guest.error) {
        return failed(format!("machine \"{}\" did not boot: {why}", spec.name));
    }
    let deadline = after(run.began_at, boot_timeout);
    if look.now >= deadline {
        let s = boot_timeout.as_secs();
        let what = if look.guest.hello { "did not mount its root" } else { "said nothing" };
        return failed(format!("the agent of machine \"{}\" {what} for {s} s", spec.name));
    }
    Answer::Wait(Wait { until: Some(deadline), on: vec![] })
}

fn stopping(run: &Run, look: &Look) -> Answer<Step> {
    match run.stop_deadline {
        None => Answer::Do(Step::BeginStop),
        Some(deadline) if look.now >= deadline => Answer::Do(Step::DecideKill),
        Some(_) if look.guest.hello && !run.stop_asked => Answer::Do(Step::AskShutdown),
        Some(deadline) => Answer::Wait(Wait { until: Some(deadline), on: vec![] }),
    }
}

fn without_run(spec: &MachineSpec, status: &MachineStatus, look: &Look) -> Answer<Step> {
    if spec.deleting.is_some() {
        return Answer::Do(Step::Forget);
    }
    if look.sidecar != Some(spec.generation) {
        return Answer::Do(Step::WriteSidecar);
    }
    if !wants_run(spec, status) {
        return Answer::Settled;
    }
    if let Some(fault) = look.disks.iter().filter(|d| !d.settled).find_map(|d| d.fault.clone()) {
        return Answer::Stuck(fault);
    }
    let open: Vec<_> = look.disks.iter().filter(|d| !d.settled).map(|d| (Kind::Volume, d.id.0)).collect();
    if !open.is_empty() {
        return Answer::Wait(Wait { until: None, on: open });
    }
    if status.kernel.is_none() || !look.kernel {
        return Answer::Do(Step::PinKernel);
    }
    Answer::Do(Step::Begin)
}
