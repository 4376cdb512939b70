//! The reconciler: look, ask the planner, do one step, look again.
//!
//! Invariant: start-up, retry, normal work and recovery are this one path. A step's effect is
//! never assumed: the next look sees it or not.

mod close;
mod disks;
mod ending;
mod export;
mod grow;
mod image;
mod lost;
mod machine;
mod moving;
mod named;
mod node;
mod pass;
mod pool;
pub mod queue;
mod reset;
mod snapshot;
mod stall;
pub mod steady;
mod trash;
pub mod trims;
mod volume;

pub(crate) use machine::tap;

use crate::Engine;
use crate::plan::Wait;
use crate::port::Fault;
use crate::store::StoreError;
use queue::Key;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use types::operation::Kind;
use types::{Problem, Timestamp};
use uuid::Uuid;

/// How often a passing fault may recur before an operation that waits for it ends.
const PATIENCE: u32 = 5;
/// How many operations a span names: of more, nobody reads more.
const NAMED: usize = 8;
/// How often history and the like are looked at for what has been kept long enough.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

/// What to do about a resource after one look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Look again at once: a step was done.
    Again,
    /// Nothing to do until it is woken.
    Idle,
    /// Nothing to do until this time, or until it is woken.
    At(Timestamp),
    /// It failed: look again after a while.
    Later(Duration),
}

/// Why one look came to nothing.
enum Broken {
    /// The record changed meanwhile.
    Raced,
    /// A port said no.
    Fault(Fault),
    /// The store, or a record in it.
    Problem(Problem),
}

impl From<Fault> for Broken {
    fn from(f: Fault) -> Self {
        Self::Fault(f)
    }
}

impl From<Problem> for Broken {
    fn from(p: Problem) -> Self {
        Self::Problem(p)
    }
}

impl From<StoreError> for Broken {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Conflict(_) => Self::Raced,
            other => Self::Problem(other.into()),
        }
    }
}

/// 0.2 s, 0.4 s, … up to 30 s.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(200u64 << failures.saturating_sub(1).min(8)).min(Duration::from_secs(30))
}

impl Engine {
    /// Something about a resource may have changed.
    pub fn wake(&self, kind: Kind, id: Uuid) {
        self.0.queue.wake((kind, id));
    }

    /// Looks once at a resource and does at most one step.
    pub fn reconcile(&self, kind: Kind, id: Uuid) -> Next {
        let key = (kind, id);
        if let Some(known) = self.0.queue.known(key) {
            // A port that fails here fails below too, where that is counted and told.
            if matches!(self.rests(&known), Ok(true)) {
                self.0.queue.succeeded(key);
                return Next::Idle;
            }
        }
        let _within = self.on_behalf(key).entered();
        let outcome = match kind {
            Kind::Machine => self.look_at_machine(types::MachineId(id)),
            Kind::Volume => self.look_at_volume(types::VolumeId(id)),
            Kind::Snapshot => self.look_at_snapshot(types::SnapshotId(id)),
            Kind::Image => self.look_at_image(types::ImageId(id)),
            Kind::Pool => self.look_at_pool(types::PoolId(id)),
            Kind::Network | Kind::Token | Kind::User => Ok(Next::Idle),
            Kind::Node => self.look_at_node(id),
        };
        match outcome {
            Ok(next) => {
                self.0.queue.succeeded(key);
                next
            }
            Err(Broken::Raced) => Next::Again,
            Err(Broken::Fault(fault)) => {
                let n = self.0.queue.failed(key);
                tracing::warn!(%kind, %id, failures = n, code = %fault.problem.code, "{}", fault.problem);
                let gave_up = !fault.passing || n >= PATIENCE;
                match gave_up.then(|| self.give_up(key, &self.named(key, fault.problem.clone()))) {
                    Some(Ok(true)) => Next::Again,
                    Some(Err(Broken::Raced)) => Next::Again,
                    _ => Next::Later(back_off(n)),
                }
            }
            Err(Broken::Problem(problem)) => {
                let n = self.0.queue.failed(key);
                tracing::error!(%kind, %id, failures = n, code = %problem.code, "{problem}");
                Next::Later(back_off(n))
            }
        }
    }

    /// The span of a look, which names the operations that it is for, so that every line down to the ports
    /// carries them. Of the highest level, or a filter for warnings would leave it out.
    fn on_behalf(&self, (kind, id): Key) -> tracing::Span {
        let open = self.0.live.touching(kind, id, NAMED);
        if open.is_empty() {
            return tracing::Span::none();
        }
        let ids = || open.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        tracing::error_span!("operation", id = %ids())
    }

