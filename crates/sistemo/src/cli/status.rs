//! `sistemo status`: how the daemon is.

use super::context::Context;
use super::{Ended, render};
use crate::api;
use clap::Args;
use types::ByteSize;

/// Flags of `status`: none.
#[derive(Args)]
pub struct Status {}

impl Status {
    /// Asks the daemon.
    pub async fn run(self, context: &Context) -> Ended {
        let status: api::Status = context.client()?.get(&["status"]).await?;
        render::one(context.format(), &status, text)
    }
}

fn text(status: &api::Status) -> String {
    let pools = status.pools.iter().map(|p| {
        let (free, total) = (ByteSize(p.free_bytes), ByteSize(p.total_bytes));
        format!("{}: {free} of {total} free", p.name)
    });
    let warnings = status.pools.iter().filter_map(|p| p.warning.clone());
    let host = if status.halting { "shutting down; machines start once it is back" } else { "up" };
    render::fields(&[
        ("Version", status.version.clone()),
        ("Node", status.node.clone()),
        ("Host", host.to_owned()),
        ("Process", status.pid.to_string()),
        ("Data directory", status.data_dir.clone()),
        ("Started", render::time(status.started_at)),
        ("Machines", format!("{} ({} running)", status.machines, status.machines_running)),
        ("Volumes", status.volumes.to_string()),
        ("Pools", pools.collect::<Vec<_>>().join(", ")),
        ("Warning", warnings.collect::<Vec<_>>().join("; ")),
    ])
}
