//! Kernels: what guests are booted with. It is pinned by each machine and part of no volume.
//!
//! `kernels/<version>/` holds `vmlinuz`, `modules.ext4` (the disk that guests see as `/lib/modules`),
//! `modules/` (what the initramfs loads, with its order in `list`) and `initramfs-<agent>.cpio`.
//!
//! Invariant: a version's directory appears by one rename, complete and durable, and is never changed
//! after that; only an initramfs for another agent may join it.

pub mod cpio;
mod custom;
mod dep;
mod initramfs;
mod make;
mod package;

pub use initramfs::boot_archive;

use crate::{Layout, durable, fault};
use engine::port::{Fault, OnProgress};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use types::operation::Progress;
use types::{Code, Problem};

/// What a machine is booted with. All of it outlives the boot. `vmlinuz` and `initramfs` can be
/// read by every user, since an unprivileged hypervisor opens them by path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootFiles {
    /// The kernel.
    pub vmlinuz: PathBuf,
    /// The agent and the modules it begins with; [`boot_archive`] is appended to it.
    pub initramfs: PathBuf,
    /// An ext4 file system with `<version>/…` for `/lib/modules`; `None`: everything is built in.
    pub modules: Option<PathBuf>,
}

/// The kernels of a data directory.
#[derive(Debug)]
pub struct Kernels {
    layout: Layout,
    agent: Cow<'static, [u8]>,
    custom: Option<PathBuf>,
    /// Held while a kernel is made, which can take minutes: there is one set of temporaries.
    making: Mutex<()>,
    /// Held while an initramfs is made.
    packing: Mutex<()>,
}

impl Kernels {
    /// `agent` is the program that guests begin with; `custom` a kernel to use instead of the
    /// distribution's: a directory with `vmlinuz` and perhaps `lib/modules/<version>`, or a
    /// `vmlinuz` that needs no modules.
    pub fn new(layout: Layout, agent: Cow<'static, [u8]>, custom: Option<PathBuf>) -> Self {
        Self { layout, agent, custom, making: Mutex::new(()), packing: Mutex::new(()) }
    }

    /// Judges, before anything is written, whether the custom kernel is there, if one is asked for.
    ///
    /// # Errors
    /// `no-kernel`.
    pub fn check_custom(&self) -> Result<(), Problem> {
        self.custom.as_deref().map_or(Ok(()), |path| custom::find(path).map(|_| ()))
    }

