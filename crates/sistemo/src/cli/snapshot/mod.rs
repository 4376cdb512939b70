//! `sistemo snapshot`: what volumes were at one moment.

mod delete;
mod list;
mod restore;
mod show;
pub mod take;

use super::Ended;
use super::context::Context;
use clap::Subcommand;

/// The verbs.
#[derive(Subcommand)]
pub enum Snapshot {
    /// List the snapshots
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a snapshot
    #[command(visible_alias = "status")]
    Show(show::Show),
    /// Make a volume what it was; what it is now is kept in a snapshot first
    Restore(restore::Restore),
    /// Delete a snapshot for good; its volume stays
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
}

impl Snapshot {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
        }
    }
}
