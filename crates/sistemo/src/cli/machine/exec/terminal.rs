//! The user's terminal.
//!
//! Invariant: raw mode ends with the guard, also when unwinding.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use types::{Code, Problem};

/// The terminal in raw mode for as long as this lives.
pub struct Raw(Termios);

impl Raw {
    /// Makes the terminal of standard input raw: every key goes to the guest.
    pub fn enter() -> Result<Self, Problem> {
        let failed =
            |e: rustix::io::Errno| Problem::new(Code::IoError, format!("cannot use the terminal: {e}"));
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).map_err(failed)?;
        let guard = Self(before.clone());
        let mut raw = before;
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Drain, &raw).map_err(failed)?;
        Ok(guard)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that is gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Rows and columns of the terminal, if there is one.
pub fn size() -> Option<(u16, u16)> {
    let sizes = [
        tcgetwinsize(rustix::stdio::stdout()),
        tcgetwinsize(rustix::stdio::stdin()),
        tcgetwinsize(rustix::stdio::stderr()),
    ];
    sizes
        .into_iter()
        .filter_map(Result::ok)
        .find(|s| s.ws_row > 0 && s.ws_col > 0)
        .map(|s| (s.ws_row, s.ws_col))
}
