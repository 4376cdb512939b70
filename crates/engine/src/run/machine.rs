//! Machines: looking and doing.

use super::close::Ending;
use super::disks::{attached, of_the_guest, touches};
use super::pass::Networks;
use super::{Broken, Next};
use crate::admit::{abandon_machine, forget_machine, go_for_good, release_machine};
use crate::db::{Change, MachineRecord, VolumeRecord, encode};
use crate::plan::Answer;
use crate::plan::machine::{DiskLook, Look, Rules, Step, after, held, one_more_death, plan, wants_run};
use crate::port::{DiskObs, GuestObs, Health, NicPlan, ProcessObs, RunPlan};
use crate::{Engine, key};
use types::machine::{Desired, Exit, LastExit, MachineSpec, MachineStatus, Phase, Run, phase};
use types::network::NetworkSpec;
use types::operation::{Kind, Progress};
use types::volume::{VolumeRole, VolumeSpec};
use types::{Code, MachineId, NetworkId, Operation, Problem, RunId, Verb};

impl Engine {
    pub(super) fn look_at_machine(&self, id: MachineId) -> Result<Next, Broken> {
        let Some(record) = self.0.db.record::<MachineSpec>(id.0)? else { return Ok(Next::Idle) };
        let look = self.machine_look(&record, self.nics(&record.spec)?, self.halting()?)?;
        match plan(&record.spec, &record.status, &look, self.rules()) {
            Answer::Do(step) => self.do_machine(&record, &look, &step),
            Answer::Wait(wait) => {
                if let Some(stall) = record.status.run.as_ref().and_then(Run::standing) {
                    let problem = self.standing_problem(&record.spec, stall)?;
                    self.answer_starts(&record, &look, &problem)?;
                }
                Ok(self.wait((Kind::Machine, id.0), &wait))
            }
            Answer::Settled => {
                let mut status = record.status.value.clone();
                status.observed_generation = record.spec.generation;
                status.held = held(&record.spec, &status, &look);
                if record.spec.desired == Desired::Stopped || status.run.is_some() {
                    // It is as it shall be: an earlier failure is history.
                    status.fault = None;
                }
                self.conclude_machine(&record, status, &look.guest.notes)?;
                Ok(Next::Idle)
            }
            Answer::Stuck(problem) => {
                let again = self.give_up_machine(id, &problem)?;
                Ok(if again { Next::Again } else { Next::Idle })
            }
        }
    }

    pub(super) fn machine_look(
        &self,
        record: &MachineRecord,
        nics: Vec<(NetworkSpec, NicPlan)>,
        halting: bool,
    ) -> Result<Look, Broken> {
        let (spec, status) = (&record.spec, &record.status);
        let ports = &self.0.ports;
        let mut look = Look {
            now: ports.clock.now(),
            up: self.up(),
            host_boot: ports.clock.host_boot(),
            halting,
            process: ProcessObs::Absent,
            health: Health::Running,
            room: false,
            guest: GuestObs::default(),
            sidecar: ports.vmm.sidecar(spec.id)?,
            kernel: false,
            nics: true,
            disks: vec![],
            open: vec![],
            expired: self.machine_expired(spec)?,
        };
        match &status.run {
            Some(run) => {
                look.process = ports.vmm.observe(spec.id, run.id)?;
                if look.process == ProcessObs::Alive {
                    look.guest = ports.guest.observe(spec.id, run.id)?;
                    self.look_at_health(spec, run, &mut look)?;
                    if run.hello_at.is_some() && wants_run(spec, status) {
                        self.look_at_disks(record, run, &mut look)?;
                    }
                }
                for (network, nic) in nics {
                    look.nics &= ports.net.has_nic(&network, &nic)?;
                }
            }
            None if wants_run(spec, status) => {
                for disk in &spec.disks {
                    look.disks.push(self.disk_look(disk.volume)?);
                }
                look.kernel = match &status.kernel {
                    Some(version) => ports.images.has_kernel(version)?,
                    None => false,
                };
            }
            None => {}
        }
        Ok(look)
    }

    /// What the operator wants of all machines.
    pub(super) fn rules(&self) -> Rules {
        let settings = self.settings();
        Rules { boot_timeout: settings.boot_timeout, restart_after_boot: settings.restart_after_boot }
    }

