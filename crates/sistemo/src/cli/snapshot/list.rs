//! `sistemo snapshot list [--deleted] [--volume V] [--machine M] [--pool P]`.

use crate::cli::context::Context;
use crate::cli::{Ended, edit, input, render};
use clap::Args;
use types::ByteSize;
use types::snapshot::Snapshot;

/// Which.
#[derive(Args)]
pub struct List {
    /// Those that were deleted and can be taken back
    #[arg(long)]
    deleted: bool,
    /// Those of this volume
    #[arg(long, value_name = "VOLUME")]
    volume: Option<String>,
    /// Those of this machine's disks, as it was called
    #[arg(long, value_name = "MACHINE")]
    machine: Option<String>,
    /// Those in this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Those that have this label; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl List {
    /// Lists the snapshots.
    pub async fn run(self, context: &Context) -> Ended {
        let mut query = vec![edit::query(&self.label, self.deleted)?];
        for (field, value) in [("volume", &self.volume), ("machine", &self.machine), ("pool", &self.pool)] {
            if let Some(value) = value {
                query.push(format!("{field}={}", input::reference(value)?));
            }
        }
        query.retain(|part| !part.is_empty());
        if self.deleted {
            let header = ["NAME", "VOLUME", "SIZE", "DELETED", "RESTORABLE UNTIL"];
            return render::list::<Snapshot, Snapshot, _>(
                context,
                &["snapshots"],
                &query.join("&"),
                header,
                gone,
            )
            .await;
        }
        let header = ["NAME", "VOLUME", "SIZE", "STATUS", "CONSISTENCY", "TAKEN"];
        render::list::<Snapshot, Snapshot, _>(context, &["snapshots"], &query.join("&"), header, row).await
    }
}

fn gone(s: Snapshot) -> [String; 5] {
    [
        s.name.to_string(),
        s.volume.to_string(),
        render::or_dash(s.size_bytes.map(ByteSize)),
        render::or_dash(s.deleted_at.map(render::time)),
        render::or_dash(s.restorable_until.map(render::time)),
    ]
}

fn row(s: Snapshot) -> [String; 6] {
    [
        s.name.to_string(),
        s.volume.to_string(),
        render::or_dash(s.size_bytes.map(ByteSize)),
        s.status.to_string(),
        render::or_dash(s.consistency),
        render::or_dash(s.taken_at.map(render::time)),
    ]
}
