//! The agent: what the host talks to.
//!
//! Invariant: it begins before the root is mounted and never waits for it. SIGTERM ends it and its
//! supervisor at once, because an init that shuts down waits for everybody who does not end.

mod disks;
mod keeper;
mod port;
mod power;
mod server;
mod session;
mod still;
mod supervisor;
mod tail;

pub use power::signal as shutdown_signal;
pub use server::{Agent, Wish, connection};
pub use supervisor::supervise;

use rustix::process::{Signal, set_parent_process_death_signal};
use std::io;
use std::time::Duration;

/// Between looks for a port that has gone.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves the host until it is killed.
///
/// # Errors
/// When the guest has no resources for it.
pub fn serve() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let agent = keeper::start()?;
        tokio::spawn(crate::trim::weekly(agent.root.clone()));
        tokio::spawn(crate::names::keep());
        loop {
            let port = port::find().await;
            let over = match port {
                Ok(port) => session::serve(port, &agent).await,
                Err(e) => e,
            };
            crate::log::complain(&format!("the host's channel: {over}"));
            tokio::time::sleep(PAUSE).await;
        }
    })
}
