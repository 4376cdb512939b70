//! `sistemo pool create NAME --size SIZE [--sparse] | --path DIR`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::{ArgGroup, Args};
use types::pool::{CreatePool, Pool};
use types::{ByteSize, Name};

/// What to create.
#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true)))]
pub struct Create {
    /// Its name
    name: String,
    /// In a file of this size in the data directory, with an XFS file system: clones there take a moment and no room
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, group = "place")]
    size: Option<String>,
    /// In this directory of the daemon's host, such as where a disk is mounted
    #[arg(long, value_name = "DIR", group = "place")]
    path: Option<String>,
    /// Let the file take room only as it is written to: data is lost when the host's disk is full then
    #[arg(long, requires = "size", conflicts_with = "path")]
    sparse: bool,
}

impl Create {
    /// Creates it and waits until it is there.
    pub async fn run(self, context: &Context) -> Ended {
        let asked = CreatePool {
            name: Name::new(&self.name)?,
            path: self.path,
            size_bytes: self.size.as_deref().map(input::size).transpose()?,
            sparse: self.sparse,
        };
        let client = context.client()?;
        let ended = wait(context, &client, client.post(&["pools"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: Pool = client.get(&["pools", &id]).await?;
        render::done(context, &made, |p| {
            let free = p.free_bytes.map(|b| format!(" with {} free", ByteSize(b))).unwrap_or_default();
            format!("pool \"{}\"{free} is ready at {}\n", p.name, p.path)
        })
    }
}
