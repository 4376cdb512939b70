//! `sistemo snapshot restore S [--all]`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::Operation;
use types::operation::{Kind, Target};
use types::snapshot::RestoreSnapshot;

/// Which.
#[derive(Args)]
pub struct Restore {
    /// Name or id
    snapshot: String,
    /// All disks of the machine, as of the instant at which they were taken together
    #[arg(long)]
    all: bool,
}

impl Restore {
    /// Makes the volumes what they were, and waits until they are.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["snapshots", input::reference(&self.snapshot)?, "restore"];
        let client = context.client()?;
        let accepted = client.post(&path, &RestoreSnapshot { all: self.all }).await?;
        let ended: Operation = wait(context, &client, accepted).await?;
        render::done(context, &ended, |op| text(&op.resources))
    }
}

/// One line for each volume: what it became, and what keeps what it was before.
fn text(resources: &[Target]) -> String {
    let of = |kind| resources.iter().filter(move |r| r.kind == kind);
    let snapshots: Vec<_> = of(Kind::Snapshot).collect();
    let lines = of(Kind::Volume).zip(snapshots.chunks(2)).map(|(volume, snapshots)| {
        let kept = snapshots.get(1).map(|k| format!("; what it was before is snapshot \"{}\"", k.name));
        let (volume, to) = (&volume.name, snapshots.first().map_or("", |s| &s.name));
        format!("volume \"{volume}\" is as in snapshot \"{to}\"{}\n", kept.unwrap_or_default())
    });
    lines.collect()
}
