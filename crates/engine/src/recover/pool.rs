//! Pools: what each was, from its record.

use super::{Found, Group, Outcome, Restored};
use crate::db::encode;
use crate::key;
use types::operation::Kind;
use types::pool::{DEFAULT_POOL, PoolOn, PoolStatus};
use types::{Code, Problem};

/// Refuses while a pool is not there: its volumes would be lost to everybody.
pub(super) fn refuse_offline(found: &Found) -> Result<(), Problem> {
    let Some(pool) = found.offline.first() else { return Ok(()) };
    Err(Problem::new(Code::PoolOffline, format!("pool \"{pool}\" is not there, so what is in it is not found"))
        .hint(format!(
            "mount what it is on and try again; to go on without it, move pools/{pool}.json out of the data directory"
        )))
}

/// Whether there is a pool of this name.
pub(super) fn known(found: &Found, pool: &str) -> bool {
    pool == DEFAULT_POOL || found.pools.iter().any(|p| p.name.as_str() == pool)
}

/// The records of all pools that were found.
pub(super) fn decide(found: &Found) -> Vec<(Group, Restored)> {
    let one = |spec: &types::pool::PoolSpec| {
        let id = spec.id.0;
        // How much of its file its file system makes use of is not known: growing it again is harmless.
        let status = PoolStatus { observed_generation: spec.generation, made: true, ..PoolStatus::default() };
        let mut group = vec![
            (key::spec(Kind::Pool, id), encode(spec)),
            (key::status(Kind::Pool, id), encode(&status)),
            (key::name(Kind::Pool, spec.name.as_str()), encode(&spec.id)),
        ];
        if let PoolOn::Directory { path } = &spec.on {
            group.push((key::pool_path(path), encode(&spec.id)));
        }
        let (name, outcome) = (spec.name.clone(), Outcome::Recovered);
        (group, Restored { kind: Kind::Pool, id, name, outcome, notes: vec![] })
    };
    found.pools.iter().map(one).collect()
}