    /// What the process has open, and how far those are that it lacks.
    fn look_at_disks(&self, record: &MachineRecord, run: &Run, look: &mut Look) -> Result<(), Broken> {
        let spec = &record.spec;
        look.open = match self.0.ports.vmm.disks(spec.id, run.id) {
            // A hypervisor that does not answer has what it had, as long as nobody wants it changed.
            Err(fault) if fault.passing && record.status.observed_generation == spec.generation => {
                let as_wanted = |d: &types::machine::Disk| DiskObs {
                    serial: d.volume.short(),
                    ready: true,
                    size: types::ByteSize::default(),
                };
                spec.disks.iter().map(as_wanted).collect()
            }
            other => other?,
        };
        for disk in &spec.disks {
            if !look.open.iter().any(|d| d.ready && d.serial == disk.volume.short()) {
                look.disks.push(self.disk_look(disk.volume)?);
            }
        }
        Ok(())
    }

    fn disk_look(&self, id: types::VolumeId) -> Result<DiskLook, Problem> {
        let Some(v) = self.0.db.record::<VolumeSpec>(id.0)? else {
            let gone = Problem::new(Code::VolumeNotFound, "one of its volumes does not exist any more");
            return Ok(DiskLook { id, settled: false, fault: Some(gone) });
        };
        let fault = v.status.fault.clone();
        let settled = fault.is_none()
            && self.0.db.0.get(&key::hold(id.0))?.is_none()
            && v.status.filled
            && v.spec.deleting.is_none()
            && v.status.observed_generation == v.spec.generation;
        Ok(DiskLook { id, settled, fault })
    }

    fn nics(&self, spec: &MachineSpec) -> Result<Vec<(NetworkSpec, NicPlan)>, Problem> {
        let mut networks = Networks::new();
        for nic in &spec.nics {
            let network = self.0.db.find::<NetworkSpec>(&nic.network.to_string())?;
            networks.insert(nic.network, network.spec.value);
        }
        Ok(nics_in(spec, |id| networks.get(&id).cloned()).unwrap_or_default())
    }

