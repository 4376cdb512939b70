//! Properties of the planners, for any record and any look at the world, however little they fit:
//! every answer is total, no step is asked for again once its effect is seen, every fair run settles.

use engine::plan::machine::{self, DiskLook, Rules};
use engine::plan::volume::{self, ImageLook, ResetLook};
use engine::plan::{Answer, image, snapshot, stall};
use engine::port::{DiskObs, FileObs, GuestObs, Health, ImageObs, ProcessObs, SnapshotObs, VolumeObs};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use types::image::{ImageSource, ImageSpec, ImageStatus};
use types::machine::{
    Deaths, Desired, Disk, Exit, Held, LastExit, Leaving, MachineDeletion, MachineSpec, MachineStatus, Mount,
    RestartPolicy, Run, StallReason,
};
use types::operation::Kind;
use types::snapshot::{Consistency, SnapshotDeletion, SnapshotSpec, SnapshotStatus, Taken};
use types::volume::{Reset, VolumeDeletion, VolumeRole, VolumeSource, VolumeSpec, VolumeStatus};
use types::{
    ByteSize, Code, ImageId, MachineId, Name, OperationId, Problem, RunId, SnapshotId, Timestamp, VolumeId,
};
use uuid::Uuid;

/// More steps than any way from anywhere to rest.
const MOST: usize = 60;
const STOP: u64 = 90_000;

fn id(n: u128) -> Uuid {
    Uuid::from_u128((7 << 76) | (2 << 62) | n)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(ms).unwrap())
}

fn problem() -> Problem {
    Problem::new(Code::IoError, "it failed")
}

fn name() -> Name {
    Name::new("web").unwrap()
}

fn generation() -> impl Strategy<Value = u64> {
    1..4u64
}

/// Milliseconds around those of [`look`]; also far away, as after a jump of the clock.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..2_000_000u64, Just(1u64 << 40)]
}

/// The volume in a slot.
fn in_slot(slot: u8) -> VolumeId {
    VolumeId(id(100 + u128::from(slot)))
}

prop_compose! {
    fn disk(slot: u8)(leaving in proptest::option::of(any::<bool>())) -> Disk {
        Disk {
            volume: in_slot(slot),
            slot,
            role: VolumeRole::Data,
            mount: Mount::Default,
            read_only: false,
            leaving: leaving.map(|force| Leaving { force }),
        }
    }
}

prop_compose! {
    fn machine_spec()(
        disks in prop_oneof![
            Just(vec![]), disk(1).prop_map(|d| vec![d]), (disk(1), disk(2)).prop_map(|(a, b)| vec![a, b]),
        ],
        generation in generation(), running in any::<bool>(), epoch in generation(),
        tough in any::<bool>(),
        deleting in proptest::option::of((proptest::option::of(Just(at(9))), any::<bool>())),
    ) -> MachineSpec {
        MachineSpec {
            id: MachineId(id(1)),
            name: name(),
            generation,
            node: "localhost".into(),
            created_at: at(0),
            vcpus: 1,
            memory: ByteSize::gib(1),
            image: None,
            desired: if running { Desired::Running } else { Desired::Stopped },
            epoch,
            resumes: epoch % 2,
            restart: if tough { RestartPolicy::OnFailure } else { RestartPolicy::No },
            disks,
            nics: vec![],
            uid: 1,
            making: BTreeMap::default(),
            protected: false, labels: Default::default(), deleting: deleting.map(|(keep_until, released)| MachineDeletion {
                at: at(0),
                keep_until,
                released,
                operation: OperationId(id(2)),
                because: None,
            }),
        }
    }
}

