//! Reading: records as the API shows them.

use crate::db::{ImageRecord, MachineRecord, Rev, VolumeRecord};
use crate::plan::machine::deaths;
use crate::port::GuestObs;
use crate::store::Limit;
use crate::{Engine, OnOperation, key};
use std::collections::{HashMap, HashSet};
use types::image::{Image, ImageSpec};
use types::machine::{Machine, MachineDisk, MachineSpec, Mount, Phase, Run, StallReason, phase};
use types::network::{Network, NetworkSpec};
use types::operation::Kind;
use types::pool::PoolSpec;
use types::volume::{AttachStatus, Condition, Volume, VolumeRole, VolumeSource, VolumeSpec};
use types::{ByteSize, Code, ImageId, MachineId, Name, Operation, OperationId, Problem, RunId, VolumeId};
use uuid::Uuid;

/// Names by id, as far as a view needs them.
#[derive(Default)]
struct Names {
    machines: HashMap<MachineId, Name>,
    images: HashMap<ImageId, Name>,
    holders: HashMap<VolumeId, MachineId>,
    /// Volumes whose machine stands because a write to them failed.
    stalls: HashMap<VolumeId, (Condition, Problem)>,
    /// Volumes whose file systems grow in their guests.
    growing: HashSet<VolumeId>,
}

impl Names {
    /// Takes in what a volume's view needs of a machine.
    fn machine(&mut self, m: &MachineRecord, volume: impl Fn(VolumeId) -> Option<Name>) {
        self.machines.insert(m.spec.id, m.spec.name.clone());
        let Some(stall) = m.status.run.as_ref().and_then(Run::standing) else { return };
        let condition = match stall.why {
            StallReason::PoolFull => Condition::PoolFull,
            StallReason::IoError => Condition::IoError,
        };
        if let Some(id) = stall.volume {
            let problem = crate::plan::stall::problem(&m.spec.name, volume(id).as_ref(), stall.why);
            self.stalls.insert(id, (condition, problem));
        }
    }
}

impl Engine {
    fn names(&self, volumes: &[VolumeRecord]) -> Result<Names, Problem> {
        let mut names = Names::default();
        for m in self.0.db.records::<MachineSpec>()? {
            self.growing_in(&m, &mut names);
            names.machine(&m, |id| volumes.iter().find(|v| v.spec.id == id).map(|v| v.spec.name.clone()));
        }
        for i in self.0.db.records::<ImageSpec>()? {
            names.images.insert(i.spec.id, i.spec.name.clone());
        }
        for claim in self.0.db.scan::<MachineId>(key::ATTACH, Limit::All)? {
            if let Some(id) = claim.key.rsplit('/').next().and_then(|id| id.parse().ok()) {
                names.holders.insert(VolumeId(id), claim.value);
            }
        }
        Ok(names)
    }

    /// Adds those of a machine's volumes that its guest says are growing.
    fn growing_in(&self, m: &MachineRecord, names: &mut Names) {
        let Some(run) = &m.status.run else { return };
        let growing = self.0.ports.guest.observe(m.spec.id, run.id).unwrap_or_default().growing;
        let theirs = m.spec.disks.iter().map(|d| d.volume).filter(|v| growing.contains(&v.short()));
        names.growing.extend(theirs);
    }