    /// A fault that will not pass by itself: operations end with it, and what can be released is.
    /// Returns whether that changed what is wanted, so that there is something new to do.
    fn give_up(&self, (kind, id): Key, problem: &Problem) -> Result<bool, Broken> {
        match kind {
            Kind::Machine => self.give_up_machine(types::MachineId(id), problem),
            Kind::Volume => self.give_up_volume(types::VolumeId(id), problem),
            Kind::Snapshot => self.give_up_snapshot(types::SnapshotId(id), problem),
            Kind::Image => self.give_up_image(types::ImageId(id), problem),
            Kind::Pool => self.give_up_pool(types::PoolId(id), problem),
            Kind::Network | Kind::Node | Kind::Token | Kind::User => Ok(false),
        }
    }

    /// Milliseconds since the host booted.
    fn up(&self) -> u64 {
        u64::try_from(self.0.ports.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// Registers what a planner waits for.
    fn wait(&self, key: Key, wait: &Wait) -> Next {
        let new = wait.on.iter().filter(|on| self.0.queue.wait_for(key, **on)).count();
        if new > 0 {
            return Next::Again;
        }
        wait.until.map_or(Next::Idle, Next::At)
    }

    /// Starts the workers, and looks at everything once.
    pub fn start(&self) {
        for n in 0..self.settings().workers.max(1) {
            self.0.workers.fetch_add(1, Ordering::Relaxed);
            let engine = self.clone();
            std::thread::Builder::new()
                .name(format!("reconcile-{n}"))
                .stack_size(512 * 1024)
                .spawn(move || engine.work())
                .expect("the host can start a thread");
        }
        let engine = self.clone();
        std::thread::Builder::new()
            .name("resync".into())
            .stack_size(256 * 1024)
            .spawn(move || engine.resync_for_ever())
            .expect("the host can start a thread");
    }

    fn work(&self) {
        /// However a worker ends, it is missed.
        struct Here<'a>(&'a Engine);
        impl Drop for Here<'_> {
            fn drop(&mut self) {
                self.0.0.workers.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let _here = Here(self);
        while let Some(key) = self.0.queue.take() {
            match self.guarded(key) {
                Next::Again => self.0.queue.wake(key),
                Next::Idle => {}
                Next::At(t) => {
                    let ms = t.millis() - self.0.ports.clock.now().millis();
                    // A little late rather than a little early, which would be one look more.
                    self.0.queue.wake_in(key, Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1));
                }
                Next::Later(d) => self.0.queue.wake_in(key, d),
            }
            self.0.queue.done(key);
        }
    }

    fn resync_for_ever(&self) {
        let mut kept_at: Option<Instant> = None;
        loop {
            if kept_at.is_none_or(|at| at.elapsed() >= HOUSEKEEPING) {
                kept_at = Some(Instant::now());
                if let Err(problem) = self.housekeep() {
                    tracing::error!(code = %problem.code, "housekeeping: {problem}");
                }
            }
            if let Err(problem) = self.resync() {
                tracing::error!(code = %problem.code, "resync: {problem}");
            }
            if self.0.queue.closed_within(self.settings().reconciler_interval) {
                return;
            }
        }
    }

    /// Wakes everything there is, and empties the trash of what has expired.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn resync(&self) -> Result<(), Problem> {
        self.0.passes.fetch_add(1, Ordering::Relaxed);
        self.look_at_clock();
        self.wake_everything()?;
        self.empty_trash();
        self.watch_room()?;
        self.make_room();
        Ok(())
    }

    /// Does one turn of a worker, if anything is ready: looks at one resource and does at most one
    /// step. `None` if nothing is ready; else when to look again without a wake, if ever. For tests,
    /// in place of [`Engine::start`].
    pub fn turn(&self) -> Option<Option<Timestamp>> {
        let key = self.0.queue.try_take()?;
        let now = self.0.ports.clock.now();
        let until = match self.reconcile(key.0, key.1) {
            Next::Again => {
                self.0.queue.wake(key);
                None
            }
            Next::Idle => None,
            Next::At(t) => Some(t),
            Next::Later(d) => Some(crate::plan::machine::after(now, d)),
        };
        self.0.queue.done(key);
        Some(until)
    }

    /// Takes turns until nothing is ready; returns the earliest time something waits for. For tests.
    ///
    /// # Errors
    /// If there is still something to do after so many turns.
    pub fn run_until_idle(&self, at_most: usize) -> Result<Option<Timestamp>, &'static str> {
        let mut earliest: Option<Timestamp> = None;
        for _ in 0..at_most {
            match self.turn() {
                None => return Ok(earliest),
                Some(None) => {}
                Some(Some(t)) => earliest = Some(earliest.map_or(t, |e| e.min(t))),
            }
        }
        Err("it does not settle")
    }
}
