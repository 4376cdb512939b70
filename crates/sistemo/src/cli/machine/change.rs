//! `sistemo machine start|stop|restart NAME`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::machine::{Machine, Phase};

/// Which.
#[derive(Args)]
pub struct Which {
    /// Name or id
    machine: String,
}

impl Which {
    /// Asks for the change and waits for it.
    pub async fn run(self, context: &Context, verb: &str) -> Ended {
        let machine = input::reference(&self.machine)?;
        let client = context.client()?;
        let accepted = client.act(&["machines", machine, verb]).await?;
        wait(context, &client, accepted).await?;
        let now: Machine = client.get(&["machines", machine]).await?;
        render::done(context, &now, sentence)
    }
}

/// How a machine is, in one line.
pub fn sentence(machine: &Machine) -> String {
    match (machine.phase, machine.address) {
        (Phase::Running, Some(address)) => {
            format!("machine \"{}\" is running at {address}\n", machine.name)
        }
        (phase, _) => format!("machine \"{}\" is {phase}\n", machine.name),
    }
}
