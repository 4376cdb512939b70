//! One daemon per data directory.
//!
//! Invariant: the kernel holds the lock and drops it with the process, however that ends. A process that
//! was killed while it began a tool leaves a child that has the lock, too, until it has become that tool;
//! that is waited for. The pid in the file says whether it can be so, and who it is.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use types::{Code, Problem};

/// How long a child may take to become what it was begun for, on a busy host.
const LEFT: Duration = Duration::from_secs(10);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as this lives.
pub struct Lock(#[allow(dead_code, reason = "kept open, never used")] File);

/// Takes the lock of this data directory.
pub fn take(data_dir: &Path) -> Result<Lock, Problem> {
    let path = data_dir.join("sistemo.lock");
    let failed = |e: &dyn std::fmt::Display| {
        Problem::new(Code::DataDirInvalid, format!("cannot lock {}: {e}", path.display()))
    };
    let fd = open(
        &path,
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::from_raw_mode(0o600),
    )
    .map_err(|e| failed(&e))?;
    let mut file = File::from(fd);
    let end = Instant::now() + LEFT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = holder(&mut file);
                let gone = holder.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
                if !gone || Instant::now() > end {
                    return Err(running(holder, data_dir));
                }
                std::thread::sleep(PAUSE);
            }
            Err(e) => return Err(failed(&e)),
        }
    }
    // Written over what is there and only then cut: on a full disk, a new block could not be had.
    let text = format!("{}\n", std::process::id());
    file.rewind()
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(|e| failed(&e))?;
    Ok(Lock(file))
}

/// Who has written that it holds the lock.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn running(holder: Option<u32>, data_dir: &Path) -> Problem {
    let who = match holder {
        Some(pid) => format!("a daemon (process {pid})"),
        None => "a daemon".to_owned(),
    };
    Problem::new(Code::DaemonRunning, format!("{who} already runs on {}", data_dir.display()))
        .hint("use it, stop it first, or name another data directory with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        let problem = take(dir.path()).err().unwrap();
        assert_eq!(problem.code, Code::DaemonRunning);
        assert!(problem.message.contains(&std::process::id().to_string()));
        drop(first);
        assert!(take(dir.path()).is_ok());
    }

    #[test]
    fn what_a_daemon_that_was_killed_left_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let Lock(mut first) = take(dir.path()).unwrap();
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        first.set_len(0).unwrap();
        first.rewind().unwrap();
        writeln!(first, "{}", dead.id()).unwrap();
        // It has the lock as the first has it, until its input ends.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(first).spawn().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(dir.path()));
            child.stdin.take();
            child.wait().unwrap();
            assert!(second.join().unwrap().is_ok());
        });
    }
}
