//! Verbs of the contract that are not built yet: absent from the help, honest when called.

use super::Ended;
use clap::Args;
use std::ffi::OsString;
use types::{Code, Problem};

/// Takes whatever it is given.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct NotYet {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 0..,
        hide = true
    )]
    rest: Vec<OsString>,
}

impl NotYet {
    /// Says so.
    pub fn run(self, verb: &str) -> Ended {
        drop(self.rest);
        Err(problem(&format!("`sistemo {verb}`")).into())
    }
}

/// Something that is not built yet.
pub fn problem(what: &str) -> Problem {
    Problem::new(Code::NotYet, format!("{what} is not built yet")).hint("`sistemo --help` lists what is")
}
