//! `sistemo volume show V`.

use crate::cli::context::Context;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::storage::VolumeUsage;
use types::volume::Volume;

/// Which.
#[derive(Args)]
pub struct Show {
    /// Name or id
    volume: String,
}

impl Show {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["volumes", input::reference(&self.volume)?];
        let found: Volume = context.client()?.query(&path, "usage=true").await?;
        render::one(context.format(), &found, text)
    }
}

fn text(v: &Volume) -> String {
    let or_empty = |name: &Option<types::Name>| name.as_ref().map(ToString::to_string);
    let fault = v.fault.as_ref().map(|f| format!("{}: {}", f.code, f.message));
    let bytes = |of: fn(VolumeUsage) -> Option<u64>| render::or_dash(v.usage.and_then(of).map(ByteSize));
    render::fields(&[
        ("Name", v.name.to_string()),
        ("Id", v.id.to_string()),
        ("Size", ByteSize(v.size_bytes).to_string()),
        ("Allocated", bytes(|u| u.allocated_bytes)),
        ("Exclusive", bytes(|u| u.exclusive_bytes)),
        ("Shared", bytes(|u| u.shared_bytes)),
        ("Used inside", bytes(|u| u.guest_used_bytes)),
        ("Reclaimable", bytes(|u| u.reclaimable_bytes)),
        ("Status", v.status.to_string()),
        ("Condition", v.condition.map(|c| c.to_string()).unwrap_or_default()),
        ("Attached to", render::or_dash(v.attached_to.as_ref())),
        ("Type", v.role.to_string()),
        ("File system", v.fs.map(|fs| fs.to_string()).unwrap_or_default()),
        ("Pool", v.pool.clone()),
        ("Image", or_empty(&v.image).unwrap_or_default()),
        ("Goes with", or_empty(&v.owner).unwrap_or_default()),
        ("Labels", v.labels.to_string()),
        ("Read-only", if v.read_only { "yes".into() } else { String::new() }),
        ("Protected", if v.protected { "yes".into() } else { String::new() }),
        ("Created", render::time(v.created_at)),
        ("Deleted", render::deleted(v.deleted_at, v.restorable_until)),
        ("Fault", fault.unwrap_or_default()),
    ])
}
