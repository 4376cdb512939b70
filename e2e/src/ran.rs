//! What a command came to.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// Exit code and outputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The exit code, or 128 and the signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let signal = output.status.signal().unwrap_or(0);
        Self {
            code: output.status.code().unwrap_or(128 + signal),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
