//! Requests about machines.

use super::edit::protected;
use super::restore::{go_for_good, restorable};
use super::volume::{
    NewVolume, cannot_shrink, deleted, in_use, mark_deleting, read_only, refuse_deleting, refuse_lost, size,
};
use super::{Draft, made_up, network};
use crate::db::{Change, MachineRecord, Rev, SnapshotRecord, VolumeRecord};
use crate::plan::machine::after;
use crate::plan::volume::too_small;
use crate::port::Fresh;
use crate::{Engine, key};
use rand::Rng;
use std::collections::BTreeMap;
use types::fs::FileSystem;
use types::label::Labels;
use types::machine::{
    AttachVolume, DISK_SLOTS, DeletePlan, DeployMachine, Desired, DetachVolume, Disk, Leaving, MAX_MEMORY,
    MAX_VCPUS, MIN_MEMORY, MachineDeletion, MachineSpec, Mount,
};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::volume::{VolumeRole, VolumeSource, VolumeSpec};
use types::{Actor, ByteSize, Code, ImageId, MachineId, Name, Operation, Problem, Verb, VolumeId};

/// The first of the users that hypervisors run as: systemd leaves 1879048192…2147483647 unused
/// (<https://systemd.io/UIDS-GIDS/>).
pub(crate) const FIRST_UID: u32 = 1_879_048_192;
/// How many there are.
pub(crate) const UIDS: u32 = 1 << 24;

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, message)
}

impl Engine {
    /// Accepts a new machine with its root volume and attachments.
    ///
    /// # Errors
    /// Whatever can be seen now to be impossible.
    pub fn deploy(&self, actor: &Actor, req: DeployMachine) -> Result<Operation, Problem> {
        let typed = req.name.as_ref().map_or("", Name::as_str).to_owned();
        self.admit(actor, Verb::MachineDeploy, (Kind::Machine, &typed), |draft| {
            self.decide_deploy(draft, &req)
        })
    }

    fn decide_deploy(&self, draft: &mut Draft, req: &DeployMachine) -> Result<(), Problem> {
        let settings = self.settings();
        let vcpus = req.vcpus.unwrap_or(settings.default_vcpus);
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(invalid(format!("{vcpus} vCPUs: the number must be 1 to {MAX_VCPUS}"))
                .hint("more than the host has processors slow the machine down"));
        }
        let memory = match req.memory_bytes {
            Some(bytes) => size(bytes, MIN_MEMORY)?,
            None => settings.default_memory,
        };
        if memory > MAX_MEMORY {
            let text = format!("{memory} of memory: the most is {MAX_MEMORY}");
            return Err(Problem::new(Code::InvalidSize, text).hint("ask for less, such as --memory 2G"));
        }
        self.within_limits(vcpus, memory)?;
        self.ready_for_runs(draft)?;
        let id = self.new_machine_id(draft)?;
        let name = match &req.name {
            Some(name) => Name::machine(name.as_str())?,
            None => Name::machine(&made_up(base_name(req), id.0))?,
        };
        self.take_name(draft, Kind::Machine, &name, id.0)?;
        draft.about(Kind::Machine, id.0, name.as_str(), 1);

