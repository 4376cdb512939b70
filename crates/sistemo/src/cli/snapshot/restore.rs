//! `sistemo snapshot restore S`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::Operation;
use types::operation::Kind;

/// Which.
#[derive(Args)]
pub struct Restore {
    /// Name or id
    snapshot: String,
}

impl Restore {
    /// Makes the volume what it was, and waits until it is.
    pub async fn run(self, context: &Context) -> Ended {
        let snapshot = input::reference(&self.snapshot)?;
        let client = context.client()?;
        let accepted = client.post(&["snapshots", snapshot, "restore"], &()).await?;
        let ended: Operation = wait(context, &client, accepted).await?;
        render::one(context.format(), &ended, |op| {
            let kept = op.resources.iter().rfind(|r| r.kind == Kind::Snapshot);
            let kept = kept.map(|k| format!("; what it was before is snapshot \"{}\"", k.name));
            format!(
                "volume \"{}\" is as in snapshot \"{snapshot}\"{}\n",
                op.target.name,
                kept.unwrap_or_default()
            )
        })
    }
}
