//! Machines: virtual machines with their own kernel.
//!
//! Invariant: a phase is computed by [`phase`] from spec and status and is never stored.

use crate::Problem;
use crate::id::{ImageId, MachineId, NetworkId, OperationId, RunId, VolumeId};
use crate::label::Labels;
use crate::meta::Timestamp;
use crate::name::Name;
use crate::size::ByteSize;
use crate::volume::VolumeRole;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use utoipa::ToSchema;

/// The most vCPUs a machine can have.
pub const MAX_VCPUS: u32 = 255;
/// The least memory a machine boots with.
pub const MIN_MEMORY: ByteSize = ByteSize::mib(128);
/// The most memory a machine can have.
pub const MAX_MEMORY: ByteSize = ByteSize::gib(4096);
/// Disk slots of a machine: the root volume in slot 0 and up to 24 data volumes.
pub const DISK_SLOTS: u8 = 25;

/// Whether a machine shall run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It shall run.
    Running,
    /// It shall not run.
    Stopped,
}

/// Whether a machine whose hypervisor died comes back by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It stays stopped until somebody starts it.
    #[default]
    No,
    /// It is started again, a bounded number of times; a guest that powers off stays off.
    OnFailure,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
        })
    }
}

/// A volume in a slot of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// The volume.
    pub volume: VolumeId,
    /// Slot 0 is the root volume's.
    pub slot: u8,
    /// What this machine uses it for.
    pub role: VolumeRole,
    /// Where the guest mounts it.
    pub mount: Mount,
    /// The guest cannot write to it.
    #[serde(default)]
    pub read_only: bool,
    /// Set once the machine shall no longer have it; it stays listed, and its volume claimed, until
    /// no process has it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
}

/// The mark on a disk that its machine shall no longer have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Leaving {
    /// Whether or not the guest lets go of it.
    #[serde(default)]
    pub force: bool,
}

/// Where the guest mounts a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mount {
    /// At `/mnt/<volume name>`.
    #[default]
    Default,
    /// Nowhere: the guest sees the bare device.
    None,
    /// At this absolute path.
    At(String),
}

/// A network interface of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nic {
    /// The network.
    pub network: NetworkId,
    /// The machine's address there.
    pub address: Ipv4Addr,
    /// Its Ethernet address, as `52:54:00:xx:xx:xx`.
    pub mac: String,
}

/// The mark on a machine that is going.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MachineDeletion {
    /// When it was asked for.
    pub at: Timestamp,
    /// Until when its record is kept and it can be taken back; `None`: it goes for good.
    #[serde(default)]
    pub keep_until: Option<Timestamp>,
    /// Its name, addresses and volumes are free: what is left is the record.
    #[serde(default)]
    pub released: bool,
    /// Which request.
    pub operation: OperationId,
    /// Set when it goes because its first deploy failed: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Problem>,
}

/// What is wanted of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The machine.
    pub id: MachineId,
    /// Its name, which is its host name too.
    pub name: Name,
    /// Counts the changes of this spec, from 1.
    pub generation: u64,
    /// The host that runs it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// The image its root volume was cloned from.
    pub image: Option<ImageId>,
    /// Whether it shall run.
    pub desired: Desired,
    /// Which run is wanted: a start or restart adds one, so that it is a state and not an event.
    pub epoch: u64,
    /// Whether it comes back when its hypervisor died.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How often somebody asked that a guest that stands goes on: a state and not an event, too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumes: u64,
    /// Its disks, by slot.
    pub disks: Vec<Disk>,
    /// Its interfaces.
    pub nics: Vec<Nic>,
    /// The unprivileged user its hypervisor runs as.
    pub uid: u32,
    /// It cannot be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// What people sort it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What was accepted with it and is yet to be written: records by their keys. One transaction does
    /// not hold the copies of very many disks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub making: BTreeMap<String, serde_json::Value>,
    /// Set once the machine is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<MachineDeletion>,
}

/// How a run ended without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// The guest powered off.
    Ended,
    /// Its hypervisor went without a guest's doing.
    Died,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why a write of a guest failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StallReason {
    /// The pool is full: it goes on by itself once there is room.
    PoolFull,
    /// The host could not write: somebody has to mend it and say so.
    IoError,
}

