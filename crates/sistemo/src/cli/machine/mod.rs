//! `sistemo machine`, or `vm`.

mod change;
mod clone;
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

use super::context::Context;
use super::not_yet::NotYet;
use super::{Ended, edit, snapshot};
use clap::Subcommand;
use types::operation::Kind;

/// The verbs.
#[derive(Subcommand)]
pub enum Machine {
    /// Make a machine and its root volume, and start it
    Deploy(Box<deploy::Deploy>),
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
    /// Take snapshots of all disks of a machine at one instant
    Snapshot(snapshot::take::OfMachine),
    /// Copy a machine with all of its volumes, as of one instant if it runs, and start the copy
    Clone(clone::Clone),
    /// Delete a machine; data volumes always stay
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Take a deleted machine back, stopped, with its volumes
    Restore(restore::Restore),
    /// Give a machine another name
    Rename(edit::Rename),
    /// Refuse to delete a machine and to restore its disks from snapshots
    Protect(edit::Which),
    /// Let a machine be deleted, and its disks be restored, again
    Unprotect(edit::Which),
    /// Set and remove labels
    Label(edit::Label),
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
            Self::Snapshot(verb) => verb.run(context).await,
            Self::Clone(verb) => verb.run(context).await,
            Self::Delete(verb) => verb.run(context).await,
            Self::Restore(verb) => verb.run(context).await,
            Self::Rename(verb) => verb.run(context, Kind::Machine).await,
            Self::Protect(verb) => verb.run(context, Kind::Machine, true).await,
            Self::Unprotect(verb) => verb.run(context, Kind::Machine, false).await,
            Self::Label(verb) => verb.run(context, Kind::Machine).await,
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
