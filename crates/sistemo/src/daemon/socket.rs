//! The API's socket.
//!
//! Invariant: it appears complete: bound, with its mode, under its name in one rename; a stale one
//! is replaced only by the daemon that holds the data directory's lock.

use crate::sockpath::Short;
use host::Layout;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::UnixListener;
use types::{Code, Problem};

/// Local users of the socket's group may talk to the daemon.
const MODE: u32 = 0o660;

/// Binds the socket; on a full disk, with the room that `layout` keeps.
pub fn bind(path: &Path, layout: Option<&Layout>) -> Result<UnixListener, Problem> {
    let bound = match layout {
        Some(layout) => layout.must(|| publish(path)),
        None => publish(path),
    };
    bound.map_err(|e| Problem::new(Code::DataDirInvalid, format!("cannot listen at {}: {e}", path.display())))
}

fn publish(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("sock.new");
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(Short::new(&fresh)?.path())?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(MODE))?;
    share(&fresh);
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Gives it to group `sistemo`, if there is one. A daemon that may not do that serves its own user.
fn share(path: &Path) {
    let Some(group) = crate::api::group_id() else { return };
    if let Err(e) = std::os::unix::fs::chown(path, None, Some(group)) {
        tracing::warn!("the socket cannot be given to group {}: {e}", crate::api::GROUP);
    }
}

/// Removes the socket, so that clients learn at once that nobody is there.
pub fn remove(path: &Path) {
    if let Err(e) = std::fs::remove_file(path) {
        tracing::warn!("cannot remove {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replaces_a_stale_one_below_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("sistemo.sock");
        drop(bind(&path, None).unwrap());
        let _listener = bind(&path, None).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let short = Short::new(&path).unwrap();
        assert!(tokio::net::UnixStream::connect(short.path()).await.is_ok());
        remove(&path);
        assert!(!path.exists());
    }
}
