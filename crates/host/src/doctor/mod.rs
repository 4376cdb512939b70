//! Looking at the host: what is as Sistemo needs it, what is not, and what to do.
//!
//! Invariant: looking changes nothing, needs no daemon and no root; what cannot be seen is said.
//! Whatever judges takes text or numbers, so that hosts nobody has at hand can be tested.

mod accel;
mod clock;
mod command;
mod disk;
mod firewall;
mod network;
mod pool;
mod system;
mod tools;

pub use pool::pool;

use engine::Reserve;
use serde::Serialize;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How well something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it shall be.
    Ok,
    /// It works, less well than it could, or it could not be seen.
    Warn,
    /// Something will not work.
    Fail,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How well it is.
    pub state: State,
    /// What was seen, in one sentence.
    pub finding: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    /// As it shall be.
    pub fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, state: State::Ok, finding: finding.into(), fix: None }
    }

    /// Less well than it could be.
    pub fn warn(check: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Warn, finding: finding.into(), fix: Some(fix.into()) }
    }

    /// It will not work.
    pub fn fail(check: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Fail, finding: finding.into(), fix: Some(fix.into()) }
    }

    /// It could not be looked at.
    pub fn unseen(check: &'static str, why: impl fmt::Display) -> Self {
        Self::warn(check, format!("it cannot be seen: {why}"), "run `sistemo doctor` as root")
    }
}

/// What is looked at, as the settings have it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The data directory; it may not be there yet.
    pub data: PathBuf,
    /// `auto`, `kvm` or `tcg`.
    pub accel: String,
    /// The default network's bridge.
    pub bridge: String,
    /// The host's address on it.
    pub gateway: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The port of the API.
    pub port: u16,
    /// What has to stay free in a pool.
    pub reserve: Reserve,
    /// When this program was built, in seconds since the epoch.
    pub built: i64,
}

/// A group of checks; each is given a time limit of its own.
pub type Check = fn(&Subject) -> Vec<Finding>;

/// All checks of the host, with what each is called while nothing is known of it.
pub const CHECKS: &[(&str, Check)] = &[
    ("accelerator", accel::check),
    ("tools", tools::check),
    ("tun", network::tun),
    ("bridge", network::bridge),
    ("subnet", network::subnet),
    ("forwarding", network::forwarding),
    ("firewall", firewall::check),
    ("port", network::port),
    ("cgroup", system::cgroup),
    ("memory", system::memory),
    ("clock", clock::check),
    ("space", disk::space),
    ("filesystem", disk::kind),
    ("directory", disk::directory),
];
