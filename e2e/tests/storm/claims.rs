//! Whether the database holds exactly the claims of what is listed.

use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is listed.
pub struct Listed {
    /// Ids of all machines.
    pub machines: BTreeSet<String>,
    /// Ids of all volumes.
    pub volumes: BTreeSet<String>,
    /// Those of them that a machine holds.
    pub attached: usize,
    /// Ids of all snapshots.
    pub snapshots: BTreeSet<String>,
    /// Ids of all images.
    pub images: BTreeSet<String>,
    /// Ids of all pools beside the default one.
    pub pools: BTreeSet<String>,
}

/// Reads the database beside the daemon and compares.
pub fn check(data: &Path, listed: &Listed) -> Result<(), String> {
    let keys = read(data).map_err(|e| format!("the database: {e}"))?;
    let mut claims: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut networks = BTreeSet::new();
    for (key, value) in &keys {
        let mut parts = key.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("claim"), Some(kind), Some(rest)) => claims.entry(kind).or_default().push((rest, value)),
            (Some("network"), Some(id), _) => drop(networks.insert(id.to_owned())),
            (Some("open"), ..) => return Err(format!("{key} is left")),
            (Some("operation"), ..) if value.contains("\"state\":\"running\"") => {
                return Err(format!("{key} has not ended and is not open"));
            }
            (Some("machine"), Some(id), _) if !listed.machines.contains(id) => {
                return Err(format!("{key} is not listed"));
            }
            (Some("volume"), Some(id), _) if !listed.volumes.contains(id) => {
                return Err(format!("{key} is not listed"));
            }
            (Some("snapshot"), Some(id), _) if !listed.snapshots.contains(id) => {
                return Err(format!("{key} is not listed"));
            }
            (Some("pool"), Some(id), _) if !listed.pools.contains(id) => {
                return Err(format!("{key} is not listed"));
            }
            (Some("hold"), ..) => return Err(format!("{key} is left: {value}")),
            (Some("image"), Some(id), _) if !listed.images.contains(id) => {
                return Err(format!("{key} is not listed"));
            }
            _ => {}
        }
    }
    let named =
        [&listed.machines, &listed.volumes, &listed.snapshots, &listed.images, &listed.pools, &networks];
    let known = |id: &str| named.iter().any(|ids| ids.contains(id));
    for (kind, of_kind) in &claims {
        for (key, value) in of_kind {
            let id = value.trim_matches('"');
            if !known(id) {
                return Err(format!("claim/{kind}/{key} belongs to {id}, which is not listed"));
            }
        }
    }
    let machines = listed.machines.len();
    let wanted = [
        ("name", named.iter().map(|ids| ids.len()).sum()),
        ("attach", listed.attached),
        ("address", machines),
        ("mac", machines),
        ("uid", machines),
        ("tail", machines + listed.volumes.len()),
        ("image-source", listed.images.len()),
    ];
    for (kind, wanted) in wanted {
        let of_kind = claims.get(kind).map(Vec::as_slice).unwrap_or_default();
        if of_kind.len() != wanted {
            return Err(format!("{wanted} claims of {kind} wanted: {of_kind:?}"));
        }
    }
    Ok(())
}

fn read(data: &Path) -> rusqlite::Result<Vec<(String, String)>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(data.join("sistemo.db"), flags)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    let mut keys = db.prepare("SELECT key, value FROM kv")?;
    let row = |row: &rusqlite::Row<'_>| {
        let value: Vec<u8> = row.get(1)?;
        Ok((row.get(0)?, String::from_utf8_lossy(&value).into_owned()))
    };
    keys.query_map([], row)?.collect()
}