    fn do_machine(&self, record: &MachineRecord, look: &Look, step: &Step) -> Result<Next, Broken> {
        let (spec, status) = (&record.spec, &record.status);
        let ports = &self.0.ports;
        let mut new = status.value.clone();
        match (step, &mut new.run) {
            (Step::Make, _) => self.make(record)?,
            (Step::WriteSidecar, _) => {
                ports.vmm.write_sidecar(spec.id, &encode(&spec.value))?;
                return Ok(Next::Again);
            }
            (Step::PinKernel, _) => {
                let tell = |p: Progress| self.0.live.progress(Kind::Machine, spec.id.0, &p);
                new.kernel = Some(ports.images.ensure_kernel(&tell)?);
            }
            (Step::Begin, _) => {
                return self.begin(record);
            }
            (Step::EnsureNetwork, _) => {
                for (network, nic) in self.nics(spec)? {
                    ports.net.ensure_network(&network)?;
                    ports.net.ensure_nic(&network, &nic)?;
                }
                return Ok(Next::Again);
            }
            (Step::Start, Some(run)) => {
                self.0.live.progress(
                    Kind::Machine,
                    spec.id.0,
                    &Progress { what: "starting".into(), done: 0, total: None, unit: "steps".into() },
                );
                ports.vmm.start(&self.run_plan(spec, run)?)?;
                return Ok(Next::Again);
            }
            (Step::NoteHello, Some(run)) => {
                run.hello_at = Some(look.now);
                new.booted = true;
                new.fault = None;
            }
            (Step::BeginStop, Some(run)) => {
                let timeout = self.settings().stop_timeout;
                run.stop_deadline = Some(after(look.now, timeout));
                run.stop_until =
                    Some(look.up.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
            }
            (Step::AskShutdown, Some(run)) => {
                if let Err(fault) = ports.guest.shutdown(spec.id, run.id) {
                    // The deadline ends this, not patience: a stop never fails for want of an agent.
                    tracing::warn!(machine = %spec.name, code = %fault.problem.code, "shutdown: {fault}");
                    return Ok(Next::Later(std::time::Duration::from_secs(1)));
                }
                run.stop_asked = true;
            }
            (Step::DecideKill, Some(run)) => {
                run.kill = true;
                // From here on a fault says that the plug could not be pulled.
                new.fault = None;
            }
            (Step::NoteExit(exit), Some(run)) => run.exit = Some(*exit),
            (Step::Kill, Some(run)) => {
                ports.vmm.kill(spec.id, run.id)?;
                return Ok(Next::Again);
            }
            (Step::End { how, again }, Some(run)) => {
                self.clear_away(spec, run.id)?;
                if *how == "died" {
                    tracing::warn!(machine = %spec.name, again, "its hypervisor died");
                }
                if *how == "died" && *again {
                    new.deaths = Some(one_more_death(status, run, look.up));
                }
                if !again {
                    new.ended_epoch = new.ended_epoch.max(run.epoch);
                }
                new.run = None;
                new.last_exit = Some(LastExit { at: look.now, how: (*how).to_owned() });
                new.held = held(spec, &new, look);
            }
            (Step::LeaveOff, _) => {
                new.ended_epoch = new.ended_epoch.max(spec.epoch);
                new.held = None;
            }
            (Step::NoteStall | Step::Resume | Step::NoteGoing | Step::SetClock | Step::ForgetStall, _) => {
                return self.do_stall(record, look, step);
            }
            (
                Step::Plug { .. }
                | Step::Unplug { .. }
                | Step::Drop { .. }
                | Step::Keep { .. }
                | Step::Refuse { .. }
                | Step::Configure,
                _,
            ) => return self.do_disk(record, look, step),
            (Step::Release, _) => return self.release(record),
            (Step::Expire, _) => {
                let mut change = Change::system();
                change.on(status);
                go_for_good(&mut change, record);
                change.commit(&self.0.db)?;
                return Ok(Next::Again);
            }
            (Step::Forget, _) => return self.finish_machine(record),
            (_, None) => return Err(Broken::Raced),
        }
        let mut change = Change::system();
        change.update(status, &new).on(spec);
        if matches!(step, Step::End { .. }) {
            mark_disks(&mut change, record, look);
        }
        change.commit(&self.0.db)?;
        if new.run.is_none() {
            // The end of the host waits for the end of every run.
            self.0.queue.settled((Kind::Machine, spec.id.0));
        }
        Ok(Next::Again)
    }

    /// Commits a run. That every disk is settled was seen, and is checked here: a resize that was
    /// accepted meanwhile makes this a conflict.
    fn begin(&self, record: &MachineRecord) -> Result<Next, Broken> {
        let (spec, status) = (&record.spec, &record.status);
        let mut change = Change::system();
        if self.read_halting(&mut change)? {
            return Err(Broken::Raced);
        }
        for disk in &spec.disks {
            let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else {
                return Err(Broken::Raced);
            };
            change.on(&volume.spec).on(&volume.status);
            if !self.readers(&mut change, disk.volume.0)?.is_empty() {
                return Err(Broken::Raced);
            }
        }
        let mut new = status.value.clone();
        new.run = Some(Run {
            id: RunId(self.0.ports.clock.new_id()),
            epoch: spec.epoch,
            kernel: status.kernel.clone().unwrap_or_default(),
            host_boot: self.0.ports.clock.host_boot(),
            began_at: self.0.ports.clock.now(),
            began_up: Some(self.up()),
            hello_at: None,
            stop_deadline: None,
            stop_until: None,
            stop_asked: false,
            exit: None,
            kill: false,
            stall: None,
        });
        new.held = None;
        new.fault = None;
        change.update(status, &new).on(spec);
        change.commit(&self.0.db)?;
        Ok(Next::Again)
    }

    pub(super) fn run_plan(&self, spec: &MachineSpec, run: &Run) -> Result<RunPlan, Problem> {
        let mut disks = Vec::new();
        for disk in &spec.disks {
            disks.push(self.run_disk(disk)?);
        }
        Ok(RunPlan {
            machine: spec.id,
            name: spec.name.clone(),
            generation: spec.generation,
            run: run.id,
            uid: spec.uid,
            vcpus: spec.vcpus,
            memory: spec.memory,
            kernel: run.kernel.clone(),
            disks,
            nics: self.nics(spec)?,
        })
    }

    /// Removes what a run without processes left behind.
    fn clear_away(&self, spec: &MachineSpec, run: RunId) -> Result<(), Broken> {
        self.0.ports.vmm.clean(spec.id, run)?;
        for (_, nic) in self.nics(spec)? {
            self.0.ports.net.remove_nic(&nic)?;
        }
        Ok(())
    }

    fn conclude_machine(
        &self,
        record: &MachineRecord,
        status: MachineStatus,
        notes: &[String],
    ) -> Result<(), Broken> {
        let spec = &record.spec;
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(spec);
        }
        let phase = phase(spec, &status);
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            (op.generation <= spec.generation).then(|| {
                let mut ended = ending(op, phase, &status, notes, spec);
                self.notes_with_names(spec, &mut ended.warnings);
                ended
            })
        })?;
        // Volumes that grow in it wait for what it has come to.
        self.0.queue.settled((Kind::Machine, spec.id.0));
        Ok(())
    }

    /// A guest that said hello and stands is there; who asked for it learns that it stands, and who
    /// attached a disk that it has, that it will be mounted later.
    fn answer_starts(&self, record: &MachineRecord, look: &Look, problem: &Problem) -> Result<(), Broken> {
        let (spec, status) = (&record.spec, &record.status);
        if phase(spec, status) != Phase::Running {
            return Ok(());
        }
        self.commit_and_close(Change::system(), Kind::Machine, spec.id.0, |op| {
            let starts = starts(op.verb);
            let there = |v: types::VolumeId| look.open.iter().any(|d| d.ready && d.serial == v.short());
            if op.verb == Verb::VolumeAttach
                && spec.disks.iter().any(|d| touches(op, d.volume) && there(d.volume))
            {
                return Some(Ending::with(vec![format!("{problem}: the volume is mounted once it goes on")]));
            }
            (starts && op.generation <= spec.generation).then(|| Ending::failed(problem.clone()))
        })
    }

    /// Start-up that failed is not tried again until somebody asks: the epoch counts as ended. A
    /// first deploy that never booted releases everything. A guest that runs but does not answer
    /// keeps running, so that somebody can look.
    pub(super) fn give_up_machine(&self, id: MachineId, problem: &Problem) -> Result<bool, Broken> {
        let Some(record) = self.0.db.record::<MachineSpec>(id.0)? else { return Ok(false) };
        let (spec, status) = (&record.spec, &record.status);
        let mut new = status.value.clone();
        new.fault = Some(problem.clone());
        if spec.deleting.is_some() {
            self.fail_machine(&record, new, problem)?;
            return Ok(false);
        }
        if let Some(run) = &status.run {
            if self.0.ports.vmm.observe(id, run.id)? == ProcessObs::Alive {
                return self.give_up_running(&record, new, problem);
            }
            self.0.ports.vmm.kill(id, run.id)?;
            self.clear_away(spec, run.id)?;
            new.run = None;
            new.last_exit = Some(LastExit { at: self.0.ports.clock.now(), how: "failed".into() });
            // It may have been killed in the middle of anything.
            let mut change = Change::system();
            for disk in &spec.disks {
                change.put(key::unclean(disk.volume), &true);
            }
            change.commit(&self.0.db)?;
        }
        new.ended_epoch = new.ended_epoch.max(spec.epoch);
        let open = self.open_operations(Kind::Machine, id.0)?;
        match open.iter().find(|op| matches!(op.verb, Verb::MachineDeploy | Verb::MachineClone)) {
            Some(op) if !status.booted => {
                let mut change = Change::system();
                change.update(status, &new);
                abandon_machine(&mut change, &record, op, self.0.ports.clock.now(), problem);
                change.commit(&self.0.db)?;
                Ok(true)
            }
            _ => {
                self.fail_machine(&record, new, problem)?;
                Ok(false)
            }
        }
    }

    /// Disks that could not come or go are as they were; a guest that was not told of a new one has
    /// it all the same, and mounts it when it next boots.
    fn give_up_running(
        &self,
        record: &MachineRecord,
        status: MachineStatus,
        problem: &Problem,
    ) -> Result<bool, Broken> {
        let (spec, run) = (&record.spec, record.status.run.as_ref());
        let up = run.is_some_and(|r| r.hello_at.is_some() && r.stop_deadline.is_none());
        if !up {
            self.fail_machine(record, status, problem)?;
            return Ok(false);
        }
        let open =
            run.map(|r| self.0.ports.vmm.disks(spec.id, r.id)).and_then(Result::ok).unwrap_or_default();
        let there = |v: types::VolumeId| open.iter().any(|d| d.ready && d.serial == v.short());
        let missing: Vec<_> = spec.disks.iter().map(|d| d.volume).filter(|v| !there(*v)).collect();
        if self.send_away(record, &missing, problem)? {
            return Ok(true);
        }
        if self.keep_disk(record, None, problem)? {
            return Ok(true);
        }
        if !of_the_guest(problem) {
            self.fail_machine(record, status, problem)?;
            return Ok(false);
        }
        let said = vec![format!("{problem}: what is new is made use of when it next boots")];
        let phase = phase(spec, &status);
        let told = MachineStatus { observed_generation: spec.generation, fault: None, ..status.clone() };
        let mut change = Change::system();
        change.update(&record.status, &told).on(spec);
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            let ends = |op: &Operation| match op.verb {
                Verb::VolumeAttach => Ending::with(said.clone()),
                _ => ending(op, phase, &status, &said, spec),
            };
            (op.generation <= spec.generation).then(|| ends(op))
        })?;
        self.0.queue.settled((Kind::Machine, spec.id.0));
        Ok(false)
    }

    fn fail_machine(
        &self,
        record: &MachineRecord,
        status: MachineStatus,
        problem: &Problem,
    ) -> Result<(), Broken> {
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(&record.spec);
        }
        let generation = record.spec.generation;
        self.commit_and_close(change, Kind::Machine, record.spec.id.0, |op| {
            (op.generation <= generation).then(|| Ending::failed(problem.clone()))
        })?;
        self.0.queue.settled((Kind::Machine, record.spec.id.0));
        Ok(())
    }

    /// Whether a machine that was deleted can be taken back no more: its time is over, or what it boots
    /// from is gone for good.
    pub(super) fn machine_expired(&self, spec: &MachineSpec) -> Result<bool, Problem> {
        let Some(until) = spec.deleting.as_ref().filter(|d| d.released).and_then(|d| d.keep_until) else {
            return Ok(false);
        };
        let root = spec.disks.iter().find(|d| d.role == VolumeRole::Root);
        let gone = match root {
            Some(disk) => self.0.db.0.get(&key::spec(Kind::Volume, disk.volume.0))?.is_none(),
            None => true,
        };
        Ok(gone || self.let_go(until))
    }

    fn disks_of(&self, spec: &MachineSpec) -> Result<Vec<VolumeRecord>, Problem> {
        let mut volumes = Vec::new();
        for disk in &spec.disks {
            volumes.extend(self.0.db.record::<VolumeSpec>(disk.volume.0)?);
        }
        Ok(volumes)
    }

    /// A deleted machine that can be taken back: all it had is free.
    fn release(&self, record: &MachineRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        let mut change = Change::system();
        let mut new = spec.value.clone();
        if let Some(going) = &mut new.deleting {
            going.released = true;
        }
        change.update(spec, &new).on(&record.status);
        release_machine(&mut change, record, &self.disks_of(spec)?);
        self.end_of_machine(change, record)
    }

    fn finish_machine(&self, record: &MachineRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        self.0.ports.vmm.remove(spec.id)?;
        let mut change = Change::system();
        forget_machine(&mut change, record, &self.disks_of(spec)?);
        self.end_of_machine(change, record)
    }

    /// Commits the end of a machine, and with it that of whatever was asked of it.
    fn end_of_machine(&self, change: Change, record: &MachineRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        let because = spec.deleting.as_ref().and_then(|d| d.because.clone());
        let killed = record.status.last_exit.as_ref().is_some_and(|e| e.how == "killed");
        self.commit_and_close(change, Kind::Machine, spec.id.0, |op| {
            Some(match (op.verb, &because) {
                (Verb::MachineDelete, _) => {
                    Ending::with(if killed { vec![plug_pulled(spec)] } else { vec![] })
                }
                (Verb::VolumeDetach, _) => Ending::well(),
                (_, Some(problem)) => Ending::failed(problem.clone()),
                (_, None) => Ending::failed(superseded(spec)),
            })
        })?;
        for disk in &spec.disks {
            self.wake(Kind::Volume, disk.volume.0);
        }
        Ok(Next::Idle)
    }
}

