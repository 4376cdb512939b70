//! Time, and which boot of the host this is.

use engine::port::Clock;
use types::Timestamp;
use uuid::Uuid;

/// The host's clock.
pub struct HostClock {
    boot: String,
}

impl HostClock {
    /// Reads the boot id once: it does not change while this process lives.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn new() -> std::io::Result<Self> {
        // random(4): /proc/sys/kernel/random/boot_id.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot: boot.trim().to_owned() })
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now())
    }

    fn host_boot(&self) -> String {
        self.boot.clone()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
