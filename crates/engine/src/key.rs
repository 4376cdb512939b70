//! The names of the keys in the store.
//!
//! Invariant: records come in pairs, `<kind>/<id>/spec` and `<kind>/<id>/status`, so that a status
//! never changes the revision a user holds; everything that must be unique is a claim key, put with
//! [`Check::Absent`](crate::store::Check::Absent) in the transaction that takes it.

use std::net::Ipv4Addr;
use types::operation::Kind;
use types::{NetworkId, OperationId, VolumeId};
use uuid::Uuid;

/// All records of a kind.
pub fn all(kind: Kind) -> String {
    format!("{kind}/")
}

/// What is wanted of a resource.
pub fn spec(kind: Kind, id: Uuid) -> String {
    format!("{kind}/{id}/spec")
}

/// What was seen of a resource.
pub fn status(kind: Kind, id: Uuid) -> String {
    format!("{kind}/{id}/status")
}

/// The id in a record's key, if it ends in `leaf`.
pub fn id_of<'a>(key: &'a str, leaf: &str) -> Option<(&'a str, Uuid)> {
    let mut parts = key.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(id), Some(l), None) if l == leaf => Some((kind, id.parse().ok()?)),
        _ => None,
    }
}

/// Claim of a name; its value is the id.
pub fn name(kind: Kind, name: &str) -> String {
    format!("claim/name/{kind}/{name}")
}

/// Claim of a volume by the machine that holds it; its value is the machine's id.
pub fn attach(volume: VolumeId) -> String {
    format!("claim/attach/{}", volume.0)
}

/// All claims of volumes.
pub const ATTACH: &str = "claim/attach/";

/// What holds a volume still: who reads it now. While it is there, no run of the volume begins and it
/// neither grows nor goes.
pub fn hold(id: Uuid) -> String {
    format!("{HOLDS}{id}")
}

/// All of them.
pub const HOLDS: &str = "hold/";

/// The mark of a volume whose file system was not unmounted in order by the last that had it.
pub fn unclean(volume: VolumeId) -> String {
    format!("{UNCLEAN}{}", volume.0)
}

/// All of them.
pub const UNCLEAN: &str = "unclean/";

/// Claim of an address.
pub fn address(network: NetworkId, address: Ipv4Addr) -> String {
    // Fixed width, so that a scan is in the order of the addresses.
    format!("{}{:08x}", addresses(network), u32::from(address))
}

/// All claims of addresses in a network.
pub fn addresses(network: NetworkId) -> String {
    format!("claim/address/{}/", network.0)
}

/// Claim of an Ethernet address.
pub fn mac(mac: &str) -> String {
    format!("claim/mac/{mac}")
}

/// Claim of an unprivileged user.
pub fn uid(uid: u32) -> String {
    format!("claim/uid/{uid}")
}

/// Claim of an id's random tail, from which taps, cgroups and disk serials are named.
pub fn tail(short: &str) -> String {
    format!("claim/tail/{short}")
}

/// Claim of an image's source, so that one file makes one image.
pub fn image_source(source: &str) -> String {
    format!("claim/image-source/{source}")
}

/// An operation.
pub fn operation(id: OperationId) -> String {
    format!("operation/{}", id.0)
}

/// All operations, in the order of time.
pub const OPERATIONS: &str = "operation/";

/// The mark of an operation that has not ended; its value is the operation's id.
pub fn open(kind: Kind, resource: Uuid, id: OperationId) -> String {
    format!("{}{}", opens(kind, resource), id.0)
}

/// All operations on a resource that have not ended.
pub fn opens(kind: Kind, resource: Uuid) -> String {
    format!("open/{kind}/{resource}/")
}

/// The host that an operation that has not ended is about, from its mark.
pub fn opened_node(mark: &str) -> Option<Uuid> {
    mark.strip_prefix("open/node/")?.split('/').next()?.parse().ok()
}

/// All operations that have not ended.
pub const OPEN: &str = "open/";

/// The mark of a request that was made once.
pub fn once(key: &str) -> String {
    format!("{ONCE}{key}")
}

/// All of them.
pub const ONCE: &str = "once/";

/// A token for the API, by the part of it that is no secret.
pub fn token(prefix: &str) -> String {
    format!("{TOKENS}{prefix}")
}

/// All tokens.
pub const TOKENS: &str = "access/token/";

/// A user.
pub fn user(name: &str) -> String {
    format!("{USERS}{name}")
}

/// All users.
pub const USERS: &str = "access/user/";

/// A user's session, by the hash of its secret.
pub fn session(user: &str, hash: &str) -> String {
    format!("{}{hash}", sessions(user))
}

/// All sessions of a user.
pub fn sessions(user: &str) -> String {
    format!("access/session/{user}/")
}

/// The mark that there has been a first admin; it stays.
pub const SETUP: &str = "access/setup";

/// A line of the audit log.
pub fn history(id: Uuid) -> String {
    format!("history/{id}")
}

/// The audit log, in the order of time.
pub const HISTORY: &str = "history/";

/// What the volumes of a pool may grow to, all together; its value is a number of bytes.
pub fn sum(pool: &str) -> String {
    format!("sum/pool/{pool}")
}

/// Claim of a directory by the pool that is in it.
pub fn pool_path(path: &str) -> String {
    format!("claim/pool-path/{path}")
}

/// Whether this host is shutting down.
pub fn halting(node: &str) -> String {
    format!("node/{node}/halting")
}

/// The mark of a recovery that has begun and not ended.
pub const RECOVERY: &str = "recovery";
