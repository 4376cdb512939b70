//! `sistemo volume delete V [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::volume::Volume;

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    volume: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let found: Volume = client.get(&["volumes", input::reference(&self.volume)?]).await?;
        let size = ByteSize(found.size_bytes);
        confirm(
            self.yes,
            &format!("Delete volume \"{}\"", found.name),
            &[format!("goes:  {} ({size}); the trash keeps it for a while", found.name)],
        )?;
        // By id: between the question and the answer the name may have come to mean another.
        let operation = client.delete(&["volumes", &found.id.to_string()], "").await?;
        let ended = wait(context, &client, operation).await?;
        render::one(context.format(), &ended, |_| format!("volume \"{}\" is deleted\n", found.name))
    }
}
