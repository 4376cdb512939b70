//! Store, ports and engine, put together.
//!
//! Invariant: the engine exists before anything of it is woken: a wake that comes earlier is
//! dropped, since the engine looks at everything when it starts.

use super::{ports, recover};
use crate::api::{About, App, Shared, events};
use crate::config::Config;
use engine::Engine;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use types::{Code, Problem};

/// What the daemon runs.
pub struct Wired {
    /// The mind.
    pub engine: Engine,
    /// What the API needs.
    pub app: Shared,
    /// See [`ports::Opened::layout`].
    pub layout: Option<host::Layout>,
}

/// Opens everything.
pub fn wire(config: &Config, stopping: watch::Receiver<bool>) -> Result<Wired, Problem> {
    let key = match super::key::ensure(&config.data_dir) {
        Ok(key) => Some(key),
        // Everything but `ssh` works without.
        Err(problem) => {
            tracing::warn!(code = %problem.code, "{problem}; `machine ssh` will not work");
            None
        }
    };
    let place: Arc<OnceLock<Engine>> = Arc::default();
    let woken = Arc::clone(&place);
    let opened = ports::open(
        config,
        key.as_ref().map(|k| k.public.as_str()),
        Arc::new(move |kind, id| {
            if let Some(engine) = woken.get() {
                engine.wake(kind, id);
            }
        }),
    )?;
    recover::refuse_lost(config)?;
    let store = store(&database(config))?;
    let engine = Engine::open(Arc::new(store), opened.ports.clone(), settings(config))?;
    let engine = place.get_or_init(|| engine).clone();

    let hub = events::Hub::default();
    let news = hub.clone();
    engine.on_commit(hub.revisions());
    let metrics = Arc::new(crate::api::Metrics::default());
    let counts = metrics.clone();
    engine.on_operation(Arc::new(move |operation| {
        counts.operation(operation);
        news.tell(operation);
    }));
    let asked = engine.clone();
    let app = App {
        engine: engine.clone(),
        events: hub,
        gate: crate::api::Gate::new(config.rules()),
        metrics,
        guests: opened.guests,
        contents: opened.contents,
        answers: crate::api::Answers::default(),
        about: About {
            node: config.node.clone(),
            started_at: opened.ports.clock.now(),
            data_dir: config.data_dir.clone(),
            ssh_key: key.map(|k| k.private),
        },
        settings: std::sync::RwLock::new(config.settings.clone()),
        capacity: Arc::new(move || asked.pools_room()),
        stopping,
    };
    Ok(Wired { engine, app: Arc::new(app), layout: opened.layout })
}

/// Where the database is.
pub(super) fn database(config: &Config) -> PathBuf {
    config.data_dir.join("sistemo.db")
}

/// The database. It is made with its mode, which SQLite then gives to the files beside it: the
/// data directory may be passed through by everybody.
pub(super) fn store(path: &Path) -> Result<engine::store::Reserved, Problem> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Problem::new(Code::DatabaseFailed, format!("cannot open {}: {e}", path.display())))?;
    Ok(engine::store::Reserved::open(path)?)
}

pub(super) fn settings(config: &Config) -> engine::Settings {
    engine::Settings {
        node: config.node.clone(),
        stop_timeout: config.stop_timeout,
        boot_timeout: config.boot_timeout,
        restart_after_boot: config.restart_after_boot,
        reconciler_interval: config.reconciler_interval,
        trash_keep: config.trash_keep,
        pool_warn: config.pool_warn,
        pool_reserve: config.pool_reserve,
        pool_overcommit: config.pool_overcommit,
        max_vcpus: config.max_vcpus,
        max_memory: config.max_memory,
        max_storage: config.max_storage,
        history_keep: config.history_keep,
        history_size: config.history_size,
        bridge: config.bridge.clone(),
        gateway: config.gateway,
        prefix: config.prefix,
        workers: config.workers,
        ..engine::Settings::default()
    }
}
