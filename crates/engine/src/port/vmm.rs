//! The hypervisor.

use super::{Fault, NicPlan, OnProgress};
use types::machine::StallReason;
use types::network::NetworkSpec;
use types::volume::VolumeRole;
use types::{ByteSize, MachineId, Name, Problem, RunId, SnapshotId, VolumeId};

/// A run's process, as its cgroup tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessObs {
    /// It was never fully started, and no process of it is left.
    Absent,
    /// A process of this run is there and may hold the disks, but [`Vmm::start`] never completed.
    Starting,
    /// The run was started, and its process is there and may hold the disks.
    Alive,
    /// It was started, and no process of it is left.
    Exited {
        /// The guest is known to have powered off in order: the hypervisor said so (QMP `SHUTDOWN`
        /// with reason `guest-shutdown`), and that was kept durably before its process could go.
        /// `false` for everything else, also where it cannot be known. Once told of a run, the
        /// answer stays the same until [`Vmm::clean`].
        clean: bool,
    },
}

/// What the guest of a run does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// It runs, or nobody knows otherwise.
    #[default]
    Running,
    /// It stands: the host could not write what it wrote, which it does not know. The write is tried
    /// again by [`Vmm::resume`].
    Stands {
        /// The slot of the disk, where it is known.
        slot: Option<u8>,
        /// Why.
        why: StallReason,
    },
}

/// A disk of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDisk {
    /// The volume whose file it is.
    pub volume: VolumeId,
    /// The pool it lives in.
    pub pool: String,
    /// The volume's name, for the mount point.
    pub name: Name,
    /// Its slot: slot 0 holds the root disk.
    pub slot: u8,
    /// The serial by which the guest finds it: at most 20 characters (virtio-blk).
    pub serial: String,
    /// Root or data.
    pub role: VolumeRole,
    /// Where the guest mounts it; `None`: nowhere.
    pub mount: Option<String>,
    /// Nobody asked for that place: it comes from the volume's name.
    pub by_name: bool,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// Who the content shall say it is ([`types::volume::VolumeSpec::identity`]).
    pub identity: Option<uuid::Uuid>,
}

/// A volume's file that a run's process has open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskObs {
    /// The serial of the disk.
    pub serial: String,
    /// The guest has it as a disk; else it is on its way in or out.
    pub ready: bool,
    /// Its size as the guest is told.
    pub size: ByteSize,
}

/// Everything that one run is made of; all of it was committed before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunPlan {
    /// Whose run.
    pub machine: MachineId,
    /// The host name.
    pub name: Name,
    /// The generation of the machine's spec that this comes from.
    pub generation: u64,
    /// The run.
    pub run: RunId,
    /// The unprivileged user (and group) of the process.
    pub uid: u32,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// Version of the kernel to boot.
    pub kernel: String,
    /// The disks, by slot.
    pub disks: Vec<RunDisk>,
    /// The interfaces, each with its network.
    pub nics: Vec<(NetworkSpec, NicPlan)>,
}

/// Disks to be copied as they are at one instant.
pub struct Backup<'a> {
    /// The serials of the disks, each with the pool and the snapshot that its copy is.
    pub disks: &'a [(String, String, SnapshotId)],
    /// Called right before that instant, once everything is made ready for it: holds the guest still.
    pub hold: &'a dyn Fn(),
    /// Called once that instant is past.
    pub begun: &'a dyn Fn(),
    /// Told how far it is.
    pub progress: OnProgress<'a>,
}

/// Hypervisor processes of one node.
pub trait Vmm: Send + Sync {
    /// Judges, before anything is written, whether a machine can run here at all.
    ///
    /// # Errors
    /// `no-hypervisor`, `no-permission` (not root, `/dev/net/tun`).
    fn preflight(&self) -> Result<(), Problem>;

    /// Looks at a run's process through its cgroup, never through a pid.
    ///
    /// # Errors
    /// `io-error`.
    fn observe(&self, machine: MachineId, run: RunId) -> Result<ProcessObs, Fault>;

