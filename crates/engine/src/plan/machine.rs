//! What a machine needs next.
//!
//! Invariant: a run is committed before its process is made, and forgotten only once no process
//! of it is left; how it ended is committed before the traces of it are cleared away; a process is
//! made only while every disk is settled; a guest is asked to shut down before the plug is pulled.

use super::{Answer, Wait};
use crate::port::{GuestObs, ProcessObs};
use std::time::Duration;
use types::machine::{Deaths, Desired, Exit, MachineSpec, MachineStatus, RestartPolicy, Run};
use types::operation::Kind;
use types::{Code, Problem, Timestamp, VolumeId};

/// So often is a machine that keeps dying started again within [`DEATHS_WITHIN`].
pub const MOST_RESTARTS: usize = 5;
/// Deaths that are longer ago do not count.
pub const DEATHS_WITHIN: Duration = Duration::from_secs(600);

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
    /// No process is left, and nobody asked for that: remember how it ended.
    NoteExit(Exit),
    /// No process is left: remove what the run left, then forget the run.
    End {
        /// See [`types::machine::LastExit::how`].
        how: &'static str,
        /// The same epoch gets another run.
        again: bool,
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
    /// Milliseconds since the host booted.
    pub up: u64,
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

/// Adds a span to a point in time; never beyond the last there is.
pub fn after(t: Timestamp, span: Duration) -> Timestamp {
    let span = jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
    Timestamp(t.0.saturating_add(span).unwrap_or(jiff::Timestamp::MAX))
}

/// Whether a run of the present epoch is wanted and has not ended yet.
pub fn wants_run(spec: &MachineSpec, status: &MachineStatus) -> bool {
    spec.deleting.is_none() && spec.desired == Desired::Running && status.ended_epoch < spec.epoch
}

/// The deaths that count of a machine, with one more.
pub fn one_more_death(status: &MachineStatus, run: &Run, up: u64) -> Deaths {
    let mut deaths = match &status.deaths {
        Some(d) if d.epoch == run.epoch && d.host_boot == run.host_boot => d.clone(),
        _ => Deaths { epoch: run.epoch, host_boot: run.host_boot.clone(), at: vec![] },
    };
    deaths.at.retain(|t| up.saturating_sub(*t) < millis(DEATHS_WITHIN));
    deaths.at.push(up);
    deaths
}

/// The deaths that count now.
pub fn deaths<'a>(spec: &MachineSpec, status: &'a MachineStatus, host_boot: &str) -> &'a [u64] {
    match &status.deaths {
        Some(d) if d.epoch == spec.epoch && d.host_boot == host_boot => &d.at,
        _ => &[],
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long `until`, in milliseconds since the host booted, is away; `None` if it has come. What was
/// decided before such times were kept is measured on the wall.
fn left(look: &Look, until: Option<u64>, wall: Timestamp) -> Option<Duration> {
    let ms = match until {
        Some(up) => up.saturating_sub(look.up),
        None => u64::try_from(wall.millis() - look.now.millis()).unwrap_or(0),
    };
    (ms > 0).then(|| Duration::from_millis(ms))
}

fn wait_for(look: &Look, span: Duration) -> Answer<Step> {
    Answer::Wait(Wait { until: Some(after(look.now, span)), on: vec![] })
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
        return Answer::Do(Step::End { how: "host", again: true });
    }
    let wanted = wants_run(spec, status) && run.epoch == spec.epoch && run.stop_deadline.is_none();
    let end = |how| Answer::Do(Step::End { how, again: false });
    match run.exit {
        Some(Exit::Ended) => return end("ended"),
        Some(Exit::Died) => {
            let again = wanted && spec.restart == RestartPolicy::OnFailure;
            return Answer::Do(Step::End { how: "died", again });
        }
        None => {}
    }
    match look.process {
        ProcessObs::Exited { .. } | ProcessObs::Absent if run.kill => end("killed"),
        ProcessObs::Exited { .. } if run.stop_deadline.is_some() => end("shutdown"),
        ProcessObs::Exited { clean: true } => Answer::Do(Step::NoteExit(Exit::Ended)),
        ProcessObs::Exited { clean: false } => Answer::Do(Step::NoteExit(Exit::Died)),
        ProcessObs::Absent if !wanted => end("shutdown"),
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
    let until = run.began_up.map(|up| up.saturating_add(millis(boot_timeout)));
    let Some(left) = left(look, until, after(run.began_at, boot_timeout)) else {
        let s = boot_timeout.as_secs();
        let what = if look.guest.hello { "did not mount its root" } else { "said nothing" };
        return failed(format!("the agent of machine \"{}\" {what} for {s} s", spec.name));
    };
    wait_for(look, left)
}

fn stopping(run: &Run, look: &Look) -> Answer<Step> {
    let Some(deadline) = run.stop_deadline else { return Answer::Do(Step::BeginStop) };
    match left(look, run.stop_until, deadline) {
        None => Answer::Do(Step::DecideKill),
        Some(_) if look.guest.hello && !run.stop_asked => Answer::Do(Step::AskShutdown),
        Some(left) => wait_for(look, left),
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
    if let Some(answer) = died_before(spec, status, look) {
        return answer;
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

/// A machine that died is started again after 1, 2, 4, … seconds, and not for ever.
fn died_before(spec: &MachineSpec, status: &MachineStatus, look: &Look) -> Option<Answer<Step>> {
    let deaths = deaths(spec, status, &look.host_boot);
    let last = *deaths.last()?;
    if deaths.len() > MOST_RESTARTS {
        let minutes = DEATHS_WITHIN.as_secs() / 60;
        let what = format!(
            "the hypervisor of machine \"{}\" died {} times within {minutes} minutes",
            spec.name,
            deaths.len()
        );
        let hint = format!(
            "`sistemo machine logs {0}` shows its console; `sistemo machine start {0}` tries again",
            spec.name
        );
        return Some(Answer::Stuck(Problem::new(Code::KeepsDying, what).hint(hint)));
    }
    if last > look.up {
        // Not of this boot, whatever it says.
        return None;
    }
    let pause = 1000u64 << (deaths.len() - 1);
    left(look, Some(last.saturating_add(pause)), look.now).map(|left| wait_for(look, left))
}
