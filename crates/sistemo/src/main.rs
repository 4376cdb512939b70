//! The `sistemo` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sistemo::cli::main())
}
