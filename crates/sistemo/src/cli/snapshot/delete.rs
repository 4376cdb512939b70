//! `sistemo snapshot delete S [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::snapshot::Snapshot;

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    snapshot: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let found: Snapshot = client.get(&["snapshots", input::reference(&self.snapshot)?]).await?;
        let size = ByteSize(found.size_bytes.unwrap_or(0));
        let lines = [
            format!("goes for good:  {} ({size} of volume {})", found.name, found.volume),
            "stays:          the volume, other snapshots, and copies of this one".to_owned(),
        ];
        confirm(self.yes, &format!("Delete snapshot \"{}\"", found.name), &lines)?;
        // By id: between the question and the answer the name may have come to mean another.
        let operation = client.delete(&["snapshots", &found.id.to_string()], "").await?;
        let ended = wait(context, &client, operation).await?;
        render::one(context.format(), &ended, |_| format!("snapshot \"{}\" is deleted\n", found.name))
    }
}
