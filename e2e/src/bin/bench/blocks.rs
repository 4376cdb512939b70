//! A disk's speed as a guest sees it: which of QEMU's settings are the best, and whether a machine of ours is
//! as fast as bare QEMU with these.
//!
//! Only settings are tried that keep what is promised: a guest's flush reaches the disk, its discards reach
//! the file, a write that fails stops the machine. Bare guests run `fio` as the only program of a tiny
//! image, on the agent's initramfs.

use super::figure::{at_least, median};
use super::volumes::run;
use e2e::Host;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How often all is tried; another number (`SISTEMO_BENCH_ROUNDS`) is for a trial.
const ROUNDS: usize = 3;
const SERIAL: &str = "bench-data";
const DATA: u64 = 1 << 30;
/// What is done, with fio's words for it. One processor in the guest has enough to do with each.
const JOBS: [(&str, &str); 5] = [
    ("randread", "--rw=randread --bs=4k --ioengine=libaio --iodepth=16"),
    ("randwrite", "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16"),
    ("read", "--rw=read --bs=1M --ioengine=libaio --iodepth=4"),
    ("write", "--rw=write --bs=1M --ioengine=libaio --iodepth=4"),
    ("sync", "--rw=randwrite --bs=4k --ioengine=psync --fsync=1"),
];
/// Node, device, and whether it has a thread of its own; the first is what machines of ours have
/// (`vmm/block.rs`, whose test holds it to this).
const SETTINGS: [(&str, &str, bool); 9] = [
    ("aio=threads,cache.direct=on", "", true),
    ("aio=native,cache.direct=on", "", true),
    ("aio=io_uring,cache.direct=on", "", true),
    ("aio=threads,cache.direct=on", "", false),
    ("aio=native,cache.direct=on", "", false),
    ("aio=io_uring,cache.direct=on", "", false),
    ("aio=threads,cache.direct=off", "", true),
    ("aio=threads,cache.direct=on", ",num-queues=1", true),
    ("aio=threads,cache.direct=on,detect-zeroes=unmap", "", true),
];

fn rounds() -> usize {
    std::env::var("SISTEMO_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS)
}

type Rates = BTreeMap<String, f64>;

fn script(device: &str) -> String {
    let common = "--runtime=3 --ramp_time=1 --time_based --direct=1 --size=1G --minimal --terse-version=3";
    let one = |(name, how): &(&str, &str)| format!("fio --name={name} --filename={device} {common} {how}");
    JOBS.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Operations a second by job, from fio's terse lines (fio(1), version 3).
fn rates(said: &str) -> Rates {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split(';').collect();
        let number = |n: usize| fields.get(n)?.parse::<f64>().ok();
        line.starts_with("3;").then_some(())?;
        Some(((*fields.get(2)?).to_owned(), number(7)? + number(48)?))
    };
    let found: Rates = said.lines().filter_map(one).collect();
    assert_eq!(found.len(), JOBS.len(), "{said}");
    found
}

/// A root without an init that holds a shell and fio, with the libraries of this host.
fn image() -> PathBuf {
    let made = e2e::scratch().join("fio.raw");
    if made.exists() {
        return made;
    }
    let dir = tempfile::tempdir_in(e2e::scratch()).expect("scratch is writable");
    let root = dir.path().join("root");
    let mut files = vec![];
    for program in ["/bin/sh", "/usr/bin/fio"] {
        files.push(PathBuf::from(program));
        let out = Command::new("ldd").arg(program).output().expect("ldd can be run");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        files.extend(said.split_whitespace().filter(|w| w.starts_with('/')).map(PathBuf::from));
    }
    for file in files {
        let to = root.join(file.strip_prefix("/").expect("it is absolute"));
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("scratch is writable");
        std::fs::copy(&file, &to).expect("it is there");
    }
    for name in ["proc", "sys", "dev", "run", "etc", "root", "tmp", "lib/modules"] {
        std::fs::create_dir_all(root.join(name)).expect("scratch is writable");
    }
    let part = dir.path().join("fio.raw");
    File::create(&part).and_then(|f| f.set_len(512 << 20)).expect("scratch is writable");
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&root).arg(&part));
    std::fs::rename(&part, &made).expect("both are in the scratch directory");
    made
}

