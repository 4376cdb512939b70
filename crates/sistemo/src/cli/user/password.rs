//! Where a password comes from: a question without an echo, standard input, or a file.
//!
//! Invariant: never from an argument, which everybody on the host can read.

use crate::cli::input;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Write};
use types::access::Secret;
use types::{Code, Problem};

/// From where.
#[derive(Args)]
pub struct From {
    /// Read the password from a file
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

impl From {
    /// Reads it and refuses one that is not usable.
    pub fn read(&self) -> Result<Secret, Problem> {
        let text = match &self.password_file {
            Some(path) => input::secret_file(path)?,
            None if self.password_stdin => input::secret_line(io::stdin().lock(), "standard input")?,
            None => ask()?,
        };
        let password = Secret::new(text);
        password.usable_password()?;
        Ok(password)
    }
}

fn ask() -> Result<String, Problem> {
    if !io::stdin().is_terminal() {
        return Err(Problem::new(
            Code::NotConfirmed,
            "nobody can be asked for a password without a terminal",
        )
        .hint("use --password-stdin or --password-file"));
    }
    let first = silently("Password: ")?;
    if silently("Once more: ")? != first {
        return Err(Problem::new(Code::NotConfirmed, "the two passwords differ").hint("try again"));
    }
    Ok(first)
}

/// Puts the terminal back, however the question ends.
struct Silence(Termios);

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn silently(question: &str) -> Result<String, Problem> {
    let failed = |e: io::Error| Problem::new(Code::IoError, format!("the terminal cannot be used: {e}"));
    let before = tcgetattr(io::stdin()).map_err(|e| failed(e.into()))?;
    let mut silent = before.clone();
    // Byte by byte, so that Ctrl-C ends it here, where the terminal is put back.
    silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    let _silence = Silence(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(|e| failed(e.into()))?;
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes()).and_then(|()| err.flush()).map_err(failed)?;
    let typed = line(io::stdin().lock());
    // The newline that was typed was not shown.
    err.write_all(b"\n").map_err(failed)?;
    typed
        .map_err(failed)?
        .ok_or_else(|| Problem::new(Code::NotConfirmed, "no password was given").hint("try again"))
}

/// What is typed until the line ends; `None` if it was given up.
fn line(from: impl BufRead) -> io::Result<Option<String>> {
    let mut typed = Vec::new();
    for byte in from.bytes() {
        match byte? {
            b'\r' | b'\n' => return Ok(String::from_utf8(typed).ok()),
            // Ctrl-C, and Ctrl-D.
            3 | 4 => return Ok(None),
            8 | 127 => {
                // One character, which may be several bytes.
                while typed.pop().is_some_and(|b| b & 0xc0 == 0x80) {}
            }
            other => typed.push(other),
        }
        if typed.len() > types::access::MAX_PASSWORD {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let typed = |bytes: &[u8]| line(bytes).unwrap();
        assert_eq!(typed(b"secret\rrest").as_deref(), Some("secret"));
        assert_eq!(typed("a\u{fc}\u{7f}b\n".as_bytes()).as_deref(), Some("ab"));
        assert_eq!(typed(b"secret\x03\n"), None);
        assert_eq!(typed(b"no end"), None);
        assert_eq!(typed(&[b'x'; 5000]), None);
    }
}
