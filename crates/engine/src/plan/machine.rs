//! What a machine needs next.
//!
//! Invariant: a run is committed before its process is made, and forgotten only once no process
//! of it is left; how it ended is committed before the traces of it are cleared away; a process is
//! made only while every disk is settled; a guest is asked to shut down before the plug is pulled;
//! the end of the host ends runs and changes nothing of what is wanted.

use super::{Answer, Wait, disks, stall};
use crate::port::{DiskObs, GuestObs, Health, ProcessObs};
use std::time::Duration;
use types::machine::{Deaths, Desired, Exit, Held, MachineSpec, MachineStatus, RestartPolicy, Run};
use types::operation::Kind;
use types::{Code, Problem, Timestamp, VolumeId};

/// So often is a machine that keeps dying started again within [`DEATHS_WITHIN`].
pub const MOST_RESTARTS: usize = 5;
/// Deaths that are longer ago do not count.
pub const DEATHS_WITHIN: Duration = Duration::from_secs(600);

/// A step towards what is wanted of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Write down what was accepted with it.
    Make,
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
    /// The guest stands since a write of it failed: remember it.
    NoteStall,
    /// Let it go on, and remember when.
    Resume,
    /// It goes again, by another's doing: remember it.
    NoteGoing,
    /// It goes again: set its clock.
    SetClock,
    /// It has gone for a while: forget that it stood.
    ForgetStall,
    /// Give the guest one more disk.
    Plug {
        /// Whose file.
        volume: VolumeId,
    },
    /// Let the guest let go of a disk, and take it out.
    Unplug {
        /// Whose file.
        volume: VolumeId,
        /// Whether or not the guest lets go of it.
        force: bool,
    },
    /// No process has a disk that leaves open: take it from the list and release its volume.
    Drop {
        /// Which.
        volume: VolumeId,
    },
    /// A disk that should leave cannot: it stays.
    Keep {
        /// Which.
        volume: VolumeId,
        /// Why.
        why: Problem,
    },
    /// A disk that should come cannot: it leaves again.
    Refuse {
        /// Which.
        volume: VolumeId,
        /// Why.
        why: Problem,
    },
    /// Tell the agent what the machine has now.
    Configure,
    /// No process is left, and nobody asked for that: remember how it ended.
    NoteExit(Exit),
    /// No process is left: remove what the run left, then forget the run.
    End {
        /// See [`types::machine::LastExit::how`].
        how: &'static str,
        /// The same epoch gets another run.
        again: bool,
    },
    /// It was held back until the host is back, which it is, and shall not run by itself.
    LeaveOff,
    /// Nothing runs and it can be taken back: its name, addresses and volumes are free.
    Release,
    /// It was not taken back in time: decide that it goes for good.
    Expire,
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
    /// The host is shutting down, in this boot of it.
    pub halting: bool,
    /// The process of `status.run`.
    pub process: ProcessObs,
    /// What the guest of `status.run` does.
    pub health: Health,
    /// A guest that stands for want of room would find some.
    pub room: bool,
    /// The agent of `status.run`.
    pub guest: GuestObs,
    /// The generation in the published sidecar.
    pub sidecar: Option<u64>,
    /// The kernel in `status.kernel` is present.
    pub kernel: bool,
    /// Bridge and taps of `status.run` are there.
    pub nics: bool,
    /// The disks that matter: before a run all of them, in one those that its process has not.
    pub disks: Vec<DiskLook>,
    /// What the process of `status.run` has open.
    pub open: Vec<DiskObs>,
    /// It was deleted, and can be taken back no more.
    pub expired: bool,
}

/// What the operator wants of all machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How long a guest may take until its agent says hello.
    pub boot_timeout: Duration,
    /// Machines that ran when the host went down run again once it is back.
    pub restart_after_boot: bool,
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

