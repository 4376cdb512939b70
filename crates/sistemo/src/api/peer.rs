//! Who is at the other end of a Unix socket.
//!
//! Invariant: the kernel says who it is (`SO_PEERCRED`, `SO_PEERGROUPS`, `unix(7)`); nothing a
//! client sends does. Allowed are root, the daemon's own user, and group `sistemo`.

use rustix::net::sockopt::socket_peercred;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use types::Actor;

/// The group whose members may use the daemon.
pub const GROUP: &str = "sistemo";

/// The user behind a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The user, by name where `/etc/passwd` has one.
    pub actor: Actor,
    /// Whether the user may use the daemon.
    pub allowed: bool,
}

impl Peer {
    /// The user at the other end of this socket.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let cred = socket_peercred(socket)?;
        let (uid, gid) = (cred.uid.as_raw(), cred.gid.as_raw());
        let mut allowed = uid == 0 || uid == rustix::process::geteuid().as_raw();
        if let (false, Some(group)) = (allowed, group_id()) {
            allowed = gid == group || groups(socket)?.contains(&group);
        }
        Ok(Self { actor: actor_of(uid), allowed })
    }
}

/// The gid of group `sistemo`, if there is one.
pub fn group_id() -> Option<u32> {
    number_in(Path::new("/etc/group"), GROUP)
}

/// The user with this uid, by name where `/etc/passwd` has one.
pub fn actor_of(uid: u32) -> Actor {
    Actor(name_in(Path::new("/etc/passwd"), uid).unwrap_or_else(|| format!("uid:{uid}")))
}

/// The supplementary groups of the process that connected, as they were then.
fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut found: Vec<u32> = vec![0; 64];
    loop {
        let room = found.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(room).map_err(io::Error::other)?;
        // SAFETY: `found` is writable for `length` bytes, and both live over the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                found.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let held = length as usize / size_of::<u32>();
        if result == 0 {
            found.truncate(held);
            return Ok(found);
        }
        let error = io::Error::last_os_error();
        // With ERANGE the kernel says how much room it needs; a process has at most 65536 groups.
        if error.raw_os_error() != Some(libc::ERANGE) || held <= found.len() || held > 65_536 {
            return Err(error);
        }
        found = vec![0; held];
    }
}

/// Read for each connection, since users come and go while the daemon runs. Users that only a
/// directory service knows are told by number: asking it can block.
fn name_in(passwd: &Path, uid: u32) -> Option<String> {
    let text = std::fs::read_to_string(passwd).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

fn number_in(group: &Path, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(group).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name { None } else { fields.nth(1)?.parse().ok() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn finds_the_name_or_says_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        std::fs::write(&file, "broken\nroot:x:0:0::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\n").unwrap();
        assert_eq!(name_in(&file, 1000).as_deref(), Some("ada"));
        assert_eq!(name_in(&file, 7), None);
        assert_eq!(actor_of(4_000_000_123).0, "uid:4000000123");
        std::fs::write(&file, "x\nsistemo-x:x:1:\nsistemo:x:990:ada,bob\n").unwrap();
        assert_eq!(number_in(&file, GROUP), Some(990));
        assert_eq!(number_in(&file, "none"), None);
    }

    #[test]
    fn the_kernel_knows_both_ends() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Peer::of(ours.as_fd()).unwrap().allowed);
        let mine = rustix::process::getgroups().unwrap();
        let told = groups(ours.as_fd()).unwrap();
        assert_eq!(told.len(), mine.len());
        assert!(mine.iter().all(|g| told.contains(&g.as_raw())));
    }
}
