//! The distribution's archive, as this host is set up to reach it.
//!
//! Invariant: the host's own apt state is never written; what is fetched is verified by apt with
//! the keys that the host trusts, through the mirrors and proxies that it is set up with.

mod sources;

pub use sources::{Archive, render};

use std::path::Path;
use std::process::Command;

/// Which distribution this host is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Os {
    /// `debian`, `ubuntu`, …
    pub id: String,
    /// `bookworm`, `noble`, …; empty where there is none.
    pub codename: String,
}

impl Os {
    /// This host's, from `os-release(5)`.
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let codename = value("VERSION_CODENAME");
        // It becomes part of commands and files.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        Self { id: value("ID"), codename: if codename.chars().all(plain) { codename } else { String::new() } }
    }
}

/// What this host's apt takes from the distribution itself, for release `codename`: third
/// parties are left out, since neither an image nor a kernel comes from them.
pub fn archives(codename: &str) -> Vec<Archive> {
    sources::of_host(Path::new("/etc/apt"), codename)
}

/// The host's settings of how to reach archives (proxies, timeouts, credentials), as a piece of
/// `apt.conf` for an apt that does not read the host's.
pub fn reach() -> String {
    const WANTED: [&str; 7] = ["http", "ftp", "ForceIP", "Retries", "Check-", "BrokenProxy", "proxy"];
    let dump = Command::new("apt-config").args(["dump", "--no-empty", "Acquire"]).output();
    let dump = dump.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let wanted = |line: &&str| {
        line.strip_prefix("Acquire::").is_some_and(|rest| WANTED.iter().any(|w| rest.starts_with(w)))
    };
    let mut conf: String = dump.lines().filter(wanted).flat_map(|l| [l, "\n"]).collect();
    conf.push_str(
        "Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n",
    );
    conf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(Os::parse(debian), Os { id: "debian".into(), codename: "bookworm".into() });
        assert_eq!(Os::parse("ID=\"x\"\nVERSION_CODENAME='a;b'").codename, "");
    }
}
