//! A world in memory that can be killed between any two effects.
//!
//! Invariant: it keeps what a host keeps when the daemon dies (files, processes, taps, time) and
//! nothing else. Every effect passes [`World::tick`] before and after it becomes durable, and in
//! between where a real effect has more than one publication point, so a test can stop the engine
//! at each of them, as SIGKILL would.

pub mod check;
pub mod meanwhile;
mod pools;
mod ports;
pub mod run;
pub mod scenario;
pub mod schedule;
mod store;

pub use pools::Made;

use crate::port::{Ports, Wake};
use crate::store::Mem;
use crate::{Engine, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::machine::StallReason;
use types::{ByteSize, ImageId, MachineId, Problem, RunId, SnapshotId, Timestamp, VolumeId};

/// So many ticks are remembered by name; a world that lives long forgets the later ones.
const TRACED: usize = 20_000;

/// How long a guest takes until its agent says hello, in milliseconds.
const HELLO: i64 = 1000;
/// How long a guest holds its file systems still at most, in milliseconds.
const HELD: i64 = 30_000;
/// How long a guest takes to shut down, in milliseconds.
const DOWN: i64 = 500;

/// What unwinds through the engine when the world kills it.
pub struct Killed;

/// Where a file is: the pool, and whose it is.
pub type Place = (String, VolumeId);

/// A volume's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its length.
    pub size: ByteSize,
    /// What has been written to it: the image it began as, then one mark for each run that had it.
    pub marks: Vec<String>,
}

/// A hypervisor process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// The run.
    pub run: RunId,
    /// The start completed.
    pub started: bool,
    /// When it came, in milliseconds of [`State::up`].
    pub since: i64,
    /// When the guest was asked to shut down, likewise.
    pub asked: Option<i64>,
    /// The volumes it has open, by slot.
    pub volumes: Vec<VolumeId>,
    /// Those of them that the guest has as disks, and how large it is told that they are.
    pub disks: BTreeMap<VolumeId, ByteSize>,
    /// Those of these that it has mounted, and the size of what is in them.
    pub mounted: BTreeMap<VolumeId, ByteSize>,
    /// The generation of the configuration that its agent has applied.
    pub applied: u64,
    /// It is gone; what it left has not been cleaned.
    pub exited: bool,
    /// The guest powered off in order.
    pub clean: bool,
    /// The guest stands for this reason, since then.
    pub stands: Option<(StallReason, i64)>,
    /// How far the guest's clock is behind, in milliseconds.
    pub behind: i64,
    /// Its file systems are held still, until then.
    pub held: Option<i64>,
}

/// How guests behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Guests {
    /// Hello after a second, down half a second after being asked.
    #[default]
    Good,
    /// Never a hello.
    Silent,
    /// Hello, but never down by themselves.
    Stubborn,
    /// Good, but they use every disk that they have mounted.
    Busy,
    /// Good, but they never let go of a disk that is to be taken out.
    Clinging,
    /// Good, but their agent hears nothing after its hello.
    Deaf,
}

/// What exists.
#[derive(Clone, Default)]
pub struct State {
    /// Published files.
    pub files: BTreeMap<Place, File>,
    /// Published snapshots.
    pub snapshots: BTreeMap<SnapshotId, File>,
    /// Their published sidecars: the generation in each.
    pub snapshot_sidecars: BTreeMap<SnapshotId, u64>,
    /// Their temporaries.
    pub snapshot_parts: BTreeSet<SnapshotId>,
    /// Published sidecars: the generation in each.
    pub sidecars: BTreeMap<Place, u64>,
    /// Temporaries.
    pub parts: BTreeSet<Place>,
    /// Deleted files, and until when they are kept.
    pub trash: BTreeMap<Place, (File, Timestamp)>,
    /// Pools besides the default one, by name.
    pub pools: BTreeMap<String, Made>,
    /// Complete images.
    pub images: BTreeMap<ImageId, ByteSize>,
    /// The kernel is there.
    pub kernel: bool,
    /// Processes by machine.
    pub processes: BTreeMap<MachineId, Process>,
    /// Directories of machines: the generation in the sidecar.
    pub machine_dirs: BTreeMap<MachineId, Option<u64>>,
    /// Bridges.
    pub bridges: BTreeSet<String>,
    /// Taps.
    pub taps: BTreeSet<String>,
    /// Milliseconds since the epoch, on the wall.
    pub now: i64,
    /// How far the clock on the wall was set forward since the host booted, in milliseconds.
    pub set_forward: i64,
    /// Boots of the host.
    pub boots: u64,
    /// Makes ids distinct.
    pub ids: u64,
    /// How guests behave.
    pub guests: Guests,
    /// Copies in the pool share their blocks.
    pub shares: bool,
    /// The pool has no room.
    pub full: bool,
    /// Nothing can be written to the pool.
    pub broken: bool,
    /// The calls that fail, by name, with what.
    pub faults: BTreeMap<&'static str, crate::port::Fault>,
    /// Ticks so far.
    pub ticks: u64,
    /// At which tick to kill.
    pub kill_at: Option<u64>,
    /// The names of the ticks so far, for a trace.
    pub trace: Vec<&'static str>,
    /// Who was answered what.
    pub answers: Vec<(String, Result<(), types::Code>)>,
    /// What must never happen and did.
    pub violations: Vec<String>,
}

