//! `sistemo doctor`: whether this host is as Sistemo needs it.
//!
//! Invariant: looking changes nothing and never takes long: each check has a time limit, and one
//! that does not answer is told as such.

mod api;
mod data;
mod run;

use super::context::Context;
use super::render::{self, Format, Table};
use super::{Ended, Stop};
use crate::client::Target;
use crate::config::Config;
use clap::Args;
use host::doctor::{CHECKS, Finding, State, Subject};
use run::Job;
use types::List;

/// Flags of `doctor`: none.
#[derive(Args)]
#[command(after_help = "Exit code 0 when nothing fails, warnings or not; 1 otherwise.")]
pub struct Doctor {}

impl Doctor {
    /// Looks at everything, and prints it.
    pub fn run(self, context: &Context) -> Ended {
        let config = context.config(false)?;
        let list = List { items: run::all(jobs(&config), run::LIMIT), next_cursor: None };
        if context.format() == Format::Text {
            let mut table = Table::new(&["STATE", "CHECK", "FINDING", "FIX"]);
            for f in &list.items {
                let fix = f.fix.as_deref().unwrap_or("-");
                table.row(&[&f.state.to_string(), f.check, &f.finding, fix]);
            }
            table.lines(render::print)?;
        } else {
            render::one(context.format(), &list, |_| String::new())?;
        }
        let failed = list.items.iter().any(|f| f.state == State::Fail);
        if failed { Err(Stop::Exit(1)) } else { Ok(()) }
    }
}

/// Whether somebody takes connections at the socket that commands use, or at that of this data directory.
fn daemon_runs(config: &Config) -> bool {
    let socket = match Target::parse(&config.url) {
        Ok(Target::Unix(path)) => path,
        _ => config.socket(),
    };
    let connected = crate::sockpath::Short::new(&socket)
        .and_then(|short| std::os::unix::net::UnixStream::connect(short.path()));
    connected.is_ok()
}

/// Everything that is looked at.
fn jobs(config: &Config) -> Vec<Job> {
    let subject = Subject {
        data: config.data_dir.clone(),
        accel: config.accel.clone(),
        bridge: config.bridge.clone(),
        gateway: config.gateway,
        prefix: config.prefix,
        // Switched off, or the daemon's own while that runs, is no port to be free: 0 always is.
        port: config.listen.filter(|_| !daemon_runs(config)).map_or(0, |a| a.port()),
        reserve: config.pool_reserve,
        // Set by build.rs; a time nobody can read is no time to compare with.
        built: env!("SISTEMO_BUILT").parse().unwrap_or(0),
    };
    let of_host = CHECKS.iter().map(|(name, check)| {
        let subject = subject.clone();
        Job::new(name, move || check(&subject))
    });
    let url = config.url.clone();
    let (database, pool) = (config.clone(), config.clone());
    of_host
        .chain([
            Job::new("database", move || vec![data::database(&database)]),
            Job::new("pool", move || data::pool(&pool)),
            Job::new("agent", || vec![api::agent()]),
            Job::new("daemon", move || api::daemon(&url)),
        ])
        .collect()
}

/// A check that ended without an answer.
fn silent(check: &'static str, why: &str) -> Finding {
    Finding::warn(check, format!("it could not be looked at: {why}"), "look for a disk or mount that hangs")
}