        let network = self.0.db.find::<NetworkSpec>(req.network.as_deref().unwrap_or(network::DEFAULT))?.spec;
        let nic = self.take_nic(draft, &network, id)?;
        let (image, root) = match (&req.image, &req.volume) {
            (Some(image), None) => {
                let (image, root) =
                    self.new_root(draft, id, &name, image, (req.storage_bytes, req.pool.as_deref()))?;
                (Some(image), root)
            }
            (None, Some(from)) => match self.only_snapshot(from)? {
                Some(snapshot) => {
                    let asked = (req.storage_bytes, req.pool.as_deref());
                    self.root_of_snapshot(draft, id, &name, &snapshot, asked)?
                }
                None if req.pool.is_some() => {
                    return Err(invalid("a pool and a volume to boot from exclude each other")
                        .hint("`sistemo volume move` brings a volume into another pool"));
                }
                None => self.old_root(draft, id, from, req.storage_bytes)?,
            },
            (Some(_), Some(_)) => {
                return Err(invalid("an image and a volume to boot from exclude each other")
                    .hint("give either IMAGE or --volume"));
            }
            (None, None) => {
                return Err(invalid("nothing to boot from")
                    .hint("give an image, such as `debian`, or --volume with a root volume"));
            }
        };
        let mut spec = MachineSpec {
            id,
            name,
            generation: 1,
            node: settings.node.clone(),
            created_at: self.0.ports.clock.now(),
            vcpus,
            memory,
            image,
            desired: Desired::Running,
            epoch: 1,
            restart: req.restart.unwrap_or_default(),
            resumes: 0,
            disks: vec![Disk {
                volume: root,
                slot: 0,
                role: VolumeRole::Root,
                mount: Mount::Default,
                read_only: false,
                leaving: None,
            }],
            nics: vec![nic],
            uid: self.take_uid(draft, id)?,
            making: BTreeMap::default(),
            protected: false,
            labels: req.labels.clone(),
            deleting: None,
        };
        for attach in &req.attach {
            self.take_volume(draft, &mut spec, attach)?;
        }
        draft.change.claim(key::spec(Kind::Machine, id.0), &spec);
        Ok(())
    }

    /// A new root volume, made from an image.
    fn new_root(
        &self,
        draft: &mut Draft,
        machine: MachineId,
        name: &Name,
        image: &str,
        (storage, pool): (Option<u64>, Option<&str>),
    ) -> Result<(ImageId, VolumeId), Problem> {
        let image = self.resolve_image(draft, image)?;
        // Without a wish, an image that is larger than the default still fits.
        let wanted = match storage {
            Some(bytes) => size(bytes, ByteSize::mib(1))?,
            None => self.settings().default_storage.max(image.size.unwrap_or_default().round_up_mib()),
        };
        if let Some(least) = image.size.filter(|s| *s > wanted) {
            return Err(too_small(wanted, least));
        }
        let id = self.new_volume_id(draft)?;
        let root = name.root_volume();
        let pool = self.usable_pool(draft, pool)?;
        if image.size.is_some() {
            self.refuse_full(draft, (&pool, root.as_str()), wanted, Fresh::Image(image.id))?;
        }
        let root = NewVolume {
            id,
            name: root,
            pool,
            role: VolumeRole::Root,
            size: wanted,
            source: VolumeSource::Image { image: image.id },
            // All images are.
            fs: Some(FileSystem::Ext4),
            identity: None,
            owner: Some(machine),
            labels: Labels::default(),
            read_only: false,
        };
        let root = self.new_volume(draft, root)?;
        self.warn_of_room(draft, &root.pool);
        draft.change.claim(key::attach(id), &machine);
        Ok((image.id, id))
    }

    /// A new root volume, made from a snapshot of one.
    fn root_of_snapshot(
        &self,
        draft: &mut Draft,
        machine: MachineId,
        name: &Name,
        source: &SnapshotRecord,
        asked: (Option<u64>, Option<&str>),
    ) -> Result<(Option<ImageId>, VolumeId), Problem> {
        if source.spec.role != VolumeRole::Root {
            return Err(not_bootable("snapshot", &source.spec.name));
        }
        let id = self.new_volume_id(draft)?;
        let root =
            self.new_copy_of_snapshot(draft, (id, name.root_volume()), source, asked, Some(machine), false)?;
        draft.change.claim(key::attach(id), &machine);
        Ok((root.source.image(), id))
    }

    /// An existing root volume, grown if more is asked for.
    fn old_root(
        &self,
        draft: &mut Draft,
        machine: MachineId,
        volume: &str,
        storage: Option<u64>,
    ) -> Result<(Option<ImageId>, VolumeId), Problem> {
        let record = self.free_volume(draft, volume)?;
        let spec = &record.spec;
        if spec.role != VolumeRole::Root {
            return Err(not_bootable("volume", &spec.name));
        }
        if spec.read_only {
            return Err(read_only(&spec.name));
        }
        let wanted = storage.map(|bytes| size(bytes, ByteSize::mib(1))).transpose()?.unwrap_or(spec.size);
        if wanted < spec.size {
            return Err(cannot_shrink(&spec.name, spec.size, wanted));
        }
        self.refuse_offline(&spec.pool)?;
        let mut new = spec.value.clone();
        let grows = wanted > spec.size;
        if grows {
            self.within_storage(&spec.name, wanted)?;
            new.size = wanted;
            new.generation += 1;
        }
        draft.change.update(spec, &new);
        if grows {
            self.warn_of_room(draft, &new.pool);
        }
        draft.change.put(key::attach(new.id), &machine);
        draft.touch(Kind::Volume, new.id.0, new.name.as_str());
        Ok((new.source.image(), new.id))
    }

    /// A volume that no machine holds; the draft takes its claim's absence.
    fn free_volume(&self, draft: &mut Draft, volume: &str) -> Result<VolumeRecord, Problem> {
        if volume.starts_with('/') {
            return Err(Problem::new(
                Code::InvalidName,
                format!("\"{}\" is a path, not a volume", volume.escape_debug()),
            )
            .hint("give the name or id of a volume; `sistemo volume list` shows them"));
        }
        let record = self.0.db.find::<VolumeSpec>(volume).map_err(|missing| {
            match self.only_snapshot(volume) {
                Ok(Some(_)) => missing.hint(format!(
                    "it is a snapshot: `sistemo volume clone {volume} --read-only` makes a volume of it to attach"
                )),
                _ => missing,
            }
        })?;
        refuse_deleting(&record)?;
        if let Some(holder) = self.holder(draft, record.spec.id)? {
            return Err(in_use(&record.spec, &holder.spec));
        }
        refuse_lost(&record)?;
        self.refuse_held(&mut draft.change, record.spec.id.0, &record.spec.name)?;
        Ok(record)
    }

    /// Attaches a free volume to a machine's next free slot.
    fn take_volume(
        &self,
        draft: &mut Draft,
        spec: &mut MachineSpec,
        req: &AttachVolume,
    ) -> Result<(), Problem> {
        let record = self.free_volume(draft, &req.volume)?;
        let volume = &record.spec;
        if spec.disks.iter().any(|d| d.volume == volume.id) {
            return Err(Problem::new(
                Code::VolumeInUse,
                format!("volume \"{}\" is named twice", volume.name),
            )
            .hint("name each volume once"));
        }
        let mount = bare(volume, mount(req.mount.as_deref())?)?;
        if let Some(place) = place(&mount, &volume.name) {
            self.refuse_taken_place(draft, &spec.disks, &place)?;
        }
        let slot = (1..DISK_SLOTS).find(|s| spec.disks.iter().all(|d| d.slot != *s)).ok_or_else(|| {
            Problem::new(Code::NoFreeSlot, format!("machine \"{}\" has no free disk slot", spec.name)).hint(
                format!(
                    "a machine holds {} data volumes; detach one, or use fewer and larger ones",
                    DISK_SLOTS - 1
                ),
            )
        })?;
        spec.disks.push(Disk {
            volume: volume.id,
            slot,
            role: VolumeRole::Data,
            mount,
            read_only: req.read_only || volume.read_only,
            leaving: None,
        });
        spec.disks.sort_by_key(|d| d.slot);
        draft.change.on(volume).put(key::attach(volume.id), &spec.id);
        draft.touch(Kind::Volume, volume.id.0, volume.name.as_str());
        Ok(())
    }

    /// Refuses a mount point that one of these disks has; the draft holds only while their volumes are
    /// called what they are now.
    pub(super) fn refuse_taken_place(
        &self,
        draft: &mut Draft,
        disks: &[Disk],
        wanted: &str,
    ) -> Result<(), Problem> {
        for disk in disks.iter().filter(|d| d.role == VolumeRole::Data) {
            let taken = match &disk.mount {
                Mount::None => false,
                Mount::At(path) => path == wanted,
                Mount::Default => match self.0.db.record::<VolumeSpec>(disk.volume.0)? {
                    Some(volume) => {
                        draft.change.on(&volume.spec);
                        default_place(&volume.spec.name) == wanted
                    }
                    None => false,
                },
            };
            if taken {
                return Err(two_at(wanted));
            }
        }
        Ok(())
    }

    /// Refuses more than the operator lets one machine have.
    fn within_limits(&self, vcpus: u32, memory: ByteSize) -> Result<(), Problem> {
        let settings = self.settings();
        let beyond = |what: String, key: &str, most: String| {
            Err(Problem::new(Code::LimitExceeded, format!("{what}, and {key} allows {most}"))
                .hint(format!("ask for less, or raise {key}")))
        };
        if vcpus > settings.max_vcpus {
            return beyond(format!("{vcpus} vCPUs"), "limits.max_vcpus", settings.max_vcpus.to_string());
        }
        if memory > settings.max_memory {
            return beyond(
                format!("{memory} of memory"),
                "limits.max_memory",
                settings.max_memory.to_string(),
            );
        }
        Ok(())
    }

    /// Whether this host can run a machine at all.
    pub(super) fn ready_for_runs(&self, draft: &mut Draft) -> Result<(), Problem> {
        self.preflight()?;
        self.refuse_halting(draft)
    }

    /// Refuses to begin a run of disks that somebody reads.
    fn refuse_held_disks(&self, draft: &mut Draft, spec: &MachineSpec) -> Result<(), Problem> {
        for disk in &spec.disks {
            let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
            self.refuse_held(&mut draft.change, disk.volume.0, &volume.spec.name)?;
        }
        Ok(())
    }

    fn preflight(&self) -> Result<(), Problem> {
        self.0.ports.vmm.preflight()?;
        self.0.ports.images.check_kernel()
    }

    pub(super) fn new_machine_id(&self, draft: &mut Draft) -> Result<MachineId, Problem> {
        loop {
            let id = MachineId(self.0.ports.clock.new_id());
            let tail = key::tail(&id.short());
            if self.0.db.0.get(&tail)?.is_none() {
                draft.change.claim(tail, &id);
                return Ok(id);
            }
        }
    }

    pub(super) fn take_uid(&self, draft: &mut Draft, machine: MachineId) -> Result<u32, Problem> {
        loop {
            let uid = FIRST_UID + rand::rng().random_range(0..UIDS);
            if self.0.db.0.get(&key::uid(uid))?.is_none() {
                draft.change.claim(key::uid(uid), &machine);
                return Ok(uid);
            }
        }
    }

    /// Accepts to run a machine. One that runs is left as it is; one whose guest stands goes on.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`, `host-halting`, what [`crate::port::Vmm::preflight`] refuses.
    pub fn start_machine(&self, actor: &Actor, machine: &str) -> Result<Operation, Problem> {
        self.change_machine(actor, Verb::MachineStart, machine, |draft, spec, record| {
            self.preflight()?;
            self.refuse_halting(draft)?;
            let status = &record.status;
            let ended = status.ended_epoch >= spec.epoch;
            // Whether what the end of the host ended comes back by itself is not settled yet; this does.
            let boot = self.0.ports.clock.host_boot();
            let over = status.held.is_some() || status.run.as_ref().is_some_and(|r| r.host_boot != boot);
            if spec.desired == Desired::Stopped || ended || over {
                self.refuse_held_disks(draft, spec)?;
                spec.desired = Desired::Running;
                spec.epoch += 1;
            } else if record.status.run.as_ref().is_some_and(|run| run.standing().is_some()) {
                spec.resumes += 1;
            }
            Ok(())
        })
    }

    /// Accepts to stop a machine. One that is stopped is left as it is.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`.
    pub fn stop_machine(&self, actor: &Actor, machine: &str) -> Result<Operation, Problem> {
        self.change_machine(actor, Verb::MachineStop, machine, |_, spec, _| {
            spec.desired = Desired::Stopped;
            Ok(())
        })
    }

    /// Accepts to stop a machine, if it runs, and run it anew.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`, `host-halting`, what [`crate::port::Vmm::preflight`] refuses.
    pub fn restart_machine(&self, actor: &Actor, machine: &str) -> Result<Operation, Problem> {
        self.change_machine(actor, Verb::MachineRestart, machine, |draft, spec, _| {
            self.preflight()?;
            self.refuse_halting(draft)?;
            self.refuse_held_disks(draft, spec)?;
            spec.desired = Desired::Running;
            spec.epoch += 1;
            Ok(())
        })
    }

    /// Accepts to attach a volume to a machine; one that runs gets it at once.
    ///
    /// # Errors
    /// `being-deleted`, `volume-in-use`, `volume-not-found`, `no-free-slot`, …
    pub fn attach_volume(
        &self,
        actor: &Actor,
        machine: &str,
        req: AttachVolume,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeAttach, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            refuse_going(&record)?;
            let mut spec = record.spec.value.clone();
            self.take_volume(draft, &mut spec, &req)?;
            spec.generation += 1;
            draft.change.update(&record.spec, &spec);
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    /// Accepts to detach a data volume from a machine. The guest of one that runs lets go of it first.
    ///
    /// # Errors
    /// `being-deleted`, `volume-not-attached`, `volume-not-found`, `volume-in-use` for its root.
    pub fn detach_volume(
        &self,
        actor: &Actor,
        machine: &str,
        req: DetachVolume,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeDetach, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            let volume = self.0.db.find::<VolumeSpec>(&req.volume)?;
            let mut spec = record.spec.value.clone();
            let Some(at) = spec.disks.iter().position(|d| d.volume == volume.spec.id) else {
                return Err(not_attached(&volume, &spec.name, self.holder(draft, volume.spec.id)?));
            };
            if spec.disks[at].slot == 0 {
                return Err(Problem::new(
                    Code::VolumeInUse,
                    format!("volume \"{}\" is what machine \"{}\" boots from", volume.spec.name, spec.name),
                )
                .hint(format!("`sistemo machine delete {} --preserve-storage` keeps it", spec.name)));
            }
            refuse_going(&record)?;
            draft.change.on(&record.status);
            self.refuse_held(&mut draft.change, volume.spec.id.0, &volume.spec.name)?;
            if record.status.run.is_none() {
                // No process holds the file, which this transaction checks.
                spec.disks.remove(at);
                draft.change.delete(key::attach(volume.spec.id));
            } else {
                let before = spec.disks[at].leaving.unwrap_or_default();
                spec.disks[at].leaving = Some(Leaving { force: before.force || req.force });
            }
            spec.generation += 1;
            draft.change.update(&record.spec, &spec);
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            draft.touch(Kind::Volume, volume.spec.id.0, volume.spec.name.as_str());
            Ok(())
        })
    }

    /// Accepts the end of a machine. A running one is stopped cleanly first. Its root volume goes
    /// with it if its deploy made it, unless `preserve_storage`; data volumes always stay. It can be
    /// taken back for a while, unless it goes `for_good`; one that was deleted can still go so.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`, `protected`, `pool-offline` of a volume that goes with it.
    pub fn delete_machine(
        &self,
        actor: &Actor,
        machine: &str,
        preserve_storage: bool,
        for_good: bool,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::MachineDelete, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            if for_good && record.spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some()) {
                return self.forget_for_good(draft, &record);
            }
            refuse_going(&record)?;
            self.refuse_protected(draft, &record, preserve_storage)?;
            let mut spec = record.spec.value.clone();
            let now = self.0.ports.clock.now();
            let keep = (!for_good).then(|| after(now, self.settings().trash_keep));
            draft.operation.restorable_until = keep;
            spec.deleting = Some(MachineDeletion {
                at: now,
                keep_until: keep,
                released: false,
                operation: draft.operation.id,
                because: None,
            });
            spec.desired = Desired::Stopped;
            spec.generation += 1;
            draft.change.update(&record.spec, &spec);
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            for disk in &spec.disks {
                let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
                draft.touch(Kind::Volume, disk.volume.0, volume.spec.name.as_str());
                let stays = preserve_storage || volume.spec.role == VolumeRole::Data;
                if stays && volume.spec.owner == Some(spec.id) {
                    let mut kept = volume.spec.value.clone();
                    kept.owner = None;
                    kept.generation += 1;
                    draft.change.update(&volume.spec, &kept);
                }
            }
            Ok(())
        })
    }

    /// Refuses to delete a machine that is protected, or with which a volume would go that is, or that
    /// cannot be reached now; the draft holds only while no volume that goes is another.
    fn refuse_protected(
        &self,
        draft: &mut Draft,
        record: &MachineRecord,
        preserve_storage: bool,
    ) -> Result<(), Problem> {
        if record.spec.protected {
            return Err(protected(Kind::Machine, &record.spec.name));
        }
        for disk in record.spec.disks.iter().filter(|_| !preserve_storage) {
            let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
            if volume.spec.goes_with() != Some(record.spec.id) {
                continue;
            }
            if volume.spec.protected {
                return Err(protected(Kind::Volume, &volume.spec.name));
            }
            self.refuse_unreachable(&record.spec.name, &volume.spec)?;
            draft.change.on(&volume.spec);
        }
        Ok(())
    }

    /// Refuses that a volume goes with its machine while its pool is away.
    fn refuse_unreachable(&self, machine: &Name, volume: &VolumeSpec) -> Result<(), Problem> {
        self.refuse_offline(&volume.pool).map_err(|away| {
            let keep = format!("`sistemo machine delete {machine} --preserve-storage` keeps its volumes");
            let hint = match &away.hint {
                Some(first) => format!("{first}; or {keep}"),
                None => keep,
            };
            away.hint(hint)
        })
    }

    /// A machine that was deleted goes for good, and with it the volumes that were deleted with it.
    pub(super) fn forget_for_good(&self, draft: &mut Draft, record: &MachineRecord) -> Result<(), Problem> {
        let spec = go_for_good(&mut draft.change, record);
        draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
        for volume in self.gone_with(&spec)? {
            self.refuse_offline(&volume.spec.pool)?;
            go_for_good(&mut draft.change, &volume);
            draft.touch(Kind::Volume, volume.spec.id.0, volume.spec.name.as_str());
        }
        Ok(())
    }

    /// The volumes that were deleted with a machine and can be taken back.
    pub(crate) fn gone_with(&self, spec: &MachineSpec) -> Result<Vec<VolumeRecord>, Problem> {
        let mut all = vec![];
        let Some(going) = &spec.deleting else { return Ok(all) };
        for disk in &spec.disks {
            all.extend(self.0.db.record::<VolumeSpec>(disk.volume.0)?.filter(|v| {
                restorable(v).is_some()
                    && v.spec.deleting.as_ref().is_some_and(|d| d.operation == going.operation)
            }));
        }
        Ok(all)
    }

    /// What would go and what would stay.
    ///
    /// # Errors
    /// `machine-not-found`, `being-deleted`, `protected`, `pool-offline`.
    pub fn plan_delete(&self, machine: &str, preserve_storage: bool) -> Result<DeletePlan, Problem> {
        let record = self.0.db.find::<MachineSpec>(machine)?;
        refuse_going(&record)?;
        if record.spec.protected {
            return Err(protected(Kind::Machine, &record.spec.name));
        }
        let mut plan = DeletePlan {
            machine: record.spec.name.clone(),
            running: record.status.run.is_some(),
            goes: vec![],
            stays: vec![],
        };
        for disk in &record.spec.disks {
            let Some(volume) = self.0.db.record::<VolumeSpec>(disk.volume.0)? else { continue };
            let goes = volume.spec.goes_with() == Some(record.spec.id) && !preserve_storage;
            if goes {
                if volume.spec.protected {
                    return Err(protected(Kind::Volume, &volume.spec.name));
                }
                self.refuse_unreachable(&record.spec.name, &volume.spec)?;
            }
            if goes { &mut plan.goes } else { &mut plan.stays }.push(volume.spec.name.clone());
        }
        Ok(plan)
    }

    /// Accepts a change of a machine's spec that touches nothing else. One that changes nothing is
    /// accepted too, and ends once the machine is as it says.
    fn change_machine(
        &self,
        actor: &Actor,
        verb: Verb,
        machine: &str,
        change: impl Fn(&mut Draft, &mut MachineSpec, &MachineRecord) -> Result<(), Problem>,
    ) -> Result<Operation, Problem> {
        self.admit(actor, verb, (Kind::Machine, machine), |draft| {
            let record = self.0.db.find::<MachineSpec>(machine)?;
            refuse_going(&record)?;
            let mut spec = record.spec.value.clone();
            change(draft, &mut spec, &record)?;
            let read: &Rev<MachineSpec> = &record.spec;
            if spec == read.value {
                draft.change.on(read);
            } else {
                spec.generation += 1;
                draft.change.update(read, &spec);
            }
            draft.about(Kind::Machine, spec.id.0, spec.name.as_str(), spec.generation);
            for disk in &spec.disks {
                draft.touch(Kind::Volume, disk.volume.0, "");
            }
            Ok(())
        })
    }
}

