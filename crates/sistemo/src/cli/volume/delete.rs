//! `sistemo volume delete V [--now] [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::trash::find;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::volume::Volume;
use types::{ByteSize, Timestamp};

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    volume: String,
    /// For good: skip the trash, or take it out of there
    #[arg(long)]
    now: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let named = input::reference(&self.volume)?;
        let found: Volume = find(&client, "volumes", named, self.now, |f: &Volume| (&f.name, f.id.0)).await?;
        let size = ByteSize(found.size_bytes);
        let (what, query) = match (self.now, found.restorable_until) {
            (false, _) => ("", ""),
            (true, None) => ("for good", "now=true"),
            // What somebody takes back meanwhile stays.
            (true, Some(_)) => ("for good", "deleted=true"),
        };
        let kept = if self.now { "this cannot be undone" } else { "the trash keeps it for a while" };
        confirm(
            context,
            format!("Delete volume \"{}\" {what}", found.name).trim_end(),
            &[format!("goes:  {} ({size}); {kept}", found.name)],
        )?;
        // By id: between the question and the answer the name may have come to mean another.
        let operation = client.delete(&["volumes", &found.id.to_string()], query).await?;
        let ended = wait(context, &client, operation).await?;
        render::done(context, &ended, |op| {
            let back = taken_back("volume", found.name.as_str(), op.restorable_until);
            format!("volume \"{}\" is deleted{back}\n", found.name)
        })
    }
}

/// Until when something that was deleted can be taken back, and how.
pub fn taken_back(kind: &str, name: &str, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => {
            format!("; until {}, `sistemo {kind} restore {name}` takes it back", render::time(until))
        }
        None => " for good".into(),
    }
}
