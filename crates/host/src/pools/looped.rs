//! Pools in files: loop devices with direct I/O, and the file systems on them.
//!
//! Invariant: a file has one loop device, found by the file itself and not by its name, so that one whose file
//! system is still in use somewhere is never given a second one, which would write to it at the same time.

use super::place::{self, MARK};
use super::{image, mount};
use crate::storage::FilePool;
use crate::{Layout, child, durable, fault};
use engine::port::{Fault, PoolObs};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use types::pool::{PoolOn, PoolSpec};
use types::{ByteSize, Code, Name, Problem};

/// A tool that says nothing for so long hangs.
const QUIET: Duration = Duration::from_secs(5 * 60);
/// What is needed, and the package that has it.
const TOOLS: [(&str, &str); 5] = [
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
];

/// Judges whether such a pool can be made.
pub fn probe(layout: &Layout, pool: &Name, size: ByteSize, sparse: bool) -> Result<(), Problem> {
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::new(Code::NoPermission, "only root can mount the file of a pool")
            .hint("run the daemon as root, or make the pool in a directory with --path"));
    }
    if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| !installed(tool)) {
        return Err(crate::tool::missing(tool, package).problem);
    }
    let (name, pools) = (pool.as_str(), layout.pools());
    for path in [layout.pool_image(name), layout.pool_mount(name), layout.pool_record(name)] {
        if path.symlink_metadata().is_ok() {
            return Err(Problem::new(Code::Conflict, format!("{} is there already", path.display()))
                .hint("it is of no pool that Sistemo knows of: move it away, or choose another name"));
        }
    }
    if sparse { Ok(()) } else { image::refuse_full(layout, pool, size) }.map_err(|problem| {
        if pools.exists() { problem } else { problem.hint("the data directory is not there") }
    })
}

fn installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .any(|dir| Path::new(dir).join(tool).exists())
}

/// A loop device.
struct Device {
    path: PathBuf,
    number: u64,
}

/// Runs a tool; what it prints, line by line.
fn tool(name: &str, arguments: &[&str], file: &Path) -> Result<Vec<String>, Fault> {
    let package = TOOLS.iter().find(|(tool, _)| *tool == name).map_or("", |(_, package)| package);
    let mut lines = Vec::new();
    let mut command = Command::new(name);
    command.args(arguments).arg(file);
    child::run(&mut command, package, Code::IoError, QUIET, &mut |line| lines.push(line.to_owned()))
        .map_err(|failed| failed.fault)?;
    Ok(lines)
}

/// The loop devices that a file has.
fn devices(file: &Path) -> Result<Vec<Device>, Fault> {
    if file.symlink_metadata().is_err() {
        return Ok(vec![]);
    }
    let lines = tool("losetup", &["--noheadings", "--output", "NAME", "--associated"], file)?;
    let device = |line: &String| {
        let path = PathBuf::from(line.trim());
        let number = path.metadata().ok()?.rdev();
        Some(Device { path, number })
    };
    Ok(lines.iter().filter_map(device).collect())
}

fn attach(file: &Path) -> Result<(), Fault> {
    let find = ["--find", "--show"];
    match tool("losetup", &[&find[..], &["--direct-io=on"]].concat(), file) {
        Ok(_) => Ok(()),
        // Not every file system can; what is written is then cached twice, and safe all the same.
        Err(fault) => {
            if devices(file)?.is_empty() {
                tracing::warn!(file = %file.display(), "no direct I/O: {fault}");
                tool("losetup", &find, file)?;
            }
            Ok(())
        }
    }
}

/// What there is of the pool; `record` is the generation in its record.
pub fn observe(layout: &Layout, pool: &PoolSpec, record: Option<u64>) -> Result<PoolObs, Fault> {
    let name = pool.name.as_str();
    let (file, at) = (layout.pool_image(name), layout.pool_mount(name));
    let size = match file.metadata() {
        Ok(seen) => Some(ByteSize(seen.len())),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(fault::io(&format!("look at pool \"{name}\""), &file, &e)),
    };
    let there = |path: &Path| path.symlink_metadata().is_ok();
    Ok(PoolObs {
        any: size.is_some() || there(&at) || there(&layout.pool_part(name)),
        whole: size.is_some(),
        online: size.is_some() && place::marked(&at, pool.id),
        size,
        record,
    })
}

