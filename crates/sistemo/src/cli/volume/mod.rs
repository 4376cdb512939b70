//! `sistemo volume`: the disks.

mod create;
pub mod delete;
mod list;
mod resize;
mod restore;
mod show;
mod trim;

use super::Ended;
use super::context::Context;
use clap::Subcommand;

/// The verbs.
#[derive(Subcommand)]
pub enum Volume {
    /// Create an empty data volume
    Create(create::Create),
    /// List the volumes
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a volume
    #[command(visible_alias = "status")]
    Show(show::Show),
    /// Make a volume larger
    Resize(resize::Resize),
    /// Give back to the host what the guest does not use of an attached volume
    Trim(trim::Trim),
    /// Delete a detached volume; the trash keeps it for a while
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Take a deleted volume back
    Restore(restore::Restore),
}

impl Volume {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Create(verb) => verb.run(context).await,
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Resize(verb) => verb.run(context).await,
            Self::Trim(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
        }
    }
}
