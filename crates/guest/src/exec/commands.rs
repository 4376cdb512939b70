//! All commands together.
//!
//! Invariant: there are never more than [`MOST`], and once the machine shall end no new one begins.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many commands may run.
const MOST: u32 = 64;

/// The commands that run.
pub struct Commands {
    permits: Arc<Semaphore>,
    ending: watch::Sender<bool>,
}

/// What a command holds while it runs.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    ending: watch::Receiver<bool>,
}

impl Commands {
    /// None yet.
    pub fn new() -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(MOST as usize));
        Arc::new(Self { permits, ending: watch::channel(false).0 })
    }

    /// A place for one more, if there is one.
    pub fn place(&self) -> Option<Place> {
        let _permit = self.permits.clone().try_acquire_owned().ok()?;
        let ending = self.ending.subscribe();
        let may = !*ending.borrow();
        may.then_some(Place { _permit, ending })
    }

    /// Ends them all and waits for it.
    pub async fn end(&self) {
        self.ending.send_replace(true);
        // The semaphore is never closed.
        let _ = self.permits.acquire_many(MOST).await;
    }
}

impl Place {
    /// Waits until all commands shall end.
    pub async fn ending(&mut self) {
        if self.ending.wait_for(|&ending| ending).await.is_err() {
            // Nobody is there any more who could say so.
            std::future::pending().await
        }
    }
}
