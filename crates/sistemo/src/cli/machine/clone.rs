//! `sistemo machine clone NAME --name COPY`.

use super::change::sentence;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::machine::{CloneMachine, Machine};
use types::{Name, Operation};

/// What to copy, and as what.
#[derive(Args)]
pub struct Clone {
    /// Name or id
    machine: String,
    /// The copy's name; its volumes are called NAME-root and NAME-VOLUME
    #[arg(long, value_name = "NAME")]
    name: String,
}

impl Clone {
    /// Copies it and waits for the agent in the copy.
    pub async fn run(self, context: &Context) -> Ended {
        let machine = input::reference(&self.machine)?;
        let asked = CloneMachine { name: Name::machine(&self.name)? };
        let client = context.client()?;
        let accepted: Operation = client.post(&["machines", machine, "clone"], &asked).await?;
        let ended = wait(context, &client, accepted).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: Machine = client.get(&["machines", &id]).await?;
        render::done(context, &made, sentence)
    }
}