/// Puts into `draft` the end of a machine whose first deploy failed before it ever booted: its
/// names and files are released, the operation ends with the reason once they are.
pub(crate) fn abandon(
    change: &mut Change,
    record: &MachineRecord,
    operation: &Operation,
    now: types::Timestamp,
    why: &Problem,
) {
    let mut spec = record.spec.value.clone();
    spec.deleting = Some(MachineDeletion {
        at: now,
        keep_until: None,
        released: false,
        operation: operation.id,
        because: Some(why.clone()),
    });
    spec.desired = Desired::Stopped;
    spec.generation += 1;
    change.update(&record.spec, &spec);
}

/// Refuses a machine that is going, or gone, or not all there yet.
pub(super) fn refuse_going(record: &MachineRecord) -> Result<(), Problem> {
    if !record.spec.making.is_empty() {
        let text = format!("machine \"{}\" is just being made", record.spec.name);
        return Err(Problem::new(Code::Busy, text).hint("try again in a moment"));
    }
    match &record.spec.deleting {
        Some(going) => Err(deleted(Kind::Machine, &record.spec.name, record.spec.id.0, going.keep_until)),
        None => Ok(()),
    }
}

fn not_attached(volume: &VolumeRecord, machine: &Name, holder: Option<MachineRecord>) -> Problem {
    let name = &volume.spec.name;
    let p = Problem::new(
        Code::VolumeNotAttached,
        format!("volume \"{name}\" is not attached to machine \"{machine}\""),
    );
    match holder {
        Some(other) => p.hint(format!("it is attached to machine \"{}\"", other.spec.name)),
        None => p.hint("it is not attached to any machine"),
    }
}

