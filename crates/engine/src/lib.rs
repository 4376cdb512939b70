//! The mind of Sistemo: store, admission, planners, reconciler, history; it declares the ports.
//!
//! Invariant: nothing here touches Linux. Every effect on the world goes through [`port`], every
//! change of what is wanted or known goes through one [`store`] transaction, so all behaviour can
//! be tested by killing it between any two of those.

pub mod access;
mod admit;
mod changes;
mod condition;
mod db;
mod history;
mod hold;
mod keep;
mod key;
mod live;
mod making;
pub mod plan;
mod pools;
pub mod port;
pub mod recover;
mod room;
mod run;
mod settings;
pub mod sim;
mod snapshots;
mod space;
pub mod store;
mod sum;
mod view;

pub use admit::{Expected, Export, Reading};
pub use condition::{Conditions, Once};
pub use db::Rev;
pub use history::HistoryQuery;

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
pub use pools::PoolRoom;
pub use run::Next;
pub use settings::{Reserve, Settings};

use db::Db;
use port::Ports;
use std::sync::{Arc, PoisonError};
use store::Store;
use types::Problem;

/// The engine: admission, reading and the reconciler over one store and one set of ports.
/// Cloning shares it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>, Option<Arc<Conditions>>);

struct Inner {
    db: Db,
    told: Arc<store::Telling>,
    ports: Ports,
    settings: std::sync::RwLock<Arc<Settings>>,
    live: live::Live,
    queue: run::queue::Queue,
    access_epoch: std::sync::atomic::AtomicU64,
    passes: std::sync::atomic::AtomicU64,
    /// Changes are refused: the daemon is ending.
    ending: std::sync::atomic::AtomicBool,
    /// How many workers there are.
    workers: std::sync::atomic::AtomicUsize,
    steady: std::sync::Mutex<run::steady::Steady>,
    /// Those who read a volume just now: they end with this process.
    exports: std::sync::Mutex<std::collections::HashSet<types::OperationId>>,
    /// The guests that trim just now.
    trims: run::trims::Trims,
    /// The pools of which it has been said that they are nearly full.
    warned: std::sync::Mutex<std::collections::BTreeSet<(String, room::Mark)>>,
}

impl Engine {
    /// An engine over `store` and `ports`. Makes the default network if it is not there yet; does
    /// nothing else until [`Engine::start`].
    ///
    /// # Errors
    /// `database-failed`, also if a recovery of this store has begun and not ended.
    pub fn open(store: Arc<dyn Store>, ports: Ports, settings: Settings) -> Result<Self, Problem> {
        let told = Arc::new(store::Telling::new(store));
        let inner = Inner {
            db: Db(told.clone()),
            told,
            ports,
            settings: std::sync::RwLock::new(Arc::new(settings)),
            live: live::Live::default(),
            queue: run::queue::Queue::default(),
            access_epoch: std::sync::atomic::AtomicU64::default(),
            passes: std::sync::atomic::AtomicU64::default(),
            ending: false.into(),
            workers: 0.into(),
            steady: std::sync::Mutex::default(),
            exports: std::sync::Mutex::default(),
            trims: run::trims::Trims::default(),
            warned: std::sync::Mutex::default(),
        };
        recover::refuse_half(&*inner.db.0)?;
        let engine = Self(Arc::new(inner), None);
        engine.ensure_default_network()?;
        engine.ensure_sum()?;
        engine.reload_live()?;
        Ok(engine)
    }

    /// This engine for one request that is made under conditions.
    #[must_use]
    pub fn under(&self, conditions: Conditions) -> Self {
        Self(Arc::clone(&self.0), Some(Arc::new(conditions)))
    }

    /// Heeds these settings from now on, but for those that hold until it is opened anew: the node's name, the
    /// default network, the number of workers and the reconciler interval.
    pub fn heed(&self, new: Settings) {
        let mut settings = self.0.settings.write().unwrap_or_else(PoisonError::into_inner);
        *settings = Arc::new(Settings {
            node: settings.node.clone(),
            reconciler_interval: settings.reconciler_interval,
            bridge: settings.bridge.clone(),
            gateway: settings.gateway,
            prefix: settings.prefix,
            workers: settings.workers,
            ..new
        });
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls `f` with every revision of the store. It must not block.
    pub fn on_commit(&self, f: store::OnCommit) {
        self.0.told.listen(f);
    }

    /// Whether the daemon is ending, so that changes are refused.
    pub fn is_ending(&self) -> bool {
        self.0.ending.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How often everything was looked at since the engine began.
    pub fn passes(&self) -> u64 {
        self.0.passes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The time, as the engine's clock has it.
    pub fn now(&self) -> types::Timestamp {
        self.0.ports.clock.now()
    }
}
