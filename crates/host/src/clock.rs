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
        Ok(Self::of_boot(boot_of(boot.trim(), &std::fs::read_to_string("/proc/1/stat")?)))
    }

    /// A clock that says it is this boot.
    pub fn of_boot(boot: String) -> Self {
        Self { boot }
    }
}

/// A container that starts again ends what ran in it, as a boot does, in the same boot of its kernel: there the
/// first process is another one. On a host it began with the kernel, and the id alone says it.
fn boot_of(id: &str, first: &str) -> String {
    match began(first) {
        Some(ticks) if ticks > rustix::param::clock_ticks_per_second() => format!("{id}@{ticks}"),
        _ => id.to_owned(),
    }
}

/// When a process began, in clock ticks since the kernel did: field 22 of proc_pid_stat(5), whose second one is
/// a name in parentheses that may hold anything.
fn began(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::boot_of;

    #[test]
    fn a_container_that_starts_again_is_another_boot() {
        let stat = |began: u64| {
            format!("1 (a) b (c)) S 0 1 1 0 -1 4194560 9 9 9 9 6 16 1 1 20 0 1 0 {began} 38154240 2271 9\n")
        };
        assert_eq!(boot_of("id", &stat(2)), "id");
        assert_eq!(boot_of("id", &stat(987_654)), "id@987654");
        assert_ne!(boot_of("id", &stat(987_654)), boot_of("id", &stat(987_655)));
        assert_eq!(boot_of("id", "junk"), "id");
    }
}
