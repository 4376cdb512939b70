//! `sistemo volume snapshot V [--name S]` and `sistemo machine snapshot M [--name S]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use crate::client::Client;
use clap::Args;
use types::operation::Kind;
use types::snapshot::{Snapshot, TakeSnapshot};
use types::{ByteSize, List, Name, Operation, Problem};

/// Of which volume, and as what.
#[derive(Args)]
pub struct OfVolume {
    /// Name or id
    volume: String,
    /// The snapshot's name [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Of which machine, and as what.
#[derive(Args)]
pub struct OfMachine {
    /// Name or id
    machine: String,
    /// The name of the root disk's snapshot; the others are called NAME-VOLUME [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl OfVolume {
    /// Takes it and waits until it is complete.
    pub async fn run(self, context: &Context) -> Ended {
        take(context, &["volumes", input::reference(&self.volume)?, "snapshot"], self.name.as_deref()).await
    }
}

impl OfMachine {
    /// Takes them and waits until they are complete.
    pub async fn run(self, context: &Context) -> Ended {
        take(context, &["machines", input::reference(&self.machine)?, "snapshot"], self.name.as_deref()).await
    }
}

async fn take(context: &Context, path: &[&str], name: Option<&str>) -> Ended {
    let asked = TakeSnapshot { name: name.map(Name::new).transpose()? };
    let client = context.client()?;
    let ended = wait(context, &client, client.post(path, &asked).await?).await?;
    let items = snapshots(&client, &ended).await?;
    render::done(context, &List { items, next_cursor: None }, |all| {
        all.items.iter().map(line).collect::<String>()
    })
}

/// The snapshots that an operation was about, in its order.
async fn snapshots(client: &Client, ended: &Operation) -> Result<Vec<Snapshot>, Problem> {
    let mut all = vec![];
    for made in ended.resources.iter().filter(|r| r.kind == Kind::Snapshot) {
        let id = made.id.map_or_else(|| made.name.clone(), |id| id.to_string());
        all.push(client.get(&["snapshots", &id]).await?);
    }
    Ok(all)
}

fn line(s: &Snapshot) -> String {
    let size = ByteSize(s.size_bytes.unwrap_or(0));
    let how = s.consistency.map_or_else(String::new, |c| format!(", {c} consistent"));
    format!("snapshot \"{}\" of volume \"{}\" ({size}) is taken{how}\n", s.name, s.volume)
}
