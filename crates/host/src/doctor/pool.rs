//! Whether pool and database know the same.
//!
//! The directory is read before the database: a file is made only after its record, so a file
//! without one is nobody's, whatever the daemon does meanwhile.

use super::Finding;
use crate::pools::place;
use crate::{Layout, recover};
use engine::recover::{Found, Listed};
use types::VolumeId;
use types::pool::DEFAULT_POOL;

const CHECK: &str = "pool";
/// How many are named; the rest are counted.
const NAMED: usize = 3;

/// Compares the pool with what `listed` reads from the database; `None`: it cannot be read.
pub fn pool(layout: &Layout, listed: impl FnOnce() -> Option<Listed>) -> Vec<Finding> {
    let found = match recover::list(layout) {
        Ok(found) => found,
        Err(problem) => return vec![Finding::unseen(CHECK, problem.message)],
    };
    let Some(listed) = listed() else {
        return vec![Finding::unseen(CHECK, "the database cannot be read")];
    };
    let exists = |id| {
        let pool = listed.pools.get(&id).map_or(DEFAULT_POOL, String::as_str);
        place::layout(layout, pool).is_ok_and(|place| place.volume(id).exists())
    };
    judge(&found, &listed, &exists)
}

fn judge(found: &Found, listed: &Listed, exists: &dyn Fn(VolumeId) -> bool) -> Vec<Finding> {
    let mut all = vec![];
    let mut tell = |what: &str, names: Vec<String>, fix: &str, fail: bool| {
        if names.is_empty() {
            return;
        }
        let more =
            if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
        let some = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let text = format!("{what}: {some}{more}");
        all.push(if fail { Finding::fail(CHECK, text, fix) } else { Finding::warn(CHECK, text, fix) });
    };
    tell(
        "pools that are not there",
        found.offline.clone(),
        "mount what they are on; `sistemo pool show POOL` says more",
        true,
    );
    let stranger = |id: &VolumeId| !listed.volumes.contains_key(id);
    let strangers = found.volumes.iter().filter(|v| stranger(&v.id));
    let (whole, parts): (Vec<_>, Vec<_>) = strangers
        .filter(|v| v.file.is_some() || v.sidecar || v.part)
        .partition(|v| v.file.is_some() || v.sidecar);
    let names = |all: Vec<&engine::recover::FoundVolume>| all.iter().map(|v| v.id.to_string()).collect();
    tell(
        "files of volumes that are not in the list",
        names(whole),
        "move them out of the pool; or, with the daemon stopped, move sistemo.db away and run `sistemo recover`",
        false,
    );
    tell(
        "unfinished files of nobody",
        names(parts),
        "remove the .part files of these ids from the pool",
        false,
    );
    let gone = listed.volumes.iter().filter_map(|(id, name)| {
        let name = name.as_ref()?;
        let pool = listed.pools.get(id);
        if pool.is_some_and(|pool| found.offline.contains(pool)) {
            return None;
        }
        let here = found.volumes.iter().any(|v| v.id == *id && v.file.is_some());
        // It may have been made since the directory was read.
        (!here && !exists(*id)).then(|| format!("{name} ({id})"))
    });
    tell(
        "volumes without their file",
        gone.collect(),
        "put the file back into the pool, or delete the volume",
        true,
    );
    let strange = found.snapshots.iter().filter(|s| !listed.snapshots.contains_key(&s.id));
    tell(
        "files of snapshots that are not in the list",
        strange.map(|s| s.id.to_string()).collect(),
        "move them out of the pool; or, with the daemon stopped, move sistemo.db away and run `sistemo recover`",
        false,
    );
    let missing = listed.snapshots.iter().filter_map(|(id, name)| {
        let name = name.as_ref()?;
        let here = found.snapshots.iter().any(|s| s.id == *id && s.file.is_some());
        (!here).then(|| format!("{name} ({id})"))
    });
    tell(
        "snapshots without their file",
        missing.collect(),
        "put the file back into the pool's snapshots, or delete the snapshot",
        true,
    );
    let machines = found.machines.iter().filter(|m| !listed.machines.contains(&m.id));
    tell(
        "directories of machines that are not in the list",
        machines.map(|m| m.id.to_string()).collect(),
        "move them out of the data directory",
        false,
    );
    let images = found.images.iter().filter(|i| !listed.images.contains(&i.id));
    tell(
        "images that are not in the list",
        images.map(|i| i.id.to_string()).collect(),
        "move them out of the data directory",
        false,
    );
    tell(
        "things that are none of ours, or cannot be read",
        found.left.iter().map(|l| l.what.clone()).collect(),
        "move them out of the data directory, or restore them",
        false,
    );
    if all.is_empty() {
        all.push(Finding::ok(
            CHECK,
            format!("{} volumes, each in the list and in the pool", listed.volumes.len()),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use engine::recover::{FoundVolume, Left};
    use types::ByteSize;
    use uuid::Uuid;

    #[test]
    fn what_one_of_the_two_does_not_know_is_told() {
        let id = |n| VolumeId(Uuid::from_u128(n));
        let volume = |n, file, part| FoundVolume {
            id: id(n),
            pool: DEFAULT_POOL.into(),
            specs: vec![],
            file,
            sidecar: false,
            part,
            trashed: None,
            kept: false,
        };
        let there = Some(ByteSize::mib(1));
        let mut found = Found { volumes: vec![volume(1, there, false)], ..Found::default() };
        let mut listed =
            Listed { volumes: [(id(1), Some("a".into())), (id(2), None)].into(), ..Listed::default() };
        let states = |found: &Found, listed: &Listed| {
            judge(found, listed, &|_| false).iter().map(|f| f.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&found, &listed), [State::Ok]);
        listed.volumes.insert(id(3), Some("lost".into()));
        assert_eq!(states(&found, &listed), [State::Fail]);
        assert_eq!(judge(&found, &listed, &|_| true)[0].state, State::Ok);
        found.volumes.extend((4..10).map(|n| volume(n, there, false)));
        found.volumes.push(volume(11, None, true));
        found.left.push(Left { what: "x".into(), why: "y".into() });
        assert_eq!(states(&found, &listed), [State::Warn, State::Warn, State::Fail, State::Warn]);
        assert!(judge(&found, &listed, &|_| false)[0].finding.contains("and 3 more"));
    }
}