/// The host's end of a machine's interface. 2 + 12 characters for the first: a name holds 15.
pub(crate) fn tap(machine: MachineId, n: usize) -> String {
    match n {
        0 => format!("st{}", machine.short()),
        n => format!("s{n}{}", machine.short()),
    }
}

/// A machine's interfaces, each with its network; `None` if there is one without.
pub(super) fn nics_in(
    spec: &MachineSpec,
    network: impl Fn(NetworkId) -> Option<NetworkSpec>,
) -> Option<Vec<(NetworkSpec, NicPlan)>> {
    let plan = |(n, nic): (usize, &types::machine::Nic)| {
        let (tap, mac) = (tap(spec.id, n), nic.mac.clone());
        let plan = NicPlan { machine: spec.id, tap, uid: spec.uid, mac, address: nic.address };
        Some((network(nic.network)?, plan))
    };
    spec.nics.iter().enumerate().map(plan).collect()
}

fn superseded(spec: &MachineSpec) -> Problem {
    Problem::new(Code::Superseded, format!("a later request for machine \"{}\" went before it", spec.name))
        .hint("`sistemo history` shows which")
}

pub(super) fn plug_pulled(spec: &MachineSpec) -> String {
    format!("machine \"{}\" did not shut down in time; the plug was pulled", spec.name)
}

