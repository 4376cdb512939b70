//! `sistemo history`: the audit log, newest first.

use super::context::Context;
use super::render::Format;
use super::{Ended, render};
use crate::client::encode;
use clap::Args;
use std::collections::HashSet;
use types::event::Subject;
use types::operation::{HistoryEntry, Outcome};
use types::{Code, List, Problem};

/// Which lines.
#[derive(Args)]
pub struct History {
    /// At most so many entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Only what was asked since then: a length of time such as 2h, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only this, such as volume.create, or what begins so, such as volume
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what is about this name or id
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only what this user or token asked, such as root or token:ci
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only what was refused or failed
    #[arg(long)]
    failed: bool,
    /// Go on with what ends from now on
    #[arg(short, long)]
    follow: bool,
}

const HEADER: [&str; 7] = ["TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DURATION", "PROBLEM"];
/// Lines that are read at once while following.
const PAGE: usize = 1000;

impl History {
    /// Lists it.
    pub async fn run(self, context: &Context) -> Ended {
        let filter = self.filter()?;
        if self.follow {
            return self.follow(context, &filter).await;
        }
        let query = format!("limit={}{filter}", self.limit);
        render::list::<HistoryEntry, HistoryEntry, _>(context, &["history"], &query, HEADER, row).await
    }

    fn filter(&self) -> Result<String, Problem> {
        let since = self.since.as_deref().map(since).transpose()?;
        let fields = [
            ("since", since),
            ("action", self.action.clone()),
            ("target", self.target.clone()),
            ("actor", self.actor.clone()),
            ("failed", self.failed.then(|| "true".to_owned())),
        ];
        let given =
            fields.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encode(&value?))));
        Ok(given.collect())
    }

    /// The last lines, and then each as it is written: the oldest first, and no line of what has
    /// not ended, since that would come twice.
    async fn follow(&self, context: &Context, filter: &str) -> Ended {
        let client = context.client()?;
        let mut changes = client.changes().await?;
        let mut last: Option<uuid::Uuid> = None;
        // A line that the store took late comes with the ones that overtook it, and once more after them.
        let mut told = HashSet::new();
        if context.format() == Format::Text {
            render::print(&format!("{}\n", aligned(&HEADER.map(ToOwned::to_owned))))?;
        }
        loop {
            let query = match last {
                Some(last) => format!("limit={PAGE}&after={last}{filter}"),
                None => format!("limit={}{filter}", self.limit),
            };
            let mut lines: List<HistoryEntry> = client.query(&["history"], &query).await?;
            lines.items.retain(|l| l.outcome != Outcome::Running);
            lines.items.sort_by_key(|l| l.id);
            let before = std::mem::take(&mut told);
            for line in lines.items {
                last = Some(line.id).max(last);
                told.insert(line.id);
                if before.contains(&line.id) {
                    continue;
                }
                render::next(context.format(), &line, |line| aligned(&row(line.clone())))?;
            }
            while changes.next().await?.kind != Subject::History {}
        }
    }
}

/// A row by itself: how wide others will be is not known.
fn aligned(cells: &[String; 7]) -> String {
    let [time, actor, action, target, outcome, duration, problem] =
        cells.each_ref().map(|c| render::plain(c));
    let line = format!(
        "{time:20}   {actor:18}   {action:17}   {target:17}   {outcome:9}   {duration:8}   {problem}"
    );
    line.trim_end().to_owned()
}

/// A point in time, or a length of time before now.
fn since(text: &str) -> Result<String, Problem> {
    if let Some(span) = crate::config::duration(text) {
        let now = jiff::Timestamp::now();
        let then = now.checked_sub(span).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        return Ok(then.to_string());
    }
    text.parse::<jiff::Timestamp>().map(|t| t.to_string()).map_err(|_| {
        Problem::new(Code::Usage, format!("\"{}\" is no time", text.escape_debug()))
            .hint("write a length of time such as 2h, or a time such as 2026-01-31T12:00:00Z")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_stay_apart_in_lines_that_follow_each_other() {
        let long = "token:a-name-of-some-length@192.0.2.1";
        let cells = ["2026-01-31T12:00:00Z", long, "machine.volume.attach", long, "succeeded", "0.1s", "-"];
        let line = aligned(&cells.map(str::to_owned));
        let apart: Vec<_> = line.split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(apart, cells, "{line}");
    }
}
