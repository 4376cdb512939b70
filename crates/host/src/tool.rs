//! Running other programs.
//!
//! Invariant: what a tool prints goes to the log, never to a user; a tool that is missing is
//! `tool-missing` with the package that has it.

use engine::port::Fault;
use rustix::fs::{Access, access};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use types::Code;

/// Where administrators' tools are, which a user's `PATH` may lack.
pub const SBIN: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The path of a tool; its bare name if it is nowhere, so that running it says so. With a path the
/// standard library can spawn without a fork, whose cost grows with this process.
pub fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(std::env::split_paths(SBIN));
    let there = |path: &PathBuf| access(path, Access::EXEC_OK).is_ok() && path.is_file();
    places.map(|dir| dir.join(name)).filter(|p| p.is_absolute()).find(there).unwrap_or_else(|| name.into())
}

/// Runs `command` to its end with no input; `package` is what to install if it is missing.
///
/// # Errors
/// `tool-missing`, or `code` when it cannot be run or ends with another status than 0.
pub fn run(command: &mut Command, package: &str, code: Code) -> Result<Output, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| unable(&name, &e, package, code))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    tracing::error!(tool = %name, status = %output.status, "{}", said.trim());
    Err(Fault::lasting(code, format!("{name} failed ({})", output.status)).hint("the daemon's log says more"))
}

/// Why a tool could not even be begun.
pub fn unable(name: &str, e: &std::io::Error, package: &str, code: Code) -> Fault {
    if e.kind() == ErrorKind::NotFound {
        return missing(name, package);
    }
    Fault::lasting(code, format!("cannot run {name}: {e}"))
}

/// The fault of a tool that is not installed.
pub fn missing(name: &str, package: &str) -> Fault {
    Fault::lasting(Code::ToolMissing, format!("{name} is not installed"))
        .hint(format!("apt install {package}"))
}
