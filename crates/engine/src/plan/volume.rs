//! What a volume needs next.
//!
//! Invariant: a file is made at most once: when it was once complete and is missing, that is a
//! loss to be reported, never a reason to make an empty one; so it is when it was complete and is
//! shorter. A size only grows.

use super::{Answer, Wait};
use crate::port::VolumeObs;
use types::fs::FileSystem;
use types::operation::Kind;
use types::volume::{VolumeSource, VolumeSpec, VolumeStatus};
use types::{ByteSize, Code, ImageId, Problem, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

/// A step towards what is wanted of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make the file with an empty file system, or all empty, and its sidecar.
    CreateBlank {
        /// How large.
        size: ByteSize,
        /// With which file system.
        fs: FileSystem,
        /// The file system's UUID.
        fs_uuid: Uuid,
    },
    /// Make the file of what was sent, and its sidecar.
    TakeUpload {
        /// How large.
        size: ByteSize,
    },
    /// Make the file from an image, and its sidecar.
    Clone {
        /// Which image.
        image: ImageId,
        /// How large.
        size: ByteSize,
    },
    /// Make the file from another volume's, and its sidecar.
    Copy {
        /// Which volume's.
        from: VolumeId,
        /// How large.
        size: ByteSize,
    },
    /// Make the file from a snapshot, and its sidecar.
    CopySnapshot {
        /// Which snapshot.
        from: SnapshotId,
        /// How large.
        size: ByteSize,
    },
    /// Put the content of a snapshot in the place of what is there, and then want it no more.
    Reset {
        /// Which snapshot.
        to: SnapshotId,
        /// How large.
        size: ByteSize,
    },
    /// It is to go: want its content to become another no more.
    DropReset,
    /// Make the file at least this large.
    Grow {
        /// How large.
        to: ByteSize,
    },
    /// Somebody made the file larger by hand: want what is there.
    AdoptSize {
        /// How large it is.
        size: ByteSize,
    },
    /// Publish the sidecar of this generation.
    WriteSidecar,
    /// Make the same file in the pool that it is on its way to.
    Carry {
        /// Which pool.
        to: String,
    },
    /// The file is there: from now on it lives in that pool.
    Arrive {
        /// Which pool.
        to: String,
    },
    /// It stays where it is.
    TurnBack {
        /// The pool that it was on its way to.
        from: String,
    },
    /// Remove what is left in a pool that it does not live in.
    Leave {
        /// Which pool.
        pool: String,
    },
    /// Move the file to the trash or, without a time, remove it for good.
    Discard {
        /// Until when the trash keeps it.
        keep_until: Option<Timestamp>,
    },
    /// Its time in the trash is over: decide that it goes for good.
    Expire,
    /// It is wanted again: move the file out of the trash, its sidecar of this generation first.
    Restore,
    /// Nothing is left of it: remove the record.
    Forget,
}

/// How far it is that a volume's content becomes that of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResetLook {
    /// What is there was kept.
    Ready,
    /// What is there is being kept in this snapshot, or this volume comes first.
    Waiting(Kind, Uuid),
    /// It cannot be.
    Failed(Problem),
}

/// The image, volume or snapshot that a volume starts from, as far as it cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageLook {
    /// Complete, of this size.
    Ready(ByteSize),
    /// Being made.
    Coming,
    /// It cannot be made.
    Failed(Problem),
    /// There is no such thing.
    Missing,
}

/// What was seen of a volume's world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The pool's view.
    pub pool: VolumeObs,
    /// Whether a machine's claim holds it, or somebody reads it.
    pub claimed: bool,
    /// What it starts from; only looked at while there is no file.
    pub image: ImageLook,
    /// It was deleted, and its time in the trash is over.
    pub expired: bool,
    /// Only looked at while its content is to become another.
    pub reset: ResetLook,
    /// The view of the pool that it is on its way to, or has left; `None` if that cannot be reached.
    pub elsewhere: Option<VolumeObs>,
}