/// What the copy of a machine's data volume is called.
pub(super) fn copy_name(machine: &Name, volume: &Name) -> Result<Name, Problem> {
    Name::new(&format!("{machine}-{volume}")).map_err(|p| p.hint("choose a shorter name for the machine"))
}

/// What a made-up machine name begins with.
fn base_name(req: &DeployMachine) -> &str {
    match &req.image {
        Some(image) if Name::new(image).is_ok() && image.len() < 50 => image,
        _ => "machine",
    }
}

/// Where a volume is to be mounted.
pub(crate) fn mount(asked: Option<&str>) -> Result<Mount, Problem> {
    let path = match asked {
        None | Some("") => return Ok(Mount::Default),
        Some("none") => return Ok(Mount::None),
        Some(path) => path,
    };
    let bad = |why: &str| {
        Err(invalid(format!("\"{}\" cannot be a mount point: {why}", path.escape_debug()))
            .hint("give an absolute path inside the machine, such as /var/lib/app, or `none`"))
    };
    if !path.starts_with('/') {
        return bad("it is not an absolute path");
    }
    if path.len() > 255 || path.chars().any(char::is_control) {
        return bad("it is too long or has control characters");
    }
    if path.split('/').any(|p| p == ".." || p == ".") {
        return bad("it has \".\" or \"..\" in it");
    }
    let tidy: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match tidy.first() {
        None => bad("it is the root"),
        Some(&("proc" | "sys" | "dev" | "run")) => bad("the system keeps its own things there"),
        Some(_) => Ok(Mount::At(format!("/{}", tidy.join("/")))),
    }
}

