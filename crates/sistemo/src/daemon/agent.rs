//! The guest agent that machines boot with.

use std::borrow::Cow;
use std::path::PathBuf;
use types::{Code, Problem};

mod embedded {
    //! What `build.rs` was given.
    include!(concat!(env!("OUT_DIR"), "/agent.rs"));
}

/// Whether one is part of this program.
pub fn built_in() -> bool {
    embedded::AGENT.is_some()
}

/// The agent: the embedded one, or `$SISTEMO_AGENT`, or `sistemo-agent` beside this program.
pub fn find() -> Result<Cow<'static, [u8]>, Problem> {
    if let Some(path) = std::env::var_os("SISTEMO_AGENT").map(PathBuf::from) {
        return read(path);
    }
    if let Some(bytes) = embedded::AGENT {
        return Ok(Cow::Borrowed(bytes));
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("sistemo-agent")));
    match beside {
        Some(path) if path.exists() => read(path),
        _ => Err(missing("it is neither part of this program nor beside it")),
    }
}

fn read(path: PathBuf) -> Result<Cow<'static, [u8]>, Problem> {
    std::fs::read(&path).map(Cow::Owned).map_err(|e| missing(&format!("{}: {e}", path.display())))
}

fn missing(why: &str) -> Problem {
    Problem::new(Code::ToolMissing, format!("there is no guest agent: {why}"))
        .hint("put sistemo-agent beside sistemo, or name it in SISTEMO_AGENT, and restart the daemon")
}
