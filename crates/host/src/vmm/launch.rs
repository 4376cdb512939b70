//! From a plan to a process whose virtual processors wait.
//!
//! Invariant: everything that QEMU opens is opened here, as root, and is closed here again when the
//! process has it; what fails before the process leaves nothing that a second try would not find.

use super::accel::{self, Accel};
use super::args::{self, Launch};
use super::process::{self, Ended, Spawn};
use super::watch::Run;
use super::{Qemu, disk, initrd};
use crate::durable;
use crate::fault;
use crate::kernel::BootFiles;
use engine::port::{Fault, RunPlan};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::Receiver;
use types::{Code, Problem};

/// The fault of a host without QEMU.
pub fn missing() -> Problem {
    Problem::new(Code::NoHypervisor, format!("{} is not installed", process::PROGRAM))
        .hint(format!("apt install {}", process::PACKAGE))
}

/// Descriptors on their way to QEMU.
#[derive(Default)]
struct Inherited(Vec<OwnedFd>);

impl Inherited {
    fn add(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.0.push(fd);
        number
    }
}

/// Makes the run's directory. Nobody but root enters it: whoever reaches the sockets in it is the
/// machine's master. QEMU has its ends already.
fn make_dir(run: &Run) -> io::Result<()> {
    durable::make_dir(run.dir.parent().ok_or(ErrorKind::InvalidInput)?)?;
    match DirBuilder::new().mode(0o700).create(&run.dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

impl Qemu {
    /// Makes the process of a plan.
    pub(super) fn launch(&self, plan: &RunPlan, run: &Run) -> Result<Receiver<Ended>, Fault> {
        let program = process::find().ok_or_else(missing)?;
        let accel = accel::choose(self.settings.accel)?;
        let failed = |what: &'static str| {
            move |e: io::Error| fault::io(&format!("{what} machine \"{}\"", plan.name), &run.dir, &e)
        };
        let mut inherited = Inherited::default();
        let files = (self.boot_files)(&plan.kernel)?;
        let disks = self.open_disks(plan, files.modules.as_deref(), &mut inherited)?;
        make_dir(run).map_err(failed("make the directory for a run of"))?;
        let (kernel, initrd) = self.open_boot(plan, &files, &mut inherited)?;
        let mut nics = Vec::new();
        for (_, nic) in &plan.nics {
            let fd = inherited.add(crate::net::open_tap(&nic.tap)?);
            nics.push(args::Nic { fd, mac: nic.mac.clone() });
        }
        let mut listen = |name: &str| {
            let path = run.dir.join(name);
            durable::remove(&path)?;
            Ok(inherited.add(UnixListener::bind(path)?))
        };
        let mut socket = |name: &str| listen(name).map_err(failed("make the sockets of"));
        let launch = Launch {
            machine: plan.machine,
            name: plan.name.to_string(),
            accel,
            vcpus: plan.vcpus,
            memory: plan.memory,
            kernel,
            initrd,
            qmp: socket("qmp.sock")?,
            agent: socket("agent.sock")?,
            console: socket("console.sock")?,
            disks,
            nics,
        };
        let arguments = args::arguments(&launch);
        tracing::debug!(run = %run.name, ?arguments, "starting a hypervisor");
        process::spawn(Spawn {
            program: &program,
            arguments: &arguments,
            run: run.name.clone(),
            inherit: inherited.0,
            cgroup: run.cgroup.enter().map_err(failed("make a cgroup for"))?,
            uid: plan.uid,
            group: if let Accel::Kvm { group } = accel { group } else { None },
        })
        .map_err(failed("make the process of"))
    }

    fn open_disks(
        &self,
        plan: &RunPlan,
        modules: Option<&Path>,
        inherited: &mut Inherited,
    ) -> Result<Vec<args::Disk>, Fault> {
        let mut disks = Vec::new();
        for disk in &plan.disks {
            let place = crate::pools::place::layout(&self.layout, &disk.pool)?;
            let open = disk::open(&place.volume(disk.volume), disk)?;
            disks.push(args::Disk {
                slot: Some(disk.slot),
                fd: inherited.add(open.file),
                serial: disk.serial.clone(),
                read_only: disk.read_only,
                direct: open.direct,
            });
        }
        if let Some(path) = modules {
            // Through the page cache: every machine of this kernel reads the same.
            let file = File::open(path)
                .map_err(|e| fault::io(&format!("open the modules of kernel {}", plan.kernel), path, &e))?;
            let fd = inherited.add(file);
            let serial = proto::MODULES_SERIAL.to_owned();
            disks.push(args::Disk { slot: None, fd, serial, read_only: true, direct: false });
        }
        Ok(disks)
    }

    /// Kernel and initramfs.
    fn open_boot(
        &self,
        plan: &RunPlan,
        files: &BootFiles,
        inherited: &mut Inherited,
    ) -> Result<(RawFd, RawFd), Fault> {
        let told = proto::GuestConfig {
            modules: files.modules.is_some(),
            ..crate::guest::describe(plan, &self.extras)
        };
        let archive = (self.boot_archive)(&told);
        let dir = self.layout.machine(plan.machine);
        let failed = |e| fault::io(&format!("make the boot files of machine \"{}\"", plan.name), &dir, &e);
        // What the agent is told at hello; it may differ from the boot's after a reboot in the guest.
        let json = serde_json::to_vec(&told).map_err(|e| failed(e.into()))?;
        durable::write(&self.layout.guest_config(plan.machine, plan.run), &json, 0o600).map_err(failed)?;
        durable::make_dir(&dir).map_err(failed)?;
        let kernel = File::open(&files.vmlinuz).map_err(failed)?;
        let initrd = initrd::make(&dir, &files.initramfs, &archive, plan.uid).map_err(failed)?;
        Ok((inherited.add(kernel), inherited.add(initrd)))
    }
}

/// Removes what a run without processes left.
pub fn clear(run: &Run) -> io::Result<()> {
    run.cgroup.remove()?;
    match fs::remove_dir_all(&run.dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // The machine's, unless another run of it is there.
    if let Some(Err(e)) = run.dir.parent().map(fs::remove_dir) {
        if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) {
            return Err(e);
        }
    }
    Ok(())
}

/// Why a hypervisor ended before its machine ran, as far as its last words tell.
pub fn diagnose(plan: &RunPlan, said: &str) -> Fault {
    let name = &plan.name;
    // QEMU: `Failed to get "write" lock`, and for shared ones as well.
    if said.contains("Failed to get") && said.contains("lock") {
        let disk = plan.disks.iter().find(|d| said.contains(&super::block::name(&d.serial)));
        return disk::in_use(disk.or(plan.disks.first()).map_or("of the machine", |d| d.name.as_str()));
    }
    if said.contains("Cannot allocate memory") {
        return Fault::lasting(
            Code::BootFailed,
            format!("this host has not the {} for machine \"{name}\"", plan.memory),
        )
        .hint("stop other machines, or give this one less memory");
    }
    if said.to_ascii_lowercase().contains("kvm") {
        return Fault::lasting(Code::NoHypervisor, format!("KVM refused machine \"{name}\""))
            .hint("set `hypervisor.accel` to tcg");
    }
    Fault::lasting(Code::BootFailed, format!("the hypervisor of machine \"{name}\" ended at once"))
        .hint("the daemon's log tells what it said")
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ByteSize, MachineId, RunId, VolumeId};
    use uuid::Uuid;

    fn plan() -> RunPlan {
        let disk = |name: &str, slot| engine::port::RunDisk {
            volume: VolumeId(Uuid::nil()),
            pool: types::pool::DEFAULT_POOL.into(),
            name: name.parse().unwrap(),
            slot,
            serial: format!("{slot:012}"),
            role: types::volume::VolumeRole::Data,
            mount: None,
            by_name: false,
            identity: None,
            read_only: false,
        };
        RunPlan {
            machine: MachineId(Uuid::nil()),
            name: "web".parse().unwrap(),
            generation: 1,
            run: RunId(Uuid::nil()),
            uid: 1,
            vcpus: 1,
            memory: ByteSize::gib(64),
            kernel: String::new(),
            disks: vec![disk("web-root", 0), disk("appdata", 3)],
            nics: vec![],
        }
    }

    #[test]
    fn last_words_become_a_sentence_of_ours() {
        // As QEMU 7.2 says it.
        let locked = "qemu-system-x86_64: -device virtio-blk-pci,id=slot3,bus=port3,drive=vol-000000000003,serial=x: \
                      Failed to get \"write\" lock\nIs another process using the image [/dev/fdset/1]?\n";
        let fault = diagnose(&plan(), locked);
        assert_eq!(fault.problem.code, Code::VolumeInUse);
        assert!(fault.problem.message.contains("\"appdata\""), "{fault}");
        let memory = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n";
        assert!(
            diagnose(&plan(), memory).problem.message.contains("64.0GB"),
            "{}",
            diagnose(&plan(), memory)
        );
        let kvm = "Could not access KVM kernel module: Permission denied\n";
        assert_eq!(diagnose(&plan(), kvm).problem.code, Code::NoHypervisor);
        for odd in ["", "disk99: Failed to get lock", "\u{0}\u{fffd}"] {
            assert!(diagnose(&plan(), odd).problem.hint.is_some());
        }
    }
}
