//! A kernel that the administrator brings.
//!
//! Invariant: it is copied, and named after its content: machines stay pinned to it when the
//! original changes.

use super::initramfs::short_digest;
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// What versions of such kernels begin with.
pub const PREFIX: &str = "custom-";
/// A kernel longer than this is none.
const MAX: u64 = 512 << 20;

/// What was found at the administrator's path.
#[derive(Debug)]
pub struct Found {
    /// The kernel.
    pub vmlinuz: PathBuf,
    /// `lib/modules/<version>`, if it has modules.
    pub modules: Option<PathBuf>,
}

impl Found {
    /// The version it is kept as.
    pub fn version(&self) -> Result<String, Problem> {
        let bytes = std::fs::read(&self.vmlinuz).map_err(|_| unreadable(&self.vmlinuz))?;
        Ok(format!("{PREFIX}{}", short_digest(&bytes)))
    }
}

/// Looks at a path.
///
/// # Errors
/// `no-kernel`.
pub fn find(path: &Path) -> Result<Found, Problem> {
    let vmlinuz = if path.is_dir() { path.join("vmlinuz") } else { path.to_owned() };
    let file = crate::image::probe::open_file(&vmlinuz).map_err(|_| unreadable(&vmlinuz))?;
    match file.metadata() {
        Ok(seen) if seen.len() > 0 && seen.len() <= MAX => {}
        _ => return Err(unreadable(&vmlinuz)),
    }
    let modules = if path.is_dir() { modules(path)? } else { None };
    Ok(Found { vmlinuz, modules })
}

fn modules(path: &Path) -> Result<Option<PathBuf>, Problem> {
    let dir = path.join("lib/modules");
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    if found.len() > 1 {
        let text = format!("{} holds the modules of several kernels", dir.display());
        return Err(Problem::new(Code::NoKernel, text).hint("leave those of the one kernel there"));
    }
    Ok(found.pop())
}

fn unreadable(path: &Path) -> Problem {
    Problem::new(Code::NoKernel, format!("there is no kernel at {}", path.display()))
        .hint("hypervisor.kernel names a vmlinuz, or a directory with vmlinuz and lib/modules/<version>")
}
