//! `sistemo machine restore NAME [--name NEW]`.

use super::change::sentence;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::Name;
use types::machine::Machine;
use types::volume::Restore as Asked;

/// Which, and as what.
#[derive(Args)]
pub struct Restore {
    /// Name, of the one that was deleted last, or id
    machine: String,
    /// Another name for it
    #[arg(long, value_name = "NEW")]
    name: Option<String>,
}

impl Restore {
    /// Takes it back, stopped, and waits until it is there.
    pub async fn run(self, context: &Context) -> Ended {
        let machine = input::reference(&self.machine)?;
        let asked = Asked { name: self.name.as_deref().map(Name::machine).transpose()? };
        let client = context.client()?;
        let ended =
            wait(context, &client, client.post(&["machines", machine, "restore"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let back: Machine = client.get(&["machines", &id]).await?;
        render::done(context, &back, sentence)
    }
}
