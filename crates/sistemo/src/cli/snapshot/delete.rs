//! `sistemo snapshot delete S [--now] [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::trash::find;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::snapshot::Snapshot;

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    snapshot: String,
    /// For good: skip the trash, or take it out of there
    #[arg(long)]
    now: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let named = input::reference(&self.snapshot)?;
        let found: Snapshot =
            find(&client, "snapshots", named, self.now, |f: &Snapshot| (&f.name, f.id.0)).await?;
        let size = ByteSize(found.size_bytes.unwrap_or(0));
        let (what, query) = match (self.now, found.restorable_until) {
            (false, _) => ("", ""),
            (true, None) => (" for good", "now=true"),
            // What somebody takes back meanwhile stays.
            (true, Some(_)) => (" for good", "deleted=true"),
        };
        let kept = if self.now { "this cannot be undone" } else { "the trash keeps it for a while" };
        let lines = [
            format!("goes:   {} ({size} of volume {}); {kept}", found.name, found.volume),
            "stays:  the volume, other snapshots, and copies of this one".to_owned(),
        ];
        confirm(context, &format!("Delete snapshot \"{}\"{what}", found.name), &lines)?;
        // By id: between the question and the answer the name may have come to mean another.
        let operation = client.delete(&["snapshots", &found.id.to_string()], query).await?;
        let ended = wait(context, &client, operation).await?;
        render::done(context, &ended, |op| {
            let back = match op.restorable_until {
                Some(until) => format!(
                    "; until {}, `sistemo snapshot undelete {}` takes it back",
                    render::time(until),
                    found.name
                ),
                None => " for good".into(),
            };
            format!("snapshot \"{}\" is deleted{back}\n", found.name)
        })
    }
}
