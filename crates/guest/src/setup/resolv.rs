//! Name servers.
//!
//! Invariant: a file that says `# sistemo: keep` is left alone, and so is the link of a running
//! systemd-resolved, which gets its servers by its own configuration.

use crate::inside::Inside;
use std::io;
use std::net::IpAddr;

const FILE: &str = "/etc/resolv.conf";
const KEEP: &str = "# sistemo: keep";
const RESOLVED: [&str; 2] = ["/usr/lib/systemd/systemd-resolved", "/lib/systemd/systemd-resolved"];
const DROP_IN: &str = "/etc/systemd/resolved.conf.d";

/// Gives the machine its name servers.
///
/// # Errors
/// When the file cannot be written.
pub fn apply(inside: &Inside, servers: &[String]) -> io::Result<()> {
    let servers: Vec<IpAddr> = servers.iter().filter_map(|s| s.parse().ok()).collect();
    if servers.is_empty() {
        return Ok(());
    }
    let managed = inside.link(FILE).is_some_and(|target| target.contains("systemd/resolve"));
    if managed && RESOLVED.iter().any(|path| inside.exists(path)) {
        let list: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
        inside.make_dir(DROP_IN, 0o755)?;
        let text = format!("# By Sistemo.\n[Resolve]\nDNS={}\n", list.join(" "));
        return inside.write(&format!("{DROP_IN}/sistemo.conf"), text.as_bytes(), 0o644);
    }
    // Unreadable, such as a link to something that is no file: then there is nothing to keep.
    let now = inside.text(FILE).unwrap_or_default();
    if now.lines().any(|l| l.trim() == KEEP) {
        return Ok(());
    }
    inside.make_dir("/etc", 0o755)?;
    inside.write(FILE, text(&servers).as_bytes(), 0o644)
}

fn text(servers: &[IpAddr]) -> String {
    let head = format!("# By Sistemo, at every boot. A line `{KEEP}` keeps a file of your own.\n");
    servers.iter().fold(head, |text, server| format!("{text}nameserver {server}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Inside) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let inside = Inside::at(dir.path().to_str().unwrap()).unwrap();
        (dir, inside)
    }

    #[test]
    fn a_dangling_link_becomes_a_file() {
        let (dir, inside) = root();
        let file = dir.path().join("etc/resolv.conf");
        symlink("../run/systemd/resolve/stub-resolv.conf", &file).unwrap();
        apply(&inside, &["192.0.2.1".into(), "x\ny".into()]).unwrap();
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(said.ends_with("\nnameserver 192.0.2.1\n"), "{said}");
        assert!(!said.lines().any(|l| l == KEEP));
    }

    #[test]
    fn resolved_is_told_in_its_own_words() {
        let (dir, inside) = root();
        let file = dir.path().join("etc/resolv.conf");
        symlink("../run/systemd/resolve/stub-resolv.conf", &file).unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib/systemd")).unwrap();
        std::fs::write(dir.path().join("usr/lib/systemd/systemd-resolved"), "").unwrap();
        apply(&inside, &["192.0.2.1".into(), "192.0.2.2".into()]).unwrap();
        assert!(file.is_symlink());
        assert!(inside.text("/etc/systemd/resolved.conf.d/sistemo.conf").unwrap().contains("192.0.2.1 192"));
    }

    #[test]
    fn a_file_to_keep_is_kept() {
        let (dir, inside) = root();
        let file = dir.path().join("etc/resolv.conf");
        std::fs::write(&file, "nameserver 10.0.0.1\n# sistemo: keep\n").unwrap();
        apply(&inside, &["192.0.2.1".into()]).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("nameserver 10.0.0.1"));
    }
}