/// Answers for a volume.
pub fn plan(spec: &VolumeSpec, status: &VolumeStatus, look: &Look) -> Answer<Step> {
    if let (Some(pool), Some(_)) = (&spec.leaving, &look.elsewhere) {
        return Answer::Do(Step::Leave { pool: pool.clone() });
    }
    if let Some(going) = &spec.deleting {
        if let Some(to) = &spec.moving {
            return Answer::Do(Step::TurnBack { from: to.clone() });
        }
        // The claim's end wakes this volume.
        return match (&look.pool, going.keep_until) {
            _ if spec.reset.is_some() => Answer::Do(Step::DropReset),
            _ if look.claimed => Answer::Wait(Wait::default()),
            // Nobody else would know what is left there. That pool's coming wakes this volume.
            (VolumeObs { file: None, sidecar: None, trashed: false }, _) if spec.leaving.is_some() => {
                Answer::Wait(Wait::default())
            }
            (VolumeObs { file: None, sidecar: None, trashed: false }, _) => Answer::Do(Step::Forget),
            (VolumeObs { file: None, sidecar: None, .. }, Some(_)) if look.expired => {
                Answer::Do(Step::Expire)
            }
            (VolumeObs { file: None, sidecar: None, .. }, Some(_)) => Answer::Settled,
            (_, keep_until) => Answer::Do(Step::Discard { keep_until }),
        };
    }
    let Some(file) = look.pool.file else {
        return make(spec, status, look);
    };
    if status.filled && file.size < status.size {
        return Answer::Stuck(cut(spec, status.size, file.size));
    }
    if file.size > spec.size {
        return Answer::Do(Step::AdoptSize { size: file.size });
    }
    if let Some(reset) = &spec.reset {
        return match &look.reset {
            ResetLook::Ready => Answer::Do(Step::Reset { to: reset.to, size: spec.size }),
            ResetLook::Waiting(kind, id) => Answer::Wait(Wait { until: None, on: vec![(*kind, *id)] }),
            ResetLook::Failed(problem) => Answer::Stuck(problem.clone()),
        };
    }
    if file.size < spec.size {
        return Answer::Do(Step::Grow { to: spec.size });
    }
    if look.pool.sidecar != Some(spec.generation) {
        return Answer::Do(Step::WriteSidecar);
    }
    match (&spec.moving, &look.elsewhere) {
        (Some(to), Some(VolumeObs { file: Some(_), .. })) => Answer::Do(Step::Arrive { to: to.clone() }),
        (Some(to), Some(_)) => Answer::Do(Step::Carry { to: to.clone() }),
        (Some(to), None) => Answer::Stuck(unreachable(to)),
        (None, _) => Answer::Settled,
    }
}

/// What a volume is once it lives in the pool that it was on its way to.
pub fn arrived(spec: &VolumeSpec, to: &str) -> VolumeSpec {
    VolumeSpec {
        pool: to.to_owned(),
        moving: None,
        leaving: Some(spec.pool.clone()),
        generation: spec.generation + 1,
        ..spec.clone()
    }
}

/// What a volume is that stays where it was. It is newer than what [`arrived`] may have left in the other
/// pool, which whoever makes a lost database anew compares it with.
pub fn turned_back(spec: &VolumeSpec) -> VolumeSpec {
    VolumeSpec { leaving: spec.moving.clone(), moving: None, generation: spec.generation + 2, ..spec.clone() }
}

fn unreachable(pool: &str) -> Problem {
    Problem::new(Code::PoolOffline, format!("pool \"{pool}\" is not there now"))
        .hint(format!("`sistemo pool show {pool}` says why; move the volume once it is back"))
}