/// A guest that stands because a write of it failed, or that stood a moment ago.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stall {
    /// The volume that could not be written, as far as it is known.
    pub volume: Option<VolumeId>,
    /// Why.
    pub why: StallReason,
    /// When it was first seen.
    pub since: Timestamp,
    /// The [`MachineSpec::resumes`] that were answered.
    #[serde(default)]
    pub heard: u64,
    /// How often the guest was set going again and stood again.
    #[serde(default)]
    pub tries: u32,
    /// When it was last set going, in milliseconds since the host booted.
    #[serde(default)]
    pub tried_up: Option<u64>,
    /// It goes again; what is left is to set its clock and to watch it for a while.
    #[serde(default)]
    pub going: bool,
    /// Its clock was set since.
    #[serde(default)]
    pub clock_set: bool,
}

/// One run: committed before its process is made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Names the process's cgroup and sockets.
    pub id: RunId,
    /// The epoch it answers.
    pub epoch: u64,
    /// The kernel it boots.
    pub kernel: String,
    /// The host's boot id (`/proc/sys/kernel/random/boot_id`): a run does not outlive its host.
    pub host_boot: String,
    /// When it was decided.
    pub began_at: Timestamp,
    /// The same on the host's own clock: milliseconds since it booted. Deadlines are measured on
    /// it, since the clock on the wall may be set.
    #[serde(default)]
    pub began_up: Option<u64>,
    /// When its agent first said hello.
    #[serde(default)]
    pub hello_at: Option<Timestamp>,
    /// Until when a requested shutdown may take before the plug is pulled.
    #[serde(default)]
    pub stop_deadline: Option<Timestamp>,
    /// The same in milliseconds since the host booted; this is the one that counts.
    #[serde(default)]
    pub stop_until: Option<u64>,
    /// The agent has acknowledged the shutdown.
    #[serde(default)]
    pub stop_asked: bool,
    /// How it ended without being asked, once that was seen: kept before what tells of it is
    /// cleared away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The plug is to be pulled: the deadline passed or the start failed.
    #[serde(default)]
    pub kill: bool,
    /// A write of its guest failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
}

impl Run {
    /// What the guest stands for, if it does.
    pub fn standing(&self) -> Option<&Stall> {
        self.stall.as_ref().filter(|s| !s.going)
    }
}

/// The mark on a machine that shall run and does not, because its host is shutting down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// In which boot of the host.
    pub host_boot: String,
    /// The epoch that is held back.
    pub epoch: u64,
}

/// How the last run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LastExit {
    /// When the end was seen.
    pub at: Timestamp,
    /// `shutdown` (asked for), `killed` (the plug was pulled after the stop timeout), `host` (the
    /// host shut down or restarted), `failed` (it could not be started), `ended` (the guest powered off by
    /// itself) or `died` (its hypervisor went without a guest's doing).
    pub how: String,
}

/// How often a machine's hypervisor has died of late.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Deaths {
    /// Of which epoch; those of earlier ones do not count.
    pub epoch: u64,
    /// In which boot of the host.
    pub host_boot: String,
    /// When, in milliseconds since that boot, oldest first.
    pub at: Vec<u64>,
}

/// What was seen of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MachineStatus {
    /// The spec generation that all of this answers; 0 before the first.
    pub observed_generation: u64,
    /// The run that was decided on and whose end has not been seen.
    pub run: Option<Run>,
    /// The epoch of the last run whose end was seen.
    #[serde(default)]
    pub ended_epoch: u64,
    /// Whether it ever said hello.
    #[serde(default)]
    pub booted: bool,
    /// The kernel this machine is pinned to.
    #[serde(default)]
    pub kernel: Option<String>,
    /// How the last run ended.
    #[serde(default)]
    pub last_exit: Option<LastExit>,
    /// How often it was started again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaths: Option<Deaths>,
    /// It is held back until the host is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Why the last try failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Problem>,
}

/// Where a machine is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its volumes and files are being made; it never ran.
    Creating,
    /// A run was decided on; its agent has not said hello.
    Starting,
    /// Its agent said hello with its root mounted.
    Running,
    /// It was asked to end.
    Stopping,
    /// No process holds its disks.
    Stopped,
    /// It is going.
    Deleting,
    /// The last try failed; `fault` says why.
    Failed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        })
    }
}

/// Asks for a copy of a machine with all of its volumes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneMachine {
    /// The copy's name; its volumes are called `NAME-root` and `NAME-<volume>`.
    pub name: Name,
}

