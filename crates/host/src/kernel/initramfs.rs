//! What a guest begins with: the agent, and the modules that it needs to find its disks.
//!
//! Invariant: made once for a kernel and an agent, and named after the agent, so that machines of an
//! older daemon keep theirs.

use super::cpio::Archive;
use super::make::LIST;
use crate::durable;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};

/// The first 12 hexadecimal digits of a sha256.
pub fn short_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The initramfs in the directory of kernel `version`; makes it, if it is missing.
pub fn ensure(dir: &Path, version: &str, agent: &[u8]) -> io::Result<PathBuf> {
    let path = dir.join(format!("initramfs-{}.cpio", short_digest(agent)));
    if !path.try_exists()? {
        durable::write(&path, &base(&dir.join("modules"), version, agent)?, 0o444)?;
    }
    Ok(path)
}

fn base(modules: &Path, version: &str, agent: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new();
    for dir in ["/dev", "/proc", "/sys", "/run", "/tmp", "/sysroot", "/etc", "/etc/sistemo"] {
        archive.dir(dir, 0o755);
    }
    archive.device("/dev/console", 0o600, 5, 1);
    archive.device("/dev/null", 0o666, 1, 3);
    archive.file("/init", 0o755, agent);
    let at = format!("/lib/modules/{version}");
    for dir in ["/lib", "/lib/modules", &at] {
        archive.dir(dir, 0o755);
    }
    let mut list = String::new();
    for name in std::fs::read_to_string(modules.join(LIST))?.lines() {
        let path = format!("{at}/{name}");
        archive.file(&path, 0o644, &std::fs::read(modules.join(name))?);
        list.push_str(&path);
        list.push('\n');
    }
    archive.file(proto::MODULES_LIST, 0o644, list.as_bytes());
    Ok(archive.finish())
}

/// The archive with a boot's configuration, to be appended to the initramfs.
pub fn boot_archive(config: &proto::GuestConfig) -> Vec<u8> {
    // It holds strings and numbers only, so it always serialises.
    let json = serde_json::to_vec(config).unwrap_or_default();
    let mut archive = Archive::new();
    archive.file(proto::CONFIG_PATH, 0o600, &json);
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn it_lists_its_modules_in_order_and_takes_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules");
        std::fs::create_dir(&modules).unwrap();
        std::fs::write(modules.join(LIST), "b.ko\na.ko\n").unwrap();
        std::fs::write(modules.join("a.ko"), "A").unwrap();
        std::fs::write(modules.join("b.ko"), "B").unwrap();
        let path = ensure(dir.path(), "6.1", b"agent").unwrap();
        assert_eq!(ensure(dir.path(), "6.1", b"agent").unwrap(), path);
        assert_ne!(ensure(dir.path(), "6.1", b"newer").unwrap(), path);
        let mut list = Command::new("cpio");
        list.args(["-i", "--quiet", "--to-stdout", "etc/sistemo/modules"]);
        let out = list.stdin(Stdio::from(std::fs::File::open(&path).unwrap())).output().unwrap();
        assert_eq!(out.stdout, b"/lib/modules/6.1/b.ko\n/lib/modules/6.1/a.ko\n");

        let config = proto::GuestConfig { hostname: "web".into(), ..Default::default() };
        let boot = dir.path().join("boot");
        std::fs::write(&boot, boot_archive(&config)).unwrap();
        let mut cpio = Command::new("cpio");
        cpio.args(["-i", "--quiet", "--to-stdout"]).stdin(Stdio::from(std::fs::File::open(&boot).unwrap()));
        let read: proto::GuestConfig = serde_json::from_slice(&cpio.output().unwrap().stdout).unwrap();
        assert_eq!(read, config);
    }
}
