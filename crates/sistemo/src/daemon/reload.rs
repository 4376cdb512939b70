//! SIGHUP: the settings are read again.
//!
//! Invariant: settings that make no sense change nothing; what cannot change while the daemon runs
//! is named, and stays as it was.

use super::logging::Logging;
use super::wire;
use crate::api::Shared;
use crate::config::Config;
use types::Problem;

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
    // What waits for a restart is compared with what holds, so that it is named each time.
    let pairs = config.settings.iter().zip(&new.settings);
    let differ = pairs.filter(|(held, read)| held.value != read.value).map(|(held, _)| held.key);
    let (at_once, waiting): (Vec<_>, Vec<_>) = differ.partition(|key| key.live);
    logging.set(&new.log)?;
    if !at_once.is_empty() {
        app.gate.set(new.rules());
        app.engine.heed(wire::settings(&new));
        config.shutdown_timeout = new.shutdown_timeout;
    }
    let waiting = waiting.into_iter().map(|key| key.name).collect();
    for (held, read) in config.settings.iter_mut().zip(new.settings) {
        if held.key.live {
            *held = read;
        }
    }
    app.settings.write().unwrap_or_else(|e| e.into_inner()).clone_from(&config.settings);
    Ok(waiting)
}
