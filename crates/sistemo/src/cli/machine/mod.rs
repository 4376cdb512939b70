//! `sistemo machine`, or `vm`.

mod change;
mod delete;
mod deploy;
mod exec;
mod list;
mod logs;
mod restore;
mod show;
mod ssh;
mod volume;
mod wait;

use super::Ended;
use super::context::Context;
use super::not_yet::NotYet;
use clap::Subcommand;

/// The verbs.
#[derive(Subcommand)]
pub enum Machine {
    /// Make a machine and its root volume, and start it
    Deploy(deploy::Deploy),
    /// List the machines
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show a machine
    #[command(visible_alias = "status")]
    Show(show::Show),
    /// Start a machine
    Start(change::Which),
    /// Shut a machine down
    Stop(change::Which),
    /// Shut a machine down and start it
    Restart(change::Which),
    /// Delete a machine; data volumes always stay
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Take a deleted machine back, stopped, with its volumes
    Restore(restore::Restore),
    /// Run a command in a machine
    Exec(exec::Exec),
    /// Log in to a machine with the system's ssh
    Ssh(ssh::Ssh),
    /// Show what a machine's serial console has shown
    Logs(logs::Logs),
    /// Wait until a machine is running, stopped, failed or deleted
    Wait(wait::Wait),
    /// Attach and detach volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    #[command(hide = true)]
    Terminal(NotYet),
    #[command(hide = true)]
    Cp(NotYet),
    #[command(hide = true)]
    Expose(NotYet),
    #[command(hide = true)]
    Unexpose(NotYet),
}

impl Machine {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Deploy(verb) => verb.run(context).await,
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Start(which) => which.run(context, "start").await,
            Self::Stop(which) => which.run(context, "stop").await,
            Self::Restart(which) => which.run(context, "restart").await,
            Self::Delete(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
            Self::Exec(verb) => verb.run(context).await,
            Self::Ssh(verb) => verb.run(context).await,
            Self::Logs(verb) => verb.run(context).await,
            Self::Wait(verb) => verb.run(context).await,
            Self::Volume(verb) => verb.run(context).await,
            Self::Terminal(verb) => verb.run("machine terminal"),
            Self::Cp(verb) => verb.run("machine cp"),
            Self::Expose(verb) => verb.run("machine expose"),
            Self::Unexpose(verb) => verb.run("machine unexpose"),
        }
    }
}
