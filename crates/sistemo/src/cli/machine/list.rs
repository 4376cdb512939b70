//! `sistemo machine list`.

use crate::cli::context::Context;
use crate::cli::{Ended, render};
use types::ByteSize;
use types::machine::Machine;

/// Lists the machines.
pub async fn run(context: &Context) -> Ended {
    let header = ["NAME", "PHASE", "ADDRESS", "VCPUS", "MEMORY", "ROOT VOLUME", "IMAGE"];
    render::list::<Machine, Machine, _>(context, &["machines"], "", header, row).await
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
