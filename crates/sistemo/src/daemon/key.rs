//! The ssh key pair, made on first use.
//!
//! Invariant: a private key that is there is never replaced, and it appears only after its public
//! half: a crash in between leaves nothing that has to be told apart later.

use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use types::{Code, Problem};

/// A key pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// Where the private key is.
    pub private: PathBuf,
    /// The public key, as a line of `authorized_keys`.
    pub public: String,
}

/// The pair below `<data>/ssh`, made by `ssh-keygen` if it is not there.
pub fn ensure(data_dir: &Path) -> Result<KeyPair, Problem> {
    let dir = data_dir.join("ssh");
    let private = dir.join("id_ed25519");
    let failed =
        |e: io::Error| Problem::new(Code::IoError, format!("cannot make the key {}: {e}", private.display()));
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
        _ => host::durable::sync_dir(data_dir).map_err(failed)?,
    }
    if !private.exists() {
        generate(&dir, &private)?;
    }
    let public_path = dir.join("id_ed25519.pub");
    let public = match std::fs::read_to_string(&public_path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = keygen(|k| k.arg("-y").arg("-f").arg(&private))?;
            host::durable::write(&public_path, text.as_bytes(), 0o644).map_err(failed)?;
            text
        }
        Err(e) => return Err(failed(e)),
    };
    Ok(KeyPair { private, public: public.trim().to_owned() })
}

fn generate(dir: &Path, private: &Path) -> Result<(), Problem> {
    let fresh = dir.join("new");
    let fresh_public = dir.join("new.pub");
    for left in [&fresh, &fresh_public] {
        // What an earlier try left; ssh-keygen would ask whether to overwrite it.
        let _ = std::fs::remove_file(left);
    }
    keygen(|k| k.args(["-q", "-t", "ed25519", "-N", "", "-C", "sistemo", "-f"]).arg(&fresh))?;
    let publish = || {
        for file in [&fresh, &fresh_public] {
            std::fs::File::open(file)?.sync_all()?;
        }
        std::fs::rename(&fresh_public, dir.join("id_ed25519.pub"))?;
        std::fs::rename(&fresh, private)?;
        std::fs::File::open(dir)?.sync_all()
    };
    publish().map_err(|e: io::Error| {
        Problem::new(Code::IoError, format!("cannot keep the key {}: {e}", private.display()))
    })
}

fn keygen(arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<String, Problem> {
    let mut command = Command::new("ssh-keygen");
    arguments(&mut command).stdin(Stdio::null());
    let output = command.output().map_err(|e| {
        Problem::new(Code::ToolMissing, format!("cannot run ssh-keygen: {e}")).hint("install openssh-client")
    })?;
    if !output.status.success() {
        tracing::error!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
        return Err(
            Problem::new(Code::IoError, "ssh-keygen could not make a key").hint("the daemon's log says more")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn is_made_once_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ssh")).unwrap();
        std::fs::write(dir.path().join("ssh/new"), "half").unwrap();
        let first = ensure(dir.path()).unwrap();
        assert!(first.public.starts_with("ssh-ed25519 "));
        assert_eq!(first.private.metadata().unwrap().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&first.private).unwrap();
        std::fs::remove_file(dir.path().join("ssh/id_ed25519.pub")).unwrap();
        let again = ensure(dir.path()).unwrap();
        assert_eq!(std::fs::read(&again.private).unwrap(), bytes);
        let part = |key: &str| key.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(part(&again.public), part(&first.public));
    }
}
