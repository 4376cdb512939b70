//! `sistemo volume list`: exactly the columns of the contract.

use crate::cli::context::Context;
use crate::cli::{Ended, render};
use types::ByteSize;
use types::volume::Volume;

/// Lists the volumes.
pub async fn run(context: &Context) -> Ended {
    let items = context.client()?.list(&["volumes"], "").await?;
    let header = ["NAME", "SIZE", "STATUS", "ATTACHED TO", "TYPE"];
    render::list(context.format(), items, header, row).await
}

fn row(v: &Volume) -> [String; 5] {
    [
        v.name.to_string(),
        ByteSize(v.size_bytes).to_string(),
        v.status.to_string(),
        render::or_dash(v.attached_to.as_ref()),
        v.role.to_string(),
    ]
}
