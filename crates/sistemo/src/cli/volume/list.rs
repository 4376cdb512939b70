//! `sistemo volume list [--deleted] [--pool P]`: exactly the columns of the contract; with `-w`, what it
//! costs to look for follows them.

use crate::cli::context::Context;
use crate::cli::{Ended, edit, input, render};
use clap::Args;
use serde::Deserialize;
use types::storage::VolumeUsage;
use types::volume::{AttachStatus, Volume, VolumeRole};
use types::{ByteSize, Timestamp};

/// Which.
#[derive(Args)]
pub struct List {
    /// Those that were deleted and can be taken back
    #[arg(long)]
    deleted: bool,
    /// With what they take on the host and in their guests
    #[arg(short, long)]
    wide: bool,
    /// Those in this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Those that have this label; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

impl List {
    /// Lists the volumes.
    pub async fn run(self, context: &Context) -> Ended {
        let mut query = vec![edit::query(&self.label, self.deleted)?];
        if let Some(pool) = &self.pool {
            query.push(format!("pool={}", input::reference(pool)?));
        }
        if self.wide {
            query.push("usage=true".into());
        }
        query.retain(|part| !part.is_empty());
        let query = query.join("&");
        if self.deleted {
            let header = ["NAME", "SIZE", "DELETED", "RESTORABLE UNTIL", "TYPE"];
            if self.wide {
                let header = wide(header, COSTS);
                let row = |v: Wide<Gone>| wide(gone(v.volume), costs(v.usage, v.pool));
                return render::list::<Volume, Wide<Gone>, 11>(context, &["volumes"], &query, header, row)
                    .await;
            }
            return render::list::<Volume, Gone, _>(context, &["volumes"], &query, header, gone).await;
        }
        let header = ["NAME", "SIZE", "STATUS", "ATTACHED TO", "TYPE"];
        if self.wide {
            let header = wide(header, COSTS);
            let row = |v: Wide<Row>| wide(row(v.volume), costs(v.usage, v.pool));
            return render::list::<Volume, Wide<Row>, 11>(context, &["volumes"], &query, header, row).await;
        }
        render::list::<Volume, Row, _>(context, &["volumes"], &query, header, row).await
    }
}

const COSTS: [&str; 6] = ["ALLOCATED", "EXCLUSIVE", "SHARED", "USED INSIDE", "RECLAIMABLE", "POOL"];

/// What a wide table shows.
#[derive(Deserialize)]
struct Wide<T> {
    #[serde(flatten)]
    volume: T,
    pool: String,
    #[serde(default)]
    usage: VolumeUsage,
}

fn costs(usage: VolumeUsage, pool: String) -> [String; 6] {
    let bytes = |of: Option<u64>| render::or_dash(of.map(ByteSize));
    [
        bytes(usage.allocated_bytes),
        bytes(usage.exclusive_bytes),
        bytes(usage.shared_bytes),
        bytes(usage.guest_used_bytes),
        bytes(usage.reclaimable_bytes),
        pool,
    ]
}

fn wide<T>(first: [T; 5], rest: [T; 6]) -> [T; 11] {
    let ([a, b, c, d, e], [f, g, h, i, j, k]) = (first, rest);
    [a, b, c, d, e, f, g, h, i, j, k]
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
