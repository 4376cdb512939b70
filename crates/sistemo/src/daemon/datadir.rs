//! The data directory.
//!
//! Invariant: it is on this host, since a database on a network file system is one that breaks; 0711:
//! everybody may pass through (the socket and the unprivileged hypervisors live below), nobody but the
//! owner may look around.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use types::{Code, Problem};

/// Makes the directory, or checks the one that is there.
pub fn make(dir: &Path) -> Result<(), Problem> {
    make_or_check(dir)?;
    local(dir, &host::filesystem::of(dir).map_err(|e| invalid(dir, &e.to_string()))?)
}

/// Checks a directory that must be there.
pub fn find(dir: &Path) -> Result<(), Problem> {
    check(dir)?;
    local(dir, &host::filesystem::of(dir).map_err(|e| invalid(dir, &e.to_string()))?)
}

/// Refuses what is on another host.
fn local(dir: &Path, on: &host::filesystem::FileSystem) -> Result<(), Problem> {
    if !on.network {
        return Ok(());
    }
    Err(invalid(dir, &format!("it is on a network file system ({}), where a database breaks", on.name))
        .hint("name a directory on a disk of this host with --data-dir"))
}

fn make_or_check(dir: &Path) -> Result<(), Problem> {
    // A directory that a power cut takes away would take the data along.
    match host::durable::make_dir(dir) {
        Ok(()) => check(dir),
        Err(e) => Err(invalid(dir, &e.to_string())),
    }
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
        assert_eq!(find(&dir.path().join("none")).unwrap_err().code, Code::DataDirInvalid);
    }

    #[test]
    fn a_network_file_system_is_refused() {
        let dir = Path::new("/srv/x");
        for (magic, mounted) in [(0x6969, None), (0xff53_4d42, None), (0x6573_5546, Some("fuse.sshfs"))] {
            let problem = local(dir, &host::filesystem::judge(magic, mounted)).unwrap_err();
            assert_eq!(problem.code, Code::DataDirInvalid);
            assert!(problem.message.contains("network") && problem.hint.is_some());
        }
        local(dir, &host::filesystem::judge(0xef53, None)).unwrap();
    }
}
