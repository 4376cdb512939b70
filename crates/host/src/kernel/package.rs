//! The distribution's kernel: fetched with the host's apt, unpacked, never installed.
//!
//! Invariant: apt works in directories of its own, so the host's lists, caches and packages stay as
//! they are, and it takes nothing that its keys do not vouch for.

use super::{Kernels, is_version, tell};
use crate::child;
use crate::{apt, durable, fault, tool};
use engine::port::{Fault, OnProgress};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use types::{ByteSize, Code};

/// Package, unpacked modules and the disk made of them.
const ROOM: ByteSize = ByteSize::mib(700);
/// A mirror that says nothing for this long will say nothing more.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// The packages that depend on a distribution's newest kernel, the best first.
fn metas() -> [String; 4] {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        format!("linux-image-cloud-{arch}"),
        "linux-image-virtual".into(),
        "linux-image-generic".into(),
        format!("linux-image-{arch}"),
    ]
}

impl Kernels {
    /// Fetches the distribution's kernel and makes its directory; returns its version.
    pub(super) fn fetch(&self, progress: OnProgress<'_>) -> Result<String, Fault> {
        let kernels = self.layout.kernels();
        if let Some(free) = fault::free(&kernels).filter(|free| *free < ROOM) {
            tracing::info!(%free, "no room for a kernel");
            return Err(fault::full("fetch a kernel", &kernels, Some(ROOM)));
        }
        let fetched = self.scratch(".fetching")?;
        let dir = fetched.path();
        let failed = |e: io::Error| fault::io("fetch a kernel", &kernels, &e);
        let apt = Apt::new(dir).map_err(failed)?;
        tell(progress, "fetching a kernel: reading package lists");
        apt.listen(Command::new("apt-get").args(["-q", "update"]))?;
        let packages = apt.resolve()?;
        tell(progress, "fetching a kernel: downloading it");
        let root = dir.join("root");
        durable::make_dir(&root).map_err(failed)?;
        apt.listen(Command::new("apt-get").args(["-q", "download"]).args(&packages).current_dir(dir))?;
        tell(progress, "fetching a kernel: unpacking it");
        for package in debs(dir).map_err(failed)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package).arg(&root);
            child::run(&mut unpack, "dpkg", Code::KernelFailed, QUIET, &mut |_| ()).map_err(|f| f.fault)?;
        }
        let (version, vmlinuz, modules) = unpacked(&root).ok_or_else(|| {
            let text = format!("the package {} holds no kernel", packages.join(", "));
            Fault::lasting(Code::KernelFailed, text).hint("set hypervisor.kernel to one of your own")
        })?;
        tell(progress, "fetching a kernel: making its disk of modules");
        self.import(&version, &vmlinuz, Some(&modules))?;
        Ok(version)
    }
}

/// An apt with state of its own.
struct Apt {
    conf: PathBuf,
}