/// A guest of bare QEMU, and the file that it is measured on.
struct Bare {
    dir: tempfile::TempDir,
    kernel: PathBuf,
    data: PathBuf,
    /// Processors, memory and accelerator, as the machine of ours has them.
    like: Vec<String>,
}

impl Bare {
    fn new(host: &Host, like: Vec<String>) -> Self {
        let dir = tempfile::tempdir_in(e2e::scratch()).expect("scratch is writable");
        let kernels = std::fs::read_dir(host.data().join("kernels")).expect("the seed has it").flatten();
        let kernel = kernels.map(|e| e.path()).find(|p| p.join("vmlinuz").exists());
        let kernel = kernel.expect("the seed has it");
        let cpio = std::fs::read_dir(&kernel).expect("the seed has it").flatten().map(|e| e.path());
        let cpio = cpio.into_iter().find(|p| p.extension().is_some_and(|e| e == "cpio"));
        let mut initrd = std::fs::read(cpio.expect("an initramfs")).expect("readable");
        let script = script(&format!("/dev/disk/by-id/virtio-{SERIAL}"));
        let entry = proto::Entry {
            argv: ["/bin/sh", "-c", &format!("({script}) > /dev/ttyS0 2>&1")].map(str::to_owned).to_vec(),
            ..proto::Entry::default()
        };
        let config = proto::GuestConfig {
            root: "bench-root".to_owned(),
            modules: true,
            entry: Some(entry),
            ..proto::GuestConfig::default()
        };
        initrd.extend(host::kernel::boot_archive(&config));
        std::fs::write(dir.path().join("initrd"), initrd).expect("there is room");
        let data = dir.path().join("data");
        fill(&data);
        Self { dir, kernel, data, like }
    }

    /// Boots it with these settings, and returns what fio said.
    fn rates(&self, (node, device, thread): (&str, &str, bool)) -> Rates {
        let root = self.dir.path().join("root.raw");
        run(Command::new("cp").arg("--sparse=always").arg(image()).arg(&root));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-nodefaults", "-display", "none"]).args(&self.like);
        qemu.args(["-append", "console=ttyS0 loglevel=3 no_timer_check", "-serial", "stdio", "-no-reboot"]);
        qemu.arg("-kernel")
            .arg(self.kernel.join("vmlinuz"))
            .arg("-initrd")
            .arg(self.dir.path().join("initrd"));
        let modules = self.kernel.join("modules.ext4");
        for (id, file, serial, more) in
            [("root", &root, "bench-root", ""), ("modules", &modules, proto::MODULES_SERIAL, ",readonly=on")]
        {
            qemu.args(["-drive", &format!("if=none,id={id},format=raw,file={}{more}", file.display())]);
            qemu.args(["-device", &format!("virtio-blk-pci,drive={id},serial={serial}")]);
        }
        let file = self.data.display();
        qemu.args(["-blockdev", &format!("driver=file,node-name=data,filename={file},discard=unmap,{node}")]);
        let own = if thread { ",iothread=own" } else { "" };
        if thread {
            qemu.args(["-object", "iothread,id=own"]);
        }
        let on = format!("virtio-blk-pci,drive=data,serial={SERIAL},werror=stop,rerror=report{device}{own}");
        qemu.args(["-device", &on]);
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("QEMU can be run");
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).split(b'\n') {
            let line = line.expect("readable");
            said.push_str(String::from_utf8_lossy(&line).trim_end());
            said.push('\n');
        }
        assert!(child.wait().expect("it is our child").success(), "{said}");
        rates(&said)
    }
}