    /// All volumes but those that are going, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn volumes(&self) -> Result<Vec<Volume>, Problem> {
        self.volumes_where(|spec| spec.deleting.is_none())
    }

    /// All volumes that were deleted and can be taken back, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn deleted_volumes(&self) -> Result<Vec<Volume>, Problem> {
        self.volumes_where(|spec| spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some()))
    }

    fn volumes_where(&self, wanted: impl Fn(&VolumeSpec) -> bool) -> Result<Vec<Volume>, Problem> {
        let records = self.0.db.records::<VolumeSpec>()?;
        let names = self.names(&records)?;
        let mut all: Vec<Volume> =
            records.iter().filter(|r| wanted(&r.spec)).map(|r| volume(r, &names)).collect();
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(all)
    }

    /// One volume, by id or name.
    ///
    /// # Errors
    /// `volume-not-found`.
    pub fn volume(&self, id_or_name: &str) -> Result<Volume, Problem> {
        let record = self.0.db.find::<VolumeSpec>(id_or_name)?;
        let mut names = Names::default();
        let holder = self.0.db.get::<MachineId>(&key::attach(record.spec.id))?.map(|c| c.value);
        if let Some(holder) = holder {
            names.holders.insert(record.spec.id, holder);
        }
        for id in holder.into_iter().chain(record.spec.goes_with()) {
            if let Some(m) = self.0.db.record::<MachineSpec>(id.0)? {
                self.growing_in(&m, &mut names);
                names.machine(&m, |_| Some(record.spec.name.clone()));
            }
        }
        if let Some(image) = record.spec.source.image() {
            if let Some(i) = self.0.db.record::<ImageSpec>(image.0)? {
                names.images.insert(image, i.spec.name.clone());
            }
        }
        Ok(volume(&record, &names))
    }

    /// What the machine, image, network or pool that is asked for is called; as it was asked for if that is
    /// no id, or of nothing that there is.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn called(&self, kind: Kind, asked: &str) -> Result<String, Problem> {
        let Ok(id) = Uuid::parse_str(asked) else { return Ok(asked.to_owned()) };
        let db = &self.0.db;
        let name = match kind {
            Kind::Machine => db.record::<MachineSpec>(id)?.map(|r| r.spec.value.name),
            Kind::Image => db.record::<ImageSpec>(id)?.map(|r| r.spec.value.name),
            Kind::Network => db.record::<NetworkSpec>(id)?.map(|r| r.spec.value.name),
            Kind::Pool => db.record::<PoolSpec>(id)?.map(|r| r.spec.value.name),
            _ => None,
        };
        Ok(name.map_or_else(|| asked.to_owned(), |name| name.as_str().to_owned()))
    }

    /// All machines but those that were deleted, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn machines(&self) -> Result<Vec<Machine>, Problem> {
        self.machines_where(|spec| !released(spec))
    }

    /// All machines that were deleted and can be taken back, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn deleted_machines(&self) -> Result<Vec<Machine>, Problem> {
        self.machines_where(|spec| {
            released(spec) && spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some())
        })
    }

    fn machines_where(&self, wanted: impl Fn(&MachineSpec) -> bool) -> Result<Vec<Machine>, Problem> {
        let mut all = Vec::new();
        for record in self.0.db.records::<MachineSpec>()? {
            if wanted(&record.spec) {
                all.push(self.machine_view(&record)?);
            }
        }
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(all)
    }

    /// One machine, by id or name.
    ///
    /// # Errors
    /// `machine-not-found`.
    pub fn machine(&self, id_or_name: &str) -> Result<Machine, Problem> {
        let record = self.0.db.find::<MachineSpec>(id_or_name)?;
        self.machine_view(&record)
    }

    /// The run of a machine that is up.
    ///
    /// # Errors
    /// `machine-not-found`, `machine-not-running`.
    pub fn running(&self, id_or_name: &str) -> Result<(MachineId, RunId), Problem> {
        let record = self.0.db.find::<MachineSpec>(id_or_name)?;
        match (phase(&record.spec, &record.status), &record.status.run) {
            (Phase::Running, Some(run)) => Ok((record.spec.id, run.id)),
            (other, _) => Err(Problem::new(
                Code::MachineNotRunning,
                format!("machine \"{}\" is {other}", record.spec.name),
            )
            .hint(format!("`sistemo machine start {}` starts it", record.spec.name))),
        }
    }

    /// Every machine that has a run, with its name and that of its interface on the host.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn runs(&self) -> Result<Vec<(MachineId, RunId, Name, String)>, Problem> {
        let all = self.0.db.records::<MachineSpec>()?;
        let up = all.into_iter().filter_map(|r| {
            let tap = crate::run::tap(r.spec.id, 0);
            Some((r.spec.id, r.status.run.as_ref()?.id, r.spec.name.clone(), tap))
        });
        Ok(up.collect())
    }

    /// What each volume occupies in its pool; one that cannot be looked at is missing.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn volumes_allocated(&self) -> Result<Vec<(Name, ByteSize)>, Problem> {
        let all = self.0.db.records::<VolumeSpec>()?;
        let live = all.into_iter().filter(|r| r.spec.deleting.is_none());
        Ok(live
            .filter_map(|r| {
                let file = self.pool(&r.spec.pool).ok()?.observe(r.spec.id).ok()?.file?;
                Some((r.spec.name.clone(), file.allocated))
            })
            .collect())
    }

    fn machine_view(&self, record: &MachineRecord) -> Result<Machine, Problem> {
        let (spec, status) = (&record.spec, &record.status);
        let mut volumes = Vec::new();
        for disk in &spec.disks {
            let Some(v) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
            volumes.push(MachineDisk {
                id: disk.volume,
                name: v.spec.name.clone(),
                role: disk.role,
                size_bytes: v.spec.size.bytes(),
                slot: disk.slot,
                mount: match (&disk.mount, disk.role) {
                    (_, VolumeRole::Root) => Some("/".into()),
                    (Mount::Default, _) => Some(format!("/mnt/{}", v.spec.name)),
                    (Mount::At(path), _) => Some(path.clone()),
                    (Mount::None, _) => None,
                },
                read_only: disk.read_only,
                device: format!("virtio-{}", disk.volume.short()),
            });
        }
        let image = match spec.image {
            Some(id) => self.0.db.record::<ImageSpec>(id.0)?.map(|i| i.spec.name.clone()),
            None => None,
        };
        let network = match spec.nics.first() {
            Some(nic) => self.0.db.record::<NetworkSpec>(nic.network.0)?.map(|n| n.spec.name.clone()),
            None => None,
        };
        let mut notes = match &status.run {
            Some(run) => self.0.ports.guest.observe(spec.id, run.id).unwrap_or_default(),
            None => GuestObs::default(),
        }
        .notes;
        self.notes_with_names(spec, &mut notes);
        if let Some(stall) = status.run.as_ref().and_then(Run::standing) {
            notes.insert(0, self.standing_problem(spec, stall)?.message);
        }
        match deaths(spec, status, &self.0.ports.clock.host_boot()).len() {
            0 => {}
            1 => notes.push("its hypervisor died, and it was started again".into()),
            n => notes.push(format!("its hypervisor died {n} times, and it was started again")),
        }
        if status.held.as_ref().is_some_and(|h| h.host_boot == self.0.ports.clock.host_boot()) {
            notes.push("its host is shutting down; it runs again once the host is back".into());
        }
        Ok(Machine {
            id: spec.id,
            name: spec.name.clone(),
            phase: phase(spec, status),
            vcpus: spec.vcpus,
            memory_bytes: spec.memory.bytes(),
            image,
            restart: spec.restart,
            address: spec.nics.first().map(|n| n.address),
            mac: spec.nics.first().map(|n| n.mac.clone()),
            network,
            root_volume: volumes.iter().find(|d| d.role == VolumeRole::Root).map(|d| d.name.clone()),
            volumes,
            kernel: status.kernel.clone(),
            node: spec.node.clone(),
            created_at: spec.created_at,
            started_at: status.run.as_ref().map(|r| r.began_at),
            last_exit: status.last_exit.clone(),
            generation: spec.generation,
            observed_generation: status.observed_generation,
            fault: status.fault.clone(),
            notes,
            protected: spec.protected,
            labels: spec.labels.clone(),
            deleted_at: spec.deleting.as_ref().map(|d| d.at),
            restorable_until: spec.deleting.as_ref().filter(|d| d.released).and_then(|d| d.keep_until),
            revision: spec.revision,
        })
    }

    /// All images but those that are going, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn images(&self) -> Result<Vec<Image>, Problem> {
        let mut uses: HashMap<ImageId, u64> = HashMap::new();
        for v in self.0.db.records::<VolumeSpec>()? {
            if let Some(image) = v.spec.source.image() {
                *uses.entry(image).or_default() += u64::from(v.spec.deleting.is_none());
            }
        }
        let mut all: Vec<Image> = self
            .0
            .db
            .records::<ImageSpec>()?
            .iter()
            .filter(|r| r.spec.deleting.is_none())
            .map(|r| image(r, uses.get(&r.spec.id).copied().unwrap_or(0)))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// One image, by id or name.
    ///
    /// # Errors
    /// `image-not-found`.
    pub fn image(&self, id_or_name: &str) -> Result<Image, Problem> {
        let record = self.0.db.find::<ImageSpec>(id_or_name)?;
        let source = VolumeSource::Image { image: record.spec.id };
        let volumes = self.0.db.records::<VolumeSpec>()?;
        let uses = volumes.iter().filter(|v| v.spec.source == source && v.spec.deleting.is_none()).count();
        Ok(image(&record, uses as u64))
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn networks(&self) -> Result<Vec<Network>, Problem> {
        let records = self.0.db.records::<NetworkSpec>()?;
        records.iter().map(|r| self.network_view(&r.spec)).collect()
    }

    /// One network, by id or name.
    ///
    /// # Errors
    /// `network-not-found`.
    pub fn network(&self, id_or_name: &str) -> Result<Network, Problem> {
        self.network_view(&self.0.db.find::<NetworkSpec>(id_or_name)?.spec)
    }

    fn network_view(&self, spec: &Rev<NetworkSpec>) -> Result<Network, Problem> {
        let mask = u32::MAX.checked_shl(32 - u32::from(spec.prefix)).unwrap_or(0);
        let base = std::net::Ipv4Addr::from(u32::from(spec.gateway) & mask);
        Ok(Network {
            id: spec.id,
            name: spec.name.clone(),
            subnet: format!("{base}/{}", spec.prefix),
            gateway: spec.gateway,
            bridge: spec.bridge.clone(),
            machines: self.0.db.0.scan(&key::addresses(spec.id), Limit::All)?.len() as u64,
            created_at: spec.created_at,
            revision: spec.revision,
        })
    }

    /// One operation, with its progress.
    ///
    /// # Errors
    /// `operation-not-found`.
    pub fn operation(&self, id: OperationId) -> Result<Operation, Problem> {
        let read = self.0.db.get::<Operation>(&key::operation(id))?.ok_or_else(|| {
            Problem::new(Code::OperationNotFound, format!("there is no operation {id}"))
                .hint("`sistemo operation list` shows their ids")
        })?;
        Ok(Operation { progress: self.0.live.progress_of(id), ..read.value })
    }

    /// Operations before `before` that `wanted` accepts, newest first, and whether there may be more.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn operations(
        &self,
        limit: usize,
        before: Option<OperationId>,
        wanted: impl Fn(&Operation) -> bool,
    ) -> Result<Vec<Operation>, Problem> {
        let before = before.map(key::operation);
        let found = self.0.db.newest::<Operation>(key::OPERATIONS, before, limit, |read| {
            if wanted(&read.value) { crate::db::Take::Yes } else { crate::db::Take::No }
        })?;
        Ok(found
            .into_iter()
            .map(|r| Operation { progress: self.0.live.progress_of(r.value.id), ..r.value })
            .collect())
    }

    /// Calls `f` at every change of an operation, progress included. It must not block.
    pub fn on_operation(&self, f: OnOperation) {
        self.0.live.listen(f);
    }

    /// After a start: the operations that are under way, so that their progress is heard.
    pub(crate) fn reload_live(&self) -> Result<(), Problem> {
        for open in self.0.db.scan::<OperationId>(key::OPEN, Limit::All)? {
            if let Some(op) = self.0.db.get::<Operation>(&key::operation(open.value))? {
                self.0.live.changed(&op.value);
            }
        }
        Ok(())
    }
}