impl State {
    /// Milliseconds on a clock that nobody sets.
    pub fn up(&self) -> i64 {
        self.now - self.set_forward
    }

    /// How a write to the pool fails, if it does.
    pub fn write_error(&self) -> Option<StallReason> {
        match (self.broken, self.full) {
            (true, _) => Some(StallReason::IoError),
            (false, true) => Some(StallReason::PoolFull),
            (false, false) => None,
        }
    }
}

/// The world; cloning shares it.
#[derive(Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    store: Arc<Mem>,
    meanwhile: Arc<Mutex<Option<meanwhile::Meanwhile>>>,
}

impl World {
    /// A world that begins now, with an image of 1 GiB to be built from the recipe `debian`.
    pub fn new() -> Self {
        let world = Self::default();
        world.state().now = 1_700_000_000_000;
        world
    }

    /// A world of its own in which the same exists, and in which no daemon runs.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state().clone();
        Self {
            state: Arc::new(Mutex::new(state)),
            store: Arc::new(self.store.fork()),
            meanwhile: Arc::default(),
        }
    }

    /// What exists.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as it is on disk.
    pub fn disk(&self) -> &Arc<Mem> {
        &self.store
    }

    /// A point between two effects. Kills the engine if this is the one.
    pub(crate) fn tick(&self, what: &'static str) {
        let mut s = self.state();
        s.ticks += 1;
        if s.trace.len() < TRACED {
            s.trace.push(what);
        }
        let killed = s.kill_at == Some(s.ticks);
        if killed {
            s.kill_at = None;
        }
        drop(s);
        if killed {
            std::panic::resume_unwind(Box::new(Killed));
        }
        self.point();
    }

    /// The ports of this world.
    pub fn ports(&self) -> Ports {
        let w = Arc::new(self.clone());
        Ports {
            pools: w.clone(),
            images: w.clone(),
            vmm: w.clone(),
            net: w.clone(),
            guest: w.clone(),
            clock: w,
        }
    }

    /// A daemon's start: an engine over what is on disk, told to look at everything.
    ///
    /// # Errors
    /// What [`Engine::open`] and [`Engine::resync`] say.
    pub fn boot(&self, settings: Settings) -> Result<Engine, Problem> {
        let engine = Engine::open(Arc::new(store::Ticking(self.clone())), self.ports(), settings)?;
        engine.resync()?;
        Ok(engine)
    }

    /// Lets time pass, and whatever happens with it.
    pub fn pass(&self, ms: i64) {
        let mut s = self.state();
        s.now += ms;
        let now = s.up();
        let stubborn = s.guests == Guests::Stubborn;
        for p in s.processes.values_mut().filter(|p| p.stands.is_none()) {
            if let (Some(asked), false) = (p.asked, stubborn) {
                let down = now >= asked + DOWN && !p.exited;
                p.exited |= down;
                p.clean |= down;
            }
        }
    }

    /// When something next happens by itself that a daemon would be told of, if anything will.
    pub fn next_event(&self) -> Option<i64> {
        let s = self.state();
        let alive = s.processes.values().filter(|p| !p.exited && p.stands.is_none());
        let up = s.up();
        let events = alive.flat_map(|p| {
            let hello = (p.started && s.guests != Guests::Silent).then_some(p.since + HELLO);
            let down = p.asked.filter(|_| s.guests != Guests::Stubborn).map(|asked| asked + DOWN);
            [hello, down]
        });
        events.flatten().filter(|t| *t > up).min().map(|t| t - up + s.now)
    }

    /// The host loses power and comes back.
    pub fn reboot_host(&self) {
        let mut s = self.state();
        s.boots += 1;
        s.processes.clear();
        s.taps.clear();
        s.bridges.clear();
        s.pools.values_mut().filter(|made| made.size.is_some()).for_each(|made| made.mounted = false);
    }

    /// Somebody kills every hypervisor.
    pub fn kill_hypervisors(&self) {
        self.state().processes.values_mut().for_each(|p| p.exited |= p.started);
    }

    /// Every guest powers off by itself.
    pub fn power_off(&self) {
        for p in self.state().processes.values_mut().filter(|p| p.started && !p.exited) {
            p.exited = true;
            p.clean = true;
        }
    }

    /// The pool fills up, and every guest writes; or there is room again.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
        self.write();
    }

    /// Nothing can be written any more, and every guest writes; or somebody has mended that.
    pub fn break_disk(&self, broken: bool) {
        self.state().broken = broken;
        self.write();
    }

    /// Every guest that runs writes something new.
    fn write(&self) {
        let mut s = self.state();
        let (why, up) = (s.write_error(), s.up());
        if let Some(why) = why {
            for p in s.processes.values_mut().filter(|p| p.started && !p.exited) {
                p.stands.get_or_insert((why, up));
            }
        }
    }

    /// Somebody sets the clock on the wall.
    pub fn set_clock(&self, forward_ms: i64) {
        let mut s = self.state();
        s.now += forward_ms;
        s.set_forward += forward_ms;
    }

    /// Somebody changes the length of every file there is.
    pub fn set_sizes(&self, size: ByteSize) {
        self.state().files.values_mut().for_each(|f| f.size = size);
    }

    /// A wake that goes nowhere: a sim's driver looks at everything anyway.
    pub fn no_wake() -> Wake {
        Arc::new(|_, _| {})
    }
}
