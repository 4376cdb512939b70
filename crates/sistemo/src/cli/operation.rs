//! `sistemo operation list|show|wait`.

use super::context::Context;
use super::wait::wait;
use super::{Ended, render};
use crate::client::{Client, encode};
use clap::{Args, Subcommand};
use types::{Code, Operation, OperationId, Problem};

/// The verbs.
#[derive(Subcommand)]
pub enum Operations {
    /// List operations, the newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Show an operation
    #[command(visible_alias = "status")]
    Show(Which),
    /// Wait until an operation has ended; one that fails is an error
    Wait(Which),
}

/// Which of them.
#[derive(Args)]
pub struct List {
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Only those that are running, succeeded or failed
    #[arg(long, value_name = "STATE", value_parser = ["running", "succeeded", "failed"])]
    state: Option<String>,
    /// Only those about this machine, volume or image
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// Which one.
#[derive(Args)]
pub struct Which {
    /// The operation's id
    operation: String,
}

impl Operations {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List(list) => {
                let mut query = format!("limit={}", list.limit);
                for (name, value) in [("state", list.state), ("target", list.target)] {
                    if let Some(value) = value {
                        query.push_str(&format!("&{name}={}", encode(&value)));
                    }
                }
                let header = ["ID", "VERB", "TARGET", "STATE", "ACTOR", "ACCEPTED"];
                render::list::<Operation, Operation, _>(context, &["operations"], &query, header, row).await
            }
            Self::Show(which) => {
                let found = which.find(&context.client()?).await?;
                render::one(context.format(), &found, text)
            }
            Self::Wait(which) => {
                let client = context.client()?;
                let found = which.find(&client).await?;
                let ended = wait(context, &client, found).await?;
                render::done(context, &ended, |o| format!("{} of {} is done\n", o.verb, o.target.name))
            }
        }
    }
}

impl Which {
    async fn find(&self, client: &Client) -> Result<Operation, Problem> {
        client.get(&["operations", &self.id()?.to_string()]).await
    }

    fn id(&self) -> Result<OperationId, Problem> {
        self.operation.parse().map_err(|_| {
            let what = self.operation.escape_debug();
            Problem::new(Code::OperationNotFound, format!("there is no operation \"{what}\""))
                .hint("`sistemo operation list` shows their ids")
        })
    }
}

fn row(o: Operation) -> [String; 6] {
    [
        o.id.to_string(),
        o.verb.to_string(),
        o.target.name,
        o.state.to_string(),
        o.actor.to_string(),
        render::time(o.created_at),
    ]
}

fn text(o: &Operation) -> String {
    let problem = o.problem.as_ref().map(|p| format!("{}: {}", p.code, p.message));
    render::fields(&[
        ("Id", o.id.to_string()),
        ("Verb", o.verb.to_string()),
        ("Target", format!("{} {}", o.target.kind, o.target.name)),
        ("State", o.state.to_string()),
        ("Actor", o.actor.to_string()),
        ("Accepted", render::time(o.created_at)),
        ("Ended", o.ended_at.map(render::time).unwrap_or_default()),
        ("Doing", o.progress.as_ref().map(|p| p.what.clone()).unwrap_or_default()),
        ("Problem", problem.unwrap_or_default()),
        ("Warnings", o.warnings.join("; ")),
    ])
}
