//! `sistemo volume create SIZE [--name N] [--pool POOL]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::label::Labels;
use types::volume::{CreateVolume, Volume};
use types::{ByteSize, Name};

/// What to create.
#[derive(Args)]
pub struct Create {
    /// How large, such as 2G; a bare number means MiB
    #[arg(allow_negative_numbers = true)]
    size: String,
    /// Its name [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The pool it shall live in [default: default]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// A label; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl Create {
    /// Creates it and waits until it is ready.
    pub async fn run(self, context: &Context) -> Ended {
        let asked = CreateVolume {
            name: self.name.as_deref().map(Name::new).transpose()?,
            size_bytes: input::size(&self.size)?,
            pool: self.pool.as_deref().map(Name::new).transpose()?,
            labels: Labels::parse(&self.label)?,
        };
        let client = context.client()?;
        let ended = wait(context, &client, client.post(&["volumes"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: Volume = client.get(&["volumes", &id]).await?;
        render::one(context.format(), &made, |v| {
            format!("volume \"{}\" of {} is ready\n", v.name, ByteSize(v.size_bytes))
        })
    }
}
