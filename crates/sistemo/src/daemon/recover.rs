//! Rebuilding the database while no daemon runs.
//!
//! Invariant: the daemon's lock is held from before the first look until the end. A whole database
//! with records is never touched; a damaged one is moved aside, never removed. A kill at any point
//! leaves what `sistemo up` refuses and a second `recover` ends.

use super::{datadir, lock, wire};
use crate::api::actor_of;
use crate::config::Config;
use engine::port::Clock;
use engine::recover::{self, Around, Recovery, State};
pub use engine::recover::{Listed, Outcome, Report};
use engine::store::{Sqlite, StoreError};
use host::Layout;
use host::clock::HostClock;
use host::recover::Read;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// The files and directories of this configuration.
pub fn layout(config: &Config) -> Layout {
    Layout::new(&config.data_dir, "/run/sistemo")
}

/// What the database knows; a daemon may have it open.
///
/// # Errors
/// `database-failed`.
pub fn listed(config: &Config) -> Result<Option<Listed>, Problem> {
    Ok(Listed::read(&wire::database(config))?)
}

/// Refuses to begin with an empty database beside machines and volumes: they would look lost.
pub fn refuse_lost(config: &Config) -> Result<(), Problem> {
    let path = wire::database(config);
    // A file of no bytes is a database that nothing was written to.
    let empty = path.metadata().map_or(0, |seen| seen.len()) == 0;
    if empty && host::recover::anything(&layout(config))? {
        return Err(recover::absent(&config.data_dir.display().to_string()));
    }
    Ok(())
}

/// A recovery that was decided on and not begun.
pub struct Ready {
    config: Config,
    clock: HostClock,
    read: Read,
    recovery: Recovery,
    damaged: bool,
    _lock: lock::Lock,
}

/// How a recovery ended.
pub struct Done {
    /// What there is to say.
    pub report: Report,
    /// Where the damaged database is now.
    pub moved: Option<PathBuf>,
}

/// Looks at everything and decides; changes nothing.
///
/// # Errors
/// `daemon-running`, `data-dir-invalid`, `conflict` if there is nothing to recover from, and what
/// [`recover::decide`] refuses.
pub fn prepare(config: Config) -> Result<Ready, Problem> {
    datadir::find(&config.data_dir)?;
    let lock = lock::take(&config.data_dir)?;
    let clock = HostClock::new()
        .map_err(|e| Problem::new(Code::Internal, format!("cannot tell which boot this is: {e}")))?;
    let path = wire::database(&config);
    let damaged = match found(&path) {
        Ok(Some(State::Records)) => return Err(recover::healthy()),
        Ok(_) => false,
        Err(StoreError::Damaged(why)) => {
            tracing::warn!("{}: {why}", path.display());
            true
        }
        Err(other) => return Err(other.into()),
    };
    host::pools::mount_all(&layout(&config))?;
    let read = host::recover::read(&layout(&config))?;
    let settings = wire::settings(&config);
    let around =
        Around { settings: &settings, now: clock.now(), host_boot: clock.host_boot(), fresh: clock.new_id() };
    let recovery = recover::decide(&read.found, &around)?;
    Ok(Ready { config, clock, read, recovery, damaged, _lock: lock })
}

/// What the database holds; `None` if there is none.
fn found(path: &Path) -> Result<Option<State>, StoreError> {
    if path.metadata().map_or(0, |seen| seen.len()) == 0 {
        return Ok(None);
    }
    recover::state(&Sqlite::open(path)?).map(Some)
}

impl Ready {
    /// What will be said.
    pub fn report(&self) -> Report {
        self.recovery.report()
    }

    /// Whether a damaged database is moved aside.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// Does it.
    ///
    /// # Errors
    /// `io-error`, `database-failed`; the same command again goes on.
    pub fn carry_out(self) -> Result<Done, Problem> {
        let now = self.clock.now();
        let path = wire::database(&self.config);
        host::recover::set_aside(&self.read.damaged, now)?;
        // What a database that is gone has left beside it must not be taken for the new one's.
        let gone = path.metadata().map_or(0, |seen| seen.len()) == 0;
        let moved = if self.damaged || gone { host::recover::move_database(&path, now)? } else { None };
        let store = wire::store(&path)?;
        // Whoever owns the data directory, since others are refused.
        let actor = actor_of(rustix::process::geteuid().as_raw());
        recover::write(&store, &self.recovery, &actor, now)?;
        Ok(Done { report: self.recovery.report(), moved: moved.filter(|_| self.damaged) })
    }
}
