//! Store, host and engine, put together.
use crate::api::{About, App, ExecRequest, Frames, Guests, PoolRoom, Shared, events};
use crate::config::Config;
use engine::Engine;
use std::sync::Arc;
use tokio::sync::watch;
use types::{MachineId, Problem, RunId, Timestamp};

/// What the daemon runs.
pub struct Wired {
    /// The mind.
    pub engine: Engine,
    /// What the API needs.
    pub app: Shared,
}

/// Opens everything.
pub fn wire(config: &Config, stopping: watch::Receiver<bool>) -> Result<Wired, Problem> {
    let store = engine::store::Sqlite::open(&config.data_dir.join("sistemo.db"))?;
    let world = engine::sim::World::new();
    let ports = world.ports();
    let engine = Engine::open(Arc::new(store), ports.clone(), settings(config))?;
    let hub = events::Hub::default();
    let news = hub.clone();
    engine.on_operation(Arc::new(move |operation| news.tell(operation)));
    let _ = super::agent::find();
    let key = super::key::ensure(&config.data_dir)?;
    let app = App {
        engine: engine.clone(),
        events: hub,
        guests: Arc::new(Nobody),
        capacity: Arc::new(|| Ok(PoolRoom { name: "default".into(), total_bytes: 0, free_bytes: 0 })),
        about: About {
            node: config.node.clone(),
            started_at: Timestamp::from_millis(0),
            data_dir: config.data_dir.clone(),
            ssh_key: Some(key.private),
        },
        stopping,
    };
    Ok(Wired { engine, app: Arc::new(app) })
}

fn settings(config: &Config) -> engine::Settings {
    engine::Settings {
        node: config.node.clone(),
        stop_timeout: config.stop_timeout,
        boot_timeout: config.boot_timeout,
        reconciler_interval: config.reconciler_interval,
        trash_keep: config.trash_keep,
        bridge: config.bridge.clone(),
        gateway: config.gateway,
        prefix: config.prefix,
        workers: config.workers,
        ..engine::Settings::default()
    }
}

struct Nobody;
impl Guests for Nobody {
    fn exec(
        &self,
        _: MachineId,
        _: RunId,
        _: ExecRequest,
    ) -> futures_util::future::BoxFuture<'_, Result<Box<dyn Frames>, Problem>> {
        Box::pin(async { Err(Problem::new(types::Code::NotYet, "stub")) })
    }
    fn console(
        &self,
        _: MachineId,
        _: bool,
    ) -> Result<futures_util::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>, Problem> {
        Err(Problem::new(types::Code::NotYet, "stub"))
    }
}
