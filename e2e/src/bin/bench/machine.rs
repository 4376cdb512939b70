//! Starting a machine.

use super::figure::{line, median, ms};
use e2e::Host;
use engine::port::Guest;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::{MachineId, RunId};

/// The value that follows `flag` in a command line.
fn after(line: &[String], flag: &str) -> String {
    let at = line.iter().position(|a| a == flag).unwrap_or_else(|| panic!("{flag} in {line:?}"));
    line[at + 1].clone()
}

/// `machine start` to the first answer of `exec`, against bare QEMU with the same kernel, initramfs and
/// disk to the agent's hello.
pub fn start(host: &Host) {
    let ok = |line: &str| {
        let ran = host.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    };
    ok("machine deploy debian --name web");
    let shown: serde_json::Value = serde_json::from_str(&ok("machine show web -o json")).expect("JSON");
    let id = shown["id"].as_str().expect("an id").to_owned();
    let line_of = e2e::hypervisor(&id).expect("it runs").1;
    let machine: MachineId = id.parse().expect("an id");
    let config = std::fs::read_dir(Path::new("/run/sistemo").join(machine.short()))
        .expect("it runs")
        .map(|e| e.expect("readable").path().join("guest.json"))
        .find_map(|p| std::fs::read(p).ok())
        .expect("it runs");
    ok("machine stop web");

    let mut ours = vec![];
    let mut bare = vec![];
    for _ in 0..5 {
        let began = Instant::now();
        ok("machine start web");
        ok("machine exec web -- true");
        ours.push(began.elapsed().as_secs_f64());
        ok("machine stop web");
        bare.push(bare_start(host, &line_of, &config, &shown));
    }
    let ratios = ours.iter().zip(&bare).map(|(o, b)| o / b).collect();
    let measured = format!("{} / {}", ms(median(ours)), ms(median(bare)));
    line("machine start to first exec / bare QEMU to hello", median(ratios), 1.15, &measured);
}

fn bare_start(host: &Host, like: &[String], config: &[u8], shown: &serde_json::Value) -> f64 {
    let dir = tempfile::tempdir_in(e2e::scratch()).expect("scratch is writable");
    let kernel = host.data().join("kernels").join(shown["kernel"].as_str().expect("a kernel"));
    let mut initrd = std::fs::read_dir(&kernel)
        .expect("the kernel is there")
        .map(|e| e.expect("readable").path())
        .find(|p| p.extension().is_some_and(|e| e == "cpio"))
        .map(|p| std::fs::read(p).expect("readable"))
        .expect("an initramfs");
    let told: proto::GuestConfig = serde_json::from_slice(config).expect("a configuration");
    initrd.extend(host::kernel::boot_archive(&told));
    std::fs::write(dir.path().join("initrd"), initrd).expect("there is room");
    let (machine, run) = (MachineId(uuid::Uuid::now_v7()), RunId(uuid::Uuid::now_v7()));
    let layout = host::Layout::new(dir.path(), dir.path());
    std::fs::create_dir_all(layout.run_of(machine, run)).expect("there is room");
    std::fs::write(layout.guest_config(machine, run), config).expect("there is room");
    let serial = shown["volumes"][0]["device"].as_str().expect("a device").trim_start_matches("virtio-");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("it can");
    let agents = host::guest::Agents::new(layout.clone(), runtime.handle().clone(), Arc::new(|_, _| {}));

    let mut qemu = Command::new(&like[0]);
    for flag in ["-accel", "-cpu", "-smp", "-m"] {
        qemu.args([flag, &after(like, flag)]);
    }
    qemu.args(["-M", "q35", "-nodefaults", "-display", "none", "-append", &after(like, "-append")]);
    qemu.arg("-kernel").arg(kernel.join("vmlinuz")).arg("-initrd").arg(dir.path().join("initrd"));
    let disk = |qemu: &mut Command, id: &str, file: &Path, serial: &str, more: &str| {
        qemu.args(["-drive", &format!("if=none,id={id},format=raw,file={}{more}", file.display())]);
        qemu.args(["-device", &format!("virtio-blk-pci,drive={id},serial={serial}")]);
    };
    disk(&mut qemu, "root", &host.file_of("web-root"), serial, ",cache=none");
    disk(&mut qemu, "modules", &kernel.join("modules.ext4"), proto::MODULES_SERIAL, ",readonly=on");
    let socket = layout.agent_socket(machine, run);
    qemu.args(["-chardev", &format!("socket,id=a,path={},server=on,wait=off", socket.display())]);
    qemu.args([
        "-device",
        "virtio-serial-pci",
        "-device",
        &format!("virtserialport,chardev=a,name={}", proto::PORT),
    ]);
    // The guest waits for the interfaces that it was told of.
    for (n, nic) in told.nics.iter().enumerate() {
        qemu.args(["-netdev", &format!("user,id=net{n}"), "-device"]);
        qemu.arg(format!("virtio-net-pci,netdev=net{n},mac={},romfile=", nic.mac));
    }
    qemu.args(["-serial", "null"]);
    let began = Instant::now();
    let mut child = qemu.stdin(Stdio::null()).spawn().expect("QEMU runs");
    let end = began + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < end, "bare QEMU says nothing");
        if socket.exists() && agents.observe(machine, run).expect("it never fails").root_mounted {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let took = began.elapsed().as_secs_f64();
    agents.shutdown(machine, run).expect("it answers");
    let _ = child.wait();
    took
}
