//! `sistemo machine volume attach|detach NAME VOL`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::{Args, Subcommand};

/// The verbs.
#[derive(Subcommand)]
pub enum Volume {
    /// Attach a volume to a machine; one that runs gets it at once
    Attach(Attach),
    /// Detach a volume from a machine; the guest of one that runs unmounts it first
    Detach(Detach),
}

/// What to attach where.
#[derive(Args)]
pub struct Attach {
    /// The machine's name or id
    machine: String,
    /// The volume's name or id, mounted at /mnt/VOL or at PATH; with :none nowhere, with :ro only to be read
    #[arg(value_name = "VOL[:PATH[:ro]]")]
    volume: String,
}

/// What to detach from where.
#[derive(Args)]
pub struct Detach {
    /// The machine's name or id
    machine: String,
    /// The volume's name or id
    volume: String,
    /// Pull it out also while the guest uses it; what is not written is lost
    #[arg(long)]
    force: bool,
}

impl Volume {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        match self {
            Self::Attach(Attach { machine, volume }) => {
                let machine = input::reference(&machine)?;
                let asked = input::attach(&volume)?;
                let accepted = client.post(&["machines", machine, "volumes"], &asked).await?;
                let ended = wait(context, &client, accepted).await?;
                render::done(context, &ended, |_| {
                    format!("volume \"{}\" is attached to machine \"{machine}\"\n", asked.volume)
                })
            }
            Self::Detach(Detach { machine, volume, force }) => {
                let machine = input::reference(&machine)?;
                let volume = input::reference(&volume)?;
                if force {
                    let warning = "programs in the guest that use it lose what they have not written";
                    if context.yes() {
                        context.warn(warning);
                    }
                    confirm(
                        context,
                        &format!("Pull volume \"{volume}\" out of machine \"{machine}\""),
                        &[format!("warning: {warning}")],
                    )?;
                }
                let query = if force { "force=true" } else { "" };
                let accepted = client.delete(&["machines", machine, "volumes", volume], query).await?;
                let ended = wait(context, &client, accepted).await?;
                render::done(context, &ended, |_| {
                    format!("volume \"{volume}\" is detached from machine \"{machine}\"\n")
                })
            }
        }
    }
}