/// Where a guest mounts a data volume of this name.
pub(crate) fn place(mount: &Mount, volume: &Name) -> Option<String> {
    match mount {
        Mount::None => None,
        Mount::Default => Some(default_place(volume)),
        Mount::At(path) => Some(path.clone()),
    }
}

/// Where a volume of this name is mounted that was given no other place.
pub(super) fn default_place(volume: &Name) -> String {
    format!("/mnt/{volume}")
}

/// The refusal of a mount point that another volume of the machine has.
pub(super) fn two_at(place: &str) -> Problem {
    invalid(format!("two volumes cannot both be mounted at {place}"))
        .hint("give each volume a mount point of its own, as in `--attach VOLUME:/mnt/elsewhere`")
}

/// Where a volume that may have no file system is mounted: nowhere then.
fn bare(volume: &VolumeSpec, mount: Mount) -> Result<Mount, Problem> {
    match mount {
        Mount::At(path) if volume.file_system() == Some(FileSystem::None) => Err(invalid(format!(
            "volume \"{}\" was made without a file system: nothing can be mounted at {path}",
            volume.name
        ))
        .hint(format!(
            "attach it without a path; the machine has it as /dev/disk/by-id/virtio-{}",
            volume.id.short()
        ))),
        Mount::Default if volume.file_system() == Some(FileSystem::None) => Ok(Mount::None),
        other => Ok(other),
    }
}

