//! `sistemo service install|uninstall`: the daemon as a service of this host.
//!
//! Invariant: both can be run again and end the same; units appear whole, and what a package brought
//! is never written over.

mod install;
mod program;
mod system;
mod uninstall;
mod unit;

use super::context::Context;
use super::{Ended, render};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// Where an administrator's units are.
const UNITS: &str = "etc/systemd/system";
/// Where packages put theirs.
const PACKAGED: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

/// The verbs.
#[derive(Subcommand)]
pub enum Service {
    /// Write the units, make the group `sistemo`, and start the daemon now and at every boot
    Install(install::Install),
    /// Stop the daemon and remove the units; data, machines and the group stay
    Uninstall(uninstall::Uninstall),
}

impl Service {
    /// Runs the verb.
    pub fn run(self, context: &Context) -> Ended {
        match self {
            Self::Install(verb) => verb.run(context),
            Self::Uninstall(verb) => verb.run(context),
        }
    }
}

/// The host, or a tree that will be one.
struct Root(Option<PathBuf>);

impl Root {
    /// Only root may change a host.
    fn new(root: Option<PathBuf>) -> Result<Self, Problem> {
        if !rustix::process::geteuid().is_root() {
            return Err(Problem::new(Code::NoPermission, "only root can change the services of this host")
                .hint("run the command with sudo, or run `sistemo up` yourself"));
        }
        match &root {
            Some(dir) if !dir.is_dir() => {
                Err(Problem::new(Code::Usage, format!("--root: {} is no directory", dir.display()))
                    .hint("name the root of a mounted system"))
            }
            _ => Ok(Self(root)),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.as_deref().unwrap_or(Path::new("/")).join(below)
    }

    /// Whether systemd runs here and may be talked to.
    fn booted(&self) -> bool {
        self.0.is_none() && Path::new("/run/systemd/system").is_dir()
    }

    /// Whether a package brought the units.
    fn packaged(&self) -> bool {
        PACKAGED.iter().any(|dir| self.path(dir).join(unit::DAEMON).exists())
    }
}

/// The names of what was written or removed.
fn paths(all: &[PathBuf]) -> Ended {
    let lines: String = all.iter().map(|path| format!("{}\n", path.display())).collect();
    render::print(&lines)
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::IoError, format!("cannot {what} {}: {error}", path.display()))
        .hint("look for a read-only or full file system")
}
