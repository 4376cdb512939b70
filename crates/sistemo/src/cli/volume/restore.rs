//! `sistemo volume restore V [--name NEW]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::volume::{Restore as Asked, Volume};
use types::{ByteSize, Name};

/// Which, and as what.
#[derive(Args)]
pub struct Restore {
    /// Name, of the one that was deleted last, or id
    volume: String,
    /// Another name for it
    #[arg(long, value_name = "NEW")]
    name: Option<String>,
}

impl Restore {
    /// Takes it back and waits until it is there.
    pub async fn run(self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?;
        let asked = Asked { name: self.name.as_deref().map(Name::new).transpose()? };
        let client = context.client()?;
        let ended =
            wait(context, &client, client.post(&["volumes", volume, "restore"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let back: Volume = client.get(&["volumes", &id]).await?;
        render::done(context, &back, |v| {
            format!("volume \"{}\" of {} is back\n", v.name, ByteSize(v.size_bytes))
        })
    }
}
