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
        Ok(Self::of_boot(boot.trim().to_owned()))
    }

    /// A clock that says it is this boot.
    pub fn of_boot(boot: String) -> Self {
        Self { boot }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now())
    }

    fn uptime(&self) -> std::time::Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        std::time::Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
    }

    fn host_boot(&self) -> String {
        self.boot.clone()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