    /// Makes the run's process: boot files, cgroup, sockets, QEMU, disks as descriptors. Returns
    /// once the virtual processors run. A process of this run that is there already is taken
    /// through the steps that are missing; of a half-made one that cannot be, nothing is left.
    ///
    /// # Errors
    /// `no-hypervisor`, `boot-failed`, `volume-in-use` (image lock), `volume-lost`, `io-error`.
    fn start(&self, plan: &RunPlan) -> Result<(), Fault>;

    /// What the guest of a run that is alive does. A hypervisor that does not answer counts as one
    /// whose guest runs: whoever wants something of it learns better.
    ///
    /// # Errors
    /// `io-error`.
    fn health(&self, machine: MachineId, run: RunId) -> Result<Health, Fault>;

    /// Lets a guest that stands go on, its write first. One that runs is left alone.
    ///
    /// # Errors
    /// `guest-unreachable` (passing).
    fn resume(&self, machine: MachineId, run: RunId) -> Result<(), Fault>;

    /// Does `then` while the guest's processors stand and all that they asked of its disks is done. Whether
    /// or not this succeeds, the guest goes on, with a clock that is late ([`super::Guest::set_clock`]); one
    /// whose daemon dies meanwhile does once the next looks at its health, and its clock is set then.
    ///
    /// # Errors
    /// `guest-unreachable` (passing): `then` may not have been done.
    fn while_paused(&self, machine: MachineId, run: RunId, then: &dyn Fn()) -> Result<(), Fault>;

    /// The volumes' files that the process of a run that is alive has open, however far they have
    /// come as disks.
    ///
    /// # Errors
    /// `guest-unreachable` (passing), `io-error`.
    fn disks(&self, machine: MachineId, run: RunId) -> Result<Vec<DiskObs>, Fault>;

    /// Gives the guest of a run that is alive one more disk.
    ///
    /// # Errors
    /// `no-free-slot` (until the next run), `volume-in-use`, `volume-lost`, `guest-unreachable`
    /// (passing), `io-error`.
    fn plug(&self, machine: MachineId, run: RunId, disk: &RunDisk) -> Result<(), Fault>;

    /// Takes a disk from the guest of a run that is alive, and closes its file. The guest has a part
    /// in it, and a bounded time for that.
    ///
    /// # Errors
    /// `guest-failed` if the guest keeps it, `guest-unreachable` (passing).
    fn unplug(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault>;

    /// Tells the guest of a run that is alive that a disk has `to` bytes now, which its file has.
    ///
    /// # Errors
    /// `guest-failed` if the hypervisor does not take it, `guest-unreachable` (passing).
    fn stretch(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<(), Fault>;

    /// Copies disks of a run that is alive, as they are at one instant, to the files of snapshots, in
    /// place of any that are there; returns once all are complete. Durable only with
    /// [`super::Pool::settle_snapshot`]. What an earlier call left is ended first.
    ///
    /// # Errors
    /// `pool-full`, `io-error`, `guest-unreachable` (passing).
    fn backup(&self, machine: MachineId, run: RunId, backup: &Backup<'_>) -> Result<(), Fault>;

    /// Pulls the plug: kills every process of the run and returns once none is left.
    ///
    /// # Errors
    /// `io-error`.
    fn kill(&self, machine: MachineId, run: RunId) -> Result<(), Fault>;

    /// Removes what a run without processes left: cgroup, sockets, boot files. The console's log
    /// stays.
    ///
    /// # Errors
    /// `busy` if a process is still there; `io-error`.
    fn clean(&self, machine: MachineId, run: RunId) -> Result<(), Fault>;

    /// The generation in the machine's published sidecar.
    ///
    /// # Errors
    /// `io-error`.
    fn sidecar(&self, machine: MachineId) -> Result<Option<u64>, Fault>;

    /// Publishes the machine's sidecar, as [`super::Pool::write_sidecar`] does for a volume.
    ///
    /// # Errors
    /// `pool-full`, `io-error`.
    fn write_sidecar(&self, machine: MachineId, sidecar: &[u8]) -> Result<(), Fault>;

    /// Removes the machine's directory with all that is ours in it.
    ///
    /// # Errors
    /// `io-error`.
    fn remove(&self, machine: MachineId) -> Result<(), Fault>;
}
