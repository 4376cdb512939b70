//! `sistemo machine exec NAME [-it] -- CMD…`.
//!
//! Standard input is passed on with `-i`, and also without it when it is no terminal, so that
//! `echo x | sistemo machine exec web -- cat` works; a loop that reads its own input redirects the
//! command's from `/dev/null`. Without either, the command's input is empty.
//!
//! Invariant: the exit code is the command's own, or 128 and the signal that ended it; what Sistemo
//! itself has to say is an `error[…]` line. The terminal is as it was, however this ends.

mod input;
mod session;
mod terminal;

use crate::api::ExecRequest;
use crate::cli::context::Context;
use crate::cli::wait::at;
use crate::cli::{Ended, Stop, input as typed};
use clap::Args;
use session::End;
use std::ffi::OsString;
use std::io::IsTerminal;
use types::{Code, Problem};

/// What to run where.
#[derive(Args)]
pub struct Exec {
    /// Name or id
    machine: String,
    /// Pass standard input on, also from a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments, passed on exactly
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Exec {
    /// Runs it and ends as it ends.
    pub async fn run(self, context: &Context) -> Ended {
        let machine = typed::reference(&self.machine)?.to_owned();
        let from_terminal = std::io::stdin().is_terminal();
        let size = terminal::size().unwrap_or((24, 80));
        let asked = ExecRequest {
            argv: self.argv()?,
            tty: self.tty,
            rows: size.0,
            cols: size.1,
            term: std::env::var("TERM").ok().filter(|_| self.tty),
        };
        let until = context.until()?;
        let stream = context.client()?.exec(&machine, &asked).await?;

        // From here on the terminal may be raw: no early return may skip the guard's end.
        let raw = self.tty && self.interactive && from_terminal;
        let guard = raw.then(terminal::Raw::enter).transpose()?;
        let forward = self.interactive || !from_terminal;
        let inputs = input::start(forward, self.tty, guard.is_some())?;
        let ended = tokio::select! {
            ended = session::run(stream, inputs.events, std::io::stdout(), std::io::stderr()) => ended,
            code = inputs.killed => Ok(End::Exit(code)),
            () = at(until) => Err(Problem::new(
                Code::TimedOut,
                format!("the command in machine \"{machine}\" has not ended in time"),
            )
            .hint("it may still be running in the guest; give it more time, or leave --timeout out")
            .into()),
        };
        drop(guard);
        match ended? {
            End::Exit(0) => Ok(()),
            End::Exit(code) => Err(Stop::Exit(code)),
        }
    }

    fn argv(&self) -> Result<Vec<String>, Problem> {
        let text = |a: &OsString| {
            a.to_str().map(str::to_owned).ok_or_else(|| {
                Problem::new(Code::Usage, "an argument of the command is not UTF-8")
                    .hint("pass such bytes through standard input")
            })
        };
        self.command.iter().map(text).collect()
    }
}
