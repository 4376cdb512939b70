//! `sistemo machine delete NAME [-y] [--preserve-storage] [--now]`.
//!
//! Invariant: the question names what goes and what stays, as the daemon tells it.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::trash::find;
use crate::cli::volume::delete::taken_back;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::Name;
use types::machine::{DeletePlan, Machine};

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    machine: String,
    /// Keep the root volume too
    #[arg(long)]
    preserve_storage: bool,
    /// For good: neither it nor what goes with it can be taken back
    #[arg(long)]
    now: bool,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let machine = input::reference(&self.machine)?;
        let query = format!("preserve_storage={}", self.preserve_storage);
        let found: Machine =
            find(&client, "machines", machine, self.now, |f: &Machine| (&f.name, f.id.0)).await?;
        // By id: between the question and the answer the name may have come to mean another.
        let id = found.id.to_string();
        let now = format!("{query}&now={}", self.now);
        if self.now && found.restorable_until.is_some() {
            let lines = ["it was deleted, and its volumes with it; this cannot be undone".to_owned()];
            confirm(context, &format!("Delete machine \"{}\" for good", found.name), &lines)?;
            // One that somebody takes back meanwhile stays.
            let operation = client.delete(&["machines", &id], "deleted=true").await?;
            let ended = wait(context, &client, operation).await?;
            return render::done(context, &ended, |_| {
                format!("machine \"{}\" is deleted for good\n", found.name)
            });
        }
        let plan: DeletePlan = client.query(&["machines", &id, "delete-plan"], &query).await?;
        let what = format!("Delete machine \"{}\"{}", plan.machine, if self.now { " for good" } else { "" });
        let mut lines = explain(&plan);
        if self.now {
            lines.push("this cannot be undone".into());
        }
        confirm(context, &what, &lines)?;
        let ended = wait(context, &client, client.delete(&["machines", &id], &now).await?).await?;
        render::done(context, &ended, |op| {
            let stays = names(&plan.stays);
            let kept = match plan.stays.len() {
                0 => String::new(),
                1 => format!("; volume {stays} stays"),
                _ => format!("; volumes {stays} stay"),
            };
            let back = taken_back("machine", plan.machine.as_str(), op.restorable_until);
            format!("machine \"{}\" is deleted{kept}{back}\n", plan.machine)
        })
    }
}

fn explain(plan: &DeletePlan) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.running {
        lines.push(format!("machine \"{}\" is running and will be stopped first", plan.machine));
    }
    let or_nothing = |text: String| if text.is_empty() { "no volume".into() } else { text };
    lines.push(format!("goes:  {}", or_nothing(names(&plan.goes))));
    lines.push(format!("stays: {}", or_nothing(names(&plan.stays))));
    lines
}

fn names(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    names.join(", ")
}