/// Whether a machine was deleted, and all it had is free.
fn released(spec: &MachineSpec) -> bool {
    spec.deleting.as_ref().is_some_and(|d| d.released)
}

fn volume(r: &VolumeRecord, names: &Names) -> Volume {
    let (spec, status) = (&r.spec, &r.status);
    let holder = names.holders.get(&spec.id).copied();
    let growing = (status.filled && status.size < spec.size) || names.growing.contains(&spec.id);
    let condition = match (&spec.deleting, status.condition) {
        (Some(_), _) => Some(Condition::Deleting),
        (None, _) if spec.reset.is_some() => Some(Condition::Restoring),
        (None, Some(condition)) => Some(condition),
        (None, None) if spec.moving.is_some() => Some(Condition::Moving),
        (None, None) if !status.filled => Some(Condition::Filling),
        (None, None) => growing.then_some(Condition::Growing),
    };
    let stall = names.stalls.get(&spec.id).filter(|_| status.condition.is_none());
    Volume {
        id: spec.id,
        name: spec.name.clone(),
        status: if holder.is_some() { AttachStatus::Attached } else { AttachStatus::Detached },
        condition: stall.map(|(condition, _)| *condition).or(condition),
        attached_to: holder.and_then(|h| names.machines.get(&h).cloned()),
        attached_to_id: holder,
        role: spec.role,
        pool: spec.pool.clone(),
        size_bytes: spec.size.bytes(),
        fs: spec.file_system(),
        node: spec.node.clone(),
        owner: spec.goes_with().and_then(|o| names.machines.get(&o).cloned()),
        image: match spec.source.image() {
            Some(image) => names.images.get(&image).cloned(),
            None => None,
        },
        created_at: spec.created_at,
        generation: spec.generation,
        observed_generation: status.observed_generation,
        fault: status.fault.clone().or_else(|| stall.map(|(_, problem)| problem.clone())),
        protected: spec.protected,
        read_only: spec.read_only,
        labels: spec.labels.clone(),
        deleted_at: spec.deleting.as_ref().map(|d| d.at),
        restorable_until: spec.deleting.as_ref().and_then(|d| d.keep_until),
        revision: spec.revision,
        usage: None,
    }
}

fn image(r: &ImageRecord, volumes: u64) -> Image {
    let (spec, status) = (&r.spec, &r.status);
    let ready = status.digest.is_some();
    let state = match (&spec.deleting, &status.fault) {
        (Some(_), _) => "deleting",
        (None, Some(_)) if status.observed_generation >= spec.generation => "failed",
        (None, _) if ready => "ready",
        (None, _) => "building",
    };
    Image {
        id: spec.id,
        name: spec.name.clone(),
        status: state.into(),
        digest: status.digest.as_ref().map(|d| format!("sha256:{d}")),
        size_bytes: ready.then_some(status.size.bytes()),
        source: spec.source.clone(),
        volumes,
        created_at: spec.created_at,
        fault: status.fault.clone(),
        revision: spec.revision,
    }
}
