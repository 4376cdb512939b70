//! The agents in the guests.

use super::Fault;
use types::{MachineId, RunId};

/// What is known of a run's agent. It comes from the guest: bounded, and believed for nothing but
/// its own machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuestObs {
    /// The agent has said hello in this run.
    pub hello: bool,
    /// Its root is mounted, and its data volumes as far as they can be.
    pub root_mounted: bool,
    /// Why not, or what else went wrong, in the agent's words.
    pub error: Option<String>,
    /// What a person should know: a mount that failed, a growth in progress.
    pub notes: Vec<String>,
}

/// The agents of one node.
pub trait Guest: Send + Sync {
    /// What the agent of this run last said. Looking makes sure that somebody listens from then on,
    /// also after the daemon's restart; news wakes the machine.
    ///
    /// # Errors
    /// None that last; an agent that does not answer is a `GuestObs` without hello.
    fn observe(&self, machine: MachineId, run: RunId) -> Result<GuestObs, Fault>;

    /// Asks the guest to shut down: through the agent, or by the power button where no agent
    /// answers. Returns once it was asked, not once it is down.
    ///
    /// # Errors
    /// `guest-unreachable` (passing).
    fn shutdown(&self, machine: MachineId, run: RunId) -> Result<(), Fault>;

    /// Sets the guest's clock, which stood while the guest did, to the host's time; never back.
    ///
    /// # Errors
    /// `guest-unreachable` (passing); `guest-failed` of an agent that cannot do it.
    fn set_clock(&self, machine: MachineId, run: RunId) -> Result<(), Fault>;
}
