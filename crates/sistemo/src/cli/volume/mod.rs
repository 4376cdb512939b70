//! `sistemo volume`: the disks.

mod clone;
mod create;
pub mod delete;
mod export;
mod import;
mod list;
mod relocate;
mod resize;
mod restore;
mod show;
mod trim;

use super::context::Context;
use super::{Ended, edit, snapshot};
use clap::Subcommand;
use types::operation::Kind;

/// The verbs.
#[derive(Subcommand)]
pub enum Volume {
    /// Create a data volume, empty or from a file
    Create(create::Create),
    /// Take a snapshot of a volume
    Snapshot(snapshot::take::OfVolume),
    /// Make an independent copy of a volume, as of one instant if its machine runs, or of a snapshot
    Clone(clone::Clone),
    /// Write the content of a volume, as of one instant if its machine runs, or of a snapshot to a file
    Export(export::Export),
    /// Make a volume of a file
    Import(import::Import),
    /// List the volumes
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a volume
    #[command(visible_alias = "status")]
    Show(show::Show),
    /// Make a volume larger, also while its machine runs; its file system follows
    Resize(resize::Resize),
    /// Bring a volume that no running machine has into another pool
    Move(relocate::Move),
    /// Give back to the host what the guest does not use of an attached volume
    Trim(trim::Trim),
    /// Delete a detached volume; the trash keeps it for a while
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Take a deleted volume back
    Restore(restore::Restore),
    /// Give a volume another name
    Rename(edit::Rename),
    /// Refuse to delete a volume, and to restore a snapshot of it
    Protect(edit::Which),
    /// Let a volume be deleted again
    Unprotect(edit::Which),
    /// Set and remove labels
    Label(edit::Label),
}

impl Volume {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Create(verb) => verb.run(context).await,
            Self::Snapshot(verb) => verb.run(context).await,
            Self::Clone(verb) => verb.run(context).await,
            Self::Export(verb) => verb.run(context).await,
            Self::Import(verb) => verb.run(context).await,
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Resize(verb) => verb.run(context).await,
            Self::Move(verb) => verb.run(context).await,
            Self::Trim(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
            Self::Rename(verb) => verb.run(context, Kind::Volume).await,
            Self::Protect(verb) => verb.run(context, Kind::Volume, true).await,
            Self::Unprotect(verb) => verb.run(context, Kind::Volume, false).await,
            Self::Label(verb) => verb.run(context, Kind::Volume).await,
        }
    }
}
