//! `sistemo completion SHELL`: the script by which a shell asks [`super::complete`].

use super::{Ended, complete, render};
use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;
use types::{Code, Problem};

/// For which shell.
#[derive(Args)]
#[command(after_help = "For bash: `source <(sistemo completion bash)`; packages install it already.")]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    pub fn run(self) -> Ended {
        let mut script = Vec::new();
        let shells = Shells::builtins();
        let written = shells
            .completer(&self.shell.to_string())
            .map(|s| s.write_registration(complete::VARIABLE, "sistemo", "sistemo", "sistemo", &mut script));
        match written {
            Some(Ok(())) => render::print(&String::from_utf8_lossy(&script)),
            _ => Err(Problem::new(Code::Internal, format!("there is no script for {}", self.shell)).into()),
        }
    }
}
