//! A machine as QEMU's arguments.
//!
//! Invariant: a pure function of [`Launch`]; every file is a descriptor that QEMU inherits, and none
//! of its arguments comes from a guest.
//!
//! On the bus: root ports, one for each disk slot, at 2 to 5 (eight functions each); what never
//! comes or goes at 8 and above; interfaces at 0x10 and above.

use super::accel::Accel;
use super::block::{self, Place};
use std::os::fd::RawFd;
use types::{ByteSize, MachineId};

/// The kernel's command line. The guest's own configuration is in its initramfs.
///
/// - `panic=10`: a guest whose kernel dies starts again, as a server does, after its last words
///   have reached the console's log. One that never comes up is caught by the boot's timeout.
/// - `no_timer_check`: on a busy host the kernel may find an emulated timer late and give up.
/// - `net.ifnames=0`: the agent finds interfaces by their address; no name has to be stable.
/// - `loglevel=6`: notices and worse. All that a kernel says costs an emulated guest half a second of
///   its boot; nothing would leave the agent's words out of the console's log.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=6 panic=10 no_timer_check net.ifnames=0";

/// A disk of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Its slot; `None` for the modules, which never come or go.
    pub slot: Option<u8>,
    /// Its open file.
    pub fd: RawFd,
    /// The serial that the guest sees.
    pub serial: String,
    /// Neither QEMU nor the guest writes to it.
    pub read_only: bool,
    /// It is open with `O_DIRECT`.
    pub direct: bool,
}

/// An interface of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nic {
    /// Its open tap.
    pub fd: RawFd,
    /// The guest's Ethernet address.
    pub mac: String,
}

/// Everything that decides the arguments. Sockets are listening.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// The machine, which its firmware tells as its UUID.
    pub machine: MachineId,
    /// Its name, for `ps`.
    pub name: String,
    /// What executes its instructions.
    pub accel: Accel,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// The open kernel; its inode is readable by QEMU's user.
    pub kernel: RawFd,
    /// The open initramfs; likewise.
    pub initrd: RawFd,
    /// The control socket.
    pub qmp: RawFd,
    /// The agent's socket.
    pub agent: RawFd,
    /// The console's socket.
    pub console: RawFd,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Interfaces.
    pub nics: Vec<Nic>,
}

/// How many root ports to make: for every slot up to the last in use and four more that disks can be
/// plugged into, in whole devices of eight. Each eight cost a guest 0.15 s of its boot without KVM,
/// so a machine with one disk does not pay for all 25.
fn ports(disks: &[Disk]) -> u8 {
    let last = disks.iter().filter_map(|d| d.slot).max().unwrap_or(0);
    (last + 1 + 4).next_multiple_of(8).min(types::machine::DISK_SLOTS)
}

/// The arguments, without the program's name.
pub fn arguments(launch: &Launch) -> Vec<String> {
    let mut out = Arguments(vec![]);
    out.base(launch);
    for (name, fd) in [("qmp", launch.qmp), ("agent", launch.agent), ("console", launch.console)] {
        out.put("-chardev", format!("socket,id={name},fd={fd},server=on,wait=off"));
    }
    out.put("-mon", "chardev=qmp,mode=control");
    out.put("-serial", "chardev:console");
    out.device("virtio-serial-pci,id=serial,bus=pcie.0,addr=0x8,max_ports=4");
    out.device(format!("virtserialport,bus=serial.0,nr=1,chardev=agent,name={}", proto::PORT));
    out.put("-object", "rng-builtin,id=rng");
    out.device("virtio-rng-pci,rng=rng,bus=pcie.0,addr=0x9");
    // Memory that the guest frees goes back to the host. It is never asked for any.
    out.device("virtio-balloon-pci,id=balloon,bus=pcie.0,addr=0xb,free-page-reporting=on");
    for port in 0..ports(&launch.disks) {
        out.port(port);
    }
    for (n, disk) in launch.disks.iter().enumerate() {
        out.disk(n, disk);
    }
    for (n, nic) in launch.nics.iter().enumerate() {
        out.put("-netdev", format!("tap,id=net{n},fd={},vhost=off", nic.fd));
        let (mac, at) = (&nic.mac, 0x10 + n);
        // No ROM: nothing boots from the network.
        out.device(format!("virtio-net-pci,netdev=net{n},mac={mac},romfile=,bus=pcie.0,addr={at:#x}"));
    }
    out.0
}

struct Arguments(Vec<String>);

impl Arguments {
    fn put(&mut self, option: &str, value: impl Into<String>) {
        self.0.extend([option.to_owned(), value.into()]);
    }

    fn device(&mut self, value: impl Into<String>) {
        self.put("-device", value);
    }

