//! Copies of a running machine's disks as of one instant, made by QEMU itself.
//!
//! The target of each is a file of ours, passed as a descriptor. Sets of descriptors, nodes and jobs are
//! all called `snap-` and the snapshot's random tail, so any daemon finds what another left.
//!
//! Invariant: all jobs begin in one transaction and end together; what an earlier try left is taken
//! away first; a target has its name only once its job has ended well.

use super::qmp::{Failed, Qmp};
use super::{ANSWER, block, disk, hotplug, unreachable};
use crate::pools::place;
use crate::{Layout, copy, durable, fault};
use engine::port::{Backup, Fault};
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::operation::Progress;
use types::{ByteSize, Code, SnapshotId};

/// What the names of everything here begin with.
pub const NAME: &str = "snap-";
/// Between two looks at the jobs.
const PAUSE: Duration = Duration::from_millis(200);
/// How many pieces are copied at once: the guest's own writes wait behind them.
const WORKERS: u32 = 4;
/// How long jobs may take to end once they were told to.
const ENDING: Duration = Duration::from_secs(20);

fn name(snapshot: SnapshotId) -> String {
    format!("{NAME}{}", snapshot.short())
}

fn part(layout: &Layout, snapshot: SnapshotId) -> PathBuf {
    layout.snapshots().join(format!(".{snapshot}.raw.part"))
}

/// Copies all; `hold` is called when all is ready, `begun` once the instant is past.
///
/// # Errors
/// `guest-unreachable` (passing) if there is no QEMU that answers; `pool-full`, `io-error`.
pub fn run(qmp: &Qmp, layout: &Layout, backup: &Backup<'_>) -> Result<(), Fault> {
    clear(qmp)?;
    let done = copy(qmp, layout, backup);
    let cleared = clear(qmp);
    if done.is_err() {
        for (_, pool, snapshot) in backup.disks {
            // What keeps this from succeeding is what is told; the next try removes it again.
            let _ = place::layout(layout, pool).map(|at| durable::remove(&part(&at, *snapshot)));
        }
    }
    done.and(cleared)?;
    for (_, pool, snapshot) in backup.disks {
        let layout = &place::layout(layout, pool)?;
        thin(&part(layout, *snapshot)).map_err(|e| failed(layout, *snapshot, &e))?;
        // It is believed in only once it was settled.
        std::fs::rename(part(layout, *snapshot), layout.snapshot(*snapshot))
            .map_err(|e| failed(layout, *snapshot, &e))?;
    }
    Ok(())
}

/// Gives back what QEMU had set aside: it makes zeros of holes that a file system has blocks for
/// (`FALLOC_FL_ZERO_RANGE`), since backup jobs do not let it unmap.
fn thin(path: &Path) -> io::Result<()> {
    copy::give_back(&File::options().write(true).open(path)?)
}

fn failed(layout: &Layout, snapshot: SnapshotId, e: &io::Error) -> Fault {
    fault::io(&format!("make the file of snapshot {snapshot}"), &layout.snapshots(), e)
}

fn copy(qmp: &Qmp, layout: &Layout, backup: &Backup<'_>) -> Result<(), Fault> {
    let sizes = hotplug::look(qmp).map_err(unreachable)?;
    let mut jobs = vec![];
    for (serial, pool, snapshot) in backup.disks {
        let size = sizes.iter().map(engine::port::DiskObs::from).find(|d| d.serial == *serial && d.ready);
        let size = size.map(|d| d.size).ok_or_else(|| {
            Fault::passing(Code::GuestUnreachable, format!("the machine has no disk {serial}"))
        })?;
        target(qmp, &place::layout(layout, pool)?, *snapshot, size)?;
        jobs.push(json!({
            "job-id": name(*snapshot), "device": block::name(serial), "target": name(*snapshot), "sync": "full",
            "auto-dismiss": false, "on-source-error": "report", "on-target-error": "report",
        }));
    }
    (backup.hold)();
    answered(begin(qmp, jobs))?;
    (backup.begun)();
    wait(qmp, layout, backup)
}

/// Begins all of it, or nothing. How many workers there are is no stable part of QEMU's interface
/// (`x-perf`, since 6.0): one that does not know it copies with as many as it likes.
fn begin(qmp: &Qmp, mut jobs: Vec<Value>) -> Result<Value, Failed> {
    let at_once = |jobs: &[Value]| {
        let all: Vec<_> = jobs.iter().map(|job| json!({ "type": "blockdev-backup", "data": job })).collect();
        let all = json!({ "actions": all, "properties": { "completion-mode": "grouped" } });
        qmp.execute("transaction", all, ANSWER)
    };
    let plain = jobs.clone();
    for job in &mut jobs {
        job["x-perf"] = json!({ "max-workers": WORKERS });
    }
    match at_once(&jobs) {
        Err(Failed::Refused(why)) if why.contains("x-perf") => at_once(&plain),
        answer => answer,
    }
}