    /// Whether `version` is present and complete.
    ///
    /// # Errors
    /// `io-error`.
    pub fn has(&self, version: &str) -> Result<bool, Fault> {
        if !is_version(version) {
            return Ok(false);
        }
        match self.dir(version).join("vmlinuz").metadata() {
            Ok(seen) => Ok(seen.is_file()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(e) => Err(fault::io(&format!("look at kernel {version}"), &self.layout.kernels(), &e)),
        }
    }

    /// Makes a kernel present: the custom one, if one is asked for; else the newest that is here;
    /// else the distribution's, which is fetched. Returns its version.
    ///
    /// # Errors
    /// `no-kernel`, `kernel-failed`, `tool-missing`, `pool-full`, `io-error`.
    pub fn ensure(&self, progress: OnProgress<'_>) -> Result<String, Fault> {
        let _held = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = self.layout.kernels();
        durable::make_dir(&kernels)
            .and_then(|()| durable::sync_dir(&kernels))
            .map_err(|e| fault::io("make the directory of kernels", self.layout.data(), &e))?;
        if let Some(path) = &self.custom {
            let found = custom::find(path)?;
            let version = found.version()?;
            if !self.has(&version)? {
                tell(progress, "copying the custom kernel");
                self.import(&version, &found.vmlinuz, found.modules.as_deref())?;
            }
            return Ok(version);
        }
        if let Some(version) = self.newest()? {
            return Ok(version);
        }
        self.fetch(progress)
    }

    /// The files to boot `version` with; makes its initramfs for this agent, if it is missing.
    ///
    /// # Errors
    /// `no-kernel`, `pool-full`, `io-error`.
    pub fn boot_files(&self, version: &str) -> Result<BootFiles, Fault> {
        if !self.has(version)? {
            return Err(Fault::lasting(Code::NoKernel, format!("kernel {version} is not on this host"))
                .hint(format!("put it back as {}/{version}", self.layout.kernels().display())));
        }
        let dir = self.dir(version);
        let initramfs = {
            let _held = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
            initramfs::ensure(&dir, version, &self.agent)
        };
        let doing = format!("make the initramfs of kernel {version}");
        let initramfs = initramfs.map_err(|e| fault::io(&doing, &dir, &e))?;
        let modules = Some(dir.join("modules.ext4")).filter(|disk| disk.is_file());
        Ok(BootFiles { vmlinuz: dir.join("vmlinuz"), initramfs, modules })
    }

    fn dir(&self, version: &str) -> PathBuf {
        self.layout.kernels().join(version)
    }

    /// The newest of the distribution's kernels that are here.
    fn newest(&self) -> Result<Option<String>, Fault> {
        let failed = |e| fault::io("look for kernels", &self.layout.kernels(), &e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.layout.kernels()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str().filter(|n| !n.starts_with(custom::PREFIX)) {
                if self.has(name)? {
                    found.push(name.to_owned());
                }
            }
        }
        Ok(found.into_iter().max_by(|a, b| compare(a, b)))
    }

    /// Where a kernel's directory is made, and where its package is fetched to; nothing is kept.
    /// Each time it is another: of a try whose daemon was killed, tools may go on for a moment.
    fn scratch(&self, kind: &'static str) -> Result<Scratch, Fault> {
        let kernels = self.layout.kernels();
        let scratch = Scratch { dir: kernels.join(format!("{kind}-{:08x}", rand::random::<u32>())), kind };
        scratch.sweep();
        durable::make_dir(&scratch.dir).map_err(|e| fault::io("make room for a new kernel", &kernels, &e))?;
        Ok(scratch)
    }
}

/// A directory that goes when nobody needs it any more, or with the next try.
struct Scratch {
    dir: PathBuf,
    kind: &'static str,
}

impl Scratch {
    fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes it, and what earlier tries left: there is one of a kind at a time.
    fn sweep(&self) {
        let kernels = self.dir.parent().unwrap_or(&self.dir);
        let ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(self.kind.as_bytes());
        let entries = std::fs::read_dir(kernels).into_iter().flatten().flatten();
        for dir in entries.filter(|e| ours(&e.file_name())).map(|e| e.path()) {
            if let Err(e) = crate::tree::remove(&dir) {
                tracing::warn!(dir = %dir.display(), error = %e, "cannot remove a temporary directory");
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.sweep();
    }
}

/// Whether `name` can be a version: it becomes part of paths and commands.
fn is_version(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | '~');
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    first && name.len() <= 100 && name.chars().all(plain)
}

/// Orders versions: numbers by their value, the rest by its letters.
fn compare(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> impl Iterator<Item = (u64, &str)> {
        text.split(['.', '-', '+', '_', '~']).map(|part| (part.parse().unwrap_or(0), part))
    }
    parts(a).cmp(parts(b))
}

fn tell(progress: OnProgress<'_>, what: &str) {
    progress(Progress { what: what.into(), done: 0, total: None, unit: "bytes".into() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_never_leave_the_directory() {
        assert_eq!(compare("6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64"), Ordering::Less);
        assert_eq!(compare("6.12.1-cloud", "6.2.9-cloud"), Ordering::Greater);
        assert_eq!(compare("6.1.0-9", "6.1.0-9"), Ordering::Equal);
        assert!(is_version("6.1.0-56-cloud-amd64") && is_version("custom-0123456789ab"));
        for bad in ["", ".", "..", ".making", "a/b", "../x", "-x", "a b", "ä"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let kernels = Kernels::new(Layout::new(dir.path(), dir.path()), Cow::Borrowed(&b"agent"[..]), None);
        assert!(!kernels.has("6.1").unwrap());
        assert!(!kernels.has("../kernels").unwrap());
        assert_eq!(kernels.boot_files("6.1").unwrap_err().problem.code, Code::NoKernel);
        assert!(kernels.check_custom().is_ok());
    }
}
