//! Making a kernel's directory.
//!
//! Invariant: everything in it is durable before it gets its name.

use super::{Kernels, dep, is_version};
use crate::child;
use crate::copy;
use crate::image::Held;
use crate::mkfs::{self, Mkfs};
use crate::{durable, fault};
use engine::port::Fault;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use types::{ByteSize, Code};

/// In `modules/`: the names of the files there, in the order of loading.
pub const LIST: &str = "list";
/// Tools that work on local files.
const QUIET: Duration = Duration::from_secs(10 * 60);

impl Kernels {
    /// Makes `version` of a kernel and the directory of its modules, whose name is their version.
    pub(super) fn import(&self, version: &str, vmlinuz: &Path, modules: Option<&Path>) -> Result<(), Fault> {
        let scratch = self.scratch(".making")?;
        let new = scratch.path().join("new");
        let failed = |e: io::Error| fault::io(&format!("keep kernel {version}"), &self.layout.kernels(), &e);
        durable::make_dir(&new.join("modules")).map_err(failed)?;
        copy_file(vmlinuz, &new.join("vmlinuz"), 0o444).map_err(failed)?;
        match modules {
            Some(modules) => self.add_modules(&new, scratch.path(), modules, version)?,
            None => durable::write(&new.join("modules").join(LIST), b"", 0o444).map_err(failed)?,
        }
        durable::sync_dir(&new.join("modules")).map_err(failed)?;
        durable::sync_dir(&new).map_err(failed)?;
        let target = self.dir(version);
        durable::rename(&new, &target).map_err(|e| match e.kind() {
            // Without a vmlinuz it is no kernel; what it is nobody knows.
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                let text = format!("{} is in the way of kernel {version}", target.display());
                Fault::lasting(Code::KernelFailed, text).hint("move it away")
            }
            _ => failed(e),
        })
    }

    /// Fills `modules/` and `modules.ext4`.
    fn add_modules(&self, new: &Path, scratch: &Path, modules: &Path, version: &str) -> Result<(), Fault> {
        let doing = format!("keep the modules of kernel {version}");
        let failed = |e: io::Error| fault::io(&doing, &self.layout.kernels(), &e);
        let name = modules.file_name().and_then(|n| n.to_str()).filter(|n| is_version(n));
        let name = name.ok_or_else(|| broken(version, "its modules' directory has no version's name"))?;
        // depmod looks below lib/modules or usr/lib/modules, as the distribution has it.
        let base = scratch.join("base");
        let target = base.join("lib/modules").join(name);
        durable::make_dir(&target).map_err(failed)?;
        std::os::unix::fs::symlink(".", base.join("usr")).map_err(failed)?;
        copy_tree(modules, &target).map_err(failed)?;
        let mut depmod = Command::new("depmod");
        depmod.arg("-b").arg(&base).arg(name);
        child::run(&mut depmod, "kmod", Code::KernelFailed, QUIET, &mut |_| ()).map_err(|f| f.fault)?;
        let read = |file: &str| fs::read_to_string(target.join(file));
        let dep = read("modules.dep").map_err(failed)?;
        let order = dep::order(&dep, &read("modules.builtin").unwrap_or_default())
            .map_err(|missing| broken(version, &format!("it has no module {missing}")))?;
        let mut list = String::new();
        for path in order {
            let name = plain(&target.join(&path), &new.join("modules"))?;
            list.push_str(&name);
            list.push('\n');
        }
        durable::write(&new.join("modules").join(LIST), list.as_bytes(), 0o444).map_err(failed)?;
        let mut held = Held::default();
        held.measure(&base.join("lib/modules")).map_err(failed)?;
        disk(&base.join("lib/modules"), &new.join("modules.ext4"), &held, &doing)
    }
}

fn broken(version: &str, why: &str) -> Fault {
    Fault::lasting(Code::KernelFailed, format!("kernel {version} cannot boot a machine: {why}"))
        .hint("use the distribution's cloud kernel, or one with virtio and ext4")
}

/// Makes the disk that guests see as `/lib/modules`; nobody writes to it.
fn disk(content: &Path, file: &Path, held: &Held, doing: &str) -> Result<(), Fault> {
    let size: ByteSize = held.read_only_size();
    let failed = |e: io::Error| fault::io(doing, file, &e);
    let made = File::options().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    made.set_len(size.bytes()).map_err(failed)?;
    let inodes = Some(held.read_only_inodes());
    let what = Mkfs { file, size, uuid: None, content: Some(content), journal: false, inodes };
    mkfs::make(&what, doing, Code::KernelFailed)?;
    made.set_permissions(Permissions::from_mode(0o400)).and_then(|()| made.sync_all()).map_err(failed)
}

/// Copies a file, durably.
fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let from = crate::image::probe::open_file(from)?;
    let to = File::options().read(true).write(true).create_new(true).mode(mode).open(to)?;
    let length = from.metadata()?.len();
    copy::content(&from, &to, length, length, &mut |_, _| ())?;
    // The umask may have taken bits away.
    to.set_permissions(Permissions::from_mode(mode))?;
    to.sync_all()
}

/// Copies the files and directories below `from`; links (`build`, `source`) lead out and stay out.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            fs::set_permissions(&target, Permissions::from_mode(0o755))?;
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Puts a module into `dir`, unpacked; returns its file's name.
fn plain(module: &Path, dir: &Path) -> Result<String, Fault> {
    let failed = |e: io::Error| fault::io("unpack the kernel's modules", dir, &e);
    let file = module.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let (name, tool) = match file.rsplit_once('.') {
        Some((name, "xz")) => (name, Some(("xz", "xz-utils"))),
        Some((name, "zst")) => (name, Some(("zstd", "zstd"))),
        Some((name, "gz")) => (name, Some(("gzip", "gzip"))),
        _ => (file, None),
    };
    let target = dir.join(name);
    let Some((tool, package)) = tool else {
        copy_file(module, &target, 0o444).map_err(failed)?;
        return Ok(name.to_owned());
    };
    let mut command = Command::new(tool);
    let output = crate::tool::run(command.arg("-dc").arg(module), package, Code::KernelFailed)?;
    durable::write(&target, &output.stdout, 0o444).map_err(failed)?;
    Ok(name.to_owned())
}
