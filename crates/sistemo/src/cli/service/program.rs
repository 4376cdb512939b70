//! The program that a unit may start.
//!
//! Invariant: what root is to start at every boot can be replaced by nobody but root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// Where this program is, if a unit may start it from there.
pub fn find() -> Result<PathBuf, Problem> {
    let path = std::env::current_exe()
        .and_then(|p| p.canonicalize())
        .map_err(|e| Problem::new(Code::Internal, format!("it is not known where this program is: {e}")))?;
    check(&path)?;
    writable(&path)?;
    Ok(path)
}

/// Whether a path can stand in a unit as it is.
pub fn check(path: &Path) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    match path.to_str() {
        Some(text) if text.starts_with('/') && text.chars().all(plain) => Ok(()),
        _ => Err(Problem::new(Code::Usage, format!("the path {} cannot stand in a unit", path.display()))
            .hint("choose a path of letters, digits, dots and dashes")),
    }
}

/// Refuses a program that others than root can replace.
fn writable(path: &Path) -> Result<(), Problem> {
    for part in path.ancestors() {
        let meta = part.metadata().map_err(|e| super::failed("look at", part, &e))?;
        // In a sticky directory nobody can replace what is root's.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && !sticky) {
            return Err(Problem::new(
                Code::NoPermission,
                format!("others than root can replace {}, which the service would start", path.display()),
            )
            .hint("install it first: `install sistemo /usr/local/bin/`, then `/usr/local/bin/sistemo service install`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_units() {
        assert!(check(Path::new("/usr/local/bin/sistemo-1.2_x")).is_ok());
        for bad in ["/a b", "/a%b", "/a$b", "/a\"b", "/a\nb", "rel", "/ü"] {
            assert!(check(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_others_can_replace_is_no_program() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sistemo");
        std::fs::write(&file, "").unwrap();
        // Tests run as root; whoever runs them otherwise owns the file.
        let root = rustix::process::geteuid().is_root();
        assert_eq!(writable(&file).is_ok(), root);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o775)).unwrap();
        assert!(writable(&file).is_err());
    }
}
