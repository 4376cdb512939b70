//! The host name, in the kernel, `/etc/hostname` and `/etc/hosts`.
//!
//! Invariant: of `/etc/hosts` only lines with our mark change.

use crate::inside::Inside;
use std::io;

const MARK: &str = "# sistemo";
const FRESH: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// Gives the machine its name.
///
/// # Errors
/// When a file cannot be written or the kernel does not take the name.
pub fn apply(inside: &Inside, name: &str) -> io::Result<()> {
    rustix::system::sethostname(name.as_bytes())?;
    inside.make_dir("/etc", 0o755)?;
    inside.write("/etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
    let hosts = edit(&inside.text("/etc/hosts")?, name);
    inside.write("/etc/hosts", hosts.as_bytes(), 0o644)
}

fn edit(text: &str, name: &str) -> String {
    let text = if text.trim().is_empty() { FRESH } else { text };
    let theirs = text.lines().filter(|l| !l.trim_end().ends_with(MARK)).map(|l| format!("{l}\n"));
    theirs.chain([format!("127.0.1.1 {name} {MARK}\n")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_line_is_replaced_and_theirs_stay() {
        let first = edit("127.0.0.1 localhost\n127.0.1.1 mine # sistemology\n10.0.0.1 db", "web");
        assert_eq!(
            first,
            "127.0.0.1 localhost\n127.0.1.1 mine # sistemology\n10.0.0.1 db\n127.0.1.1 web # sistemo\n"
        );
        assert_eq!(edit(&first, "api"), first.replace("web", "api"));
        assert!(edit("", "web").starts_with("127.0.0.1 localhost\n"));
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "([a-z0-9. #\t]{0,20}\n?){0,6}") {
            let once = edit(&text, "web");
            prop_assert_eq!(edit(&once, "web"), once);
        }
    }
}
