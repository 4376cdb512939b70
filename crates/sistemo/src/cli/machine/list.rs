//! `sistemo machine list [--deleted]`.

use crate::cli::context::Context;
use crate::cli::{Ended, edit, render};
use clap::Args;
use types::ByteSize;
use types::machine::Machine;

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
    /// Lists the machines.
    pub async fn run(self, context: &Context) -> Ended {
        let query = edit::query(&self.label, self.deleted)?;
        if self.deleted {
            let header = ["NAME", "DELETED", "RESTORABLE UNTIL", "ROOT VOLUME", "IMAGE"];
            return render::list::<Machine, Machine, _>(context, &["machines"], &query, header, gone).await;
        }
        let header = ["NAME", "PHASE", "ADDRESS", "VCPUS", "MEMORY", "ROOT VOLUME", "IMAGE"];
        render::list::<Machine, Machine, _>(context, &["machines"], &query, header, row).await
    }
}

fn gone(m: Machine) -> [String; 5] {
    [
        m.name.to_string(),
        render::or_dash(m.deleted_at.map(render::time)),
        render::or_dash(m.restorable_until.map(render::time)),
        render::or_dash(m.root_volume.as_ref()),
        render::or_dash(m.image.as_ref()),
    ]
}

fn row(m: Machine) -> [String; 7] {
    [
        m.name.to_string(),
        m.phase.to_string(),
        render::or_dash(m.address),
        m.vcpus.to_string(),
        ByteSize(m.memory_bytes).to_string(),
        render::or_dash(m.root_volume.as_ref()),
        render::or_dash(m.image.as_ref()),
    ]
}
