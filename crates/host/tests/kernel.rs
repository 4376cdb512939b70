//! The distribution's kernel, fetched and booted. Slow: it asks the package archive.

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::names;
use engine::port::Images;
use host::Layout;
use host::image::HostImages;
use host::kernel::{Kernels, boot_archive};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use types::Code;

fn kernels(at: &Path, agent: &[u8], custom: Option<&Path>) -> Arc<Kernels> {
    let layout = Layout::new(at.join("data"), at.join("run"));
    Arc::new(Kernels::new(layout, std::borrow::Cow::Owned(agent.to_vec()), custom.map(Path::to_owned)))
}

/// A program for the guest that loads the modules and tells what came of it.
fn init(dir: &Path) -> Vec<u8> {
    let source = dir.join("init.rs");
    fs::write(&source, include_str!("common/init.rs")).unwrap();
    let program = dir.join("init");
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success());
    fs::read(program).unwrap()
}

#[test]
fn the_distributions_kernel_is_fetched_once_and_boots() {
    let dir = tempfile::tempdir().unwrap();
    let agent = init(dir.path());
    let kernels = kernels(dir.path(), &agent, None);
    let home = dir.path().join("data/kernels");
    // What a killed daemon left.
    fs::create_dir_all(home.join(".fetching/root/boot")).unwrap();
    fs::create_dir_all(home.join(".making/new/modules")).unwrap();
    let lists = names(Path::new("/var/lib/apt/lists"));

    let told = Mutex::new(0);
    let version = kernels.ensure(&|_| *told.lock().unwrap() += 1).unwrap();
    assert!(*told.lock().unwrap() >= 3);
    assert!(kernels.has(&version).unwrap());
    assert_eq!(names(&home), [version.as_str()]);
    assert_eq!(names(Path::new("/var/lib/apt/lists")), lists);

    // Again, and with a daemon that cannot fetch: what is here is taken.
    assert_eq!(kernels.ensure(&|p| panic!("{}", p.what)).unwrap(), version);
    let images = HostImages::open(Layout::new(dir.path().join("data"), "/run"), kernels.clone()).unwrap();
    assert!(images.has_kernel(&version).unwrap());
    assert_eq!(images.ensure_kernel(&|_| ()).unwrap(), version);

    let files = kernels.boot_files(&version).unwrap();
    assert_eq!(kernels.boot_files(&version).unwrap(), files);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&files.vmlinuz), mode(&files.initramfs)), (0o444, 0o444));
    assert_eq!(mode(files.vmlinuz.parent().unwrap()), 0o711);
    let modules = files.modules.clone().unwrap();
    common::tool("e2fsck", &["-fn", modules.to_str().unwrap()]);

    let console = boot(dir.path(), &files, &modules);
    for wanted in ["config: {\"generation\":7", "loaded: virtio_blk", "block: vda", "modules disk: ok"] {
        assert!(console.contains(wanted), "no {wanted:?} in:\n{console}");
    }

    // A newer agent gets an initramfs of its own, and the older one's stays.
    let newer = self::kernels(dir.path(), b"newer", None);
    assert_ne!(newer.boot_files(&version).unwrap().initramfs, files.initramfs);
    assert!(files.initramfs.exists());
}

fn boot(dir: &Path, files: &host::kernel::BootFiles, modules: &Path) -> String {
    let config = proto::GuestConfig { generation: 7, ..Default::default() };
    let mut initramfs = fs::read(&files.initramfs).unwrap();
    initramfs.extend(boot_archive(&config));
    let initrd = dir.join("initrd");
    fs::write(&initrd, initramfs).unwrap();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-M", "q35", "-accel", "tcg", "-m", "256M", "-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1"])
        .arg("-kernel")
        .arg(&files.vmlinuz)
        .arg("-initrd")
        .arg(&initrd)
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,readonly=on", modules.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = qemu.stdout.take().unwrap();
    let (send, console) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut output, &mut bytes);
        send.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    // The output ends with the guest.
    let said = console.recv_timeout(Duration::from_secs(180));
    let _ = qemu.kill();
    qemu.wait().unwrap();
    said.expect("the guest did not power off")
}

#[test]
fn no_room_for_a_kernel_is_told_before_anything_is_fetched() {
    let mount = mount::Mount::new("ext4", 64);
    let kernels = kernels(&mount.path(), b"agent", None);
    let fault = kernels.ensure(&|p| panic!("{}", p.what)).unwrap_err();
    assert_eq!(fault.problem.code, Code::PoolFull);
    assert!(names(&mount.path().join("data/kernels")).is_empty());
}

#[test]
fn a_custom_kernel_is_kept_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    let missing = kernels(dir.path(), b"agent", Some(&own));
    assert_eq!(missing.check_custom().unwrap_err().code, Code::NoKernel);
    assert_eq!(missing.ensure(&|_| ()).unwrap_err().problem.code, Code::NoKernel);

    fs::write(&own, b"a kernel").unwrap();
    let first = missing.ensure(&|_| ()).unwrap();
    assert!(missing.check_custom().is_ok());
    assert!(first.starts_with("custom-") && first.len() == 19);
    assert_eq!(missing.boot_files(&first).unwrap().modules, None);
    fs::write(&own, b"another kernel").unwrap();
    let second = missing.ensure(&|_| ()).unwrap();
    assert_ne!(first, second);
    assert_eq!(fs::read(missing.boot_files(&first).unwrap().vmlinuz).unwrap(), b"a kernel");

    fs::remove_file(&own).unwrap();
    fs::create_dir_all(own.join("lib/modules/9.9/kernel")).unwrap();
    assert_eq!(missing.check_custom().unwrap_err().code, Code::NoKernel);
    fs::write(own.join("vmlinuz"), b"a third").unwrap();
    // Its modules lack everything that a guest's disk needs.
    assert_eq!(missing.ensure(&|_| ()).unwrap_err().problem.code, Code::KernelFailed);
    let builtin = "kernel/virtio_blk.ko\nkernel/virtio_pci.ko\nkernel/ext4.ko\n";
    fs::write(own.join("lib/modules/9.9/modules.builtin"), builtin).unwrap();
    fs::write(own.join("lib/modules/9.9/modules.order"), "").unwrap();
    let third = missing.ensure(&|_| ()).unwrap();
    assert!(missing.boot_files(&third).unwrap().modules.is_some());
    // Nothing unknown is removed to make room.
    let vmlinuz = missing.boot_files(&third).unwrap().vmlinuz;
    fs::remove_file(&vmlinuz).unwrap();
    assert!(!missing.has(&third).unwrap());
    let fault = missing.ensure(&|_| ()).unwrap_err();
    assert!(fault.problem.message.contains("in the way"), "{fault}");
    fs::remove_dir_all(vmlinuz.parent().unwrap()).unwrap();
    assert_eq!(missing.ensure(&|_| ()).unwrap(), third);
    fs::create_dir_all(own.join("lib/modules/9.8")).unwrap();
    assert_eq!(missing.check_custom().unwrap_err().code, Code::NoKernel);
}
