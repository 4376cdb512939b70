//! `sistemo volume trim V`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;

/// Which.
#[derive(Args)]
pub struct Trim {
    /// Name or id
    volume: String,
}

impl Trim {
    /// Trims it.
    pub async fn run(self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?;
        let client = context.client()?;
        let accepted = client.post(&["volumes", volume, "trim"], &()).await?;
        let ended = wait(context, &client, accepted).await?;
        render::done(context, &ended, |op| {
            let back = ByteSize(op.trimmed_bytes.unwrap_or_default());
            format!("volume \"{volume}\" gave {back} back to the host\n")
        })
    }
}
