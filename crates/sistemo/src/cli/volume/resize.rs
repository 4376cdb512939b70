//! `sistemo volume resize V SIZE`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::volume::{ResizeVolume, Volume};

/// Which, and how large.
#[derive(Args)]
pub struct Resize {
    /// Name or id
    volume: String,
    /// The new size, such as 10GB; never less than now
    #[arg(allow_negative_numbers = true)]
    size: String,
}

impl Resize {
    /// Resizes it, in a machine that runs too; the file system of one that is stopped follows at its
    /// next boot.
    pub async fn run(self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?;
        let asked = ResizeVolume { size_bytes: input::size(&self.size)? };
        let client = context.client()?;
        let accepted = client.post(&["volumes", volume, "resize"], &asked).await?;
        wait(context, &client, accepted).await?;
        let now: Volume = client.get(&["volumes", volume]).await?;
        render::done(context, &now, |v| format!("volume \"{}\" has {}\n", v.name, ByteSize(v.size_bytes)))
    }
}
