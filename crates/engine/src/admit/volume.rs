//! Requests about volumes.

use super::edit::protected;
use super::restore::{go_for_good, restorable};
use super::{Draft, made_up};
use crate::db::{Change, MachineRecord, VolumeRecord};
use crate::plan::machine::after;
use crate::port::Fresh;
use crate::{Engine, key};
use types::fs::FileSystem;
use types::label::Labels;
use types::machine::{MachineSpec, Phase, phase};
use types::operation::Kind;
use types::volume::{CreateVolume, ResizeVolume, VolumeDeletion, VolumeRole, VolumeSource, VolumeSpec};
use types::{Actor, ByteSize, Code, MachineId, Name, Operation, Problem, Timestamp, Verb, VolumeId};
use uuid::Uuid;

/// The smallest data volume, whatever is on it.
pub const MIN_VOLUME: ByteSize = ByteSize::mib(8);

/// A size in a request as a size that can be had.
pub(super) fn size(bytes: u64, least: ByteSize) -> Result<ByteSize, Problem> {
    let hint = "write a number and a unit, such as 512M or 5GB";
    if bytes == 0 {
        return Err(Problem::new(Code::InvalidSize, "a size must be more than zero").hint(hint));
    }
    if bytes > ByteSize::MAX.bytes() {
        return Err(Problem::new(Code::InvalidSize, format!("the most is {}", ByteSize::MAX)).hint(hint));
    }
    let size = ByteSize(bytes).round_up_mib();
    if size < least {
        let m = least.bytes() / ByteSize::MIB;
        return Err(Problem::new(Code::InvalidSize, format!("{size} is too small: the least is {least}"))
            .hint(format!("ask for {m}M or more")));
    }
    Ok(size)
}

/// What a new volume is to be; see [`VolumeSpec`].
pub(super) struct NewVolume {
    pub id: VolumeId,
    pub name: Name,
    pub pool: String,
    pub role: VolumeRole,
    pub size: ByteSize,
    pub source: VolumeSource,
    pub fs: Option<FileSystem>,
    pub identity: Option<Uuid>,
    pub owner: Option<MachineId>,
    pub labels: Labels,
    pub read_only: bool,
}

