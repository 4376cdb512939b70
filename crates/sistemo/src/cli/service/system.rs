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
        ErrorKind::NotFound => Problem::new(Code::ToolMissing, format!("{tool} is not installed"))
            .hint("install the package that has it"),
        _ => Problem::new(Code::Internal, format!("{tool} cannot be run: {e}"))
            .hint("run it by hand to look closer"),
    })?;
    if ran.status.success() {
        return Ok(());
    }
    tracing::error!("{tool}: {}", String::from_utf8_lossy(&ran.stderr).trim());
    let message = format!("`{tool} {}` failed ({})", args.join(" "), ran.status);
    Err(Problem::new(Code::IoError, message).hint(match tool {
        "systemctl" => "`systemctl status sistemo` and `journalctl -u sistemo` say more",
        _ => "run it by hand to look closer",
    }))
}

/// The process that the service manager has for this unit, if any.
pub fn main_process(unit: &str) -> Option<u32> {
    let mut asked = Command::new("systemctl");
    asked.args(["show", "--property=MainPID", "--value", unit]).stdin(Stdio::null());
    let ran = asked.output().ok()?;
    String::from_utf8_lossy(&ran.stdout).trim().parse().ok().filter(|pid| *pid != 0)
}

/// Makes the group, if it is not there; whether it was made.
pub fn ensure_group(root: Option<&Path>, group: &str) -> Result<bool, Problem> {
    let file = root.unwrap_or(Path::new("/")).join("etc/group");
    let text = std::fs::read_to_string(&file).map_err(|e| match root {
        Some(dir) if e.kind() == ErrorKind::NotFound => {
            Problem::new(Code::Usage, format!("--root: {} has no etc/group", dir.display()))
                .hint("name the root of a mounted system that is installed there already")
        }
        _ => super::failed("read", &file, &e),
    })?;
    if text.lines().any(|l| l.split(':').next() == Some(group)) {
        return Ok(false);
    }
    match root.and_then(Path::to_str) {
        Some(dir) => run("groupadd", &["--system", "--prefix", dir, group])?,
        None => run("groupadd", &["--system", group])?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_system_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let problem = ensure_group(Some(dir.path()), "sistemo").unwrap_err();
        assert_eq!(problem.code, Code::Usage);
        assert!(problem.hint.unwrap().contains("mounted system"));
    }

    #[test]
    fn a_tool_that_fails_is_named() {
        let problem = run("sh", &["-c", "exit 3"]).unwrap_err();
        assert!(problem.message.ends_with("(exit status: 3)"), "{problem:?}");
        assert!(problem.hint.is_some() && run("true", &[]).is_ok());
    }
}
