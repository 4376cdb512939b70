//! `sistemo volume|machine rename|protect|unprotect|label`.

use super::context::Context;
use super::wait::wait;
use super::{Ended, input, render};
use clap::Args;
use types::Name;
use types::label::{Edit, parse_edit};
use types::operation::Kind;

/// Which, and what to call it.
#[derive(Args)]
pub struct Rename {
    /// Name or id
    old: String,
    /// Its name from now on
    new: String,
}

/// Which.
#[derive(Args)]
pub struct Which {
    /// Name or id
    name: String,
}

/// Which, and what to mark it with.
#[derive(Args)]
pub struct Label {
    /// Name or id
    name: String,
    /// KEY=VALUE sets a label, KEY- removes it
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", allow_hyphen_values = true)]
    labels: Vec<String>,
}

/// What a list is asked for, as a query; empty for all there is.
pub fn query(labels: &[String], deleted: bool) -> Result<String, types::Problem> {
    types::label::Labels::parse(labels)?;
    let deleted = deleted.then(|| "deleted=true".to_owned());
    let labels = (!labels.is_empty()).then(|| format!("label={}", labels.join(",")));
    Ok(deleted.into_iter().chain(labels).collect::<Vec<_>>().join("&"))
}

impl Rename {
    /// Renames it.
    pub async fn run(self, context: &Context, kind: Kind) -> Ended {
        let new = if kind == Kind::Machine { Name::machine(&self.new) } else { Name::new(&self.new) }?;
        let said = format!("{kind} \"{}\" is called \"{new}\"\n", self.old);
        edit(context, kind, &self.old, &Edit { name: Some(new), ..Edit::default() }, said).await
    }
}

impl Which {
    /// Protects it, or no longer.
    pub async fn run(self, context: &Context, kind: Kind, protected: bool) -> Ended {
        let how = if protected { "protected" } else { "not protected" };
        let said = format!("{kind} \"{}\" is {how}\n", self.name);
        edit(context, kind, &self.name, &Edit { protected: Some(protected), ..Edit::default() }, said).await
    }
}

impl Label {
    /// Sets and removes labels.
    pub async fn run(self, context: &Context, kind: Kind) -> Ended {
        let labels = parse_edit(&self.labels)?;
        let said = format!("{kind} \"{}\" has other labels\n", self.name);
        edit(context, kind, &self.name, &Edit { labels, ..Edit::default() }, said).await
    }
}

async fn edit(context: &Context, kind: Kind, name: &str, edit: &Edit, said: String) -> Ended {
    let client = context.client()?;
    let list = if kind == Kind::Machine { "machines" } else { "volumes" };
    let accepted = client.patch(&[list, input::reference(name)?], edit).await?;
    let ended = wait(context, &client, accepted).await?;
    render::done(context, &ended, |_| said)
}
