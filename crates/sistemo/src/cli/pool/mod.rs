//! `sistemo pool`: where volumes live.

mod create;
mod delete;
mod resize;

use super::context::Context;
use super::{Ended, input, render};
use clap::{Args, Subcommand};
use types::{ByteSize, pool};

/// The verbs.
#[derive(Subcommand)]
pub enum Pool {
    /// Create a pool: in a file with --size, or in a directory with --path
    Create(create::Create),
    /// List the pools
    #[command(visible_alias = "ls")]
    List,
    /// Show a pool
    #[command(visible_alias = "status")]
    Show(Show),
    /// Make a pool that is in a file larger
    Resize(resize::Resize),
    /// Delete a pool that nothing is in, or forget one that is lost
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
}

/// Which.
#[derive(Args)]
pub struct Show {
    /// Name or id
    pool: String,
}

impl Pool {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Create(verb) => verb.run(context).await,
            Self::List => {
                let header = ["NAME", "KIND", "STATUS", "SIZE", "FREE", "VOLUMES", "REFLINK"];
                render::list::<pool::Pool, pool::Pool, _>(context, &["pools"], "", header, row).await
            }
            Self::Show(Show { pool }) => {
                let path = ["pools", input::reference(&pool)?];
                let found: pool::Pool = context.client()?.get(&path).await?;
                render::one(context.format(), &found, text)
            }
            Self::Resize(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
        }
    }
}

fn reflink(p: &pool::Pool) -> Option<&'static str> {
    p.shares_blocks.map(|shares| if shares { "yes" } else { "no" })
}

fn row(p: pool::Pool) -> [String; 7] {
    [
        p.name.to_string(),
        p.kind.to_string(),
        p.status.to_string(),
        render::or_dash(p.size_bytes.map(ByteSize)),
        render::or_dash(p.free_bytes.map(ByteSize)),
        p.volumes.to_string(),
        render::or_dash(reflink(&p)),
    ]
}

fn text(p: &pool::Pool) -> String {
    let fault = p.fault.as_ref().map(|f| format!("{}: {}", f.code, f.message));
    render::fields(&[
        ("Name", p.name.to_string()),
        ("Id", p.id.map(|id| id.to_string()).unwrap_or_default()),
        ("Kind", p.kind.to_string()),
        ("Status", p.status.to_string()),
        ("Path", p.path.clone()),
        ("Size", render::or_dash(p.size_bytes.map(ByteSize))),
        ("Free", render::or_dash(p.free_bytes.map(ByteSize))),
        ("Promised", ByteSize(p.committed_bytes).to_string()),
        ("Sparse", if p.sparse { "yes" } else { "" }.to_owned()),
        ("Reflink", render::or_dash(reflink(p))),
        ("Volumes", p.volumes.to_string()),
        ("Created", p.created_at.map(render::time).unwrap_or_default()),
        ("Fault", fault.unwrap_or_default()),
    ])
}
