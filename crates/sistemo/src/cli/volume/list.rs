//! `sistemo volume list [--deleted]`: exactly the columns of the contract.

use crate::cli::context::Context;
use crate::cli::{Ended, edit, render};
use clap::Args;
use serde::Deserialize;
use types::volume::{AttachStatus, Volume, VolumeRole};
use types::{ByteSize, Timestamp};

/// Which.
#[derive(Args)]
pub struct List {
    /// Those that were deleted and can be taken back
    #[arg(long)]
    deleted: bool,
    /// Those that have this label; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl List {
    /// Lists the volumes.
    pub async fn run(self, context: &Context) -> Ended {
        let query = edit::query(&self.label, self.deleted)?;
        if self.deleted {
            let header = ["NAME", "SIZE", "DELETED", "RESTORABLE UNTIL", "TYPE"];
            return render::list::<Volume, Gone, _>(context, &["volumes"], &query, header, gone).await;
        }
        let header = ["NAME", "SIZE", "STATUS", "ATTACHED TO", "TYPE"];
        render::list::<Volume, Row, _>(context, &["volumes"], &query, header, row).await
    }
}

/// What the table shows of a deleted volume.
#[derive(Deserialize)]
struct Gone {
    name: String,
    size_bytes: u64,
    deleted_at: Option<Timestamp>,
    restorable_until: Option<Timestamp>,
    role: VolumeRole,
}

fn gone(v: Gone) -> [String; 5] {
    let time = |at: Option<Timestamp>| render::or_dash(at.map(render::time));
    let size = ByteSize(v.size_bytes).to_string();
    [v.name, size, time(v.deleted_at), time(v.restorable_until), v.role.to_string()]
}

/// What the table shows of a volume: there can be very many of them.
#[derive(Deserialize)]
struct Row {
    name: String,
    size_bytes: u64,
    status: AttachStatus,
    attached_to: Option<String>,
    role: VolumeRole,
}

fn row(v: Row) -> [String; 5] {
    [
        v.name,
        ByteSize(v.size_bytes).to_string(),
        v.status.to_string(),
        v.attached_to.unwrap_or_else(|| "-".into()),
        v.role.to_string(),
    ]
}
