//! `sistemo machine wait NAME --for PHASE`.
//!
//! Invariant: it listens before it looks, so that no phase passes unseen in between; a phase that
//! comes and goes while nobody looks does not count, since it is not so any more.

use crate::cli::context::Context;
use crate::cli::machine::change::sentence;
use crate::cli::wait::at;
use crate::cli::{Ended, input, render};
use crate::client::Client;
use clap::{Args, ValueEnum};
use std::time::Duration;
use types::event::Subject;
use types::machine::{Machine, Phase};
use types::{Code, Problem};

/// Between two tries to reach the daemon.
const PAUSE: Duration = Duration::from_millis(500);

/// What to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum For {
    Running,
    Stopped,
    Failed,
    Deleted,
}

/// Which, and for what.
#[derive(Args)]
pub struct Wait {
    /// Name or id
    machine: String,
    /// What to wait for
    #[arg(long = "for", value_enum, value_name = "PHASE", default_value = "running")]
    wanted: For,
}

impl Wait {
    /// Waits until it is so.
    pub async fn run(self, context: &Context) -> Ended {
        let machine = input::reference(&self.machine)?;
        let client = context.client()?;
        let until = context.until()?;
        let found: Option<Machine> = tokio::select! {
            found = self.seen(&client, machine) => found?,
            () = at(until) => {
                let wanted = self.wanted.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
                return Err(Problem::new(Code::TimedOut, format!("machine \"{machine}\" is not {wanted} in time"))
                    .hint(format!("`sistemo machine show {machine}` shows how it is"))
                    .into());
            }
        };
        match found {
            Some(machine) => render::done(context, &machine, sentence),
            None if context.format() == render::Format::Text && !context.quiet() => {
                render::print(&format!("machine \"{machine}\" is deleted\n"))
            }
            None => Ok(()),
        }
    }

    async fn seen(&self, client: &Client, machine: &str) -> Result<Option<Machine>, Problem> {
        // A name may come to mean another machine; the one that was meant is the first.
        let first: Machine = match client.get(&["machines", machine]).await {
            Ok(found) => found,
            Err(p) if p.code == Code::MachineNotFound && self.wanted == For::Deleted => return Ok(None),
            Err(p) => return Err(p),
        };
        let id = first.id.to_string();
        loop {
            match self.followed(client, &id).await {
                Err(p) if matches!(p.code, Code::DaemonUnreachable | Code::ShuttingDown) => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn followed(&self, client: &Client, id: &str) -> Result<Option<Machine>, Problem> {
        let mut changes = client.changes().await?;
        loop {
            let now: Machine = match client.get(&["machines", id]).await {
                Ok(now) => now,
                Err(p) if p.code == Code::MachineNotFound && self.wanted == For::Deleted => return Ok(None),
                Err(p) => return Err(p),
            };
            if self.wanted == For::Deleted && now.restorable_until.is_some() {
                return Ok(None);
            }
            if self.holds(&now)? {
                return Ok(Some(now));
            }
            loop {
                let change = changes.next().await?;
                if change.kind == Subject::Machine && change.id == now.id.0 {
                    break;
                }
            }
        }
    }

    fn holds(&self, now: &Machine) -> Result<bool, Problem> {
        match (self.wanted, now.phase) {
            (For::Running, Phase::Running)
            | (For::Stopped, Phase::Stopped)
            | (For::Failed, Phase::Failed) => Ok(true),
            // It does not become what is waited for without somebody's doing.
            (For::Running | For::Stopped, Phase::Failed) => Err(now.fault.clone().unwrap_or_else(|| {
                Problem::new(Code::BootFailed, format!("machine \"{}\" has failed", now.name))
            })),
            _ => Ok(false),
        }
    }
}