/// Mounts the pool's file, unless it is mounted.
pub fn bring(layout: &Layout, pool: &PoolSpec) -> Result<(), Fault> {
    let name = pool.name.as_str();
    let (file, at) = (layout.pool_image(name), layout.pool_mount(name));
    let failed = |e: io::Error| fault::io(&format!("mount pool \"{name}\""), &at, &e);
    if !file.try_exists().map_err(failed)? {
        return Err(engine::plan::pool::offline(pool).into());
    }
    durable::make_dir(&at).map_err(failed)?;
    if devices(&file)?.is_empty() {
        attach(&file)?;
    }
    let devices = devices(&file)?;
    let Some(device) = devices.first() else {
        return Err(Fault::passing(Code::IoError, format!("the file of pool \"{name}\" got no loop device")));
    };
    match mount::device_at(&at).map_err(failed)? {
        Some(number) if devices.iter().any(|d| d.number == number) => {}
        Some(_) => {
            let text = format!("something else than pool \"{name}\" is mounted at {}", at.display());
            return Err(Fault::lasting(Code::PoolOffline, text).hint(format!("umount {}", at.display())));
        }
        None => {
            let sparse = matches!(pool.on, PoolOn::Loop { sparse: true, .. });
            mount::mount(&device.path, &at, sparse, name)?;
            // Whoever mounted it may have done so where this process does not see it.
            if mount::device_at(&at).map_err(failed)? != Some(device.number) {
                let text = format!("pool \"{name}\" was mounted, and the daemon does not see it");
                return Err(Fault::passing(Code::PoolOffline, text)
                    .hint("run the daemon as the service that `sistemo service install` makes"));
            }
        }
    }
    // All that is in it but what Sistemo makes later: it begins empty.
    FilePool::open(layout.in_pool(at.clone()))?;
    if !place::marked(&at, pool.id) {
        durable::write(&at.join(MARK), pool.id.to_string().as_bytes(), 0o600).map_err(failed)?;
    }
    Ok(())
}

/// The fault of a pool that is to go, and of which nobody can see what is in it.
fn unseen(name: &str, file: &Path, why: &Fault) -> Fault {
    let text = format!("what is in the file of pool \"{name}\" cannot be looked at: {}", why.problem.message);
    let first = why.problem.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
    Fault::lasting(Code::PoolOffline, text).hint(format!(
        "{first}if nothing in it is needed, `sistemo pool delete {name} --lost` forgets the pool and leaves {} to you",
        file.display()
    ))
}

/// Makes the file at least so long, and its device and file system as long as it.
pub fn grow(layout: &Layout, pool: &PoolSpec, to: ByteSize, sparse: bool) -> Result<(), Fault> {
    let name = pool.name.as_str();
    let path = layout.pool_image(name);
    let doing = format!("grow pool \"{name}\"");
    let failed = |e: io::Error| fault::io(&doing, &layout.pools(), &e);
    let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
    image::lengthen(&file, to, sparse).and_then(|()| file.sync_all()).map_err(failed)?;
    for device in devices(&path)? {
        tool("losetup", &["--set-capacity"], &device.path)?;
    }
    tool("xfs_growfs", &["-d"], &layout.pool_mount(name))?;
    Ok(())
}

/// Unmounts the pool, and removes its device and its file. What is in the file of one that was once whole
/// (`made`) is looked at first, and for that it is mounted: nothing that is not known goes with it.
pub fn remove(layout: &Layout, pool: &PoolSpec, made: bool) -> Result<(), Fault> {
    let name = pool.name.as_str();
    let (file, at) = (layout.pool_image(name), layout.pool_mount(name));
    let failed = |e: io::Error| fault::io(&format!("remove pool \"{name}\""), &at, &e);
    if made && file.try_exists().map_err(failed)? && mount::device_at(&at).map_err(failed)?.is_none() {
        bring(layout, pool).map_err(|fault| unseen(name, &file, &fault))?;
    }
    let own = devices(&file)?;
    match mount::device_at(&at).map_err(failed)? {
        Some(number) if own.iter().any(|d| d.number == number) => {
            place::refuse_used(&at, pool, true)?;
            mount::unmount(&at, name)?;
        }
        Some(_) => {
            return Err(Fault::lasting(
                Code::PoolInUse,
                format!("something else is mounted at {}", at.display()),
            )
            .hint(format!("umount {}", at.display())));
        }
        None => {}
    }
    for device in own {
        tool("losetup", &["--detach"], &device.path)?;
    }
    if let Some(left) = devices(&file)?.first() {
        let text = format!("the file of pool \"{name}\" is still in use as {}", left.path.display());
        return Err(
            Fault::passing(Code::Busy, text).hint("something has it mounted elsewhere: `findmnt`, `lsof`")
        );
    }
    let gone = || -> io::Result<()> {
        durable::remove(&layout.pool_part(name))?;
        durable::remove(&file)?;
        match std::fs::remove_dir(&at) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        durable::sync_dir(&layout.pools())
    };
    gone().map_err(failed)
}
