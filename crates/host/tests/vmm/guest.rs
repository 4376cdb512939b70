//! A guest for tests: the distribution's kernel, busybox, and a script.

use host::kernel::BootFiles;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// In the order of loading.
const MODULES: &[&str] = &[
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "char/virtio_console",
];
const NET: &[&str] = &["net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"];

const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install /bin
for m in $(cat /modules/list); do insmod /modules/$m; done
. /todo
while true; do sleep 1000; done
";

/// An archive that the kernel unpacks (newc).
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let number = self.0.len() as u32;
        let fields = [number, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
        self.0.extend(b"070701");
        fields.iter().for_each(|f| self.0.extend(format!("{f:08x}").bytes()));
        self.0.extend(path.bytes().chain([0]));
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An executable file.
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.entry(path, 0o100_755, content);
        self
    }

    fn dir(mut self, path: &str) -> Self {
        self.entry(path, 0o040_755, b"");
        self
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.0
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Unpacks the packages into `dir`.
fn fetch(dir: &Path) {
    let depends = run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    let image = depends.lines().find_map(|l| l.trim().strip_prefix("Depends: ")).unwrap();
    run(Command::new("apt-get").args(["download", image, "busybox-static"]).current_dir(dir));
    for file in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir));
            fs::remove_file(file).unwrap();
        }
    }
}

fn only(dir: &Path, prefix: &str) -> PathBuf {
    let mut all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    all.find(|p| p.file_name().unwrap().to_string_lossy().starts_with(prefix)).unwrap()
}

fn make(dir: &Path) {
    fetch(dir);
    fs::rename(only(&dir.join("boot"), "vmlinuz-"), dir.join("vmlinuz")).unwrap();
    let kernel = only(&dir.join("lib/modules"), "").join("kernel");
    let mut archive = Archive::default()
        .dir("bin")
        .dir("modules")
        .file("init", INIT.as_bytes())
        .file("bin/busybox", &fs::read(dir.join("bin/busybox")).unwrap());
    let drivers = MODULES.iter().map(|m| format!("drivers/{m}.ko"));
    let paths: Vec<_> = drivers.chain(NET.iter().map(|m| format!("{m}.ko"))).collect();
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    for path in &paths {
        archive = archive.file(&format!("modules/{}", name(path)), &fs::read(kernel.join(path)).unwrap());
    }
    let list: String = paths.iter().map(|p| name(p) + "\n").collect();
    let archive = archive.file("modules/list", list.as_bytes());
    fs::write(dir.join("initramfs"), archive.finish()).unwrap();
}

/// What to boot; made once, and kept for the next time.
pub fn boot_files() -> BootFiles {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let dir = MADE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        if !dir.is_dir() {
            let new = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            make(new.path());
            fs::rename(new.keep(), &dir).unwrap();
        }
        dir
    });
    BootFiles { vmlinuz: dir.join("vmlinuz"), initramfs: dir.join("initramfs"), modules: None }
}
