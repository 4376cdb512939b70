//! What the service manager is told (`sd_notify(3)`).
//!
//! Invariant: the watchdog is fed only by a daemon whose store answers and whose workers work, so a
//! daemon that hangs is replaced; machines do not notice.

use engine::Engine;
use sd_notify::NotifyState;
use std::time::Duration;

/// Tells it; without one, nothing happens.
pub fn tell(state: NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(false, &[state]) {
        tracing::warn!("cannot tell the service manager: {e}");
    }
}

/// Feeds the watchdog, if the manager has set one, as long as `engine` is well. On a thread of its
/// own, since whoever shares one with requests would wait behind them.
pub fn watch(engine: &Engine) {
    let Some(limit) = limit(|name| std::env::var(name).ok()) else { return };
    // sd_watchdog_enabled(3): at half of the time or sooner.
    let pause = (limit / 3).max(Duration::from_millis(10));
    let engine = engine.clone();
    let fed = std::thread::Builder::new().name("watchdog".into()).stack_size(256 * 1024).spawn(move || {
        loop {
            match engine.well() {
                Ok(()) => tell(NotifyState::Watchdog),
                Err(why) => tracing::error!("not well: {why}"),
            }
            std::thread::sleep(pause);
        }
    });
    if let Err(e) = fed {
        tracing::error!("the watchdog will not be fed: {e}");
    }
}

/// Within which time the watchdog wants to be fed. The crate's own question takes a missing
/// `WATCHDOG_PID` for a no; sd_watchdog_enabled(3) takes it for a yes.
fn limit(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name| variable(name).map(|text| text.parse::<u64>().ok());
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == Some(u64::from(std::process::id())));
    let usec = number("WATCHDOG_USEC")??;
    (ours && usec > 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let ask = |usec: &'static str, pid: Option<u32>| {
            limit(move |name| match name {
                "WATCHDOG_USEC" => Some(usec.into()),
                _ => pid.map(|pid| pid.to_string()),
            })
        };
        let me = std::process::id();
        assert_eq!(ask("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(ask("2000000", Some(me)), Some(Duration::from_secs(2)));
        assert_eq!(ask("2000000", Some(me + 1)), None);
        assert_eq!(ask("0", None), None);
        assert_eq!(ask("soon", None), None);
    }
}
