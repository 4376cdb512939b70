//! `sistemo history`: the audit log, newest first.

use super::context::Context;
use super::{Ended, render};
use clap::Args;
use types::operation::HistoryEntry;

/// How much.
#[derive(Args)]
pub struct History {
    /// At most so many entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl History {
    /// Lists it.
    pub async fn run(self, context: &Context) -> Ended {
        let query = format!("limit={}", self.limit);
        let header = ["TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DURATION", "PROBLEM"];
        render::list::<HistoryEntry, HistoryEntry, _>(context, &["history"], &query, header, row).await
    }
}

fn row(entry: HistoryEntry) -> [String; 7] {
    let name = entry.target.name;
    [
        render::time(entry.time),
        entry.actor.to_string(),
        entry.action.to_string(),
        if name.is_empty() { "-".into() } else { name },
        entry.outcome.to_string(),
        render::or_dash(entry.duration_ms.map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))),
        render::or_dash(entry.problem.as_ref().map(|p| p.code)),
    ]
}
