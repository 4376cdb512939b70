//! `sistemo machine show NAME`.

use crate::cli::context::Context;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::ByteSize;
use types::machine::Machine;

/// Which.
#[derive(Args)]
pub struct Show {
    /// Name or id
    machine: String,
}

impl Show {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["machines", input::reference(&self.machine)?];
        let found: Machine = context.client()?.get(&path).await?;
        render::one(context.format(), &found, text)
    }
}

fn text(m: &Machine) -> String {
    let show = |value: Option<String>| value.unwrap_or_default();
    let fault = m.fault.as_ref().map(|f| format!("{}: {}", f.code, f.message));
    let exit = m.last_exit.as_ref();
    let mut lines = vec![
        ("Name", m.name.to_string()),
        ("Id", m.id.to_string()),
        ("Phase", m.phase.to_string()),
        ("vCPUs", m.vcpus.to_string()),
        ("Memory", ByteSize(m.memory_bytes).to_string()),
        ("Address", show(m.address.map(|a| a.to_string()))),
        ("Network", show(m.network.as_ref().map(ToString::to_string))),
        ("MAC", show(m.mac.clone())),
        ("Image", show(m.image.as_ref().map(ToString::to_string))),
        ("Kernel", show(m.kernel.clone())),
    ];
    for disk in &m.volumes {
        let place = disk.mount.as_deref().unwrap_or("not mounted");
        let read_only = if disk.read_only { ", read-only" } else { "" };
        let size = ByteSize(disk.size_bytes);
        lines.push((
            "Volume",
            format!("{} ({}, {size}) {place}{read_only}, device {}", disk.name, disk.role, disk.device),
        ));
    }
    lines.extend([
        ("Restart", m.restart.to_string()),
        ("Labels", m.labels.to_string()),
        ("Protected", if m.protected { "yes".into() } else { String::new() }),
        ("Created", render::time(m.created_at)),
        ("Deleted", render::deleted(m.deleted_at, m.restorable_until)),
        ("Started", show(m.started_at.map(render::time))),
        ("Last exit", show(exit.map(|e| format!("{} at {}", e.how, render::time(e.at))))),
        ("Fault", show(fault)),
    ]);
    lines.extend(m.notes.iter().map(|note| ("Note", note.clone())));
    render::fields(&lines)
}
