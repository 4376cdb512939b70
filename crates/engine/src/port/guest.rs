//! The agents in the guests.

use super::{Fault, RunPlan};
use std::collections::HashMap;
use types::{ByteSize, MachineId, RunId};

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
    /// The generation of the configuration that it has applied; 0 before the first.
    pub generation: u64,
    /// The serials of the disks whose file systems are growing.
    pub growing: Vec<String>,
}

/// How far a guest has made use of a disk that has become larger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grown {
    /// The file system is still on its way, and the agent sees to it by itself.
    pub growing: bool,
    /// What a person should know, such as that the disk is not mounted.
    pub note: Option<String>,
}

/// The serials of the disks with a file system that is held still; `None` of an agent that is too old to
/// tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held(pub Option<Vec<String>>);

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

    /// Tells the agent the plan as it is now, so that it mounts what is new; and keeps it for agents
    /// that start later in this run, as after a reboot inside the guest. What is mounted by its volume's
    /// name stays where it is until the next run. Returns once it was applied; what of it failed is a note.
    ///
    /// # Errors
    /// `guest-unreachable` (passing), `guest-failed`, also if another is still where a disk is to be mounted;
    /// `io-error`.
    fn configure(&self, plan: &RunPlan) -> Result<(), Fault>;

    /// Makes the guest let go of a disk: unmounts it wherever it is mounted and writes out what is
    /// not written; with `force` also while it is in use, whose data is then lost. A disk that is not
    /// there is let go of.
    ///
    /// # Errors
    /// `busy` with the processes that use it, `guest-unreachable` (passing), `guest-failed` of an
    /// agent that cannot do it.
    fn release(&self, machine: MachineId, run: RunId, serial: &str, force: bool) -> Result<(), Fault>;

    /// Grows the file system on a disk that has `to` bytes now, and waits for it a little.
    ///
    /// # Errors
    /// `guest-unreachable` (passing), `guest-failed`.
    fn grow(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<Grown, Fault>;

    /// What is in use of each disk that a guest has mounted, by its serial; all guests are asked at the
    /// same time. One that does not answer within a second is left out.
    fn disk_usage(&self, runs: &[(MachineId, RunId)]) -> HashMap<RunId, Vec<(String, ByteSize)>>;

    /// Holds every file system of the guest still, written out, until [`Guest::thaw`]; the guest lets
    /// go by itself after half a minute, whatever becomes of the host. Held ones are held anew. What is in
    /// use without a file system goes on.
    ///
    /// # Errors
    /// `guest-unreachable` (passing), `guest-failed`, also of an agent that cannot do it.
    fn freeze(&self, machine: MachineId, run: RunId) -> Result<Held, Fault>;

    /// Lets the guest go on; whether all was held from the answer to [`Guest::freeze`] until now.
    ///
    /// # Errors
    /// `guest-unreachable` (passing), `guest-failed`.
    fn thaw(&self, machine: MachineId, run: RunId) -> Result<bool, Fault>;

    /// Makes the guest tell the host what of a mounted disk it does not use. Takes as long as that
    /// takes, which is minutes at most.
    ///
    /// # Errors
    /// `guest-unreachable` (passing, unless it took long to come to that), `guest-failed`.
    fn trim(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault>;
}
