//! `sistemo trash list` and `sistemo trash empty [-y]`.

use super::confirm::confirm;
use super::context::Context;
use super::render::Table;
use super::wait::{left, wait};
use super::{Ended, Stop, render};
use crate::client::Client;
use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use types::machine::Machine;
use types::operation::Kind;
use types::snapshot::Snapshot;
use types::volume::Volume;
use types::{ByteSize, Code, List, Name, Operation, Problem, Timestamp};
use uuid::Uuid;

/// The verbs.
#[derive(Subcommand)]
pub enum Trash {
    /// List what was deleted and can be taken back
    #[command(visible_alias = "ls")]
    List,
    /// Delete for good all that was deleted
    Empty,
}

/// Something that was deleted.
#[derive(Serialize)]
struct Gone {
    kind: Kind,
    id: Uuid,
    name: Name,
    size_bytes: Option<u64>,
    deleted_at: Option<Timestamp>,
    restorable_until: Option<Timestamp>,
}

impl Trash {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let all = gone(&client).await?;
        match self {
            Self::List => list(context, all),
            Self::Empty => empty(context, &client, &all).await,
        }
    }
}

/// The machines first: what was deleted with one goes with it.
async fn gone(client: &Client) -> Result<Vec<Gone>, Problem> {
    let mut all = vec![];
    let mut machines = client.list::<Machine>(&["machines"], "deleted=true").await?;
    while let Some(m) = machines.next().await? {
        all.push(Gone {
            kind: Kind::Machine,
            id: m.id.0,
            name: m.name,
            size_bytes: None,
            deleted_at: m.deleted_at,
            restorable_until: m.restorable_until,
        });
    }
    let mut volumes = client.list::<Volume>(&["volumes"], "deleted=true").await?;
    while let Some(v) = volumes.next().await? {
        all.push(Gone {
            kind: Kind::Volume,
            id: v.id.0,
            name: v.name,
            size_bytes: Some(v.size_bytes),
            deleted_at: v.deleted_at,
            restorable_until: v.restorable_until,
        });
    }
    let mut snapshots = client.list::<Snapshot>(&["snapshots"], "deleted=true").await?;
    while let Some(s) = snapshots.next().await? {
        all.push(Gone {
            kind: Kind::Snapshot,
            id: s.id.0,
            name: s.name,
            size_bytes: s.size_bytes,
            deleted_at: s.deleted_at,
            restorable_until: s.restorable_until,
        });
    }
    Ok(all)
}

fn list(context: &Context, all: Vec<Gone>) -> Ended {
    render::one(context.format(), &List { items: all, next_cursor: None }, |all| {
        let time = |at: Option<Timestamp>| render::or_dash(at.map(render::time));
        let mut table = Table::new(&["NAME", "KIND", "SIZE", "DELETED", "RESTORABLE UNTIL", "ID"]);
        for g in &all.items {
            table.row(&[
                g.name.to_string(),
                g.kind.to_string(),
                render::or_dash(g.size_bytes.map(ByteSize)),
                time(g.deleted_at),
                time(g.restorable_until),
                g.id.to_string(),
            ]);
        }
        let mut text = String::new();
        let done: Result<(), std::convert::Infallible> = table.lines(|line| {
            text.push_str(line);
            Ok(())
        });
        let Ok(()) = done;
        text
    })
}

/// What is called so in the list at `path`, or, where it is to go for good, in the trash. What was deleted
/// has no claim on its name: several can have it.
///
/// # Errors
/// What the API answered; `usage` if the name means several.
pub async fn find<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    named: &str,
    for_good: bool,
    known: fn(&T) -> (&Name, Uuid),
) -> Result<T, Problem> {
    let missing = match client.get(&[path, named]).await {
        Err(p) if for_good && p.code.exit() == 3 => p,
        other => return other,
    };
    let mut found = vec![];
    let mut all = client.list::<T>(&[path], "deleted=true").await?;
    while let Some(item) = all.next().await? {
        if known(&item).0.as_str() == named {
            found.push(item);
        }
    }
    let ids: Vec<_> = found.iter().map(|item| known(item).1.to_string()).collect();
    match (found.pop(), ids.len()) {
        (None, _) => Err(missing),
        (Some(only), 1) => Ok(only),
        (Some(_), n) => {
            Err(Problem::new(Code::Usage, format!("the trash has {n} {path} called \"{named}\""))
                .hint(format!("give the id of one of them: {}", ids.join(", "))))
        }
    }
}

async fn empty(context: &Context, client: &Client, all: &[Gone]) -> Ended {
    let mut lines: Vec<String> =
        all.iter().map(|g| format!("goes for good:  {} \"{}\"", g.kind, g.name)).collect();
    lines.push("this cannot be undone".into());
    if !all.is_empty() {
        confirm(context, "Empty the trash", &lines)?;
    }
    let (mut ended, mut failed) = (vec![], None);
    for g in all {
        let kind = match g.kind {
            Kind::Machine => "machines",
            Kind::Snapshot => "snapshots",
            _ => "volumes",
        };
        let asked = client.delete::<Operation>(&[kind, &g.id.to_string()], "deleted=true").await;
        match asked {
            // All of it is asked for, and whose ids are known is told also if more is refused.
            Ok(operation) if context.no_wait() => ended.push(operation),
            Ok(operation) => match wait(context, client, operation).await {
                Ok(operation) => ended.push(operation),
                // What cannot go, as of a pool that is not there, keeps nothing else from going.
                Err(Stop::Problem(p)) if p.code != Code::TimedOut => {
                    failed.get_or_insert(p);
                }
                Err(other) => return Err(other),
            },
            // It went with its machine, or somebody took it back or emptied the trash meanwhile.
            Err(p)
                if matches!(
                    p.code,
                    Code::VolumeNotFound
                        | Code::MachineNotFound
                        | Code::SnapshotNotFound
                        | Code::Deleting
                        | Code::NotDeleted
                ) => {}
            Err(p) if p.code == Code::PoolOffline => {
                failed.get_or_insert(p);
            }
            Err(p) => {
                failed = Some(p);
                break;
            }
        }
    }
    if context.no_wait() {
        left(context, ended)?;
        return failed.map_or(Ok(()), |p| Err(p.into()));
    }
    if let Some(p) = failed {
        return Err(p.into());
    }
    let n = all.len();
    render::done(context, &List { items: ended, next_cursor: None }, |_| match n {
        0 => "the trash is empty\n".to_owned(),
        1 => "1 thing is gone for good\n".to_owned(),
        n => format!("{n} things are gone for good\n"),
    })
}
