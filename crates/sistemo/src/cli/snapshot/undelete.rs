//! `sistemo snapshot undelete S [--name NEW]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::Name;
use types::snapshot::Snapshot;
use types::volume::Restore;

/// Which, and as what.
#[derive(Args)]
pub struct Undelete {
    /// Name, of the one that was deleted last, or id
    snapshot: String,
    /// Another name for it
    #[arg(long, value_name = "NEW")]
    name: Option<String>,
}

impl Undelete {
    /// Takes it back and waits until it is there.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["snapshots", input::reference(&self.snapshot)?, "undelete"];
        let asked = Restore { name: self.name.as_deref().map(Name::new).transpose()? };
        let client = context.client()?;
        let ended = wait(context, &client, client.post(&path, &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let back: Snapshot = client.get(&["snapshots", &id]).await?;
        render::done(context, &back, |s| {
            format!("snapshot \"{}\" of volume \"{}\" is back\n", s.name, s.volume)
        })
    }
}