    fn base(&mut self, launch: &Launch) {
        self.put("-name", format!("guest={}", launch.name));
        self.put("-uuid", launch.machine.to_string());
        self.0.extend(["-nodefaults", "-no-user-config", "-S", "-no-shutdown"].map(str::to_owned));
        self.put("-display", "none");
        self.put("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        self.put("-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,dump-guest-core=off");
        match launch.accel {
            Accel::Kvm { .. } => {
                self.put("-accel", "kvm");
                self.put("-cpu", "host");
            }
            Accel::Tcg { parallel } => {
                let thread = if parallel { "multi" } else { "single" };
                // The default cache of translated code would be 1 GiB for each machine.
                self.put("-accel", format!("tcg,thread={thread},tb-size=256"));
                // All that can be emulated, but no fifth level of page tables to walk.
                self.put("-cpu", "max,la57=off");
            }
        }
        self.put("-smp", launch.vcpus.to_string());
        self.put("-m", format!("{}M", launch.memory.0.div_ceil(1 << 20)));
        self.put("-rtc", "base=utc");
        // Opened anew through the descriptor: the directories above may be closed to QEMU's user.
        self.put("-kernel", format!("/proc/self/fd/{}", launch.kernel));
        self.put("-initrd", format!("/proc/self/fd/{}", launch.initrd));
        self.put("-append", COMMAND_LINE);
    }

    fn port(&mut self, n: u8) {
        let (at, function) = (2 + n / 8, n % 8);
        let first = if function == 0 { ",multifunction=on" } else { "" };
        let slot = n + 1;
        self.device(format!(
            "pcie-root-port,id=port{n},bus=pcie.0,addr={at:#x}.{function},chassis={slot},slot={slot},io-reserve=0{first}"
        ));
        // With the port, and not with the disk: nothing is then to be made or removed with one that comes or goes.
        self.put("-object", format!("iothread,id={}", block::thread(n)));
    }

    fn disk(&mut self, n: usize, disk: &Disk) {
        let serial = &disk.serial;
        // Sets are numbered as disks are; the label and the node's name are what a disk is found by.
        let (label, node, place) = match disk.slot {
            Some(slot) => (format!(",opaque={serial}"), block::name(serial), Place::Slot(slot, true)),
            None => (String::new(), "modules".to_owned(), Place::Fixed("0xa")),
        };
        self.put("-add-fd", format!("fd={},set={n}{label}", disk.fd));
        self.put("-blockdev", block::node(&node, n as u64, disk.read_only, disk.direct).to_string());
        self.device(block::device(&node, serial, &place).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(slot: Option<u8>) -> Disk {
        Disk { slot, fd: 20, serial: "0123456789ab".into(), read_only: slot.is_none(), direct: true }
    }

    fn launch(accel: Accel, disks: Vec<Disk>) -> Launch {
        Launch {
            machine: MachineId(uuid::Uuid::nil()),
            name: "web".into(),
            accel,
            vcpus: 2,
            memory: ByteSize::mib(512),
            kernel: 10,
            initrd: 11,
            qmp: 12,
            agent: 13,
            console: 14,
            disks,
            nics: vec![Nic { fd: 15, mac: "52:54:00:01:02:03".into() }],
        }
    }

    #[test]
    fn a_machine_is_what_it_was_asked_to_be() {
        let tcg = |parallel| launch(Accel::Tcg { parallel }, vec![disk(Some(0)), disk(None)]);
        let single = arguments(&tcg(false)).join(" ");
        assert!(single.contains("-accel tcg,thread=single"), "{single}");
        let text = arguments(&tcg(true)).join(" ");
        for part in [
            "-accel tcg,thread=multi",
            "-S",
            "spawn=deny",
            "-m 512M",
            "-smp 2",
            "-add-fd fd=20,set=0,opaque=0123456789ab",
            "-kernel /proc/self/fd/10",
            "tap,id=net0,fd=15,vhost=off",
            "mac=52:54:00:01:02:03",
            "name=org.sistemo.agent.0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for (node, set, read_only) in [("vol-0123456789ab", 0, false), ("modules", 1, true)] {
            let part = block::node(node, set, read_only, true).to_string();
            assert!(text.contains(&format!("-blockdev {part}")), "{part} in {text}");
        }
        for (node, place) in [("vol-0123456789ab", Place::Slot(0, true)), ("modules", Place::Fixed("0xa"))] {
            let part = block::device(node, "0123456789ab", &place).to_string();
            assert!(text.contains(&format!("-device {part}")), "{part} in {text}");
        }
        let kvm = arguments(&launch(Accel::Kvm { group: None }, vec![])).join(" ");
        assert!(kvm.contains("-accel kvm -cpu host"));
    }

    #[test]
    fn every_slot_has_a_port_and_some_are_spare() {
        for (last, expected) in [(0, 8), (3, 8), (4, 16), (11, 16), (12, 24), (20, 25), (24, 25)] {
            assert_eq!(ports(&[disk(None), disk(Some(last))]), expected, "slot {last}");
        }
        let all = (0..types::machine::DISK_SLOTS).map(|s| disk(Some(s))).collect();
        let text = arguments(&launch(Accel::Tcg { parallel: true }, all)).join(" ");
        assert!(
            text.contains("id=port24,bus=pcie.0,addr=0x5.0,chassis=25") && text.contains(r#""bus":"port24""#)
        );
        assert!(text.contains("-object iothread,id=io24") && text.contains(r#""iothread":"io24""#));
    }
}