/// What is held back while the host is shutting down.
pub fn held(spec: &MachineSpec, status: &MachineStatus, look: &Look) -> Option<Held> {
    (look.halting && wants_run(spec, status))
        .then(|| Held { host_boot: look.host_boot.clone(), epoch: spec.epoch })
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
pub fn plan(spec: &MachineSpec, status: &MachineStatus, look: &Look, rules: Rules) -> Answer<Step> {
    if !spec.making.is_empty() {
        return Answer::Do(Step::Make);
    }
    match &status.run {
        Some(run) => with_run(spec, status, run, look, rules),
        None => without_run(spec, status, look, rules),
    }
}

fn with_run(
    spec: &MachineSpec,
    status: &MachineStatus,
    run: &Run,
    look: &Look,
    rules: Rules,
) -> Answer<Step> {
    let end = |how, again| Answer::Do(Step::End { how, again });
    if run.host_boot != look.host_boot {
        return end("host", rules.restart_after_boot);
    }
    let asked_for = wants_run(spec, status) && run.epoch == spec.epoch;
    let ending = run.stop_deadline.is_some();
    let wanted = asked_for && !ending && !look.halting;
    // Whoever asks for an end changes `desired` or the epoch; what stops without is only held back.
    let held = asked_for && (ending || look.halting);
    match run.exit {
        Some(Exit::Ended) => return end("ended", false),
        Some(Exit::Died) => {
            let again = asked_for && spec.restart == RestartPolicy::OnFailure;
            return end("died", again);
        }
        None => {}
    }
    let down = if held { "host" } else { "shutdown" };
    match look.process {
        ProcessObs::Exited { .. } | ProcessObs::Absent if run.kill => end("killed", held),
        ProcessObs::Exited { .. } if ending => end(down, held),
        ProcessObs::Exited { clean: true } => Answer::Do(Step::NoteExit(Exit::Ended)),
        ProcessObs::Exited { clean: false } => Answer::Do(Step::NoteExit(Exit::Died)),
        ProcessObs::Absent if !wanted => end(down, held),
        ProcessObs::Starting if run.kill || !wanted => Answer::Do(Step::Kill),
        ProcessObs::Absent | ProcessObs::Starting if !look.nics => Answer::Do(Step::EnsureNetwork),
        ProcessObs::Absent | ProcessObs::Starting => Answer::Do(Step::Start),
        ProcessObs::Alive if run.kill => Answer::Do(Step::Kill),
        ProcessObs::Alive if wanted => running(spec, status, run, look, rules.boot_timeout),
        ProcessObs::Alive => stopping(spec, run, look),
    }
}

fn running(
    spec: &MachineSpec,
    status: &MachineStatus,
    run: &Run,
    look: &Look,
    boot_timeout: Duration,
) -> Answer<Step> {
    if !look.nics {
        return Answer::Do(Step::EnsureNetwork);
    }
    if let Some(step) = stall::step(spec, run, look) {
        return Answer::Do(step);
    }
    if run.hello_at.is_some() {
        if let Some(answer) = disks::step(spec, run, look) {
            return answer;
        }
        if look.sidecar != Some(spec.generation) {
            return Answer::Do(Step::WriteSidecar);
        }
        // An agent that was given up on is told at its next hello.
        let told = look.guest.generation.max(status.observed_generation) >= spec.generation;
        if !told && run.standing().is_none() {
            return Answer::Do(Step::Configure);
        }
        return match run.standing() {
            Some(_) => wait_for(look, stall::PROBE),
            None => Answer::Settled,
        };
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
    let left = left(look, until, after(run.began_at, boot_timeout));
    if let Some(stall) = run.standing() {
        // Whose time it is says the boot's timeout, and why says the stall.
        return match left {
            Some(left) => wait_for(look, left.min(stall::PROBE)),
            None => Answer::Stuck(stall::problem(&spec.name, None, stall.why)),
        };
    }
    let Some(left) = left else {
        let s = boot_timeout.as_secs();
        let what = if look.guest.hello { "did not mount its root" } else { "said nothing" };
        return failed(format!("the agent of machine \"{}\" {what} for {s} s", spec.name));
    };
    wait_for(look, left)
}

fn stopping(spec: &MachineSpec, run: &Run, look: &Look) -> Answer<Step> {
    let Some(deadline) = run.stop_deadline else { return Answer::Do(Step::BeginStop) };
    match left(look, run.stop_until, deadline) {
        None => Answer::Do(Step::DecideKill),
        Some(left) => match stall::step(spec, run, look) {
            Some(step) => Answer::Do(step),
            None if run.standing().is_some() => wait_for(look, left.min(stall::PROBE)),
            None if look.guest.hello && !run.stop_asked => Answer::Do(Step::AskShutdown),
            None => wait_for(look, left),
        },
    }
}

fn without_run(spec: &MachineSpec, status: &MachineStatus, look: &Look, rules: Rules) -> Answer<Step> {
    if spec.deleting.as_ref().is_some_and(|going| going.keep_until.is_none()) {
        return Answer::Do(Step::Forget);
    }
    if let Some(disk) = spec.disks.iter().find(|d| d.leaving.is_some()) {
        return Answer::Do(Step::Drop { volume: disk.volume });
    }
    if look.sidecar != Some(spec.generation) {
        return Answer::Do(Step::WriteSidecar);
    }
    match &spec.deleting {
        Some(going) if !going.released => return Answer::Do(Step::Release),
        Some(_) if look.expired => return Answer::Do(Step::Expire),
        Some(_) => return Answer::Settled,
        None => {}
    }
    if !wants_run(spec, status) {
        return Answer::Settled;
    }
    let was_held =
        status.held.as_ref().is_some_and(|h| h.epoch == spec.epoch && h.host_boot != look.host_boot);
    if was_held && !rules.restart_after_boot {
        return Answer::Do(Step::LeaveOff);
    }
    if look.halting {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use types::machine::{Disk, Mount};
    use types::volume::VolumeRole;
    use types::{ByteSize, MachineId, RunId};
    use uuid::Uuid;

    /// A machine that runs, with a root volume.
    pub fn machine() -> MachineSpec {
        MachineSpec {
            id: MachineId(Uuid::from_u128(1)),
            name: "web".parse().unwrap(),
            generation: 1,
            node: "localhost".into(),
            created_at: Timestamp::from_millis(0),
            vcpus: 1,
            memory: ByteSize::mib(512),
            image: None,
            desired: Desired::Running,
            epoch: 1,
            restart: RestartPolicy::No,
            resumes: 0,
            disks: vec![Disk {
                volume: VolumeId(Uuid::from_u128(2)),
                slot: 0,
                role: VolumeRole::Root,
                mount: Mount::Default,
                read_only: false,
                leaving: None,
            }],
            nics: vec![],
            uid: 0,
            making: BTreeMap::default(),
            protected: false,
            labels: Default::default(),
            deleting: None,
        }
    }

    /// Its run, which has said hello.
    pub fn run() -> Run {
        Run {
            id: RunId(Uuid::from_u128(3)),
            epoch: 1,
            kernel: "6.1".into(),
            host_boot: "boot".into(),
            began_at: Timestamp::from_millis(0),
            began_up: Some(0),
            hello_at: Some(Timestamp::from_millis(0)),
            stop_deadline: None,
            stop_until: None,
            stop_asked: false,
            exit: None,
            kill: false,
            stall: None,
        }
    }

    /// What is seen of it when all is well.
    pub fn look() -> Look {
        Look {
            now: Timestamp::from_millis(0),
            up: 0,
            host_boot: "boot".into(),
            halting: false,
            process: ProcessObs::Alive,
            health: Health::Running,
            room: true,
            guest: GuestObs { hello: true, root_mounted: true, generation: 1, ..GuestObs::default() },
            sidecar: Some(1),
            kernel: true,
            nics: true,
            disks: vec![],
            open: vec![DiskObs {
                serial: VolumeId(Uuid::from_u128(2)).short(),
                ready: true,
                size: ByteSize::gib(2),
            }],
            expired: false,
        }
    }

    #[test]
    fn a_guest_that_stands_is_not_asked_to_shut_down_and_goes_on_to_do_so() {
        let (mut spec, mut run) = (machine(), run());
        let status = |run: &Run| MachineStatus { run: Some(run.clone()), ..MachineStatus::default() };
        let mut seen = look();
        seen.health = Health::Stands { slot: Some(0), why: types::machine::StallReason::PoolFull };
        seen.room = false;
        stall::carry_out(&spec, &mut run, &seen, &Step::NoteStall);
        spec.desired = Desired::Stopped;
        let rules = Rules { boot_timeout: Duration::from_secs(60), restart_after_boot: true };
        let answer = |run: &Run, look: &Look| plan(&spec, &status(run), look, rules);
        assert_eq!(answer(&run, &seen), Answer::Do(Step::BeginStop));
        (run.stop_deadline, run.stop_until) = (Some(Timestamp::from_millis(90_000)), Some(90_000));
        assert!(matches!(answer(&run, &seen), Answer::Wait(_)));
        seen.room = true;
        assert_eq!(answer(&run, &seen), Answer::Do(Step::Resume));
        (seen.room, seen.up) = (false, 90_000);
        assert_eq!(answer(&run, &seen), Answer::Do(Step::DecideKill));
    }
}
