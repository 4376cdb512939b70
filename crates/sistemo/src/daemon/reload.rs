//! SIGHUP: the settings are read again.
//!
//! Invariant: settings that make no sense change nothing; what cannot change while the daemon runs
//! is named, and stays as it was.

use super::logging::Logging;
use crate::api::Shared;
use crate::config::Config;
use types::Problem;

/// What changes at once.
const LIVE: &[&str] = &[
    "log",
    "rate_limit.rps",
    "rate_limit.burst",
    "allowed_hosts",
    "trusted_proxies",
    "session_timeout",
    // Read by commands and not by the daemon.
    "url",
    "ssh_timeout",
    "tls.fingerprint",
];

/// Reads the settings again; `config` becomes what holds from now on.
pub fn reload(config: &mut Config, logging: &Logging, app: &Shared) {
    match apply(config, logging, app) {
        Ok(waiting) if waiting.is_empty() => tracing::info!("the settings were read again"),
        Ok(waiting) => {
            tracing::warn!("the settings were read again; these need a restart: {}", waiting.join(", "));
        }
        Err(problem) => {
            let hint = problem.hint.as_deref().unwrap_or_default();
            tracing::error!(code = %problem.code, "the settings stay as they were: {problem} ({hint})");
        }
    }
}

fn apply(config: &mut Config, logging: &Logging, app: &Shared) -> Result<Vec<&'static str>, Problem> {
    let new = config.again()?;
    let changed = |a: &Config, b: &Config| -> Vec<&'static str> {
        let pairs = a.settings.iter().zip(&b.settings);
        pairs.filter(|(a, b)| a.value != b.value).map(|(a, _)| a.key.name).collect()
    };
    let differ = changed(config, &new);
    logging.set(&new.log)?;
    if differ.iter().any(|k| LIVE.contains(k)) {
        app.gate.set(new.rules());
    }
    // What waits for a restart is compared with what holds, so that it is named each time.
    let waiting: Vec<_> = differ.into_iter().filter(|k| !LIVE.contains(k)).collect();
    for (held, read) in config.settings.iter_mut().zip(new.settings) {
        if LIVE.contains(&held.key.name) {
            *held = read;
        }
    }
    app.settings.write().unwrap_or_else(|e| e.into_inner()).clone_from(&config.settings);
    Ok(waiting)
}