prop_compose! {
    fn run()(
        epoch in generation(), same_boot in any::<bool>(), began in time(),
        began_up in proptest::option::of(time()), hello in any::<bool>(),
        stop in proptest::option::of((time(), proptest::option::of(time()))), stop_asked in any::<bool>(),
        exit in proptest::option::of(prop_oneof![Just(Exit::Ended), Just(Exit::Died)]), kill in any::<bool>(),
    ) -> Run {
        Run {
            id: RunId(id(3)),
            epoch,
            kernel: "6.1".into(),
            host_boot: if same_boot { "b".into() } else { "a".into() },
            began_at: at(began.min(4_000_000_000_000)),
            began_up,
            hello_at: hello.then(|| at(1)),
            stop_deadline: stop.map(|(wall, _)| at(wall.min(4_000_000_000_000))),
            stop_until: stop.and_then(|(_, up)| up),
            stop_asked,
            exit,
            kill,
            stall: None,
        }
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let boot_timeout = Duration::from_secs(300);
    any::<bool>().prop_map(move |restart_after_boot| Rules { boot_timeout, restart_after_boot })
}

prop_compose! {
    fn machine_status()(
        observed_generation in 0..4u64, run in proptest::option::of(run()), ended_epoch in 0..4u64,
        booted in any::<bool>(), kernel in any::<bool>(), fault in any::<bool>(),
        deaths in proptest::option::of((generation(), proptest::collection::vec(time(), 0..8))),
        held in proptest::option::of((generation(), any::<bool>())),
    ) -> MachineStatus {
        MachineStatus {
            observed_generation,
            run,
            ended_epoch,
            booted,
            kernel: kernel.then(|| "6.1".into()),
            last_exit: None,
            deaths: deaths.map(|(epoch, at)| Deaths { epoch, host_boot: "b".into(), at }),
            held: held.map(|(epoch, same_boot)| Held {
                host_boot: if same_boot { "b".into() } else { "a".into() },
                epoch,
            }),
            fault: fault.then(problem),
        }
    }
}

fn process() -> impl Strategy<Value = ProcessObs> {
    prop_oneof![
        Just(ProcessObs::Absent),
        Just(ProcessObs::Starting),
        Just(ProcessObs::Alive),
        any::<bool>().prop_map(|clean| ProcessObs::Exited { clean }),
    ]
}

fn health() -> impl Strategy<Value = Health> {
    let why = prop_oneof![Just(StallReason::PoolFull), Just(StallReason::IoError)];
    let stands = (proptest::option::of(0..3u8), why).prop_map(|(slot, why)| Health::Stands { slot, why });
    prop_oneof![3 => Just(Health::Running), 1 => stands]
}

prop_compose! {
    fn machine_look()(
        now in 0..4_000_000_000_000u64, up in time(), process in process(), hello in any::<bool>(),
        root_mounted in any::<bool>(), sidecar in proptest::option::of(0..4u64), kernel in any::<bool>(),
        nics in any::<bool>(), halting in any::<bool>(), health in health(), room in any::<bool>(),
        disks in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        open in proptest::collection::vec((1..4u8, any::<bool>()), 0..3), applied in 0..4u64,
        expired in any::<bool>(),
    ) -> machine::Look {
        machine::Look {
            now: at(now),
            up,
            host_boot: "b".into(),
            halting,
            process,
            health,
            room,
            guest: GuestObs { hello, root_mounted, generation: applied, ..GuestObs::default() },
            sidecar,
            kernel,
            nics,
            expired,
            disks: disks.into_iter().zip(1..).map(|((settled, fault), slot)| DiskLook {
                id: in_slot(slot),
                settled,
                fault: (fault && !settled).then(problem),
            }).collect(),
            open: open.into_iter().map(|(slot, ready)| DiskObs {
                serial: in_slot(slot).short(),
                ready,
                size: ByteSize::gib(1),
            }).collect(),
        }
    }
}

/// What a step does, as far as a planner can see it. Returns whether the machine is gone.
fn do_machine(
    spec: &mut MachineSpec,
    s: &mut MachineStatus,
    l: &mut machine::Look,
    step: &machine::Step,
) -> bool {
    use machine::Step;
    match step {
        Step::Make => spec.making.clear(),
        Step::WriteSidecar => l.sidecar = Some(spec.generation),
        Step::PinKernel => {
            s.kernel = Some("6.1".into());
            l.kernel = true;
        }
        Step::Begin => {
            s.run = Some(Run {
                id: RunId(id(5)),
                epoch: spec.epoch,
                kernel: "6.1".into(),
                host_boot: l.host_boot.clone(),
                began_at: l.now,
                began_up: Some(l.up),
                hello_at: None,
                stop_deadline: None,
                stop_until: None,
                stop_asked: false,
                exit: None,
                kill: false,
                stall: None,
            });
            s.held = None;
            l.process = ProcessObs::Absent;
            l.nics = false;
        }
        Step::NoteStall | Step::Resume | Step::NoteGoing | Step::SetClock | Step::ForgetStall => {
            if *step == Step::Resume {
                l.health = Health::Running;
            }
            let run = s.run.as_mut().expect("only a run stands");
            stall::carry_out(spec, run, l, step);
        }
        Step::EnsureNetwork => l.nics = true,
        Step::LeaveOff => {
            s.ended_epoch = s.ended_epoch.max(spec.epoch);
            s.held = None;
        }
        Step::Start => l.process = ProcessObs::Alive,
        Step::Configure => l.guest.generation = spec.generation,
        Step::Plug { volume } => {
            l.open.retain(|d| d.serial != volume.short());
            l.open.push(DiskObs { serial: volume.short(), ready: true, size: ByteSize::gib(1) });
        }
        Step::Unplug { volume, .. } => l.open.retain(|d| d.serial != volume.short()),
        Step::Drop { volume } => {
            assert!(s.run.is_none() || l.open.iter().all(|d| d.serial != volume.short()), "it is open");
            spec.disks.retain(|d| d.volume != *volume);
            spec.generation += 1;
        }
        Step::Keep { volume, .. } | Step::Refuse { volume, .. } => {
            let force = matches!(step, Step::Refuse { .. });
            let disk = spec.disks.iter_mut().find(|d| d.volume == *volume).expect("a disk it has");
            disk.leaving = force.then_some(Leaving { force });
            spec.generation += 1;
        }
        Step::Kill => l.process = ProcessObs::Exited { clean: false },
        Step::Release => spec.deleting.as_mut().expect("it was deleted").released = true,
        Step::Expire => spec.deleting.as_mut().expect("it was deleted").keep_until = None,
        Step::Forget => return true,
        with_run => {
            let run = s.run.as_mut().expect("the step is about a run");
            match with_run {
                Step::NoteHello => run.hello_at = Some(l.now),
                Step::BeginStop => {
                    run.stop_deadline = Some(l.now);
                    run.stop_until = Some(l.up.saturating_add(STOP));
                }
                Step::AskShutdown => run.stop_asked = true,
                Step::DecideKill => run.kill = true,
                Step::NoteExit(exit) => run.exit = Some(*exit),
                Step::End { how, again } => {
                    let run = run.clone();
                    if *again && *how == "died" {
                        s.deaths = Some(machine::one_more_death(s, &run, l.up));
                    }
                    if !again {
                        s.ended_epoch = s.ended_epoch.max(run.epoch);
                    }
                    s.run = None;
                    s.last_exit = Some(LastExit { at: l.now, how: (*how).into() });
                    s.held = machine::held(spec, s, l);
                    l.process = ProcessObs::Absent;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    false
}

/// What a fair world does while a planner waits: what is waited for comes, time passes, and a guest
/// that was asked to go goes.
fn wait(s: &MachineStatus, l: &mut machine::Look, until: Option<Timestamp>) {
    l.disks.iter_mut().for_each(|d| d.settled = true);
    // Room comes; what cannot be written for another reason is mended.
    l.room = true;
    if matches!(l.health, Health::Stands { why: StallReason::IoError, .. }) {
        l.health = Health::Running;
    }
    if s.run.as_ref().is_some_and(|r| r.stop_asked) {
        l.process = ProcessObs::Exited { clean: true };
    }
    if let Some(until) = until {
        let ms = u64::try_from(until.millis() - l.now.millis()).expect("nothing waits for the past");
        assert!(ms > 0, "nothing waits for now");
        l.now = until;
        l.up = l.up.saturating_add(ms);
    }
}

prop_compose! {
    fn volume_spec()(
        generation in generation(), size in 1..5u64, from in 0..4u8,
        deleting in proptest::option::of(any::<bool>()), journey in 0..5u8,
    ) -> VolumeSpec {
        VolumeSpec {
            read_only: false,
            id: VolumeId(id(6)),
            name: name(),
            generation,
            node: "localhost".into(),
            created_at: at(0),
            role: VolumeRole::Data,
            pool: "default".into(),
            moving: (journey == 1).then(|| "fast".into()),
            leaving: (journey == 2).then(|| "fast".into()),
            size: ByteSize::gib(size),
            source: match from {
                0 => VolumeSource::Image { image: ImageId(id(7)) },
                1 => VolumeSource::Volume { volume: VolumeId(id(9)), image: None },
                2 => VolumeSource::Snapshot { snapshot: SnapshotId(id(10)), image: None },
                _ => VolumeSource::Blank { fs_uuid: id(8) },
            },
            fs: None,
            identity: None,
            owner: None,
            protected: false, labels: Default::default(),
            reset: (journey == 3).then(|| Reset {
                to: SnapshotId(id(10)),
                before: SnapshotId(id(11)),
                last: None,
                others: vec![],
                failed: None,
            }),
            deleting: deleting.map(|keep| VolumeDeletion {
                at: at(0),
                keep_until: keep.then(|| at(9)),
                operation: OperationId(id(2)),
                because: None,
            }),
        }
    }
}

prop_compose! {
    fn volume_status()(
        observed_generation in 0..4u64, filled in any::<bool>(), size in 0..5u64, fault in any::<bool>(),
    ) -> VolumeStatus {
        let fault = fault.then(problem);
        VolumeStatus { observed_generation, filled, size: ByteSize::gib(size), fault, condition: None }
    }
}

prop_compose! {
    fn volume_look()(
        file in proptest::option::of(0..6u64), sidecar in proptest::option::of(0..4u64),
        trashed in any::<bool>(), claimed in any::<bool>(), expired in any::<bool>(),
        image in prop_oneof![
            (0..6u64).prop_map(|n| ImageLook::Ready(ByteSize::gib(n))), Just(ImageLook::Coming),
            Just(ImageLook::Failed(problem())), Just(ImageLook::Missing),
        ],
        reset in prop_oneof![
            Just(ResetLook::Ready), Just(ResetLook::Waiting(Kind::Snapshot, id(11))),
            Just(ResetLook::Failed(problem())),
        ],
        elsewhere in any::<Option<bool>>(),
    ) -> volume::Look {
        let file = file.map(|n| FileObs { size: ByteSize::gib(n), allocated: ByteSize::gib(0) });
        let elsewhere = elsewhere.map(|there| VolumeObs {
            file: file.filter(|_| there),
            sidecar: sidecar.filter(|_| there),
            trashed: false,
        });
        volume::Look { pool: VolumeObs { file, sidecar, trashed }, claimed, image, expired, reset, elsewhere }
    }
}

fn do_volume(spec: &mut VolumeSpec, l: &mut volume::Look, step: &volume::Step) -> bool {
    use volume::Step;
    let file = |size| Some(FileObs { size, allocated: ByteSize::gib(0) });
    match step {
        Step::Reset { size, .. } => {
            l.pool.file = file(*size);
            spec.reset = None;
            spec.generation += 1;
        }
        Step::DropReset => spec.reset = None,
        Step::CreateBlank { size, .. }
        | Step::Clone { size, .. }
        | Step::Copy { size, .. }
        | Step::CopySnapshot { size, .. }
        | Step::TakeUpload { size } => {
            l.pool.file = file(*size);
            l.pool.sidecar = Some(spec.generation);
        }
        Step::Grow { to } => l.pool.file = file(*to),
        Step::AdoptSize { size } => {
            spec.size = *size;
            spec.generation += 1;
        }
        Step::WriteSidecar => l.pool.sidecar = Some(spec.generation),
        Step::Discard { keep_until } => {
            l.pool.trashed = keep_until.is_some() && (l.pool.trashed || l.pool.file.is_some());
            l.pool.file = None;
            l.pool.sidecar = None;
        }
        Step::Expire => spec.deleting.as_mut().expect("it was deleted").keep_until = None,
        Step::Restore => {
            l.pool.file = file(ByteSize::gib(3));
            l.pool.sidecar = Some(spec.generation);
            l.pool.trashed = false;
        }
        Step::Carry { .. } => l.elsewhere = Some(l.pool.clone()),
        Step::Arrive { to } => {
            *spec = volume::arrived(spec, to);
            std::mem::swap(&mut l.pool, l.elsewhere.as_mut().expect("it is there"));
        }
        Step::TurnBack { .. } => *spec = volume::turned_back(spec),
        Step::Leave { pool } => {
            assert_ne!(*pool, spec.pool, "what is removed is not what it lives in");
            spec.leaving = None;
            spec.generation += 1;
            l.elsewhere = None;
        }
        Step::Forget => return true,
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn machines_settle(
        mut spec in machine_spec(), mut s in machine_status(), mut l in machine_look(), rules in rules(),
    ) {
        let mut last = None;
        for _ in 0..MOST {
            match machine::plan(&spec, &s, &l, rules) {
                Answer::Do(step) => {
                    prop_assert_ne!(last.as_ref(), Some(&step), "its effect was seen");
                    let killed = step == machine::Step::DecideKill;
                    let patient = s.run.as_ref().and_then(|r| r.stop_until).is_none_or(|t| l.up >= t);
                    prop_assert!(!killed || patient, "the plug is pulled early");
                    let begins = matches!(step, machine::Step::Begin | machine::Step::Start);
                    prop_assert!(!begins || !l.halting, "the host is shutting down");
                    if do_machine(&mut spec, &mut s, &mut l, &step) {
                        prop_assert!(spec.deleting.is_some() && s.run.is_none());
                        return Ok(());
                    }
                    last = Some(step);
                }
                Answer::Wait(w) => {
                    prop_assert!(w.until.is_some() || !w.on.is_empty(), "nothing would end this wait");
                    wait(&s, &mut l, w.until);
                    last = None;
                }
                Answer::Settled => {
                    let up = machine::wants_run(&spec, &s);
                    prop_assert_eq!(up && !l.halting, s.run.is_some());
                    prop_assert_eq!(up && l.halting, machine::held(&spec, &s, &l).is_some());
                    prop_assert_eq!(l.sidecar, Some(spec.generation));
                    let leaves = spec.disks.iter().any(|d| d.leaving.is_some());
                    prop_assert!(!leaves || s.run.is_some(), "a disk has not left");
                    prop_assert!(spec.deleting.as_ref().is_none_or(|d| d.released && !l.expired));
                    return Ok(());
                }
                Answer::Stuck(_) => return Ok(()),
            }
        }
        prop_assert!(false, "it does not settle: {:?} {:?}", s, l);
    }

    #[test]
    fn volumes_settle(mut spec in volume_spec(), s in volume_status(), mut l in volume_look()) {
        let (mut last, asked, had, kept) = (None, spec.size, l.pool.file, l.pool.trashed);
        for _ in 0..MOST {
            match volume::plan(&spec, &s, &l) {
                Answer::Do(step) => {
                    prop_assert_ne!(last.as_ref(), Some(&step), "its effect was seen");
                    let gone = do_volume(&mut spec, &mut l, &step);
                    if gone {
                        prop_assert!(spec.deleting.is_some() && !l.claimed);
                        return Ok(());
                    }
                    last = Some(step);
                }
                Answer::Wait(_) => {
                    let waits = spec.reset.is_some() && matches!(l.reset, ResetLook::Waiting(..));
                    let away = spec.leaving.is_some() && l.elsewhere.is_none();
                    prop_assert!(l.claimed || l.image == ImageLook::Coming || away || waits);
                    l.elsewhere.get_or_insert_default();
                    l.claimed = false;
                    l.reset = ResetLook::Ready;
                    l.image = ImageLook::Ready(ByteSize::gib(1));
                    last = None;
                }
                Answer::Settled if spec.deleting.is_some() => {
                    prop_assert!(l.pool.trashed && l.pool.file.is_none() && l.pool.sidecar.is_none());
                    prop_assert!(spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some()) && !l.expired);
                    return Ok(());
                }
                Answer::Settled => {
                    let size = l.pool.file.map(|f| f.size);
                    prop_assert_eq!(size, Some(spec.size));
                    prop_assert!(spec.moving.is_none());
                    prop_assert!(spec.size >= asked, "it only grows");
                    prop_assert!(!s.filled || kept || (had.is_some() && size >= Some(s.size)), "a loss was hidden");
                    return Ok(());
                }
                Answer::Stuck(_) => {
                    let away = spec.moving.is_some() && l.elsewhere.is_none();
                    let may = kept || away || spec.reset.is_some();
                    prop_assert!(l.pool.file == had || may, "what cannot be is left as it was");
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "it does not settle: {:?} {:?}", spec, l);
    }

    #[test]
    fn snapshots_settle(
        generation in generation(), observed_generation in 0..4u64, deleting in any::<bool>(),
        taken in proptest::option::of(0..3u64), file in proptest::option::of(0..3u64),
        sidecar in proptest::option::of(0..4u64), mut held in any::<bool>(), passing in any::<bool>(),
        (kept, expired) in any::<(bool, bool)>(),
        mut source in prop_oneof![
            Just(snapshot::Source::Ready), Just(snapshot::Source::Coming(Kind::Volume, id(6))),
            Just(snapshot::Source::Failed(problem())),
        ],
    ) {
        let mut spec = SnapshotSpec {
            passing, id: SnapshotId(id(10)), name: name(), generation, node: "localhost".into(), created_at: at(0),
            volume: VolumeId(id(6)), volume_name: name(), role: VolumeRole::Data, pool: "default".into(),
            image: None, fs: None, group: None, labels: Default::default(),
            deleting: deleting.then(|| SnapshotDeletion {
                at: at(0), keep_until: kept.then(|| at(0)), operation: OperationId(id(2)), because: None,
            }),
        };
        let seen = |gib| FileObs { size: ByteSize::gib(gib), allocated: ByteSize::gib(0) };
        let as_taken = |gib| {
            Taken { at: at(0), size: ByteSize::gib(gib), consistency: Consistency::Crash }
        };
        let mut status =
            SnapshotStatus { observed_generation, taken: taken.map(as_taken), fault: None };
        let (was_taken, mut pool) = (taken, SnapshotObs { file: file.map(seen), sidecar });
        for _ in 0..MOST {
            let look = snapshot::Look { pool: pool.clone(), held, expired, source: source.clone() };
            match snapshot::plan(&spec, &status, &look) {
                Answer::Do(snapshot::Step::Take) => {
                    prop_assert!(status.taken.is_none() && !deleting, "it is taken once");
                    prop_assert!(held || !passing, "nobody needs it");
                    pool.file = Some(seen(2));
                    status.taken = Some(as_taken(2));
                }
                Answer::Do(snapshot::Step::WriteSidecar) => pool.sidecar = Some(generation),
                Answer::Do(snapshot::Step::LetGo) => {
                    prop_assert!(passing && !held && spec.deleting.is_none());
                    spec.deleting = Some(SnapshotDeletion {
                        at: at(0),
                        keep_until: None,
                        operation: OperationId(id(2)),
                        because: None,
                    });
                }
                Answer::Do(snapshot::Step::Expire) => {
                    let going = spec.deleting.as_mut().unwrap();
                    prop_assert!(going.keep_until.is_some() && (expired || pool.file.is_none()));
                    going.keep_until = None;
                }
                Answer::Do(snapshot::Step::Discard) => {
                    let going = spec.deleting.as_ref().unwrap();
                    prop_assert!(going.keep_until.is_none() && !held);
                    pool = SnapshotObs::default();
                }
                Answer::Do(snapshot::Step::Forget) => {
                    prop_assert!(spec.deleting.is_some() && !held && pool == SnapshotObs::default());
                    return Ok(());
                }
                Answer::Wait(_) => {
                    held = false;
                    source = snapshot::Source::Ready;
                }
                Answer::Settled if spec.deleting.is_some() => {
                    prop_assert!(pool.file.is_some() && pool.sidecar == Some(generation) && !expired);
                    return Ok(());
                }
                Answer::Settled => {
                    prop_assert_eq!(pool.sidecar, Some(generation));
                    let whole = pool.file.map(|f| f.size) == status.taken.map(|t| t.size);
                    prop_assert!((passing && held) || (!passing && whole), "it is whole, or needed");
                    return Ok(());
                }
                Answer::Stuck(_) => {
                    let lost = was_taken.is_some() && was_taken != file;
                    prop_assert!(lost || matches!(source, snapshot::Source::Failed(_)));
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "it does not settle: {:?} {:?}", status, pool);
    }

    #[test]
    fn images_settle(
        generation in generation(), observed_generation in 0..4u64, deleting in any::<bool>(),
        fault in any::<bool>(), seen in any::<bool>(),
    ) {
        let spec = ImageSpec {
            id: ImageId(id(7)),
            name: name(),
            generation,
            node: "localhost".into(),
            created_at: at(0),
            source: ImageSource::Recipe("debian".into()),
            stamp: "recipe/debian".into(),
            deleting: deleting.then(|| OperationId(id(2))),
        };
        let status = ImageStatus { observed_generation, fault: fault.then(problem), ..ImageStatus::default() };
        let obs = ImageObs { digest: "00".into(), size: ByteSize::gib(1) };
        match image::plan(&spec, &status, seen.then_some(&obs)) {
            Answer::Do(image::Step::Build) => {
                prop_assert!(!seen && !deleting);
                prop_assert_eq!(image::plan(&spec, &status, Some(&obs)), Answer::Settled);
            }
            Answer::Do(image::Step::Forget) => prop_assert!(deleting),
            Answer::Settled => prop_assert!(seen && !deleting),
            Answer::Stuck(_) => prop_assert!(fault && !seen),
            Answer::Wait(_) => prop_assert!(false, "an image waits for nothing"),
        }
    }
}
