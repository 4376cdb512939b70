//! The data directory.
//!
//! Invariant: 0711: everybody may pass through (the socket and the unprivileged hypervisors live
//! below), nobody but the owner may look around.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use types::{Code, Problem};

/// Makes the directory, or checks the one that is there.
pub fn make(dir: &Path) -> Result<(), Problem> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(|e| invalid(parent, &e.to_string()))?;
    }
    match std::fs::DirBuilder::new().mode(0o711).create(dir) {
        Ok(()) => restrict(dir),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => check(dir),
        Err(e) => Err(invalid(dir, &e.to_string())),
    }
}

/// The umask may have taken bits away.
fn restrict(dir: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))
        .map_err(|e| invalid(dir, &e.to_string()))
}

fn check(dir: &Path) -> Result<(), Problem> {
    let meta = std::fs::metadata(dir).map_err(|e| invalid(dir, &e.to_string()))?;
    if !meta.is_dir() {
        return Err(invalid(dir, "it is not a directory"));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(invalid(dir, &format!("it belongs to uid {}, not to uid {me}", meta.uid())));
    }
    // Whoever can write here can put another database in the place of ours.
    if meta.mode() & 0o022 != 0 {
        return Err(invalid(dir, "others than its owner may write to it")
            .hint(format!("chmod 0711 {}", dir.display())));
    }
    Ok(())
}

fn invalid(dir: &Path, why: &str) -> Problem {
    Problem::new(Code::DataDirInvalid, format!("{} cannot hold Sistemo's data: {why}", dir.display()))
        .hint("name another directory with --data-dir, or run as the user who owns it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_and_checked_later() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        make(&data).unwrap();
        assert_eq!(data.metadata().unwrap().mode() & 0o7777, 0o711);
        make(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(make(&data).unwrap_err().code, Code::DataDirInvalid);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(make(&file).unwrap_err().code, Code::DataDirInvalid);
        assert_eq!(make(&file.join("below")).unwrap_err().code, Code::DataDirInvalid);
    }
}