/// All of it written, as of a volume that has been in use.
fn fill(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).create(true).truncate(false).open(path).expect("it can be made");
    let piece = vec![7; 8 << 20];
    for at in (0..DATA).step_by(piece.len()) {
        file.write_all_at(&piece, at).expect("there is room");
    }
    file.sync_all().expect("there is room");
}

fn medians(all: &[Rates]) -> Vec<f64> {
    JOBS.iter().map(|(name, _)| median(all.iter().map(|r| r[*name]).collect())).collect()
}

fn ok(host: &Host, args: &[&str]) -> String {
    let ran = host.args(args);
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran.out
}

/// Starts a machine of ours with the image and a volume; returns that one's name in the guest, and the
/// arguments that a bare guest is to have as well.
fn machine(host: &Host) -> (String, Vec<String>) {
    ok(host, &["volume", "import", &image().display().to_string(), "--root", "--name", "fio"]);
    ok(host, &["volume", "create", "1G", "--name", "data", "--fs", "none"]);
    fill(&host.file_of("data"));
    ok(host, &["machine", "deploy", "--volume", "fio", "--name", "web", "--attach", "data:none"]);
    let shown = ok(host, &["machine", "show", "web", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let disk = shown["volumes"].as_array().and_then(|all| all.iter().find(|v| v["name"] == "data"));
    let device = disk.and_then(|d| d["device"].as_str()).expect("a device");
    let line = e2e::hypervisor(shown["id"].as_str().expect("an id")).expect("it runs").1;
    let like = ["-accel", "-cpu", "-smp", "-m"].map(|flag| {
        let at = line.iter().position(|a| a == flag).expect("it has one");
        line[at..at + 2].to_vec()
    });
    (format!("/dev/disk/by-id/{device}"), like.concat())
}

/// Tries all settings in turn, and prints a table: operations a second, and the mean of their ratios to the
/// first row.
pub fn search(host: &Host) {
    // Its start makes the initramfs that the bare ones boot, too.
    let (_, like) = machine(host);
    ok(host, &["machine", "stop", "web"]);
    let bare = Bare::new(host, like);
    let mut all: Vec<Vec<Rates>> = vec![vec![]; SETTINGS.len()];
    for _ in 0..rounds() {
        for (settings, found) in SETTINGS.iter().zip(&mut all) {
            found.push(bare.rates(*settings));
        }
    }
    println!("| settings | {} | mean |", JOBS.map(|(name, _)| name).join(" | "));
    println!("|---|{}---|", "---|".repeat(JOBS.len()));
    let first = medians(&all[0]);
    for ((node, device, thread), found) in SETTINGS.iter().zip(&all) {
        let here = medians(found);
        // The geometric mean: of ratios.
        let sum: f64 = here.iter().zip(&first).map(|(a, b)| (a / b).ln()).sum();
        let mean = (sum / JOBS.len() as f64).exp();
        let own = if *thread { ",iothread" } else { "" };
        let cells: Vec<_> = here.iter().map(|n| format!("{n:.0}")).collect();
        println!("| `{node}{device}{own}` | {} | {mean:.2} |", cells.join(" | "));
    }
}

/// A machine of ours beside bare QEMU with the settings that it has.
pub fn pairs(host: &Host) {
    let (device, like) = machine(host);
    let script = script(&device);
    let bare = Bare::new(host, like);
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..2 * rounds() - 1 {
        ours.push(rates(&ok(host, &["machine", "exec", "web", "--", "/bin/sh", "-c", &script])));
        theirs.push(bare.rates(SETTINGS[0]));
    }
    let middles = medians(&ours).into_iter().zip(medians(&theirs));
    for ((name, _), (own, bare)) in JOBS.iter().zip(middles) {
        let ratios = ours.iter().zip(&theirs).map(|(own, bare)| own[*name] / bare[*name]).collect();
        let measured = format!("{own:.0} / {bare:.0} a second");
        at_least(
            &format!("fio {name} in a machine / bare QEMU, same settings"),
            median(ratios),
            0.9,
            &measured,
        );
    }
}
