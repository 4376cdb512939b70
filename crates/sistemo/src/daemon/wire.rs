//! Store, host and engine, put together.
use crate::api::{About, App, ExecRequest, Frames, Guests, PoolRoom, Shared, events};
use crate::config::Config;
use crate::mind::Engine;
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
    let engine = Engine;
    let _ = super::agent::find();
    let key = super::key::ensure(&config.data_dir)?;
    let app = App {
        engine: engine.clone(),
        events: events::Hub::default(),
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
