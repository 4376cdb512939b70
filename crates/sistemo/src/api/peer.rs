//! Who is at the other end of a Unix socket.
//!
//! Invariant: the kernel says who it is (`SO_PEERCRED`, `unix(7)`); nothing a client sends does.

use std::path::Path;
use types::Actor;

/// The user behind a connection.
#[derive(Clone, Debug)]
pub struct Peer(pub Actor);

impl Peer {
    /// The user with this uid, by name where `/etc/passwd` has one.
    pub fn of_uid(uid: u32) -> Self {
        let name = name_in(Path::new("/etc/passwd"), uid);
        Self(Actor(name.unwrap_or_else(|| format!("uid:{uid}"))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_or_says_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        std::fs::write(&file, "broken\nroot:x:0:0::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\n").unwrap();
        assert_eq!(name_in(&file, 1000).as_deref(), Some("ada"));
        assert_eq!(name_in(&file, 7), None);
        assert_eq!(Peer::of_uid(4_000_000_123).0.0, "uid:4000000123");
    }
}