/// Computes the phase.
pub fn phase(spec: &MachineSpec, status: &MachineStatus) -> Phase {
    if spec.deleting.is_some() {
        return Phase::Deleting;
    }
    let wanted = spec.desired == Desired::Running;
    match &status.run {
        Some(run) if !wanted || run.epoch < spec.epoch || run.stop_deadline.is_some() => Phase::Stopping,
        Some(run) if run.hello_at.is_some() => Phase::Running,
        Some(_) if status.fault.is_some() => Phase::Failed,
        Some(_) => Phase::Starting,
        None if status.fault.is_some() => Phase::Failed,
        None if status.held.as_ref().is_some_and(|h| h.epoch == spec.epoch) => Phase::Stopped,
        None if wanted && status.ended_epoch < spec.epoch && status.booted => Phase::Starting,
        None if wanted && status.ended_epoch < spec.epoch => Phase::Creating,
        None => Phase::Stopped,
    }
}

/// A disk of a machine as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineDisk {
    /// The volume's id.
    pub id: VolumeId,
    /// The volume's name.
    pub name: Name,
    /// `root` or `data`: what this machine uses it for.
    pub role: VolumeRole,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Slot 0 is the root volume's.
    pub slot: u8,
    /// Where the guest mounts it; `null`: nowhere.
    pub mount: Option<String>,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// The name of its device in the guest, below `/dev/disk/by-id`.
    pub device: String,
}

/// A machine as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Machine")]
pub struct Machine {
    /// The machine's id.
    pub id: MachineId,
    /// Its name.
    pub name: Name,
    /// Where it is in its life.
    pub phase: Phase,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The image its root volume was cloned from.
    pub image: Option<Name>,
    /// Whether it comes back when its hypervisor died.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Its address in its first network.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// Its Ethernet address there.
    pub mac: Option<String>,
    /// The name of its first network.
    pub network: Option<Name>,
    /// The name of its root volume.
    pub root_volume: Option<Name>,
    /// Its disks, by slot.
    pub volumes: Vec<MachineDisk>,
    /// The kernel it is pinned to.
    pub kernel: Option<String>,
    /// The host that runs it.
    pub node: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the present run began.
    pub started_at: Option<Timestamp>,
    /// How the last run ended.
    pub last_exit: Option<LastExit>,
    /// The spec's generation.
    pub generation: u64,
    /// The generation that was last fully carried out.
    pub observed_generation: u64,
    /// Why the last try failed.
    pub fault: Option<Problem>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Whether it cannot be deleted.
    #[serde(default)]
    pub protected: bool,
    /// What people sort it by.
    #[serde(default)]
    pub labels: Labels,
    /// When it was deleted; only of one that was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Until when it can be taken back; only of a deleted one that can.
    #[serde(default)]
    pub restorable_until: Option<Timestamp>,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
}

/// A volume to attach.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachVolume {
    /// The volume's id or name.
    pub volume: String,
    /// Where the guest mounts it: absent for `/mnt/<volume name>`, `none` for nowhere, else an
    /// absolute path.
    #[serde(default)]
    pub mount: Option<String>,
    /// The guest cannot write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// A volume to detach.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachVolume {
    /// The volume's id or name.
    pub volume: String,
    /// Take it from a running machine also while the guest uses it, as pulling out a disk would.
    #[serde(default)]
    pub force: bool,
}

/// Asks for a new machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployMachine {
    /// The image: a path, a local image or a recipe. Excludes `volume`.
    #[serde(default)]
    pub image: Option<String>,
    /// Its name; without one, Sistemo makes one up.
    #[serde(default)]
    pub name: Option<Name>,
    /// Virtual processors; 2 unless given.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in bytes; 512 MiB unless given.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Size of the root volume in bytes; 2 GiB unless given, or the size of `volume`.
    #[serde(default)]
    pub storage_bytes: Option<u64>,
    /// The pool of the root volume that is made; `default`, or that of the snapshot, unless given. Excludes
    /// a `volume` that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Data volumes to attach.
    #[serde(default)]
    pub attach: Vec<AttachVolume>,
    /// A root volume to boot from, or a snapshot of one to boot from a copy of, by id or name. Excludes `image`.
    #[serde(default)]
    pub volume: Option<String>,
    /// The network; the default one unless given.
    #[serde(default)]
    pub network: Option<String>,
    /// Whether it comes back when its hypervisor died; `no` unless given.
    #[serde(default)]
    pub restart: Option<RestartPolicy>,
    /// What people sort it by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// What goes and what stays when a machine is deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletePlan {
    /// The machine.
    pub machine: Name,
    /// Whether it runs and will be stopped first.
    pub running: bool,
    /// The volumes that go with it.
    pub goes: Vec<Name>,
    /// The volumes that stay, detached.
    pub stays: Vec<Name>,
}
