//! Making, growing and cloning volumes.

use super::figure::{line, median, ms, time};
use e2e::Host;
use engine::port::Pool;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use types::{ByteSize, ImageId, VolumeId};

/// The daemon's own time for the newest operation, in seconds.
fn daemon_time(host: &Host) -> f64 {
    let history = quiet_json(host, "history -n 1 -o json");
    history["items"][0]["duration_ms"].as_f64().expect("it has ended") / 1e3
}

fn quiet_json(host: &Host, line: &str) -> serde_json::Value {
    let ran = host.run(line);
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.out).expect("it prints JSON")
}

fn quiet(host: &Host, line: &str) {
    let ran = host.run(line);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
}

/// The features that volumes have.
const FEATURES: &str = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
    large_file,huge_file,dir_nlink,extra_isize,metadata_csum,has_journal";

/// `mkfs.ext4` with the profile of volumes, on a fresh sparse file of 2 GiB.
fn mkfs(path: &Path) {
    File::create(path).and_then(|f| f.set_len(2 << 30)).expect("scratch is writable");
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-J", "size=64"]);
    mkfs.args(["-O", FEATURES, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"]);
    assert!(mkfs.arg(path).stdout(Stdio::null()).status().expect("mkfs.ext4 runs").success());
}

fn fsync(path: &Path) {
    let mut file = File::create(path).expect("scratch is writable");
    file.write_all(&[1; 4096]).and_then(|()| file.sync_all()).expect("scratch is writable");
}

/// `volume create 2G` against `mkfs.ext4` and six fsyncs.
pub fn create(host: &Host) {
    let beside = host.data().join("pools/default/volumes");
    let (mut ours, mut bare) = (vec![], vec![]);
    for n in 0..40 {
        quiet(host, &format!("volume create 2G --name v{n}"));
        let own = daemon_time(host);
        let file = beside.join("bench.tmp");
        let formatted = time(|| mkfs(&file)).as_secs_f64();
        std::fs::remove_file(&file).expect("it was just made");
        let synced = median((0..7).map(|_| time(|| fsync(&file)).as_secs_f64()).collect());
        std::fs::remove_file(&file).expect("it was just made");
        ours.push(own);
        bare.push(formatted + 6.0 * synced);
    }
    // The daemon tells whole milliseconds: a mean of many is finer than that, a median is not.
    let (own, baseline) = (inner_mean(ours), inner_mean(bare));
    let measured = format!("{} / {}", ms(own), ms(baseline));
    line("volume create 2G / (mkfs.ext4 + 6 fsync)", own / baseline, 1.0, &measured);
}

/// The mean of the middle half.
fn inner_mean(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let quarter = of.len() / 4;
    let middle = &of[quarter..of.len() - quarter];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// How many fsyncs a resize takes, and whether its time depends on sizes.
pub fn resize(host: &Host) {
    quiet(host, "volume create 10G --name small");
    quiet(host, "volume create 10T --name large");
    quiet(host, "volume create 10G --name full");
    fill(&host.file_of("full"));
    let trace = host.data().with_extension("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"]).arg(&trace);
    strace.arg("-p").arg(host.pid().as_raw_nonzero().to_string());
    let mut strace = strace.stderr(Stdio::null()).spawn().expect("strace runs");
    let mut size = 10;
    // Whether strace has attached is seen in its output.
    while std::fs::read_to_string(&trace).unwrap_or_default().is_empty() {
        size += 1;
        quiet(host, &format!("volume resize small {size}G"));
    }
    let before = std::fs::read_to_string(&trace).unwrap_or_default().lines().count();
    quiet(host, &format!("volume resize small {}G", size + 1));
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(&strace),
        rustix::process::Signal::INT,
    );
    let _ = strace.wait();
    let lines = std::fs::read_to_string(&trace).unwrap_or_default();
    let count = lines.lines().skip(before).filter(|l| l.contains("sync(")).count();
    let _ = std::fs::remove_file(&trace);
    line("volume resize: fsyncs", count as f64, 5.0, &format!("{count} fsyncs"));

    let (mut by_size, mut by_content, mut times) = (vec![], vec![], vec![]);
    for n in 0..15u64 {
        let of = |name: &str, gib: u64| {
            time(|| quiet(host, &format!("volume resize {name} {gib}G"))).as_secs_f64()
        };
        let small = of("small", 100 + n);
        by_size.push(of("large", (10 << 10) + 100 + n) / small);
        by_content.push(of("full", 100 + n) / small);
        times.push(small);
    }
    let measured = format!("10 GB: {}", ms(median(times)));
    line("volume resize: 10 TB / 10 GB", median(by_size), 1.3, &measured);
    line("volume resize: 8 GB written / empty", median(by_content), 1.3, &measured);
}

/// Writes 1 GiB in pieces over 8 GiB, so that the file has extents.
fn fill(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).open(path).expect("the volume is there");
    let piece = vec![7; 8 << 20];
    for n in 0..128 {
        file.write_all_at(&piece, (1 << 30) + n * (64 << 20)).expect("there is room");
    }
    file.sync_all().expect("there is room");
}