impl Apt {
    fn new(dir: &Path) -> io::Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let at = dir.display();
        // APT_CONFIG is read before the host's own files: those are left out, since they may hold
        // hooks, and what they say of how to reach the archive is repeated.
        let mut conf = format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nDir::State::lists \"{at}/lists\";\n\
             Dir::Cache \"{at}/cache\";\nAcquire::Languages \"none\";\n"
        );
        conf.push_str(&apt::reach());
        let archives = apt::archives(&apt::Os::here().codename);
        if !archives.is_empty() {
            fs::write(dir.join("kernel.sources"), apt::render(&archives))?;
            conf.push_str(&format!(
                "Dir::Etc::sourcelist \"{at}/kernel.sources\";\nDir::Etc::sourceparts \"/dev/null\";\n"
            ));
        }
        if !is_open(dir) {
            // The user that apt downloads as cannot come here.
            conf.push_str("APT::Sandbox::User \"root\";\n");
        }
        let path = dir.join("apt.conf");
        fs::write(&path, conf)?;
        Ok(Self { conf: path })
    }

    /// Runs an apt tool to its end.
    fn listen(&self, command: &mut Command) -> Result<(), Fault> {
        command.env("APT_CONFIG", &self.conf);
        child::run(command, "apt", Code::KernelFailed, QUIET, &mut |_| ()).map_err(|failed| {
            if failed.fault.problem.code == Code::ToolMissing {
                return no_kernel("this host has no apt to fetch a kernel with");
            }
            if failed.tail.contains("No space left on device") {
                return fault::full("fetch a kernel", &self.conf, Some(ROOM));
            }
            no_fetch("its archive cannot be reached or is not trusted")
        })
    }

    /// The packages that hold the newest kernel: with its modules, where those are apart.
    fn resolve(&self) -> Result<Vec<String>, Fault> {
        for meta in metas() {
            let images = self.depends(&meta, "linux-image-")?;
            let Some(image) = images.into_iter().find(|p| p.as_bytes()[12].is_ascii_digit()) else {
                continue;
            };
            let mut packages = self.depends(&image, "linux-modules-")?;
            packages.push(image);
            return Ok(packages);
        }
        Err(no_kernel("the host's package archive has no kernel for machines"))
    }

    /// What `package` depends on whose name begins with `prefix` and goes on.
    fn depends(&self, package: &str, prefix: &str) -> Result<Vec<String>, Fault> {
        let mut command = Command::new("apt-cache");
        command.env("APT_CONFIG", &self.conf).env("LC_ALL", "C.UTF-8").arg("depends").arg(package);
        let output = match tool::run(&mut command, "apt", Code::KernelFailed) {
            // A package that is not known is an error to apt, and an answer to us.
            Err(fault) if fault.problem.code == Code::KernelFailed => return Ok(Vec::new()),
            output => output?,
        };
        Ok(names(&String::from_utf8_lossy(&output.stdout), prefix))
    }
}

/// The names in what `apt-cache depends` prints.
fn names(depends: &str, prefix: &str) -> Vec<String> {
    let name = |line: &str| {
        let name = line.trim().trim_start_matches('|').strip_prefix("Depends: ")?.trim();
        (is_version(name) && name.starts_with(prefix) && name.len() > prefix.len()).then(|| name.to_owned())
    };
    depends.lines().filter_map(name).collect()
}

fn no_kernel(text: &str) -> Fault {
    Fault::lasting(Code::NoKernel, text).hint("set hypervisor.kernel to a kernel of your own")
}

fn no_fetch(why: &str) -> Fault {
    Fault::lasting(Code::KernelFailed, format!("no kernel was fetched: {why}"))
        .hint("check the host's network and its apt sources; the daemon's log has what apt said")
}

/// Whether every user can come to `dir`.
fn is_open(dir: &Path) -> bool {
    dir.ancestors().all(|d| d.metadata().is_ok_and(|seen| seen.mode() & 0o001 != 0))
}

fn debs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Version, vmlinuz and modules in an unpacked package.
fn unpacked(root: &Path) -> Option<(String, PathBuf, PathBuf)> {
    for lib in ["lib/modules", "usr/lib/modules"] {
        for entry in fs::read_dir(root.join(lib)).into_iter().flatten().flatten() {
            let Some(version) = entry.file_name().to_str().filter(|v| is_version(v)).map(str::to_owned)
            else {
                continue;
            };
            let modules = entry.path();
            let places = [root.join(format!("boot/vmlinuz-{version}")), modules.join("vmlinuz")];
            if let Some(vmlinuz) = places.into_iter().find(|p| p.is_file()) {
                return Some((version, vmlinuz, modules));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: x\n";
        assert_eq!(names(said, "linux-image-"), ["linux-image-6.1.0-56-cloud-amd64"]);
        let said =
            "linux-image-6.8.0-1-generic\n |Depends: linux-modules-6.8.0-1-generic\n  Depends: <kmod>\n";
        assert_eq!(names(said, "linux-modules-"), ["linux-modules-6.8.0-1-generic"]);
        assert!(names("  Depends: linux-image-\n", "linux-image-").is_empty());
    }
}
