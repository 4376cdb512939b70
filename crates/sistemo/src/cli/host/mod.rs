//! `sistemo host shutdown|resume`: what the service manager runs when the host goes down.
//!
//! Invariant: guests outlive the daemon, so a host that goes down without one still ends them in order.

mod borrowed;

use super::context::Context;
use super::wait::wait;
use super::{Ended, render};
use clap::Subcommand;
use types::{Code, Operation};

/// The verbs.
#[derive(Subcommand)]
pub enum Host {
    /// Shut every guest down and start none until the next boot; then those that ran run again
    Shutdown,
    /// Call the host's end off: start what was held back
    Resume,
}

impl Host {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Shutdown => {
                let client = context.client()?;
                let mut daemon = None;
                let shutdown = async {
                    let accepted = match client.act(&["host", "shutdown"]).await {
                        // A daemon that is borrowed goes when this command does.
                        Err(p) if p.code == Code::DaemonUnreachable && !context.no_wait() => {
                            daemon = borrowed::up(context, &client).await?;
                            if daemon.is_none() {
                                return Err(p.into());
                            }
                            client.act(&["host", "shutdown"]).await?
                        }
                        other => other?,
                    };
                    wait(context, &client, accepted).await
                };
                let done = context.bounded(shutdown).await;
                if let Some(daemon) = daemon {
                    daemon.down().await;
                }
                render::done(context, &done?, |_: &Operation| {
                    "no machine runs; those that ran start once the host is back\n".into()
                })
            }
            Self::Resume => {
                let client = context.client()?;
                let resume = async {
                    let accepted = client.act(&["host", "resume"]).await?;
                    wait(context, &client, accepted).await
                };
                render::done(context, &context.bounded(resume).await?, |_: &Operation| {
                    "machines start again\n".into()
                })
            }
        }
    }
}
