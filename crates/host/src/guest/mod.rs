//! The agents in the guests: one session task for each run, which connects, says hello, listens for
//! news and, whenever the session ends, begins again.
//!
//! Invariant: what a guest says is bounded and cleaned before it is held, costs a bounded rate of
//! wakes, and is believed for nothing but its own machine.

mod body;
mod config;
mod connect;
mod disks;
mod exec;
mod session;
mod state;

pub use config::{Extras, describe, nameservers};
pub use exec::ExecStream;
#[doc(hidden)]
pub use state::observation;

use crate::Layout;
use engine::port::{Fault, Grown, Guest, GuestObs, Held, RunPlan, Wake};
use session::Session;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use types::{ByteSize, Code, MachineId, Problem, RunId};

/// How long a request to an agent may wait for a session that is being made anew.
const PATIENCE: Duration = Duration::from_secs(5);
/// What to do about an agent that is no good.
const ANEW: &str =
    "`sistemo machine logs` shows the guest's console; a restart of the machine starts its agent anew";
/// How long an agent may take to acknowledge a shutdown.
const ANSWER: Duration = Duration::from_secs(5);

/// The agents of this node. Cloning shares them.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    runtime: tokio::runtime::Handle,
    wake: Wake,
    sessions: Mutex<HashMap<RunId, Arc<Session>>>,
}

impl Agents {
    /// Sessions run on `runtime`; `wake` is told of news.
    pub fn new(layout: Layout, runtime: tokio::runtime::Handle, wake: Wake) -> Self {
        Self { inner: Arc::new(Inner { layout, runtime, wake, sessions: Mutex::default() }) }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Session>>> {
        self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a run, begun if there is none.
    fn session(&self, machine: MachineId, run: RunId) -> Arc<Session> {
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get(&run) {
            return Arc::clone(session);
        }
        let session = Arc::new(Session::new(&self.inner.layout, machine, run));
        sessions.insert(run, Arc::clone(&session));
        let (agents, task) = (self.clone(), Arc::clone(&session));
        self.inner.runtime.spawn(async move {
            task.keep(&agents.inner.wake).await;
            agents.sessions().remove(&run);
        });
        session
    }
}

impl Agents {
    /// Sends a document to a run's agent and waits until it was taken; blocks.
    fn ask(
        &self,
        machine: MachineId,
        run: RunId,
        path: &str,
        body: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Problem> {
        let session = self.session(machine, run);
        let asked = async {
            let sender = session.sender(PATIENCE).await.ok_or_else(unreachable)?;
            let answer = tokio::time::timeout(ANSWER, session::post(sender, path, body()));
            answer.await.map_err(|_| unreachable())?
        };
        self.inner.runtime.block_on(asked).map(drop)
    }
}

fn unreachable() -> Problem {
    Problem::new(Code::GuestUnreachable, "the agent in the guest does not answer").hint(ANEW)
}

impl Guest for Agents {
    fn observe(&self, machine: MachineId, run: RunId) -> Result<GuestObs, Fault> {
        Ok(self.session(machine, run).observe())
    }

    fn shutdown(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        let asked = self.ask(machine, run, proto::paths::SHUTDOWN, Vec::new);
        asked.map_err(|problem| Fault { problem, passing: true })
    }

    fn set_clock(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        // Read when it is sent: there may have been a wait for the session.
        let now = || serde_json::to_vec(&proto::Clock::now()).unwrap_or_default();
        self.ask(machine, run, proto::paths::CLOCK, now).map_err(|problem| {
            let passing = problem.code == Code::GuestUnreachable;
            Fault { problem, passing }
        })
    }

    fn configure(&self, plan: &RunPlan) -> Result<(), Fault> {
        self.tell_plan(plan)
    }

    fn release(&self, machine: MachineId, run: RunId, serial: &str, force: bool) -> Result<(), Fault> {
        self.release_disk(machine, run, serial, force)
    }

    fn grow(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<Grown, Fault> {
        self.grow_disk(machine, run, serial, to)
    }

    fn disk_usage(&self, runs: &[(MachineId, RunId)]) -> HashMap<RunId, Vec<(String, ByteSize)>> {
        self.ask_usage(runs)
    }

    fn freeze(&self, machine: MachineId, run: RunId) -> Result<Held, Fault> {
        self.freeze_disks(machine, run)
    }

    fn thaw(&self, machine: MachineId, run: RunId) -> Result<bool, Fault> {
        self.thaw_disks(machine, run)
    }

    fn trim(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault> {
        self.trim_disk(machine, run, serial)
    }
}
