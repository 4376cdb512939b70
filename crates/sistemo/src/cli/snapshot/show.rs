//! `sistemo snapshot show S`.

use crate::cli::context::Context;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::snapshot::Snapshot;

/// Which.
#[derive(Args)]
pub struct Show {
    /// Name or id
    snapshot: String,
}

impl Show {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["snapshots", input::reference(&self.snapshot)?];
        let found: Snapshot = context.client()?.get(&path).await?;
        render::one(context.format(), &found, text)
    }
}

fn text(s: &Snapshot) -> String {
    let volume = match s.volume_exists {
        true => s.volume.to_string(),
        false => format!("{}, which was deleted", s.volume),
    };
    let fault = s.fault.as_ref().map(|f| format!("{}: {}", f.code, f.message));
    render::fields(&[
        ("Name", s.name.to_string()),
        ("Id", s.id.to_string()),
        ("Volume", volume),
        ("Machine", s.machine.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Size", render::or_dash(s.size_bytes.map(ByteSize))),
        ("Status", s.status.to_string()),
        ("Consistency", render::or_dash(s.consistency)),
        ("Type", s.role.to_string()),
        ("Pool", s.pool.clone()),
        ("Labels", s.labels.to_string()),
        ("Taken", render::or_dash(s.taken_at.map(render::time))),
        ("Deleted", render::deleted(s.deleted_at, s.restorable_until)),
        ("Fault", fault.unwrap_or_default()),
    ])
}
