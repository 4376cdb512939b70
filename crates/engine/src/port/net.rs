//! Networks of one node.

use super::Fault;
use std::net::Ipv4Addr;
use types::MachineId;
use types::network::NetworkSpec;

/// One interface of one machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NicPlan {
    /// Whose.
    pub machine: MachineId,
    /// Name of the tap on the host, at most 15 characters (`IFNAMSIZ` - 1).
    pub tap: String,
    /// The user whose hypervisor may open the tap.
    pub uid: u32,
    /// The guest's Ethernet address.
    pub mac: String,
    /// The guest's address.
    pub address: Ipv4Addr,
}

/// Bridges, taps and address translation.
pub trait Net: Send + Sync {
    /// Makes the bridge with its address, forwarding, and our nftables table (in one transaction,
    /// no other table touched). Restores whatever of it is gone.
    ///
    /// # Errors
    /// `network-failed`, `no-permission`, `tool-missing`.
    fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Fault>;

    /// Makes the tap, owned by the machine's user, up and in the network's bridge.
    ///
    /// # Errors
    /// `network-failed` (passing where somebody has just removed the bridge), `no-permission`.
    fn ensure_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<(), Fault>;

    /// Whether the tap is there and in the bridge.
    ///
    /// # Errors
    /// `network-failed`.
    fn has_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<bool, Fault>;

    /// Removes the tap, if it is there.
    ///
    /// # Errors
    /// `network-failed`.
    fn remove_nic(&self, nic: &NicPlan) -> Result<(), Fault>;
}