/// Says of the volumes of a run that ends whether its guest powered off in order. One that never was
/// started touched nothing, and none what it only read.
fn mark_disks(change: &mut Change, record: &MachineRecord, look: &Look) {
    let Some(run) = &record.status.run else { return };
    let clean = match (look.process, run.exit) {
        _ if run.host_boot != look.host_boot => false,
        (ProcessObs::Exited { clean: true }, _) | (_, Some(Exit::Ended)) => true,
        // What told of it may be cleared away already; then nobody knows.
        (ProcessObs::Absent, None) if run.hello_at.is_none() && !run.kill => return,
        _ => false,
    };
    for disk in record.spec.disks.iter().filter(|disk| !disk.read_only) {
        let mark = key::unclean(disk.volume);
        match clean {
            true => change.delete(mark),
            false => change.put(mark, &true),
        };
    }
}

/// Whether a request is for a machine that runs.
fn starts(verb: Verb) -> bool {
    use Verb::{MachineClone, MachineDeploy, MachineRestart, MachineStart};
    matches!(verb, MachineDeploy | MachineClone | MachineStart | MachineRestart)
}

/// How an operation ends, now that its machine is as it shall be.
fn ending(
    op: &Operation,
    phase: Phase,
    status: &MachineStatus,
    notes: &[String],
    spec: &MachineSpec,
) -> Ending {
    match (op.verb, phase) {
        (verb, Phase::Running) if starts(verb) => Ending::with(notes.to_vec()),
        (verb, _) if starts(verb) => {
            let ended = status.ended_epoch >= spec.epoch && spec.desired == Desired::Running;
            Ending::failed(match &status.fault {
                Some(problem) => problem.clone(),
                None if ended => Problem::new(
                    Code::BootFailed,
                    format!("machine \"{}\" ended before its agent said hello", spec.name),
                )
                .hint(format!("`sistemo machine logs {}` shows its console", spec.name)),
                None if status.held.is_some() => Problem::new(
                    Code::HostHalting,
                    format!("the host began to shut down before machine \"{}\" ran", spec.name),
                )
                .hint("it starts once the host is back; `sistemo host resume` starts it now"),
                None => superseded(spec),
            })
        }
        (Verb::MachineStop, Phase::Running) => Ending::failed(superseded(spec)),
        (Verb::MachineStop, _) => {
            let killed =
                status.last_exit.as_ref().is_some_and(|e| e.how == "killed" && e.at >= op.created_at);
            Ending::with(if killed { vec![plug_pulled(spec)] } else { vec![] })
        }
        (Verb::VolumeAttach, Phase::Running) => Ending::with(attached(op, spec, notes)),
        _ => Ending::well(),
    }
}
