//! `sistemo volume clone V [--name N] [--storage SIZE] [--pool POOL] [--read-only]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::volume::{CloneVolume, Volume};
use types::{ByteSize, Name};

/// What to copy, and as what.
#[derive(Args)]
pub struct Clone {
    /// Name or id, of a volume or else of a snapshot
    volume: String,
    /// The copy's name [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The copy's size, never less than what is copied has [default: the same]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    storage: Option<String>,
    /// The pool it shall live in [default: that of what is copied]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Only to be read, of a snapshot: it takes no room and a moment
    #[arg(long)]
    read_only: bool,
}

impl Clone {
    /// Copies it and waits until the copy is whole.
    pub async fn run(self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?;
        let asked = CloneVolume {
            name: self.name.as_deref().map(Name::new).transpose()?,
            size_bytes: self.storage.as_deref().map(input::size).transpose()?,
            pool: self.pool.as_deref().map(input::reference).transpose()?.map(str::to_owned),
            read_only: self.read_only,
        };
        let client = context.client()?;
        let accepted = client.post(&["volumes", volume, "clone"], &asked).await?;
        let ended = wait(context, &client, accepted).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: Volume = client.get(&["volumes", &id]).await?;
        render::done(context, &made, |v| {
            format!("volume \"{}\" of {} is ready, a copy of \"{volume}\"\n", v.name, ByteSize(v.size_bytes))
        })
    }
}
