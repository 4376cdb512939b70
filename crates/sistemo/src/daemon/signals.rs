//! The signals that the daemon heeds.

use std::fmt;
use tokio::signal::unix::{self, SignalKind};
use types::{Code, Problem};

/// SIGTERM and SIGINT, one after the other.
pub struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
}

/// Which came.
pub enum Came {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGHUP: read the settings again.
    Hup,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Hup => "SIGHUP",
        })
    }
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Self, Problem> {
        let listen = |kind| {
            unix::signal(kind).map_err(|e| Problem::new(Code::Internal, format!("cannot take signals: {e}")))
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Came {
        tokio::select! {
            _ = self.term.recv() => Came::Term,
            _ = self.int.recv() => Came::Int,
            _ = self.hup.recv() => Came::Hup,
        }
    }
}
