//! `sistemo pool delete POOL [-y]`.

use crate::cli::confirm::confirm;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, render};
use clap::Args;
use types::pool::{Pool, PoolKind};

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    pool: String,
}

impl Delete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let found: Pool = client.get(&["pools", input::reference(&self.pool)?]).await?;
        let what = match found.kind {
            PoolKind::Loop => "goes:  its file",
            PoolKind::Directory => "stays: its directory, and what else is in it",
        };
        confirm(context.yes(), &format!("Delete pool \"{}\"", found.name), &[what.to_owned()])?;
        // By id: between the question and the answer the name may have come to mean another.
        let which = found.id.map_or(found.name.to_string(), |id| id.to_string());
        let ended = wait(context, &client, client.delete(&["pools", &which], "").await?).await?;
        render::one(context.format(), &ended, |_| format!("pool \"{}\" is deleted\n", found.name))
    }
}
