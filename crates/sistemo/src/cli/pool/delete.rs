//! `sistemo pool delete POOL [--lost] [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use crate::client::Client;
use clap::Args;
use serde::de::DeserializeOwned;
use types::Problem;
use types::pool::{Pool, PoolKind};
use types::snapshot::Snapshot;
use types::volume::Volume;

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    pool: String,
    /// What it is on is gone for good: forget it with all volumes and snapshots in it, and touch nothing there
    #[arg(long)]
    lost: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let found: Pool = client.get(&["pools", input::reference(&self.pool)?]).await?;
        let (what, query, done) = if self.lost {
            let pool = found.name.as_str();
            let volumes = count(&client, "volumes", |v: &Volume| v.pool == pool).await?;
            let snapshots = count(&client, "snapshots", |s: &Snapshot| s.pool == pool).await?;
            let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let (volumes, snapshots) = (some(volumes, "volume"), some(snapshots, "snapshot"));
            let forgotten = format!("{volumes} and {snapshots}, the deleted ones too");
            let goes = format!("goes:  what is known of {forgotten}; this cannot be undone");
            let stays = format!("stays: what is on its disk ({}), which is not touched", found.path);
            (vec![goes, stays], "lost=true", format!("forgotten, with {forgotten}"))
        } else {
            let what = match found.kind {
                PoolKind::Loop => "goes:  its file",
                PoolKind::Directory => "stays: its directory, and what else is in it",
            };
            (vec![what.to_owned()], "", "deleted".to_owned())
        };
        let verb = if self.lost { "Forget" } else { "Delete" };
        confirm(context, &format!("{verb} pool \"{}\"", found.name), &what)?;
        // By id: between the question and the answer the name may have come to mean another.
        let which = found.id.map_or(found.name.to_string(), |id| id.to_string());
        let ended = wait(context, &client, client.delete(&["pools", &which], query).await?).await?;
        render::done(context, &ended, |_| format!("pool \"{}\" is {done}\n", found.name))
    }
}

/// How many there are of these, those in the trash included.
async fn count<T: DeserializeOwned>(
    client: &Client,
    kind: &str,
    wanted: impl Fn(&T) -> bool,
) -> Result<usize, Problem> {
    let mut n = 0;
    for query in ["", "deleted=true"] {
        let mut all = client.list::<T>(&[kind], query).await?;
        while let Some(one) = all.next().await? {
            n += usize::from(wanted(&one));
        }
    }
    Ok(n)
}
