//! Volumes: what each was, and what it is from now on.

use super::claims::{Claims, made_up};
use super::machine::Machines;
use super::{Around, Found, FoundVolume, Group, MOST_CHANGES, Outcome, Restored};
use crate::admit::DEFAULT_POOL;
use crate::db::encode;
use crate::key;
use crate::plan::machine::after;
use crate::plan::volume::lost;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use types::operation::Kind;
use types::volume::{Condition, VolumeDeletion, VolumeRole, VolumeSource, VolumeSpec, VolumeStatus};
use types::{ByteSize, ImageId, Name, OperationId, Problem, Timestamp, VolumeId};
use uuid::Uuid;

/// What is left of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Its content, of this length.
    File(ByteSize),
    /// Its sidecar: the content is gone.
    Lost,
    /// Its sidecar and a temporary: it never was complete, and is made anew.
    Half,
    /// Pieces of one that was being deleted, with until when they are kept at least.
    Going(Timestamp),
    /// Its content is in the trash and its sidecar is not: it was being taken back.
    Coming,
    /// It is in the trash, to be kept until then at least.
    Kept(Timestamp),
    /// Nothing of it that anybody could want.
    Trash,
}

/// What was found of a volume, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// The pool it lives in.
    pub pool: String,
    /// The spec of the highest generation.
    pub spec: Option<VolumeSpec>,
    /// What is left.
    pub left: Left,
}

impl Seen {
    /// Which of two it is rather.
    fn rank(&self) -> u8 {
        match self.left {
            Left::File(_) => 4,
            Left::Coming | Left::Kept(_) => 3,
            Left::Going(_) => 2,
            Left::Half | Left::Lost => 1,
            Left::Trash => 0,
        }
    }

    /// Whether a machine can have it.
    pub fn usable(&self) -> bool {
        matches!(self.left, Left::File(_) | Left::Lost | Left::Half | Left::Coming)
    }
}

/// Judges everything that was found.
///
/// Of one that was on its way to another pool there may be two. As long as both are whole they are the same, or
/// the one in which it lives is of a higher generation: a run begins only once that is written down.
pub(super) fn look(found: &Found) -> (BTreeMap<VolumeId, Seen>, Vec<super::Left>) {
    let mut all: BTreeMap<VolumeId, Seen> = BTreeMap::new();
    let mut doubles = vec![];
    for v in &found.volumes {
        let Some(seen) = judge(v) else { continue };
        let rank = |s: &Seen| (s.rank(), s.spec.as_ref().map(|spec| spec.generation));
        let other = match all.get(&v.id) {
            None => {
                all.insert(v.id, seen);
                continue;
            }
            Some(have) if rank(have) >= rank(&seen) => seen,
            Some(_) => match all.insert(v.id, seen) {
                Some(other) => other,
                None => continue,
            },
        };
        // What the volume itself says that it has left is removed; anything else is told.
        let lives = all.get(&v.id).and_then(|s| s.spec.as_ref());
        let knows = lives.is_some_and(|s| [&s.moving, &s.leaving].contains(&&Some(other.pool.clone())));
        if !knows {
            let what = format!("{}.raw in pool \"{}\"", v.id, other.pool);
            doubles.push(super::Left {
                what,
                why: "an older copy of a volume that lives in another pool".into(),
            });
        }
    }
    (all, doubles)
}

fn judge(v: &FoundVolume) -> Option<Seen> {
    let ours = v.specs.iter().filter(|s| s.id == v.id);
    let spec = ours.max_by_key(|s| s.generation).cloned();
    let marked = spec.as_ref().and_then(|s| s.deleting.as_ref());
    let published = v.file.is_some() || v.sidecar;
    let left = match (v.file, v.trashed, marked) {
        (_, Some(until), _) if !published && v.kept && spec.is_some() => Left::Kept(until),
        (_, Some(_), _) if !published => Left::Trash,
        // Into the trash the sidecar goes first, and out of it too.
        (None, Some(_), None) if v.kept && spec.is_some() => Left::Coming,
        (_, Some(until), _) => Left::Going(until),
        (_, None, Some(mark)) if published => Left::Going(mark.keep_until.unwrap_or(mark.at)),
        // A volume's file never is of no length: what that would be, nobody can tell.
        (Some(ByteSize(0)), ..) if spec.is_none() => return None,
        (Some(size), ..) => Left::File(size),
        (None, None, Some(_)) => Left::Trash,
        (None, ..) if v.part && spec.is_some() => Left::Half,
        (None, ..) if !v.sidecar || spec.is_none() => return None,
        (None, ..) => Left::Lost,
    };
    Some(Seen { pool: v.pool.clone(), spec, left })
}

