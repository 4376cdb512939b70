//! What the operator can set that the engine heeds.

use std::net::Ipv4Addr;
use std::time::Duration;
use types::ByteSize;
use types::machine::{MAX_MEMORY, MAX_VCPUS};

/// Room that is kept free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserve {
    /// So much.
    Bytes(ByteSize),
    /// So many hundredths of the pool.
    Percent(u8),
}

impl Reserve {
    /// In a pool of this size.
    pub fn of(self, total: ByteSize) -> ByteSize {
        match self {
            Self::Bytes(bytes) => bytes,
            // A hundredth first: nothing overflows, and a byte more or less does not matter.
            Self::Percent(percent) => ByteSize(total.bytes() / 100 * u64::from(percent.min(100))),
        }
    }
}

/// The engine's settings; see the configuration reference for defaults and ranges.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this host.
    pub node: String,
    /// How long a guest may take to shut down before the plug is pulled.
    pub stop_timeout: Duration,
    /// How long a guest may take until its agent says hello.
    pub boot_timeout: Duration,
    /// Machines that ran when the host went down run again once it is back.
    pub restart_after_boot: bool,
    /// How often everything is looked at without a cause.
    pub reconciler_interval: Duration,
    /// How long the trash keeps a deleted volume.
    pub trash_keep: Duration,
    /// From how many percent on a pool counts as nearly full.
    pub pool_warn: u8,
    /// What has to stay free in the pool.
    pub pool_reserve: Reserve,
    /// What the volumes may add up to, in percent of the pool; nothing says how much.
    pub pool_overcommit: Option<u32>,
    /// The most virtual processors of a machine.
    pub max_vcpus: u32,
    /// The most memory of a machine.
    pub max_memory: ByteSize,
    /// The largest volume.
    pub max_storage: ByteSize,
    /// How long the history is kept.
    pub history_keep: Duration,
    /// How large it may be.
    pub history_size: ByteSize,
    /// The bridge of the default network.
    pub bridge: String,
    /// The host's address in the default network.
    pub gateway: Ipv4Addr,
    /// Length of the default network's prefix.
    pub prefix: u8,
    /// How many steps may be in flight at once.
    pub workers: usize,
    /// Virtual processors of a machine that does not ask for a number.
    pub default_vcpus: u32,
    /// Memory of a machine that does not ask for a size.
    pub default_memory: ByteSize,
    /// Root volume of a machine that does not ask for a size.
    pub default_storage: ByteSize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "localhost".into(),
            stop_timeout: Duration::from_secs(90),
            boot_timeout: Duration::from_secs(300),
            restart_after_boot: true,
            reconciler_interval: Duration::from_secs(30),
            trash_keep: Duration::from_secs(24 * 3600),
            pool_warn: 90,
            pool_reserve: Reserve::Bytes(ByteSize(0)),
            pool_overcommit: None,
            max_vcpus: MAX_VCPUS,
            max_memory: MAX_MEMORY,
            max_storage: ByteSize::MAX,
            history_keep: Duration::from_secs(365 * 24 * 3600),
            history_size: ByteSize::mib(64),
            bridge: "sistemo0".into(),
            gateway: Ipv4Addr::new(10, 200, 0, 1),
            prefix: 16,
            workers: 8,
            default_vcpus: 2,
            default_memory: ByteSize::mib(512),
            default_storage: ByteSize::gib(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::World;

    #[test]
    fn what_can_change_does_so_at_once_and_the_rest_waits_for_a_restart() {
        let engine = World::new().boot(Settings::default()).unwrap();
        engine.heed(Settings {
            node: "other".into(),
            workers: 3,
            prefix: 24,
            max_vcpus: 1,
            trash_keep: Duration::from_secs(3600),
            ..Settings::default()
        });
        let now = engine.settings();
        assert_eq!((now.max_vcpus, now.trash_keep), (1, Duration::from_secs(3600)));
        assert_eq!((now.node.as_str(), now.workers, now.prefix), ("localhost", 8, 16));
    }
}
