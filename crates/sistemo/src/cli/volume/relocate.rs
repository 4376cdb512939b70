//! `sistemo volume move V --pool POOL`.

use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::pool::MoveVolume;
use types::volume::Volume;

/// Which, and where to.
#[derive(Args)]
pub struct Move {
    /// Name or id
    volume: String,
    /// The pool it shall live in
    #[arg(long, value_name = "POOL")]
    pool: String,
}

impl Move {
    /// Moves it and waits until it lives there.
    pub async fn run(self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?;
        let asked = MoveVolume { pool: input::reference(&self.pool)?.to_owned() };
        let client = context.client()?;
        wait(context, &client, client.post(&["volumes", volume, "move"], &asked).await?).await?;
        let now: Volume = client.get(&["volumes", volume]).await?;
        render::done(context, &now, |v| format!("volume \"{}\" lives in pool \"{}\"\n", v.name, v.pool))
    }
}