/// Puts into `change` the last of a machine: its record goes, and what claims it still has.
pub(crate) fn forget(change: &mut Change, record: &MachineRecord, volumes: &[VolumeRecord]) {
    let spec = &record.spec;
    if spec.deleting.as_ref().is_some_and(|d| !d.released) {
        release(change, record, volumes);
    }
    for key in [key::uid(spec.uid), key::tail(&spec.id.short()), spec.key.clone(), record.status.key.clone()]
    {
        change.delete(key);
    }
    change.on(spec).on(&record.status);
}

/// Puts into `change` that a machine's name, addresses and volumes are free; the volumes it owns are
/// marked as going.
pub(crate) fn release(change: &mut Change, record: &MachineRecord, volumes: &[VolumeRecord]) {
    let spec = &record.spec;
    change.delete(key::name(Kind::Machine, spec.name.as_str()));
    for nic in &spec.nics {
        change.delete(key::address(nic.network, nic.address));
        change.delete(key::mac(&nic.mac));
    }
    for disk in &spec.disks {
        change.delete(key::attach(disk.volume));
    }
    let Some(going) = &spec.deleting else { return };
    for volume in volumes.iter().filter(|v| v.spec.owner == Some(spec.id)) {
        // A disk of a deploy that failed never held anyone's data.
        let keep = going.keep_until.filter(|_| volume.status.filled && going.because.is_none());
        let gone = types::volume::VolumeDeletion {
            at: going.at,
            keep_until: keep,
            operation: going.operation,
            because: None,
        };
        mark_deleting(change, volume, gone);
    }
}

fn not_bootable(kind: &str, name: &Name) -> Problem {
    let text = format!("{kind} \"{name}\" is of a data volume: there is no system on it to boot");
    Problem::new(Code::VolumeNotBootable, text).hint(
        "give a root volume, or a snapshot of one; `sistemo volume import FILE --root` makes one of a disk with a \
         system on it",
    )
}