impl Engine {
    /// Accepts a new, empty data volume.
    ///
    /// # Errors
    /// `invalid-size`, `volume-too-small`, `name-taken`, `pool-full`, `tool-missing`, `conflict`,
    /// `database-failed`.
    pub fn create_volume(&self, actor: &Actor, req: CreateVolume) -> Result<Operation, Problem> {
        let typed = req.name.as_ref().map_or("", Name::as_str);
        self.admit(actor, Verb::VolumeCreate, (Kind::Volume, typed), |draft| {
            let size = size(req.size_bytes, MIN_VOLUME)?;
            refuse_too_small(req.fs, size)?;
            let id = self.new_volume_id(draft)?;
            let name = match &req.name {
                Some(name) => name.clone(),
                None => Name::new(&made_up("vol", id.0))?,
            };
            let pool = self.usable_pool(draft, req.pool.as_deref())?;
            self.pool(&pool).map_err(|fault| fault.problem)?.can_make(req.fs)?;
            self.refuse_full(draft, (&pool, name.as_str()), size, Fresh::Blank(req.fs))?;
            let blank = NewVolume {
                id,
                name,
                pool,
                role: VolumeRole::Data,
                size,
                source: VolumeSource::Blank { fs_uuid: Uuid::from_u128(rand::random()) },
                fs: Some(req.fs),
                identity: None,
                owner: None,
                labels: req.labels.clone(),
                read_only: false,
            };
            let spec = self.new_volume(draft, blank)?;
            self.warn_of_room(draft, &spec.pool);
            draft.about(Kind::Volume, id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    /// Puts a new volume into a draft.
    pub(super) fn new_volume(&self, draft: &mut Draft, new: NewVolume) -> Result<VolumeSpec, Problem> {
        let NewVolume { id, name, pool, role, size, source, fs, identity, owner, labels, read_only } = new;
        self.within_storage(&name, size)?;
        self.take_name(draft, Kind::Volume, &name, id.0)?;
        let spec = VolumeSpec {
            id,
            name,
            generation: 1,
            node: self.settings().node.clone(),
            created_at: self.0.ports.clock.now(),
            role,
            pool,
            moving: None,
            leaving: None,
            size,
            source,
            fs,
            identity,
            owner,
            read_only,
            protected: false,
            labels,
            reset: None,
            deleting: None,
        };
        draft.change.claim(key::spec(Kind::Volume, id.0), &spec);
        draft.touch(Kind::Volume, id.0, spec.name.as_str());
        Ok(spec)
    }

    /// Refuses a size beyond what the operator allows.
    pub(super) fn within_storage(&self, name: &Name, size: ByteSize) -> Result<(), Problem> {
        let most = self.settings().max_storage;
        if size <= most {
            return Ok(());
        }
        Err(Problem::new(
            Code::LimitExceeded,
            format!("volume \"{name}\" would have {size}, and limits.max_storage allows {most}"),
        )
        .hint("ask for less, or raise limits.max_storage"))
    }

    /// A volume id whose random tail nobody has.
    pub(super) fn new_volume_id(&self, draft: &mut Draft) -> Result<VolumeId, Problem> {
        loop {
            let id = VolumeId(self.0.ports.clock.new_id());
            let tail = key::tail(&id.short());
            if self.0.db.0.get(&tail)?.is_none() {
                draft.change.claim(tail, &id);
                return Ok(id);
            }
        }
    }

    /// The machine that holds a volume, if one does; whether or not, the draft holds only while
    /// that stays so.
    pub(super) fn holder(
        &self,
        draft: &mut Draft,
        volume: VolumeId,
    ) -> Result<Option<MachineRecord>, Problem> {
        let claim_key = key::attach(volume);
        let mut seen = None;
        loop {
            let Some(claim) = self.0.db.get::<MachineId>(&claim_key)? else {
                draft.change.absent(claim_key);
                return Ok(None);
            };
            if let Some(machine) = self.0.db.record::<MachineSpec>(claim.value.0)? {
                draft.change.on(&claim);
                return Ok(Some(machine));
            }
            // A machine and its claims go at once, perhaps between the two looks: then another finds neither.
            if seen.replace(claim.revision) == Some(claim.revision) {
                return Err(Problem::new(
                    Code::Internal,
                    "a volume is claimed by a machine that does not exist",
                ));
            }
        }
    }

    /// Accepts a larger size, whether or not a machine that runs has the volume. The same size is
    /// accepted and changes nothing.
    ///
    /// # Errors
    /// `volume-not-found`, `invalid-size`, `cannot-shrink`, `being-deleted`, `pool-offline`.
    pub fn resize_volume(
        &self,
        actor: &Actor,
        volume: &str,
        req: ResizeVolume,
    ) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeResize, (Kind::Volume, volume), |draft| {
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            let size = size(req.size_bytes, ByteSize::mib(1))?;
            refuse_deleting(&record)?;
            let spec = &record.spec;
            if spec.read_only {
                return Err(read_only(&spec.name));
            }
            if size < spec.size {
                return Err(cannot_shrink(&spec.name, spec.size, size));
            }
            if let Some(machine) = self.holder(draft, spec.id)? {
                super::machine::refuse_going(&machine)?;
            }
            refuse_lost(&record)?;
            self.refuse_offline(&spec.pool)?;
            let mut new = spec.value.clone();
            if size > spec.size {
                self.within_storage(&spec.name, size)?;
                self.refuse_held(&mut draft.change, spec.id.0, &spec.name)?;
                new.size = size;
                new.generation += 1;
                draft.change.update(spec, &new);
                self.warn_of_room(draft, &spec.pool);
            } else {
                draft.change.on(spec);
            }
            draft.about(Kind::Volume, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    /// Accepts to let the guest that has a volume mounted give back what it does not use.
    ///
    /// # Errors
    /// `volume-not-found`, `volume-not-attached`, `machine-not-running`, `being-deleted`.
    pub fn trim_volume(&self, actor: &Actor, volume: &str) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeTrim, (Kind::Volume, volume), |draft| {
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            refuse_deleting(&record)?;
            let spec = &record.spec;
            let Some(machine) = self.holder(draft, spec.id)? else {
                return Err(no_guest_to_trim(&spec.name, None));
            };
            super::machine::refuse_going(&machine)?;
            if phase(&machine.spec, &machine.status) != Phase::Running {
                return Err(no_guest_to_trim(&spec.name, Some(&machine.spec.name)));
            }
            draft.change.on(spec);
            draft.about(Kind::Volume, spec.id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }

    /// Accepts the end of a volume: its name is free at once, its file goes to the trash, or with
    /// `for_good` at once. One that is in the trash already can still go for good.
    ///
    /// # Errors
    /// `volume-not-found`, `volume-in-use`, `being-deleted`, `pool-offline`.
    pub fn delete_volume(&self, actor: &Actor, volume: &str, for_good: bool) -> Result<Operation, Problem> {
        self.admit(actor, Verb::VolumeDelete, (Kind::Volume, volume), |draft| {
            let record = self.0.db.find::<VolumeSpec>(volume)?;
            if for_good && restorable(&record).is_some() {
                self.refuse_offline(&record.spec.pool)?;
                let new = go_for_good(&mut draft.change, &record);
                draft.about(Kind::Volume, new.id.0, new.name.as_str(), new.generation);
                return Ok(());
            }
            refuse_deleting(&record)?;
            if let Some(machine) = self.holder(draft, record.spec.id)? {
                return Err(in_use(&record.spec, &machine.spec));
            }
            self.refuse_held(&mut draft.change, record.spec.id.0, &record.spec.name)?;
            if record.spec.protected {
                return Err(protected(Kind::Volume, &record.spec.name));
            }
            self.refuse_offline(&record.spec.pool)?;
            let keep = after(self.0.ports.clock.now(), self.settings().trash_keep);
            // What was never filled never held anyone's data.
            let keep = (record.status.filled && !for_good).then_some(keep);
            draft.operation.restorable_until = keep;
            let going = VolumeDeletion {
                at: self.0.ports.clock.now(),
                keep_until: keep,
                operation: draft.operation.id,
                because: None,
            };
            let new = mark_deleting(&mut draft.change, &record, going);
            draft.about(Kind::Volume, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }
}

/// Marks a volume as going and frees its name.
pub(crate) fn mark_deleting(change: &mut Change, record: &VolumeRecord, going: VolumeDeletion) -> VolumeSpec {
    let mut new = record.spec.value.clone();
    new.deleting = Some(going);
    new.owner = None;
    new.generation += 1;
    change.update(&record.spec, &new);
    change.delete(key::name(Kind::Volume, new.name.as_str()));
    new
}

/// Refuses a volume on which there is no room for this file system.
fn refuse_too_small(fs: FileSystem, size: ByteSize) -> Result<(), Problem> {
    let least = fs.least();
    if size >= least {
        return Ok(());
    }
    let text = format!("{size} is too small for {fs}: the least is {least}");
    Err(Problem::new(Code::VolumeTooSmall, text)
        .hint(format!("ask for {}M or more, or for --fs ext4", least.bytes() / ByteSize::MIB)))
}

/// The refusal to shrink.
pub(super) fn cannot_shrink(name: &Name, have: ByteSize, asked: ByteSize) -> Problem {
    Problem::new(Code::CannotShrink, format!("volume \"{name}\" is {have}; {asked} would be less"))
        .hint("a volume only grows; copy the data to a smaller new volume instead")
}

/// The refusal of a copy that would be cut.
pub(super) fn cannot_shrink_copy(name: &Name, have: ByteSize, asked: ByteSize) -> Problem {
    Problem::new(Code::VolumeTooSmall, format!("\"{name}\" is {have}; a copy of {asked} would be less"))
        .hint(format!("ask for --storage {}M or more", have.round_up_mib().bytes() / ByteSize::MIB))
}

/// The refusal of a volume that another machine holds.
pub(super) fn in_use(volume: &VolumeSpec, holder: &MachineSpec) -> Problem {
    let (name, machine) = (&volume.name, &holder.name);
    let boots = holder.disks.iter().any(|d| d.volume == volume.id && d.role == VolumeRole::Root);
    let hint = match boots {
        true => format!(
            "it boots from it: `sistemo machine delete {machine} --preserve-storage` keeps the volume"
        ),
        false => format!("`sistemo machine volume detach {machine} {name}` first"),
    };
    Problem::new(Code::VolumeInUse, format!("volume \"{name}\" is attached to machine \"{machine}\""))
        .hint(hint)
}

/// Refuses a volume that is going.
pub(super) fn refuse_deleting(record: &VolumeRecord) -> Result<(), Problem> {
    match &record.spec.deleting {
        Some(going) => Err(deleted(Kind::Volume, &record.spec.name, record.spec.id.0, going.keep_until)),
        None => Ok(()),
    }
}

/// The refusal of something that was deleted.
pub(super) fn deleted(kind: Kind, name: &Name, id: Uuid, keep_until: Option<Timestamp>) -> Problem {
    match keep_until {
        Some(until) => Problem::new(Code::Deleting, format!("{kind} \"{name}\" was deleted"))
            .hint(format!("until {until}, `sistemo {kind} restore {id}` takes it back")),
        None => Problem::new(Code::Deleting, format!("{kind} \"{name}\" is being deleted for good"))
            .hint(format!("`sistemo {kind} list` shows what there is")),
    }
}

/// Refuses a volume whose file is gone.
pub(super) fn refuse_lost(record: &VolumeRecord) -> Result<(), Problem> {
    if record.status.condition == Some(types::volume::Condition::Lost) {
        if let Some(fault) = &record.status.fault {
            return Err(fault.clone());
        }
        return Err(Problem::new(
            Code::VolumeLost,
            format!("the file of volume \"{}\" is gone", record.spec.name),
        )
        .hint(format!("put {}.raw back into the pool, or delete the volume", record.spec.id)));
    }
    Ok(())
}

/// The refusal of a trim without a guest that could do it.
pub(crate) fn no_guest_to_trim(volume: &Name, machine: Option<&Name>) -> Problem {
    match machine {
        Some(machine) => Problem::new(
            Code::MachineNotRunning,
            format!("machine \"{machine}\", which has volume \"{volume}\", does not run"),
        )
        .hint(format!("only a guest knows what it does not use: `sistemo machine start {machine}` first")),
        None => Problem::new(
            Code::VolumeNotAttached,
            format!("volume \"{volume}\" is not attached to any machine"),
        )
        .hint("only a guest knows what it does not use: attach it to a machine that runs"),
    }
}

/// The refusal to write to what is only read.
pub(super) fn read_only(name: &Name) -> Problem {
    Problem::new(Code::ReadOnly, format!("volume \"{name}\" is only read: it is the content of a snapshot"))
        .hint(format!("`sistemo volume clone {name}` makes a volume of it that can be written to"))
}