/// A file system in a file of its own, mounted; unmounted when dropped.
pub struct Mounted(PathBuf, pub PathBuf);

impl Mounted {
    /// Makes it, of so many GiB.
    pub fn new(kind: &str, gib: u64) -> Self {
        let image = e2e::scratch().join(format!("bench-{kind}.img"));
        let dir = e2e::scratch().join(format!("bench-{kind}"));
        std::fs::create_dir_all(&dir).expect("scratch is writable");
        run(Command::new("fallocate").args(["-l", &format!("{gib}G")]).arg(&image));
        let force = if kind == "xfs" { "-f" } else { "-F" };
        run(Command::new(format!("mkfs.{kind}")).args(["-q", force]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&dir));
        Self(image, dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.1));
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir(&self.1);
    }
}

/// Runs a command that has to go well.
pub fn run(command: &mut Command) {
    assert!(command.status().expect("it can be run").success(), "{command:?}");
}

/// A root volume from an image of 1 GiB against `cp`, on a file system of its own.
pub fn clone_on(kind: &str, limit: f64) {
    let mounted = Mounted::new(kind, 6);
    let layout = host::Layout::new(&mounted.1, &mounted.1);
    let pool = host::storage::FilePool::open(layout.clone()).expect("the pool opens");
    std::fs::create_dir_all(layout.images()).expect("there is room");
    let (id, digest) = (ImageId(uuid::Uuid::now_v7()), "00".repeat(32));
    let image = layout.image_content(&digest);
    File::create(&image).and_then(|f| f.set_len(2 << 30)).expect("there is room");
    {
        use std::os::unix::fs::FileExt;
        let file = File::options().write(true).open(&image).expect("it was just made");
        let piece: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8 | 1).collect();
        for n in 0..1024u64 {
            file.write_all_at(&piece, n * (2 << 20)).expect("there is room");
        }
        file.sync_all().expect("there is room");
    }
    let record = serde_json::json!({ "digest": digest, "size": 2u64 << 30 });
    std::fs::write(layout.image_record(id), record.to_string()).expect("there is room");
    let (mut ratios, mut ours, mut bare) = (vec![], vec![], vec![]);
    for _ in 0..7 {
        let volume = VolumeId(uuid::Uuid::now_v7());
        let own = time(|| {
            let size = ByteSize::gib(2);
            pool.create_from_image(volume, id, size, b"{\"generation\":1}", &|_| {}).expect("there is room");
        })
        .as_secs_f64();
        pool.remove(volume).expect("it was just made");
        let copy = mounted.1.join("copy");
        let mut cp = Command::new("cp");
        cp.arg(if kind == "xfs" { "--reflink=always" } else { "--sparse=always" }).arg(&image).arg(&copy);
        let copied = time(|| {
            run(&mut cp);
            // What is published is durable, so the baseline has to be too.
            File::open(&copy).and_then(|f| f.sync_all()).expect("it was just made");
        })
        .as_secs_f64();
        std::fs::remove_file(&copy).expect("it was just made");
        ratios.push(own / copied);
        ours.push(own);
        bare.push(copied);
    }
    let how = if kind == "xfs" { "cp --reflink=always" } else { "cp --sparse=always" };
    let measured = format!("{} / {}", ms(median(ours)), ms(median(bare)));
    line(&format!("root volume from image on {kind} / {how}"), median(ratios), limit, &measured);
}
