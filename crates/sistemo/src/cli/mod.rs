//! The command line: one file per verb, each a request to the API and a way to show its answer.
//!
//! Invariant: exit codes and `error[code]: …` lines are a contract (`docs/codes/`); data goes to
//! standard output, everything else to standard error.

mod complete;
mod completion;
mod config;
mod confirm;
mod context;
mod doctor;
mod edit;
mod explain;
mod history;
mod host;
mod image;
mod input;
mod machine;
mod man;
mod network;
mod not_yet;
mod operation;
mod pool;
mod progress;
mod recover;
mod render;
mod service;
mod snapshot;
mod status;
mod storage;
mod token;
mod transfer;
mod trash;
mod up;
mod usage;
mod user;
mod version;
mod volume;
mod wait;

pub use explain::page;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use context::{Context, Global};
use std::ffi::OsString;
use types::Problem;

/// Self-hosted virtual machines, storage first.
#[derive(Parser)]
#[command(
    name = "sistemo",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    after_help = "Start the daemon with `sistemo up`, then: sistemo machine deploy debian --name web --storage 5GB"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon in the foreground
    Up(up::Up),
    /// Machines: deploy, run, look inside
    #[command(visible_alias = "vm", subcommand)]
    Machine(machine::Machine),
    /// Volumes: the disks, with a life of their own
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Snapshots: what volumes were at one moment
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Pools: where volumes live
    #[command(subcommand)]
    Pool(pool::Pool),
    /// Storage: where the room of the host's disks is
    #[command(subcommand)]
    Storage(storage::Storage),
    /// The trash: what was deleted and can be taken back
    #[command(subcommand)]
    Trash(trash::Trash),
    /// Images: what root volumes start as
    #[command(subcommand)]
    Image(image::Image),
    /// Networks
    #[command(subcommand)]
    Network(network::Network),
    /// Operations: what was accepted, and how far it is
    #[command(subcommand)]
    Operation(operation::Operations),
    /// Show what was asked, by whom, and how it ended
    History(history::History),
    /// The end of this host, for its guests
    #[command(subcommand)]
    Host(host::Host),
    /// Tokens for the API
    #[command(subcommand)]
    Token(token::Token),
    /// Users who can log in
    #[command(subcommand)]
    User(user::User),
    /// Show how the daemon is
    Status(status::Status),
    /// Look at this host: what is missing, and what to do
    Doctor(doctor::Doctor),
    /// Rebuild a lost or damaged database from the data directory
    Recover(recover::Recover),
    /// Show each setting and where it came from
    Config(config::Config),
    /// Explain an error code
    Explain(explain::Explain),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the version
    Version(version::Version),
    /// Make the daemon a service of this host, or no longer
    #[command(subcommand)]
    Service(service::Service),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Pages),
}

/// Why a command ends other than well.
enum Stop {
    /// Something to tell.
    Problem(Problem),
    /// Everything was told; this is the exit code.
    Exit(u8),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// How a verb ends.
type Ended = Result<(), Stop>;

/// Runs the command of this process and returns its exit code.
pub fn main() -> u8 {
    let args: Vec<_> = std::env::args_os().collect();
    complete::answer(&args).unwrap_or_else(|| run(args))
}

fn run(args: Vec<OsString>) -> u8 {
    let cli = match command().try_get_matches_from(args).and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(e) => return usage::tell(&e),
    };
    match dispatch(cli) {
        Ok(()) => 0,
        Err(Stop::Exit(code)) => code,
        Err(Stop::Problem(problem)) => {
            render::problem(&problem);
            problem.code.exit()
        }
    }
}

/// The whole command line as clap knows it.
fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: Cli) -> Ended {
    let context = Context::new(cli.global);
    // Nothing is asked for that could not be waited for as it is said.
    context.timeout()?;
    match cli.verb {
        // These need no daemon, and the daemon makes a runtime of its own.
        Verb::Up(verb) => verb.run(&context),
        Verb::Doctor(verb) => verb.run(&context),
        Verb::Recover(verb) => verb.run(&context),
        Verb::Explain(verb) => verb.run(&context),
        Verb::Completion(verb) => verb.run(),
        Verb::Version(verb) => verb.run(&context),
        Verb::Service(verb) => verb.run(&context),
        Verb::Man(verb) => verb.run(&context),
        Verb::Machine(verb) => context.run(verb.run(&context)),
        Verb::Volume(verb) => context.run(verb.run(&context)),
        Verb::Snapshot(verb) => context.run(verb.run(&context)),
        Verb::Pool(verb) => context.run(verb.run(&context)),
        Verb::Storage(verb) => context.run(verb.run(&context)),
        Verb::Trash(verb) => context.run(verb.run(&context)),
        Verb::Image(verb) => context.run(verb.run(&context)),
        Verb::Network(verb) => context.run(verb.run(&context)),
        Verb::Operation(verb) => context.run(verb.run(&context)),
        Verb::History(verb) => context.run(verb.run(&context)),
        // What it has borrowed goes in order, whatever the time.
        Verb::Host(verb) => context::block_on(verb.run(&context)),
        Verb::Token(verb) => context.run(verb.run(&context)),
        Verb::User(verb) => context.run(verb.run(&context)),
        Verb::Status(verb) => context.run(verb.run(&context)),
        Verb::Config(verb) => context.run(verb.run(&context)),
    }
}
