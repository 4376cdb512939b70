//! The file that a pool is in.
//!
//! Invariant: unless it is asked for, no file of a pool has a hole: when the host's disk fills, a hole is a
//! write that fails after the guest was told that it is done (tried: fsync said so once, and then no more).

use crate::child::{self, Failed};
use crate::{Layout, durable, fault};
use engine::port::{Fault, OnProgress};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use types::operation::Progress;
use types::pool::PoolSpec;
use types::{ByteSize, Code, Name, Problem};

/// What has to be left of the host's disk: for the database, and whatever else is written on the way.
const LEFT: ByteSize = ByteSize::mib(64);
/// A tool that says nothing for so long hangs.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// Refuses a file that takes so much more where there is certainly no room for it.
pub fn refuse_full(layout: &Layout, pool: &Name, takes: ByteSize) -> Result<(), Problem> {
    let needed = ByteSize(takes.bytes().saturating_add(LEFT.bytes()));
    match fault::free(&layout.pools()) {
        Some(free) if free < needed => {
            let doing = format!("make the file of pool \"{pool}\"");
            Err(Problem {
                hint: Some(HINT.into()),
                ..fault::full(&doing, &layout.pools(), Some(needed)).problem
            })
        }
        _ => Ok(()),
    }
}

const HINT: &str = "ask for less, make room on the disk of the data directory, or make the pool in a directory of \
    another disk with --path";

/// Makes the file with its file system, unless it is there.
pub fn make(
    layout: &Layout,
    pool: &PoolSpec,
    size: ByteSize,
    sparse: bool,
    progress: OnProgress<'_>,
) -> Result<(), Fault> {
    let (path, part) = (layout.pool_image(pool.name.as_str()), layout.pool_part(pool.name.as_str()));
    let doing = format!("make the file of pool \"{}\"", pool.name);
    let failed = |e: io::Error| fault::io(&doing, &layout.pools(), &e);
    if path.try_exists().map_err(failed)? {
        return durable::sync_dir(&layout.pools()).map_err(failed);
    }
    progress(Progress { what: "formatting".into(), done: 0, total: None, unit: "bytes".into() });
    let made = (|| {
        durable::remove(&part).map_err(failed)?;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(failed)?;
        lengthen(&file, size, sparse).map_err(failed)?;
        format(&part, pool, &doing)?;
        file.sync_all().map_err(failed)?;
        crate::storage::name(&part, &path).map_err(failed)
    })();
    if made.is_err() {
        // What keeps this from succeeding is what was told already; the next try begins anew.
        let _ = durable::remove(&part);
    }
    made
}

/// Makes the file so long; when that fails, it is as it was.
pub fn lengthen(file: &File, to: ByteSize, sparse: bool) -> io::Result<()> {
    let before = file.metadata()?.len();
    if before >= to.bytes() {
        return Ok(());
    }
    if sparse {
        return file.set_len(to.bytes());
    }
    match fallocate(file, FallocateFlags::empty(), 0, to.bytes()) {
        Ok(()) => Ok(()),
        Err(e) => {
            // Some file systems keep what they had found until then.
            file.set_len(before)?;
            Err(e.into())
        }
    }
}

fn format(file: &Path, pool: &PoolSpec, doing: &str) -> Result<(), Fault> {
    let mut command = Command::new("mkfs.xfs");
    // Without -K it would give back the room that the file was just given.
    command.args(["-q", "-K", "-m", &format!("reflink=1,uuid={}", pool.id)]).arg(file);
    let made = child::run(&mut command, "xfsprogs", Code::FormatFailed, QUIET, &mut |_| ());
    made.map_err(|Failed { fault, tail }| {
        if tail.contains("No space left on device") {
            return fault::full(doing, file.parent().unwrap_or(file), None);
        }
        fault
    })
}
