//! Where everything is.
//!
//! Invariant: names come from ids, so a second try finds the first one's work; names that have to be
//! short (`sun_path` holds 107 bytes) come from an id's random tail.

use engine::store::Spare;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::pool::DEFAULT_POOL;
use types::{ImageId, MachineId, RunId, SnapshotId, VolumeId};

/// The data directory and the directory for sockets.
#[derive(Clone, Debug)]
pub struct Layout {
    data: PathBuf,
    run: PathBuf,
    pool: PathBuf,
    spare: Arc<Spare>,
}

/// What is kept for sidecars: some dozens of them, each of which frees the one before it.
const SPARE: u64 = 2 << 20;
/// The file that keeps it, in each pool.
const RESERVE: &str = ".reserve";

impl Layout {
    /// `data` outlives the host's boots; `run` does not (`/run/sistemo`).
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        let data = data.into();
        let pool = data.join("pools").join(DEFAULT_POOL);
        let spare = Arc::new(Spare::at(pool.join(RESERVE), SPARE));
        Self { data, run: run.into(), pool, spare }
    }

    /// The same with the pool whose directory is `pool`.
    #[must_use]
    pub fn in_pool(&self, pool: PathBuf) -> Self {
        let spare = Arc::new(Spare::at(pool.join(RESERVE), SPARE));
        Self { pool, spare, ..self.clone() }
    }

    /// Room for the small files of pool and machines that must be written on a full disk, too.
    pub fn spare(&self) -> &Spare {
        &self.spare
    }

    /// Writes such a file; see [`Spare::or_give`].
    ///
    /// # Errors
    /// Those of `write`.
    pub fn must<T>(&self, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.spare.or_give(crate::fault::is_full, write)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The pool: the default one, unless [`Layout::in_pool`] named another.
    pub fn pool(&self) -> &Path {
        &self.pool
    }

    /// The default pool and what the others are made of.
    pub fn pools(&self) -> PathBuf {
        self.data.join("pools")
    }

    /// The record of a pool.
    pub fn pool_record(&self, pool: &str) -> PathBuf {
        self.pools().join(format!("{pool}.json"))
    }

    /// The file of a pool that is in one.
    pub fn pool_image(&self, pool: &str) -> PathBuf {
        self.pools().join(format!("{pool}.img"))
    }

    /// That file while it is made.
    pub fn pool_part(&self, pool: &str) -> PathBuf {
        self.pools().join(format!(".{pool}.img.part"))
    }

    /// Where it is mounted.
    pub fn pool_mount(&self, pool: &str) -> PathBuf {
        self.pools().join(pool)
    }

    /// Published volumes and their sidecars, and temporaries.
    pub fn volumes(&self) -> PathBuf {
        self.pool().join("volumes")
    }

    /// A volume's file.
    pub fn volume(&self, id: VolumeId) -> PathBuf {
        self.volumes().join(format!("{id}.raw"))
    }

    /// A volume's sidecar.
    pub fn volume_sidecar(&self, id: VolumeId) -> PathBuf {
        self.volumes().join(format!("{id}.json"))
    }

    /// Snapshots and their sidecars, and temporaries.
    pub fn snapshots(&self) -> PathBuf {
        self.pool().join("snapshots")
    }

    /// A snapshot's file.
    pub fn snapshot(&self, id: SnapshotId) -> PathBuf {
        self.snapshots().join(format!("{id}.raw"))
    }

    /// A snapshot's sidecar.
    pub fn snapshot_sidecar(&self, id: SnapshotId) -> PathBuf {
        self.snapshots().join(format!("{id}.json"))
    }

    /// Deleted volumes.
    pub fn trash(&self) -> PathBuf {
        self.pool().join("trash")
    }

    /// Images, by digest, and their records.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// An image's content.
    pub fn image_content(&self, digest: &str) -> PathBuf {
        self.images().join(format!("{digest}.raw"))
    }

    /// An image's record: which digest it is.
    pub fn image_record(&self, id: ImageId) -> PathBuf {
        self.images().join(format!("{id}.json"))
    }

    /// Kernels, a directory for each version.
    pub fn kernels(&self) -> PathBuf {
        self.data.join("kernels")
    }

    /// A directory for each machine.
    pub fn machines(&self) -> PathBuf {
        self.data.join("machines")
    }

    /// What a machine keeps beyond its runs: sidecar and console log.
    pub fn machine(&self, id: MachineId) -> PathBuf {
        self.machines().join(id.to_string())
    }

    /// A machine's sidecar.
    pub fn machine_sidecar(&self, id: MachineId) -> PathBuf {
        self.machine(id).join("machine.json")
    }

    /// Sockets and markers of all machines.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Sockets and markers of one run.
    pub fn run_of(&self, machine: MachineId, run: RunId) -> PathBuf {
        self.run.join(machine.short()).join(run.short())
    }

    /// What a run's guest is told at hello: a [`proto::GuestConfig`] as JSON.
    pub fn guest_config(&self, machine: MachineId, run: RunId) -> PathBuf {
        self.run_of(machine, run).join("guest.json")
    }

    /// The mark that a run's guest stood for a daemon which is gone: its clock is late.
    pub fn late_clock(&self, machine: MachineId, run: RunId) -> PathBuf {
        self.run_of(machine, run).join("late")
    }

    /// The socket of a run's agent channel.
    pub fn agent_socket(&self, machine: MachineId, run: RunId) -> PathBuf {
        self.run_of(machine, run).join("agent.sock")
    }
}
