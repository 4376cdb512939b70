//! A machine's own directory: its sidecar, so that it can be recovered without the database.
//!
//! Invariant: the sidecar is there as a whole or not at all; nothing that is not ours is removed.

use crate::durable;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// A sidecar is a few kilobytes; more than this is none.
const MAX: u64 = 1 << 20;

/// The generation in the sidecar at `path`; `None` if there is none that can be read.
pub fn generation(path: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut text)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    if text.len() as u64 > MAX {
        return Ok(None);
    }
    let sidecar: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    Ok(sidecar["generation"].as_u64())
}

/// Publishes a sidecar, and the directory that it is in.
pub fn write(path: &Path, sidecar: &[u8]) -> io::Result<()> {
    durable::make_dir(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
    durable::write(path, sidecar, 0o600)
}

/// Removes a machine's directory; whatever else is in it stays, and is told.
pub fn remove(machine: &Path, ours: &[&str]) -> io::Result<()> {
    for name in ours {
        durable::remove(&machine.join(name))?;
    }
    match fs::remove_dir(machine) {
        Ok(()) => durable::sync_dir(machine.parent().ok_or(ErrorKind::InvalidInput)?),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(dir = %machine.display(), "what is left in it is not ours, and stays");
            Ok(())
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_and_the_rest_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let machine = dir.path().join("machines/x");
        let path = machine.join("machine.json");
        assert_eq!(generation(&path).unwrap(), None);
        write(&path, br#"{"generation": 7}"#).unwrap();
        assert_eq!(generation(&path).unwrap(), Some(7));
        for bad in [&b""[..], b"{", b"[]", br#"{"generation": -1}"#, &vec![b' '; 2 << 20]] {
            write(&path, bad).unwrap();
            assert_eq!(generation(&path).unwrap(), None);
        }
        fs::write(machine.join("theirs"), b"").unwrap();
        remove(&machine, &["machine.json"]).unwrap();
        assert!(machine.join("theirs").exists());
        fs::remove_file(machine.join("theirs")).unwrap();
        remove(&machine, &["machine.json"]).unwrap();
        remove(&machine, &["machine.json"]).unwrap();
        assert!(!machine.exists());
    }
}
