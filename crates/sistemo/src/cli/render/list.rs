//! Lists, printed while they arrive.
//!
//! Invariant: memory holds one item, and for a table its cells; never the list. What breaks off in
//! the middle ends as an error, whatever was printed by then.

use super::{Format, Table, unprintable, written};
use crate::cli::context::Context;
use crate::cli::{Ended, Stop};
use crate::client::Items;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufWriter, Write};

/// Prints every item of the list at `path`: as data, with every field of `T`, or as the row that
/// `row` makes of `R`, which holds the few that a table shows.
pub async fn list<T, R, const N: usize>(
    context: &Context,
    path: &[&str],
    query: &str,
    header: [&str; N],
    row: impl Fn(R) -> [String; N],
) -> Ended
where
    T: Serialize + DeserializeOwned,
    R: DeserializeOwned,
{
    let client = context.client()?;
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    match context.format() {
        Format::Text => {
            let mut items = client.list::<R>(path, query).await?;
            let mut table = Table::new(&header);
            while let Some(item) = items.next().await? {
                table.row(&row(item));
            }
            table.lines(|line| out.write_all(line.as_bytes()))
        }
        Format::Name => names(&mut out, &mut client.list::<T>(path, query).await?).await?,
        Format::Json => json(&mut out, &mut client.list::<T>(path, query).await?).await?,
        Format::Yaml => yaml(&mut out, &mut client.list::<T>(path, query).await?).await?,
    }
    .and_then(|()| out.flush())
    .map_err(|e| written(&e))
}

async fn names<T: Serialize + DeserializeOwned>(
    out: &mut impl Write,
    items: &mut Items<T>,
) -> Result<std::io::Result<()>, Stop> {
    while let Some(item) = items.next().await? {
        if let Err(e) = writeln!(out, "{}", super::name(&item)?) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

async fn json<T: Serialize + DeserializeOwned>(
    out: &mut impl Write,
    items: &mut Items<T>,
) -> Result<std::io::Result<()>, Stop> {
    let mut between = "{\n  \"items\": [\n    ";
    while let Some(item) = items.next().await? {
        let text = serde_json::to_string_pretty(&item).map_err(unprintable)?;
        // A newline inside a string is escaped in JSON, so each one here is the layout's.
        let text = text.replace('\n', "\n    ");
        if let Err(e) = write!(out, "{between}{text}") {
            return Ok(Err(e));
        }
        between = ",\n    ";
    }
    let end = if between.starts_with(',') { "\n  ]\n}\n" } else { "{\n  \"items\": []\n}\n" };
    Ok(out.write_all(end.as_bytes()))
}

async fn yaml<T: Serialize + DeserializeOwned>(
    out: &mut impl Write,
    items: &mut Items<T>,
) -> Result<std::io::Result<()>, Stop> {
    let mut before = "items:\n";
    while let Some(item) = items.next().await? {
        // A list of one item is the item as it stands in a longer list.
        let text = serde_yaml_ng::to_string(&[item]).map_err(unprintable)?;
        if let Err(e) = write!(out, "{before}{text}") {
            return Ok(Err(e));
        }
        before = "";
    }
    let end = if before.is_empty() { "" } else { "items: []\n" };
    Ok(out.write_all(end.as_bytes()))
}
