//! What the host's own tools do: groups and the service manager.
//!
//! Invariant: what a tool prints goes to the log of whoever runs this, never into an error.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use types::{Code, Problem};

/// Runs a tool to its end; its output is shown only if it fails.
pub fn run(tool: &str, args: &[&str]) -> Result<(), Problem> {
    let ran = Command::new(tool).args(args).stdin(Stdio::null()).output();
    let ran = ran.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Problem::new(Code::ToolMissing, format!("{tool} is not installed")),
        _ => Problem::new(Code::Internal, format!("{tool} cannot be run: {e}")),
    })?;
    if ran.status.success() {
        return Ok(());
    }
    tracing::error!("{tool} {}: {}", args.join(" "), String::from_utf8_lossy(&ran.stderr).trim());
    Err(Problem::new(Code::IoError, format!("`{tool} {}` failed ({})", args.join(" "), ran.status))
        .hint("run it by hand to see what it says"))
}

/// Makes the group, if it is not there; whether it was made.
pub fn ensure_group(root: Option<&Path>, group: &str) -> Result<bool, Problem> {
    let file = root.unwrap_or(Path::new("/")).join("etc/group");
    let text = std::fs::read_to_string(&file).map_err(|e| super::failed("read", &file, &e))?;
    if text.lines().any(|l| l.split(':').next() == Some(group)) {
        return Ok(false);
    }
    match root.and_then(Path::to_str) {
        Some(dir) => run("groupadd", &["--system", "--prefix", dir, group])?,
        None => run("groupadd", &["--system", group])?,
    }
    Ok(true)
}
