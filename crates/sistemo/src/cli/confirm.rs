//! Questions before something goes.
//!
//! Invariant: without somebody at a terminal the answer is no, and it comes at once.

use super::Ended;
use super::context::Context;
use std::io::{BufRead, IsTerminal, Write};
use types::{Code, Problem};

/// Asks unless that was answered beforehand; anything but `y` or `yes` is a refusal.
pub fn confirm(context: &Context, what: &str, explained: &[String]) -> Ended {
    if context.yes() {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Problem::new(
            Code::NotConfirmed,
            format!("{what}: not done, since nobody can be asked without a terminal"),
        )
        .hint("add -y to do it without a question")
        .into());
    }
    let mut stderr = std::io::stderr();
    for line in explained {
        let _ = writeln!(stderr, "{line}");
    }
    let _ = write!(stderr, "{what}? [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = context.asking(|| stdin.lock().read_line(&mut answer));
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Problem::new(Code::NotConfirmed, format!("{what}: not done")).into()),
    }
}
