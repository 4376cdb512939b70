//! The machine's SSH host key, in an image that comes without one.
//!
//! Invariant: a key appears whole or not at all, and never replaces another.

use crate::inside::Inside;
use crate::log;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, renameat, unlinkat};
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DIR: &str = "/etc/ssh";
const KEYGEN: &str = "/usr/bin/ssh-keygen";
const FRESH: &str = ".sistemo-key";
const NAME: &str = "ssh_host_ed25519_key";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Makes an ed25519 key with the image's own `ssh-keygen`, if the image has sshd and no host key.
///
/// # Errors
/// When it could not be made.
pub fn ensure(inside: &Inside, hostname: &str) -> io::Result<()> {
    let is_key = |n: &String| n.starts_with("ssh_host_") && n.ends_with("_key");
    if !inside.exists(DIR) || !inside.exists(KEYGEN) || inside.list(DIR).iter().any(is_key) {
        return Ok(());
    }
    let dir = inside.open(DIR, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let public = format!("{FRESH}.pub");
    for left in [FRESH, &public] {
        // What a boot that was cut short left; ssh-keygen would ask whether to overwrite it.
        let _ = unlinkat(&dir, left, AtFlags::empty());
    }
    let mut keygen = Command::new(KEYGEN);
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("root@{hostname}")]);
    keygen.args(["-f", &format!("{DIR}/{FRESH}")]);
    keygen.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    inside.enter(&mut keygen, "/")?;
    run(keygen)?;
    for file in [FRESH, &public] {
        fsync(inside.open(&format!("{DIR}/{file}"), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?)?;
    }
    renameat(&dir, &public, &dir, format!("{NAME}.pub"))?;
    renameat(&dir, FRESH, &dir, NAME)?;
    fsync(&dir)?;
    log::say("made an SSH host key");
    Ok(())
}

fn run(mut command: Command) -> io::Result<()> {
    let mut child = command.spawn()?;
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("ssh-keygen failed ({status})"))),
            None if Instant::now() >= end => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("ssh-keygen took too long"));
            }
            None => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_sshd_gets_none_and_a_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let inside = Inside::at(dir.path().to_str().unwrap()).unwrap();
        ensure(&inside, "web").unwrap();
        std::fs::create_dir_all(dir.path().join("etc/ssh")).unwrap();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        std::fs::write(dir.path().join("usr/bin/ssh-keygen"), "").unwrap();
        std::fs::write(dir.path().join("etc/ssh/ssh_host_rsa_key"), "theirs").unwrap();
        ensure(&inside, "web").unwrap();
        assert_eq!(inside.list("/etc/ssh").iter().filter(|n| n.starts_with("ssh_host")).count(), 1);
    }
}
