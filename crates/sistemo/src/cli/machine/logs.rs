//! `sistemo machine logs NAME [-f]`.
//!
//! Invariant: the bytes come from the guest: a terminal gets only text of them, a file or a pipe
//! gets all.

use crate::cli::context::Context;
use crate::cli::{Ended, input, render};
use clap::Args;
use http_body_util::BodyExt;
use std::io::{IsTerminal, Write};
use types::{Code, Problem};

/// Which.
#[derive(Args)]
pub struct Logs {
    /// Name or id
    machine: String,
    /// Go on with what it shows from now on
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Prints it.
    pub async fn run(self, context: &Context) -> Ended {
        let path = ["machines", input::reference(&self.machine)?, "logs"];
        let query = if self.follow { "follow=true" } else { "" };
        let mut body = context.client()?.stream(&path, query).await?;
        let mut out = std::io::stdout().lock();
        let filter = out.is_terminal();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|e| Problem::new(Code::DaemonUnreachable, format!("the log broke off: {e}")))?;
            let Some(piece) = frame.data_ref() else {
                continue;
            };
            let written = if filter { out.write_all(&text_only(piece)) } else { out.write_all(piece) };
            written.and_then(|()| out.flush()).map_err(|e| render::written(&e))?;
        }
        Ok(())
    }
}

/// Leaves out what a terminal would obey; bytes above 127 stay, as they may be parts of letters.
fn text_only(bytes: &[u8]) -> Vec<u8> {
    let kept = |b: &u8| matches!(b, b'\n' | b'\t' | 0x20..=0x7e | 0x80..);
    bytes.iter().copied().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(text_only(b"\x1b[31mred\r\n\x07\xc3\xbc"), b"[31mred\n\xc3\xbc");
    }
}
