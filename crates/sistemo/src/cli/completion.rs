//! `sistemo completion SHELL`.

use super::{Ended, render};
use clap::Args;
use clap_complete::Shell;

/// For which shell.
#[derive(Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    pub fn run(self) -> Ended {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "sistemo", &mut script);
        render::print(&String::from_utf8_lossy(&script))
    }
}
