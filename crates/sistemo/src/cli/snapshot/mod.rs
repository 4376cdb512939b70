//! `sistemo snapshot`: what volumes were at one moment.

mod delete;
mod list;
mod restore;
mod show;
pub mod take;
mod undelete;

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
    /// Make a volume that is detached, or whose machine is stopped, what it was; what it is now is kept in a snapshot first
    Restore(restore::Restore),
    /// Delete a snapshot, which can be taken back for a while; its volume stays
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Take a deleted snapshot back
    Undelete(undelete::Undelete),
}

impl Snapshot {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
            Self::Undelete(verb) => verb.run(context).await,
        }
    }
}
