//! `sistemo volume create SIZE|--from FILE [--name N] [--fs FS] [--pool POOL]`.

use super::import::{Asked, take};
use crate::cli::context::Context;
use crate::cli::transfer::Input;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::{ArgGroup, Args};
use types::fs::FileSystem;
use types::label::Labels;
use types::volume::{CreateVolume, Volume, VolumeRole};
use types::{ByteSize, Name};

/// What to create.
#[derive(Args)]
#[command(group(ArgGroup::new("content").required(true).multiple(true)))]
pub struct Create {
    /// How large, such as 2G; a bare number means MiB; with --from, that of the file unless given
    #[arg(allow_negative_numbers = true, group = "content")]
    size: Option<String>,
    /// Make it of this file or URL, as `volume import` does, and not empty
    #[arg(long, value_name = "FILE", group = "content")]
    from: Option<String>,
    /// Its name [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The pool it shall live in [default: default]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// The file system it shall have; `none` leaves a bare device, which no machine mounts by itself [default: ext4]
    #[arg(long, value_name = "FS", value_parser = FileSystem::ALL.map(FileSystem::as_str), conflicts_with = "from")]
    fs: Option<String>,
    /// A label; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl Create {
    /// Creates it and waits until it is ready.
    pub async fn run(self, context: &Context) -> Ended {
        let name = self.name.as_deref().map(Name::new).transpose()?;
        let pool = self.pool.as_deref().map(input::reference).transpose()?.map(str::to_owned);
        let size = self.size.as_deref().map(input::size).transpose()?;
        let labels = Labels::parse(&self.label)?;
        if let Some(from) = &self.from {
            let asked = Asked { name, size, pool, role: VolumeRole::Data, labels };
            return take(context, Input::open(from, None, false)?, &asked).await;
        }
        let asked = CreateVolume {
            name,
            size_bytes: size.unwrap_or_default(),
            pool,
            fs: self.fs.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            labels,
        };
        let client = context.client()?;
        let ended = wait(context, &client, client.post(&["volumes"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: Volume = client.get(&["volumes", &id]).await?;
        render::done(context, &made, |v| {
            format!("volume \"{}\" of {} is ready\n", v.name, ByteSize(v.size_bytes))
        })
    }
}
