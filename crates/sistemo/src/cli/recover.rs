//! `sistemo recover`: the database anew, from what the data directory says of itself.

use super::Ended;
use super::confirm::confirm;
use super::context::Context;
use super::render::{self, Format, Table, plain};
use crate::daemon::recover::{Done, Outcome, Report, prepare};
use clap::Args;
use serde::Serialize;
use types::operation::Kind;

/// Flags of `recover`.
#[derive(Args)]
#[command(
    after_help = "The daemon must not run. Nothing is removed: a damaged database is moved aside, and a \
                  whole one with records is left alone."
)]
pub struct Recover {}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    report: Report,
    database_moved_to: Option<String>,
}

impl Recover {
    /// Looks, asks, and does it.
    pub fn run(self, context: &Context) -> Ended {
        let config = context.config(true)?;
        let place = config.data_dir.display().to_string();
        let ready = prepare(config)?;
        let mut explained = vec![counted(&ready.report())];
        if ready.damaged() {
            explained.push("the damaged database is moved aside, to sistemo.db.corrupt-…".into());
        }
        confirm(context, &format!("rebuild the database in {place}"), &explained)?;
        let Done { report, moved } = ready.carry_out()?;
        let moved = moved.map(|path| path.display().to_string());
        let answer = Answer { report, database_moved_to: moved };
        if context.format() != Format::Text {
            return render::one(context.format(), &answer, |_| String::new());
        }
        text(&answer)
    }
}

fn counted(report: &Report) -> String {
    let of = |kind: Kind| report.items.iter().filter(|r| r.kind == kind).count();
    let (machines, volumes, images) = (of(Kind::Machine), of(Kind::Volume), of(Kind::Image));
    let lost = report.items.iter().filter(|r| r.outcome == Outcome::Lost).count();
    let lost = if lost == 0 { String::new() } else { format!(", {lost} without its file") };
    format!(
        "found: machines {machines}, volumes {volumes}{lost}, images {images}, left as they are {}",
        report.left.len()
    )
}

fn text(answer: &Answer) -> Ended {
    let report = &answer.report;
    if !report.items.is_empty() {
        let mut table = Table::new(&["NAME", "KIND", "STATE", "NOTE"]);
        for r in &report.items {
            let notes = if r.notes.is_empty() { "-".to_owned() } else { r.notes.join("; ") };
            table.row(&[r.name.as_str(), &r.kind.to_string(), &r.outcome.to_string(), &notes]);
        }
        table.lines(render::print)?;
    }
    let mut out = String::new();
    let mut part = |title: &str, lines: &mut dyn Iterator<Item = String>| {
        let lines: Vec<_> = lines.map(|l| format!("  {}\n", plain(&l))).collect();
        if !lines.is_empty() {
            out.push_str(&format!("{title}:\n{}", lines.concat()));
        }
    };
    part("left as it is", &mut report.left.iter().map(|l| format!("{}: {}", l.what, l.why)));
    part("not known", &mut report.unknown.iter().cloned());
    part("the damaged database", &mut answer.database_moved_to.iter().cloned());
    out.push_str("the database is rebuilt; `sistemo up` starts the daemon\n");
    render::print(&out)
}
