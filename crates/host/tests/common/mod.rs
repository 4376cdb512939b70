//! What all of these tests use.

use std::path::Path;
use std::process::Command;

/// Runs a tool, which must succeed.
pub fn tool(name: &str, args: &[&str]) {
    let output = Command::new(name).args(args).output().expect(name);
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
