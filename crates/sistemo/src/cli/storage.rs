//! `sistemo storage`: where the room of the host's disks is.

use super::Ended;
use super::context::Context;
use super::render::{self, Table};
use clap::Subcommand;
use std::convert::Infallible;
use types::storage::{PoolContent, PoolUsage};
use types::{ByteSize, List};

/// The verbs.
#[derive(Subcommand)]
pub enum Storage {
    /// Show what takes the room of every pool: for each, all of EXCLUSIVE adds up to USED
    Df,
}

impl Storage {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Df => {
                let found: List<PoolUsage> = context.client()?.get(&["storage"]).await?;
                render::one(context.format(), &found, |list| text(&list.items))?;
                for warning in found.items.iter().flat_map(|p| &p.warnings) {
                    context.warn(warning);
                }
                Ok(())
            }
        }
    }
}

fn bytes(n: u64) -> String {
    ByteSize(n).to_string()
}

fn text(pools: &[PoolUsage]) -> String {
    let mut rooms = Table::new(&["POOL", "SIZE", "USED", "FREE", "PROMISED", "OVERCOMMIT", "LIMIT"]);
    let mut parts = Table::new(&["POOL", "WHAT", "COUNT", "SIZE", "ALLOCATED", "EXCLUSIVE"]);
    let mut notes = String::new();
    for pool in pools {
        let seen = pool.content.as_ref();
        let of = |f: fn(&PoolContent) -> u64| render::or_dash(seen.map(|c| bytes(f(c))));
        // Whole percents of the file system.
        let promised = seen
            .filter(|c| c.size_bytes > 0)
            .map(|c| format!("{}%", u128::from(pool.committed_bytes) * 100 / u128::from(c.size_bytes)));
        rooms.row(&[
            pool.name.clone(),
            of(|c| c.size_bytes),
            of(|c| c.used_bytes),
            of(|c| c.free_bytes),
            bytes(pool.committed_bytes),
            render::or_dash(promised),
            render::or_dash(pool.committed_limit_bytes.map(bytes)),
        ]);
        let Some(seen) = seen else {
            notes.push_str(&format!("pool \"{}\" is {}\n", pool.name, pool.status));
            continue;
        };
        add(&mut parts, &pool.name, seen);
        let guests = seen.guests;
        if guests.count > 0 {
            notes.push_str(&format!(
                "pool \"{}\": of {} volumes the guests that run use {}; about {} can be reclaimed by `volume trim`\n",
                pool.name,
                guests.count,
                bytes(guests.used_bytes),
                bytes(guests.reclaimable_bytes)
            ));
        }
        if !seen.dedicated {
            notes.push_str(&format!(
                "pool \"{}\" is not alone on its file system: what else is there counts as overhead\n",
                pool.name
            ));
        }
    }
    let mut out = String::new();
    for table in [&rooms, &parts] {
        let Ok(()) = table.lines(|line| {
            out.push_str(line);
            Ok::<(), Infallible>(())
        });
        out.push('\n');
    }
    out.push_str(&notes);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn add(parts: &mut Table, pool: &str, seen: &PoolContent) {
    for (what, kind) in seen.kinds().into_iter().filter(|(what, kind)| kind.count > 0 || *what == "volumes") {
        let (count, size) = (kind.count.to_string(), bytes(kind.size_bytes));
        let (allocated, own) = (bytes(kind.allocated_bytes), bytes(kind.exclusive_bytes));
        parts.row(&[pool, what, &count, &size, &allocated, &own]);
    }
    if seen.shared_bytes > 0 {
        parts.row(&[pool, "shared", "-", "-", "-", &bytes(seen.shared_bytes)]);
    }
    parts.row(&[pool, "overhead", "-", "-", "-", &bytes(seen.overhead_bytes)]);
}
