//! Programs of the distribution that are run.

use super::{Finding, Subject};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const CHECK: &str = "tools";

/// A program, the Debian package that has it, and what it is for; `true` if little works without.
const TOOLS: &[(&str, &str, &str, bool)] = &[
    ("qemu-system-x86_64", "qemu-system-x86", "running machines", true),
    ("mkfs.ext4", "e2fsprogs", "making volumes", true),
    ("nft", "nftables", "networks", true),
    ("ip", "iproute2", "networks", true),
    ("depmod", "kmod", "kernels of guests", true),
    ("apt-get", "apt", "fetching kernels", false),
    ("dpkg-deb", "dpkg", "unpacking kernels", false),
    ("mmdebstrap", "mmdebstrap", "building images", false),
    ("ssh", "openssh-client", "`machine ssh`", false),
    ("ssh-keygen", "openssh-client", "`machine ssh`", false),
];

pub(super) fn check(_: &Subject) -> Vec<Finding> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An ordinary user's path often lacks where the daemon's tools are.
    let dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .collect();
    let there = |tool: &str| dirs.iter().any(|dir| is_program(&dir.join(tool)));
    judge(&there)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
}

fn judge(there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let missing: Vec<Finding> = TOOLS
        .iter()
        .filter(|(tool, ..)| !there(tool))
        .map(|(tool, package, purpose, needed)| {
            let (text, fix) =
                (format!("{tool} is not installed ({purpose})"), format!("apt install {package}"));
            if *needed { Finding::fail(CHECK, text, fix) } else { Finding::warn(CHECK, text, fix) }
        })
        .collect();
    if missing.is_empty() { vec![Finding::ok(CHECK, "all are installed")] } else { missing }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn each_missing_tool_is_named_with_its_package() {
        let found = judge(&|tool| tool != "nft" && tool != "mmdebstrap");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].state, found[0].fix.as_deref()), (State::Fail, Some("apt install nftables")));
        assert_eq!((found[1].state, found[1].fix.as_deref()), (State::Warn, Some("apt install mmdebstrap")));
        assert_eq!(judge(&|_| true)[0].state, State::Ok);
        assert!(is_program(Path::new("/bin/sh")) && !is_program(Path::new("/etc/passwd")));
    }
}
