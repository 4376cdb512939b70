//! Snapshots: those whose content and sidecar are there are as they were, deleted ones in the trash.

use super::claims::Claims;
use super::{Around, Found, FoundSnapshot, Group, Left, MOST_CHANGES, Outcome, Restored};
use crate::db::encode;
use crate::key;
use crate::plan::machine::after;
use types::operation::Kind;
use types::snapshot::{SnapshotSidecar, SnapshotStatus};
use types::{ByteSize, Problem};

/// What is written of one, and what is said.
type Made = (Group, Restored);

/// What each snapshot is from now on, and what nothing can be made of.
pub(super) fn decide(
    (found, around): (&Found, &Around<'_>),
    claims: &mut Claims,
) -> Result<(Vec<Made>, Vec<Left>), Problem> {
    let (mut made, mut left) = (vec![], vec![]);
    for snapshot in &found.snapshots {
        match whole(snapshot) {
            Ok(sidecar) => made.push(one(sidecar, around, claims)?),
            Err(why) => left.push(Left { what: format!("snapshot {}", snapshot.id), why: why.into() }),
        }
    }
    Ok((made, left))
}

fn whole(found: &FoundSnapshot) -> Result<&SnapshotSidecar, &'static str> {
    match (&found.sidecar, found.file) {
        (Some(sidecar), Some(size)) if sidecar.taken.size == size && size <= ByteSize::MAX => Ok(sidecar),
        (Some(_), Some(_)) => Err("its file is not as long as its sidecar says"),
        (Some(_), None) => Err("its file is gone: it was being deleted, or is lost"),
        (None, Some(_)) => Err("it has no sidecar: it was being taken, or lost it"),
        (None, None) => Err("it was being taken"),
    }
}

fn one(sidecar: &SnapshotSidecar, around: &Around<'_>, claims: &mut Claims) -> Result<Made, Problem> {
    let mut spec = sidecar.spec.clone();
    let mut notes = vec![];
    // Whoever asked for its end otherwise did not see it.
    spec.deleting = spec.deleting.filter(|going| going.keep_until.is_some());
    if let Some(going) = &mut spec.deleting {
        // A day to notice, even if the loss went unnoticed for longer.
        going.keep_until = going.keep_until.max(Some(after(around.now, around.settings.trash_keep)));
    }
    let named = !spec.passing && spec.deleting.is_none();
    spec.generation = spec.generation.min(MOST_CHANGES);
    if named {
        spec.name = claims.name(Kind::Snapshot, &spec.name)?;
    }
    if spec.name != sidecar.spec.name {
        notes.push(format!("it was called \"{}\", which another one is called too", sidecar.spec.name));
    }
    spec.generation += u64::from(spec != sidecar.spec);
    let status = SnapshotStatus { taken: Some(sidecar.taken), ..SnapshotStatus::default() };
    let mut group = vec![
        (key::spec(Kind::Snapshot, spec.id.0), encode(&spec)),
        (key::status(Kind::Snapshot, spec.id.0), encode(&status)),
    ];
    if named {
        group.push((key::name(Kind::Snapshot, spec.name.as_str()), encode(&spec.id)));
    }
    let outcome = if spec.deleting.is_some() { Outcome::Trashed } else { Outcome::Recovered };
    let (id, name) = (spec.id.0, spec.name);
    Ok((group, Restored { kind: Kind::Snapshot, id, name, outcome, notes }))
}