/// Makes an empty file of the disk's size, and a node of it.
fn target(qmp: &Qmp, layout: &Layout, snapshot: SnapshotId, size: ByteSize) -> Result<(), Fault> {
    let path = part(layout, snapshot);
    let open = || -> io::Result<disk::Open> {
        durable::remove(&path)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.set_len(size.bytes())?;
        // Past the page cache: ext4 has what is new in it written out with the next fsync of any file, so
        // that each of the guest's would wait for all that was copied since the last.
        disk::open_direct(&path, false)
    };
    let open = open().map_err(|e| failed(layout, snapshot, &e))?;
    let fd = OwnedFd::from(open.file);
    let label = json!({ "opaque": name(snapshot) });
    let added = qmp.execute_with("add-fd", label, Some(fd), ANSWER).map_err(unreachable)?;
    let set = added["fdset-id"].as_u64().ok_or_else(|| unreachable(Failed::Silent))?;
    let node = block::node(&name(snapshot), set, false, open.direct);
    answered(qmp.execute("blockdev-add", node, ANSWER)).map(drop)
}

/// Waits until all jobs have ended, which they do together.
fn wait(qmp: &Qmp, layout: &Layout, backup: &Backup<'_>) -> Result<(), Fault> {
    loop {
        let jobs = jobs(qmp)?;
        let error = jobs.iter().find_map(|j| j["error"].as_str());
        if let Some(why) = error {
            return Err(broken(layout, why));
        }
        if jobs.len() < backup.disks.len() {
            return Err(broken(layout, "a job is gone"));
        }
        if jobs.iter().all(|j| j["status"] == "concluded") {
            return Ok(());
        }
        let sum = |field: &str| jobs.iter().filter_map(|j| j[field].as_u64()).sum::<u64>();
        (backup.progress)(Progress {
            what: "copying".into(),
            done: sum("current-progress"),
            total: Some(sum("total-progress")),
            unit: "bytes".into(),
        });
        std::thread::sleep(PAUSE);
    }
}

/// Our jobs, by `query-jobs`.
fn jobs(qmp: &Qmp) -> Result<Vec<Value>, Fault> {
    let all = qmp.execute("query-jobs", Value::Null, ANSWER).map_err(unreachable)?;
    let all = all.as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter(|j| j["id"].as_str().is_some_and(|id| id.starts_with(NAME))).collect())
}

/// Ends our jobs, and takes away our nodes and descriptors.
fn clear(qmp: &Qmp) -> Result<(), Fault> {
    let end = Instant::now() + ENDING;
    loop {
        let left = jobs(qmp)?;
        if left.is_empty() {
            break;
        }
        for job in left {
            let ended = job["status"] == "concluded";
            let command = if ended { "job-dismiss" } else { "job-cancel" };
            // One that is on its way to its end refuses both.
            let _ = qmp.execute(command, json!({ "id": job["id"] }), ANSWER);
        }
        if Instant::now() >= end {
            return Err(Fault::passing(Code::GuestUnreachable, "an earlier copy of the disks does not end"));
        }
        std::thread::sleep(PAUSE / 4);
    }
    let nodes = qmp.execute("query-named-block-nodes", json!({"flat": true}), ANSWER).map_err(unreachable)?;
    for node in nodes.as_array().into_iter().flatten().filter_map(|n| n["node-name"].as_str()) {
        if node.starts_with(NAME) {
            answered(qmp.execute("blockdev-del", json!({ "node-name": node }), ANSWER))?;
        }
    }
    let sets = qmp.execute("query-fdsets", Value::Null, ANSWER).map_err(unreachable)?;
    for set in sets.as_array().into_iter().flatten() {
        let ours = |fd: &Value| fd["opaque"].as_str().is_some_and(|l| l.starts_with(NAME));
        if set["fds"].as_array().is_some_and(|fds| fds.iter().any(ours)) {
            answered(qmp.execute("remove-fd", json!({ "fdset-id": set["fdset-id"] }), ANSWER))?;
        }
    }
    Ok(())
}

fn answered(answer: Result<Value, Failed>) -> Result<Value, Fault> {
    answer.map_err(|failed| match failed {
        Failed::Silent => unreachable(Failed::Silent),
        Failed::Refused(why) => {
            tracing::error!(%why, "the hypervisor does not copy a disk");
            Fault::lasting(Code::IoError, "the machine's hypervisor does not copy its disks")
                .hint("the daemon's log says more; with the machine stopped it goes without it")
        }
    })
}

fn broken(layout: &Layout, why: &str) -> Fault {
    tracing::error!(%why, "copying a disk broke off");
    if why.contains("No space left") {
        return fault::full("make a snapshot", &layout.snapshots(), None);
    }
    Fault::lasting(Code::IoError, "copying the machine's disks broke off")
        .hint("the daemon's log says more, and so may the kernel's (journalctl -k)")
}
