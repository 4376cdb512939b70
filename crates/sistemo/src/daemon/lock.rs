//! One daemon per data directory.
//!
//! Invariant: the kernel holds the lock and drops it with the process, however that ends; the pid
//! in the file is only for the message.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use types::{Code, Problem};

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
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(running(&mut file, data_dir)),
        Err(e) => return Err(failed(&e)),
    }
    // Written over what is there and only then cut: on a full disk, a new block could not be had.
    let text = format!("{}\n", std::process::id());
    file.rewind()
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(|e| failed(&e))?;
    Ok(Lock(file))
}

fn running(file: &mut File, data_dir: &Path) -> Problem {
    let mut text = String::new();
    let _ = file.take(32).read_to_string(&mut text);
    let who = match text.trim().parse::<u32>() {
        Ok(pid) => format!("a daemon (process {pid})"),
        Err(_) => "a daemon".to_owned(),
    };
    Problem::new(Code::DaemonRunning, format!("{who} already runs on {}", data_dir.display()))
        .hint("use it, stop it first, or name another data directory with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