fn make(spec: &VolumeSpec, status: &VolumeStatus, look: &Look) -> Answer<Step> {
    if look.pool.trashed {
        return Answer::Do(Step::Restore);
    }
    if status.filled {
        return Answer::Stuck(lost(spec));
    }
    match &spec.source {
        VolumeSource::Volume { volume, .. } => match &look.image {
            ImageLook::Ready(size) if *size > spec.size => Answer::Stuck(too_small_copy(spec.size, *size)),
            ImageLook::Ready(_) => Answer::Do(Step::Copy { from: *volume, size: spec.size }),
            ImageLook::Coming => Answer::Wait(Wait { until: None, on: vec![(Kind::Volume, volume.0)] }),
            ImageLook::Failed(problem) => Answer::Stuck(problem.clone()),
            ImageLook::Missing => Answer::Stuck(cut_short(spec)),
        },
        VolumeSource::Snapshot { snapshot, .. } => match &look.image {
            ImageLook::Ready(size) if *size > spec.size => Answer::Stuck(too_small_copy(spec.size, *size)),
            ImageLook::Ready(_) => Answer::Do(Step::CopySnapshot { from: *snapshot, size: spec.size }),
            ImageLook::Coming => Answer::Wait(Wait { until: None, on: vec![(Kind::Snapshot, snapshot.0)] }),
            ImageLook::Failed(problem) => Answer::Stuck(problem.clone()),
            ImageLook::Missing => Answer::Stuck(cut_short(spec)),
        },
        VolumeSource::Upload => Answer::Do(Step::TakeUpload { size: spec.size }),
        VolumeSource::Blank { fs_uuid } => {
            let fs = spec.file_system().unwrap_or_default();
            Answer::Do(Step::CreateBlank { size: spec.size, fs, fs_uuid: *fs_uuid })
        }
        VolumeSource::Image { image } => match &look.image {
            ImageLook::Ready(size) if *size > spec.size => Answer::Stuck(too_small(spec.size, *size)),
            ImageLook::Ready(_) => Answer::Do(Step::Clone { image: *image, size: spec.size }),
            ImageLook::Coming => Answer::Wait(Wait { until: None, on: vec![(Kind::Image, image.0)] }),
            ImageLook::Failed(problem) => Answer::Stuck(problem.clone()),
            ImageLook::Missing => {
                Answer::Stuck(Problem::new(Code::ImageNotFound, "the image was deleted meanwhile"))
            }
        },
    }
}

/// The report of a file that was made shorter behind our back: its end is lost, and growing it
/// again would only hide that under zeros.
fn cut(spec: &VolumeSpec, had: ByteSize, has: ByteSize) -> Problem {
    Problem::new(
        Code::VolumeLost,
        format!("the file of volume \"{}\" was cut from {had} to {has} by something else", spec.name),
    )
    .hint(format!(
        "put {}.raw back as it was; if nothing was in its end, `truncate --size {}` makes it whole again",
        spec.id,
        had.bytes()
    ))
}

/// The refusal of a root volume that would cut its image.
pub fn too_small(asked: ByteSize, image: ByteSize) -> Problem {
    Problem::new(Code::VolumeTooSmall, format!("{asked} is smaller than the image, which needs {image}"))
        .hint(format!("ask for --storage {}M or more", image.round_up_mib().bytes() / ByteSize::MIB))
}

/// The refusal of a copy that would be cut.
pub fn too_small_copy(asked: ByteSize, source: ByteSize) -> Problem {
    Problem::new(Code::VolumeTooSmall, format!("{asked} is smaller than what is copied, which has {source}"))
        .hint(format!("ask for --storage {}M or more", source.round_up_mib().bytes() / ByteSize::MIB))
}

/// The fault of a copy whose source is not held for it any more: it may have changed since.
fn cut_short(spec: &VolumeSpec) -> Problem {
    Problem::new(Code::VolumeNotFound, format!("what volume \"{}\" is a copy of cannot be read", spec.name))
        .hint("delete the volume and clone anew")
}

/// The fault of a volume whose content was once complete and is not there.
pub fn lost(spec: &VolumeSpec) -> Problem {
    Problem::new(Code::VolumeLost, format!("the file of volume \"{}\" is gone", spec.name))
        .hint(format!("put {}.raw back into the pool, or delete the volume", spec.id))
}
