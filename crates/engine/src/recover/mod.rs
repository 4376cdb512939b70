//! The database anew, from what the data directory says of itself.
//!
//! Deciding ([`decide`]) is pure: what was found goes in, records and a report come out. Writing
//! ([`write`]) may be killed at any point and repeated.
//!
//! Invariant: nothing that was found is destroyed, nothing that was deleted comes back, and no
//! volume is in the hands of two machines. Where what was found disagrees, what was written last
//! counts; what cannot be known is said.

mod claims;
mod listed;
mod machine;
mod pool;
#[cfg(test)]
mod properties;
mod report;
mod snapshot;
#[cfg(test)]
mod tests;
mod volume;
mod write;

pub use listed::Listed;
pub use report::{Left, Outcome, Report, Restored};
pub(crate) use write::refuse_half;
pub use write::{State, absent, healthy, state, write};

use crate::Settings;
use crate::db::encode;
use types::image::{ImageSource, ImageSpec, ImageStatus};
use types::machine::MachineSpec;
use types::pool::PoolSpec;
use types::snapshot::SnapshotSidecar;
use types::volume::VolumeSpec;
use types::{ByteSize, ImageId, MachineId, Name, Problem, RunId, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

/// Nothing was changed more often; a sidecar that says so is damaged, and counting goes on from here.
const MOST_CHANGES: u64 = u64::MAX >> 1;

/// What there is of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundVolume {
    /// Which, by the names of its files.
    pub id: VolumeId,
    /// The pool in which this was found.
    pub pool: String,
    /// What its sidecars say, temporaries and those in the trash included.
    pub specs: Vec<VolumeSpec>,
    /// The length of its published file.
    pub file: Option<ByteSize>,
    /// A sidecar is published, whether or not it can be read.
    pub sidecar: bool,
    /// A temporary of its content is there: its making was cut short, since a published file leaves
    /// none.
    pub part: bool,
    /// A piece of it is in the trash, to be kept until then.
    pub trashed: Option<Timestamp>,
    /// Its content is what is in the trash.
    pub kept: bool,
}

/// What there is of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundMachine {
    /// Which, by the name of its directory.
    pub id: MachineId,
    /// What its sidecar and the temporary beside it say.
    pub specs: Vec<MachineSpec>,
    /// When the sidecar was written.
    pub written_at: Timestamp,
}

/// What there is of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundSnapshot {
    /// Which, by the names of its files.
    pub id: SnapshotId,
    /// What its sidecar says.
    pub sidecar: Option<SnapshotSidecar>,
    /// The length of its published file.
    pub file: Option<ByteSize>,
}

/// A complete image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundImage {
    /// Which.
    pub id: ImageId,
    /// sha256 of the content, in hexadecimal.
    pub digest: String,
    /// Length of the content.
    pub size: ByteSize,
    /// Where the content is.
    pub path: String,
}

/// A process that has volumes open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The volumes.
    pub volumes: Vec<VolumeId>,
    /// The run it is of: the machine's random tail, and the run.
    pub run: Option<(String, RunId)>,
}

/// All that was found in a data directory and around it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Pools that have a record, and are there.
    pub pools: Vec<PoolSpec>,
    /// Pools that have a record and are not there: what is in them was not found.
    pub offline: Vec<String>,
    /// Volumes, whatever there is of each, in each pool.
    pub volumes: Vec<FoundVolume>,
    /// Snapshots, whatever there is of each.
    pub snapshots: Vec<FoundSnapshot>,
    /// Machines whose directory is there.
    pub machines: Vec<FoundMachine>,
    /// Images whose content is there.
    pub images: Vec<FoundImage>,
    /// Who has volumes open now.
    pub holders: Vec<Holder>,
    /// What nothing can be made of.
    pub left: Vec<Left>,
}

impl Found {
    /// Whether there is anything that a database should know of. What is in the trash alone, or was
    /// never finished, is not.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
            && self.pools.is_empty()
            && self.snapshots.iter().all(|s| s.file.is_none())
            && self.volumes.iter().all(|v| v.file.is_none() && !v.sidecar)
    }
}

/// What surrounds a recovery.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// The settings that the daemon will have.
    pub settings: &'a Settings,
    /// Now.
    pub now: Timestamp,
    /// This boot of the host.
    pub host_boot: String,
    /// An id for the default network, if no machine tells it.
    pub fresh: Uuid,
}

/// Keys and values that belong together in one transaction.
pub(crate) type Group = Vec<(String, Vec<u8>)>;

/// What a recovery would write, and what is to be said about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    pub(crate) groups: Vec<Group>,
    pub(crate) restored: Vec<Restored>,
    left: Vec<Left>,
}

impl Recovery {
    /// What there is to say.
    pub fn report(&self) -> Report {
        Report { items: self.restored.clone(), left: self.left.clone(), unknown: report::unknown() }
    }
}

/// Decides what the database shall say.
///
/// # Errors
/// `volume-in-use` if a process has a volume open and is of no machine that comes back: nobody
/// would know of it. `network-full`.
pub fn decide(found: &Found, around: &Around<'_>) -> Result<Recovery, Problem> {
    let mut claims = claims::Claims::new(found, around)?;
    pool::refuse_offline(found)?;
    let (seen, doubles) = volume::look(found);
    let machines = machine::decide(found, around, &seen, &mut claims)?;
    let pools = pool::decide(found);
    let volumes = volume::decide((found, around), &seen, &machines, &mut claims)?;
    let mut recovery =
        Recovery { groups: vec![claims.network()], restored: vec![], left: found.left.clone() };
    recovery.left.extend(doubles);
    for pool in pools {
        recovery.add(pool);
    }
    for image in &found.images {
        recovery.add(image_of(image, around, &mut claims)?);
    }
    for made in volumes {
        recovery.add(made);
    }
    let (snapshots, left) = snapshot::decide((found, around), &mut claims)?;
    for made in snapshots {
        recovery.add(made);
    }
    recovery.left.extend(left);
    recovery.left.extend(machines.left);
    for made in machines.made {
        recovery.add(made.written());
    }
    Ok(recovery)
}

impl Recovery {
    fn add(&mut self, (group, restored): (Group, Restored)) {
        self.groups.push(group);
        self.restored.push(restored);
    }
}

/// An image's name and source are in no file: it gets a name, and is its own source.
fn image_of(
    found: &FoundImage,
    around: &Around<'_>,
    claims: &mut claims::Claims,
) -> Result<(Group, Restored), Problem> {
    use types::operation::Kind::Image;
    let name = claims.name(Image, &Name::new(&claims::made_up(found.id.0))?)?;
    let spec = ImageSpec {
        id: found.id,
        name: name.clone(),
        generation: 1,
        node: around.settings.node.clone(),
        created_at: around.now,
        source: ImageSource::Path(found.path.clone()),
        stamp: format!("digest/{}", found.digest),
        deleting: None,
    };
    let status = ImageStatus {
        observed_generation: 1,
        digest: Some(found.digest.clone()),
        size: found.size,
        fault: None,
    };
    let group = vec![
        (crate::key::spec(Image, found.id.0), encode(&spec)),
        (crate::key::status(Image, found.id.0), encode(&status)),
        (crate::key::name(Image, name.as_str()), encode(&found.id)),
        (crate::key::image_source(&spec.stamp), encode(&found.id)),
    ];
    let notes = vec!["it was called otherwise; what it was made from is not known".to_owned()];
    Ok((group, Restored { kind: Image, id: found.id.0, name, outcome: Outcome::Adopted, notes }))
}
