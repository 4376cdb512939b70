//! `sistemo volume list`: exactly the columns of the contract.

use crate::cli::context::Context;
use crate::cli::{Ended, render};
use serde::Deserialize;
use types::ByteSize;
use types::volume::{AttachStatus, Volume, VolumeRole};

/// Lists the volumes.
pub async fn run(context: &Context) -> Ended {
    let header = ["NAME", "SIZE", "STATUS", "ATTACHED TO", "TYPE"];
    render::list::<Volume, Row, _>(context, &["volumes"], "", header, row).await
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
