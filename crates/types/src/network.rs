//! Networks: isolated layer-2 segments with a subnet.

use crate::id::NetworkId;
use crate::meta::Timestamp;
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use utoipa::ToSchema;

/// What is wanted of a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The network.
    pub id: NetworkId,
    /// Its name.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
    /// The host's bridge.
    pub bridge: String,
    /// The host's address in it, which is the guests' gateway.
    pub gateway: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
}

impl NetworkSpec {
    /// The host addresses that guests can have: all of the subnet but the first (network), the
    /// gateway and the last (broadcast).
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        let base = u32::from(self.gateway) & mask;
        let gateway = u32::from(self.gateway);
        (base + 1..base | !mask).filter(move |a| *a != gateway).map(Ipv4Addr::from)
    }
}

/// A network as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Network")]
pub struct Network {
    /// The network's id.
    pub id: NetworkId,
    /// Its name.
    pub name: Name,
    /// The subnet, as `10.200.0.0/16`.
    pub subnet: String,
    /// The host's address in it.
    #[schema(value_type = String, format = Ipv4)]
    pub gateway: Ipv4Addr,
    /// The host's bridge.
    pub bridge: String,
    /// How many machines have an address in it.
    pub machines: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The spec's revision, for `If-Match`; it moves with every change of what is wanted.
    #[serde(default)]
    pub revision: u64,
}
