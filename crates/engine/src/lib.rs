//! The mind of Sistemo: store, admission, planners, reconciler, history; it declares the ports.
//!
//! Invariant: nothing here touches Linux. Every effect on the world goes through [`port`], every
//! change of what is wanted or known goes through one [`store`] transaction, so all behaviour can
//! be tested by killing it between any two of those.

mod admit;
mod db;
mod history;
mod key;
mod live;
pub mod plan;
pub mod port;
pub mod recover;
mod run;
mod settings;
pub mod sim;
pub mod store;
mod view;

/// Ways in for the fuzz targets, and for nobody else.
#[doc(hidden)]
pub mod fuzzing {
    /// Where a volume is to be mounted.
    ///
    /// # Errors
    /// `invalid-request`.
    pub fn mount(text: &str) -> Result<types::machine::Mount, types::Problem> {
        crate::admit::mount(Some(text))
    }
}

pub use live::OnOperation;
pub use run::Next;
pub use settings::Settings;

use db::Db;
use port::Ports;
use std::sync::Arc;
use store::Store;
use types::Problem;

/// The engine: admission, reading and the reconciler over one store and one set of ports.
/// Cloning shares it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    db: Db,
    ports: Ports,
    settings: Settings,
    live: live::Live,
    queue: run::queue::Queue,
    /// Changes are refused: the daemon is ending.
    ending: std::sync::atomic::AtomicBool,
    /// How many workers there are.
    workers: std::sync::atomic::AtomicUsize,
    steady: std::sync::Mutex<run::steady::Steady>,
}

impl Engine {
    /// An engine over `store` and `ports`. Makes the default network if it is not there yet; does
    /// nothing else until [`Engine::start`].
    ///
    /// # Errors
    /// `database-failed`, also if a recovery of this store has begun and not ended.
    pub fn open(store: Arc<dyn Store>, ports: Ports, settings: Settings) -> Result<Self, Problem> {
        let inner = Inner {
            db: Db(store),
            ports,
            settings,
            live: live::Live::default(),
            queue: run::queue::Queue::default(),
            ending: false.into(),
            workers: 0.into(),
            steady: std::sync::Mutex::default(),
        };
        recover::refuse_half(&*inner.db.0)?;
        let engine = Self(Arc::new(inner));
        engine.ensure_default_network()?;
        engine.reload_live()?;
        Ok(engine)
    }
}