/// What each volume is from now on, the machines being known.
pub(super) fn decide(
    around: (&Found, &Around<'_>),
    seen: &BTreeMap<VolumeId, Seen>,
    machines: &Machines,
    claims: &mut Claims,
) -> Result<Vec<(Group, Restored)>, Problem> {
    let mut known: Vec<_> = seen.iter().filter(|(_, s)| s.left != Left::Trash).collect();
    // A machine boots from it, and nothing at all was found of it.
    let absent = Seen { pool: DEFAULT_POOL.into(), spec: None, left: Left::Lost };
    known.extend(machines.holders.keys().filter(|id| !seen.contains_key(*id)).map(|id| (id, &absent)));
    // The newest first: it keeps its name. What has no spec takes what is left.
    known.sort_by_key(|(id, s)| Reverse((s.spec.as_ref().map(|s| s.created_at), **id)));
    known.into_iter().map(|(id, seen)| one(around, *id, seen, machines, claims)).collect()
}

fn one(
    (found, around): (&Found, &Around<'_>),
    id: VolumeId,
    seen: &Seen,
    machines: &Machines,
    claims: &mut Claims,
) -> Result<(Group, Restored), Problem> {
    let holder = machines.holders.get(&id);
    let mut spec = match &seen.spec {
        Some(spec) => spec.clone(),
        None => made(around, id, seen, holder.and_then(|h| h.root.as_ref()))?,
    };
    let before = spec.clone();
    let mut notes = vec![];
    spec.generation = spec.generation.min(MOST_CHANGES);
    spec.reset = None;
    if spec.size > ByteSize::MAX {
        // Nobody can have asked for it.
        spec.size = if let Left::File(size) = seen.left { size } else { ByteSize::MAX };
    }
    spec.owner = spec.owner.filter(|owner| holder.is_some_and(|h| h.machine == *owner));
    spec.pool.clone_from(&seen.pool);
    // Nobody asks for it any more: what is there of it is removed.
    spec.leaving = spec.moving.take().or(spec.leaving);
    spec.leaving = spec.leaving.filter(|left| *left != spec.pool && super::pool::known(found, left));
    let mut status = VolumeStatus { filled: true, size: spec.size, ..VolumeStatus::default() };
    let mut outcome = if seen.spec.is_some() { Outcome::Recovered } else { Outcome::Adopted };
    match &seen.left {
        Left::File(size) => {
            status.size = *size;
            if *size != spec.size {
                notes.push(format!(
                    "its file has {size} and its sidecar says {}: the larger counts",
                    spec.size
                ));
            }
        }
        Left::Half => {
            status = VolumeStatus::default();
            notes.push("it was being made, and is made anew".into());
        }
        Left::Coming => notes.push("it was being taken out of the trash".into()),
        Left::Lost | Left::Trash => {
            outcome = Outcome::Lost;
            status.condition = Some(Condition::Lost);
        }
        Left::Going(until) | Left::Kept(until) => {
            let kept = matches!(seen.left, Left::Kept(_));
            outcome = if kept { Outcome::Trashed } else { Outcome::Deleting };
            spec.deleting = Some(VolumeDeletion {
                at: around.now,
                // A day to notice, even if the loss went unnoticed for longer.
                keep_until: Some((*until).max(after(around.now, around.settings.trash_keep))),
                operation: OperationId(around.fresh),
                because: None,
            });
            if !kept {
                notes.push("it was being deleted when the database was lost".into());
            }
        }
    }
    let mut group = vec![];
    if spec.deleting.is_none() {
        spec.name = claims.name(Kind::Volume, &spec.name)?;
        group.push((key::name(Kind::Volume, spec.name.as_str()), encode(&id)));
        if let Some(holder) = holder {
            group.push((key::attach(id), encode(&holder.machine)));
        }
        if spec.name != before.name {
            notes.push(format!("it was called \"{}\", which a newer one is called too", before.name));
        }
    }
    if outcome == Outcome::Lost {
        status.fault = Some(lost(&spec));
        notes.push("its file is gone; put it back into the pool, or delete the volume".into());
    }
    if seen.spec.is_none() {
        notes.push("its sidecar is gone: name, role and time of making are made up".into());
    }
    // How whoever had it last ended is in no file.
    group.push((key::unclean(id), encode(&true)));
    if claims.tail(id.short()) {
        group.push((key::tail(&id.short()), encode(&id)));
    }
    spec.generation += u64::from(spec != before);
    group.push((key::spec(Kind::Volume, id.0), encode(&spec)));
    group.push((key::status(Kind::Volume, id.0), encode(&status)));
    Ok((group, Restored { kind: Kind::Volume, id: id.0, name: spec.name, outcome, notes }))
}

/// A spec for content without one; `root` names the machine that boots from it, and its image.
fn made(
    around: &Around<'_>,
    id: VolumeId,
    seen: &Seen,
    root: Option<&(Name, Option<ImageId>)>,
) -> Result<VolumeSpec, Problem> {
    let image = root.and_then(|(_, image)| *image);
    Ok(VolumeSpec {
        id,
        name: root.map_or_else(|| Name::new(&made_up(id.0)), |(machine, _)| Ok(machine.root_volume()))?,
        generation: 1,
        node: around.settings.node.clone(),
        created_at: around.now,
        role: if root.is_some() { VolumeRole::Root } else { VolumeRole::Data },
        pool: DEFAULT_POOL.into(),
        moving: None,
        leaving: None,
        // Of a file that is gone, the length is not known: any that is put back is longer.
        size: if let Left::File(size) = seen.left { size } else { ByteSize::mib(1) },
        // Never made again: it counts as filled.
        source: image
            .map_or(VolumeSource::Blank { fs_uuid: Uuid::nil() }, |image| VolumeSource::Image { image }),
        fs: None,
        identity: None,
        owner: None,
        protected: false,
        labels: Default::default(),
        reset: None,
        deleting: None,
    })
}
