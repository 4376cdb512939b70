//! The hypervisor's process: from fork to exec, and its last words.
//!
//! Invariant: before QEMU's first instruction the process is in its cgroup, in a session of its own,
//! without root, without any descriptor but its own, and can never gain privileges. It outlives the
//! daemon once it is in the cgroup, and dies with it before.

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{Gid, Uid};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// Who has it.
pub const PACKAGE: &str = "qemu-system-x86";
/// How much of what a hypervisor says on its error output reaches the log: a guest may make it talk.
const LOGGED: usize = 64 << 10;
/// How much of it is kept to find out why it ended.
const KEPT: usize = 8 << 10;

/// Where the program is.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

/// How a process that this daemon made ended.
#[derive(Debug)]
pub struct Ended {
    /// The end of what it said on its error output. For the log, and to tell one failure from another.
    pub said: String,
}

/// What a new process is.
pub struct Spawn<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// The run, for the log.
    pub run: String,
    /// What it inherits, under the same numbers.
    pub inherit: Vec<OwnedFd>,
    /// The open `cgroup.procs` of its cgroup.
    pub cgroup: File,
    /// Its user and group.
    pub uid: u32,
    /// Its supplementary group.
    pub group: Option<u32>,
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

/// Every descriptor but the first three is closed at exec, also one that some library forgot to mark.
fn close_at_exec() {
    // SAFETY: the call changes flags of descriptors only. A kernel before 5.11 does not know it; then
    // what was opened by ourselves is marked anyway.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// What the child does between fork and exec. Only system calls: another thread may hold any lock.
fn become_hypervisor(
    parent: rustix::process::Pid,
    cgroup: &File,
    inherit: &[RawFd],
    (uid, gid): (Uid, Gid),
    groups: &[Gid],
) -> io::Result<()> {
    // A daemon killed from here on takes the child with it, until the cgroup tells of it: an unseen
    // hypervisor would write to disks that are believed free.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    rustix::io::write(cgroup, b"0")?;
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    limit(Resource::Core, 0)?;
    close_at_exec();
    for fd in inherit {
        // SAFETY: the parent holds these open while it forks, so the child has them.
        fcntl_setfd(unsafe { BorrowedFd::borrow_raw(*fd) }, FdFlags::empty())?;
    }
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Makes the process. What it ended with is told once it has; its descriptors are closed here when
/// this returns.
pub fn spawn(what: Spawn<'_>) -> io::Result<Receiver<Ended>> {
    let parent = rustix::process::getpid();
    let inherit: Vec<RawFd> = what.inherit.iter().map(AsRawFd::as_raw_fd).collect();
    let user = (Uid::from_raw(what.uid), Gid::from_raw(what.uid));
    let groups: Vec<Gid> = what.group.into_iter().map(Gid::from_raw).collect();
    let cgroup = what.cgroup;
    let mut command = Command::new(what.program);
    command.args(what.arguments.iter().map(OsStr::new)).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: the closure makes system calls only; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || become_hypervisor(parent, &cgroup, &inherit, user, &groups)) };
    let child = command.spawn()?;
    let (tell, told) = sync_channel(1);
    // A thread, and not a task: it must outlive whoever asked, or a zombie is left.
    std::thread::Builder::new()
        .name(format!("run-{}", what.run))
        .spawn(move || reap(child, &what.run, &tell))?;
    Ok(told)
}

/// Reads the last words and takes the status.
fn reap(mut child: Child, run: &str, tell: &SyncSender<Ended>) {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut left = LOGGED;
        listen(stderr, |piece| {
            let shown = &piece[..piece.len().min(left)];
            left -= shown.len();
            for line in String::from_utf8_lossy(shown).lines().filter(|l| !l.trim().is_empty()) {
                tracing::warn!(%run, "hypervisor: {}", line.trim_end());
            }
            said.extend_from_slice(piece);
            said.drain(..said.len().saturating_sub(KEPT));
        });
    }
    match child.wait() {
        Ok(status) => tracing::info!(%run, %status, "hypervisor ended"),
        Err(e) => tracing::error!(%run, error = %e, "cannot wait for the hypervisor"),
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    // Nobody listens once the machine runs.
    let _ = tell.try_send(Ended { said });
}

fn listen(mut from: impl Read, mut hear: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => hear(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
