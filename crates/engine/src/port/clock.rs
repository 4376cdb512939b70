//! Time and host boots.

use types::Timestamp;

/// Tells the time; in tests, whatever the test says.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;
    /// How long the host has been up, sleep included (`CLOCK_BOOTTIME`): it never jumps, and begins
    /// anew with [`Clock::host_boot`].
    fn uptime(&self) -> std::time::Duration;
    /// Changes whenever the host boots (`/proc/sys/kernel/random/boot_id`), or the container that is the host.
    fn host_boot(&self) -> String;
    /// A fresh UUIDv7 of this time.
    fn new_id(&self) -> uuid::Uuid;
}
