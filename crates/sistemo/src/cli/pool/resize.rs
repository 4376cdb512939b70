//! `sistemo pool resize POOL SIZE`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::pool::{Pool, ResizePool};

/// Which, and how large.
#[derive(Args)]
pub struct Resize {
    /// Name or id
    pool: String,
    /// The new size, such as 400GB; never less than now
    #[arg(allow_negative_numbers = true)]
    size: String,
}

impl Resize {
    /// Resizes it, while whatever is in it is in use.
    pub async fn run(self, context: &Context) -> Ended {
        let pool = input::reference(&self.pool)?;
        let asked = ResizePool { size_bytes: input::size(&self.size)? };
        let client = context.client()?;
        wait(context, &client, client.post(&["pools", pool, "resize"], &asked).await?).await?;
        let now: Pool = client.get(&["pools", pool]).await?;
        render::done(context, &now, |p| {
            let free = p.free_bytes.map(|b| format!("; {} are free", ByteSize(b))).unwrap_or_default();
            format!("pool \"{}\" has {}{free}\n", p.name, ByteSize(p.size_bytes.unwrap_or_default()))
        })
    }
}
