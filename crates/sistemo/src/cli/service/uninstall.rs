//! `sistemo service uninstall`.
//!
//! Invariant: no data goes and no machine stops; machines that run are named before.

use super::{Root, UNITS, failed, paths, system, unit};
use crate::cli::confirm::confirm;
use crate::cli::context::{self, Context};
use crate::cli::render::Format;
use crate::cli::{Ended, render};
use clap::Args;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use types::machine::{Machine, Phase};

/// How long a daemon may take to say what runs.
const PATIENCE: Duration = Duration::from_secs(5);

/// How.
#[derive(Args)]
pub struct Uninstall {
    /// Remove the units below this directory, such as a mounted system
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    removed: Vec<PathBuf>,
    packaged: bool,
}

impl Uninstall {
    /// Uninstalls it.
    pub fn run(self, context: &Context) -> Ended {
        let root = Root::new(self.root)?;
        let units: Vec<_> = [unit::DAEMON, unit::GUESTS].map(|name| root.path(UNITS).join(name)).into();
        if root.booted() {
            let running = running(context);
            if !running.is_empty() {
                let lines = [
                    format!("running, and going on without a daemon: {}", running.join(", ")),
                    "nothing will shut them down with the host; `sistemo host shutdown` does it now"
                        .to_owned(),
                ];
                confirm(context, "Remove the service while machines run", &lines)?;
            }
            let known = units.iter().any(|u| u.exists()) || root.packaged();
            if known {
                // The unit of the guests cannot be stopped by hand, and ends nothing but with the host.
                system::run("systemctl", &["disable", "--now", unit::DAEMON])?;
                system::run("systemctl", &["disable", unit::GUESTS])?;
            }
        }
        let mut removed = Vec::new();
        let links = units
            .iter()
            .filter_map(|u| Some(root.path(UNITS).join("multi-user.target.wants").join(u.file_name()?)));
        for path in links.chain(units.iter().cloned()).collect::<Vec<_>>() {
            match std::fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(failed("remove", &path, &e).into()),
            }
        }
        if root.booted() {
            system::run("systemctl", &["daemon-reload"])?;
        }
        let done = Done { removed, packaged: root.packaged() };
        if context.format() == Format::Name {
            return paths(&done.removed);
        }
        render::done(context, &done, text)
    }
}

fn text(done: &Done) -> String {
    let mut out = String::new();
    for path in &done.removed {
        out.push_str(&format!("removed {}\n", path.display()));
    }
    if done.packaged {
        out.push_str("the package's units stay, disabled; `apt remove sistemo` takes them\n");
    }
    out.push_str("the service is gone; data, machines and the group stay\n");
    out
}

/// The machines that a daemon says are running; none if there is no daemon.
fn running(context: &Context) -> Vec<String> {
    let mut names = Vec::new();
    let asked = context::block_on(async {
        let found = async {
            let mut items = context.client()?.list::<Machine>(&["machines"], "").await?;
            while let Some(machine) = items.next().await? {
                if matches!(machine.phase, Phase::Running | Phase::Starting | Phase::Stopping) {
                    names.push(machine.name.to_string());
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or(Ok(()))
    });
    drop(asked);
    names
}
