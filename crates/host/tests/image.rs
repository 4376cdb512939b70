//! Images from paths and from the distribution's archive. Slow: one is built for real.

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::{names, tool};
use engine::port::{Images, Pool};
use host::Layout;
use host::image::HostImages;
use host::kernel::Kernels;
use host::storage::FilePool;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use types::image::ImageSource;
use types::{ByteSize, Code, ImageId, VolumeId};
use uuid::Uuid;

fn layout(at: &Path) -> Layout {
    Layout::new(at.join("data"), at.join("run"))
}

fn images(at: &Path) -> HostImages {
    let kernels = Kernels::new(layout(at), std::borrow::Cow::Borrowed(&b"agent"[..]), None);
    HostImages::open(layout(at), Arc::new(kernels)).unwrap()
}

fn id() -> ImageId {
    ImageId(Uuid::now_v7())
}

fn ext4(path: &Path, mib: u64) -> ImageSource {
    File::create(path).unwrap().set_len(mib << 20).unwrap();
    tool("mkfs.ext4", &["-q", "-F", path.to_str().unwrap()]);
    ImageSource::Path(path.to_str().unwrap().into())
}

#[test]
fn a_file_becomes_an_image_that_is_shared_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let path = dir.path().join("fs.raw");
    let source = ext4(&path, 512);
    let (size, stamp) = images.probe(path.to_str().unwrap()).unwrap();
    assert_eq!(size, ByteSize::mib(512));
    assert_eq!(images.probe(path.to_str().unwrap()).unwrap().1, stamp);

    let (one, two) = (id(), id());
    assert_eq!(images.observe(one).unwrap(), None);
    let seen = images.build(one, &source, &|_| ()).unwrap();
    assert_eq!(images.observe(one).unwrap(), Some(seen.clone()));
    let sum = Command::new("sha256sum").arg(&path).output().unwrap().stdout;
    assert!(String::from_utf8(sum).unwrap().starts_with(&seen.digest));
    let content = layout(dir.path()).image_content(&seen.digest);
    let kept = content.metadata().unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o400);
    assert!(kept.blocks() <= path.metadata().unwrap().blocks());
    assert_eq!(images.build(two, &source, &|_| ()).unwrap(), seen);
    assert_eq!(images.build(two, &source, &|_| ()).unwrap(), seen);

    // A volume starts from it, and outlives it.
    let pool = FilePool::open(layout(dir.path())).unwrap();
    let volume = VolumeId(Uuid::now_v7());
    pool.create_from_image(volume, one, ByteSize::gib(1), b"{}", &|_| ()).unwrap();
    images.remove(one).unwrap();
    assert!(content.exists());
    assert_eq!(images.observe(two).unwrap(), Some(seen));
    images.remove(two).unwrap();
    images.remove(two).unwrap();
    assert!(names(&layout(dir.path()).images()).is_empty());
    tool("e2fsck", &["-fn", layout(dir.path()).volume(volume).to_str().unwrap()]);
}

#[test]
fn half_done_images_are_none_and_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let source = ext4(&dir.path().join("fs.raw"), 64);
    let home = layout(dir.path()).images();
    let one = id();
    let digest = images.build(one, &source, &|_| ()).unwrap().digest;
    let content = layout(dir.path()).image_content(&digest);
    let record = layout(dir.path()).image_record(one);
    for broken in 0..5 {
        match broken {
            // Killed between record and content; content cut by hand; record damaged.
            0 => fs::remove_file(&content).unwrap(),
            1 => File::options().write(true).open(&content).unwrap().set_len(5).unwrap(),
            2 => fs::write(&record, b"{").unwrap(),
            3 => fs::write(&record, br#"{"digest":"../../../etc/passwd","size":1}"#).unwrap(),
            _ => {
                fs::remove_file(&record).unwrap();
                fs::create_dir_all(home.join(format!(".{one}.build/root/proc"))).unwrap();
                fs::write(home.join(format!(".{one}.raw.part")), b"half").unwrap();
            }
        }
        assert_eq!(images.observe(one).unwrap(), None, "{broken}");
        assert_eq!(images.build(one, &source, &|_| ()).unwrap().digest, digest, "{broken}");
        assert_eq!(names(&home).len(), 2, "{broken}");
    }
}

#[test]
fn what_is_no_image_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let text = dir.path().join("text");
    fs::write(&text, vec![b'x'; 100_000]).unwrap();
    for (path, code) in [
        (text.to_str().unwrap(), Code::ImageInvalid),
        ("/dev/zero", Code::ImageInvalid),
        ("/nonexistent", Code::ImageNotFound),
    ] {
        let fault = images.build(id(), &ImageSource::Path(path.into()), &|_| ()).unwrap_err();
        assert_eq!(fault.problem.code, code);
        assert!(fault.problem.hint.is_some());
    }
    let fault = images.build(id(), &ImageSource::Recipe("plan9".into()), &|_| ()).unwrap_err();
    assert_eq!(fault.problem.code, Code::ImageFailed);
    assert!(names(&layout(dir.path()).images()).is_empty());
}

#[test]
fn a_file_that_grows_without_end_cannot_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let path = dir.path().join("fs.raw");
    let source = ext4(&path, 64);
    let file = File::options().write(true).open(&path).unwrap();
    // It grows whenever somebody looks at the progress.
    let grow = |_| {
        let end = file.metadata().unwrap().len();
        file.write_all_at(&[1; 4096], end).unwrap();
    };
    let fault = images.build(id(), &source, &grow).unwrap_err();
    assert_eq!(fault.problem.code, Code::ImageInvalid);
    assert!(names(&layout(dir.path()).images()).is_empty());
}

#[test]
fn no_room_is_told_with_numbers_and_nothing_is_left() {
    let mount = mount::Mount::new("ext4", 64);
    let images = images(&mount.path());
    let fault = images.build(id(), &ImageSource::Recipe("debian".into()), &|_| ()).unwrap_err();
    assert_eq!(fault.problem.code, Code::PoolFull);
    assert!(fault.problem.message.contains("2.0GB"), "{fault}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fs.raw");
    let source = ext4(&path, 512);
    File::options().write(true).open(&path).unwrap().write_all_at(&vec![1; 100 << 20], 300 << 20).unwrap();
    let fault = images.build(id(), &source, &|_| ()).unwrap_err();
    assert_eq!(fault.problem.code, Code::PoolFull);
    assert!(names(&layout(&mount.path()).images()).is_empty());
}

/// What `debugfs` says of a path in an image.
fn inside(content: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(content).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn debian_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    assert_eq!(images.recipes(), ["debian", "ubuntu"]);
    let told = Mutex::new(Vec::new());
    let image = id();
    let seen = images
        .build(image, &ImageSource::Recipe("debian".into()), &|p| told.lock().unwrap().push(p))
        .unwrap();
    let told = told.into_inner().unwrap();
    for stage in ["reading package lists", "downloading", "installing", "making the file system", "checking"]
    {
        assert!(told.iter().any(|p| p.what.contains(stage)), "{stage}");
    }
    assert!(told.iter().any(|p| p.total.is_some_and(|total| p.done > 0 && p.done <= total)));
    assert_eq!(images.observe(image).unwrap(), Some(seen.clone()));
    assert!(seen.size < ByteSize::gib(1), "{}", seen.size);
    assert_eq!(names(&layout(dir.path()).images()).len(), 2);
    let content = layout(dir.path()).image_content(&seen.digest);
    tool("e2fsck", &["-fn", content.to_str().unwrap()]);
    let cat = |path: &str| inside(&content, &format!("cat {path}"));
    assert!(cat("/usr/lib/os-release").contains("ID=debian"));
    assert!(cat("/etc/ssh/sshd_config.d/10-sistemo.conf").contains("prohibit-password"));
    assert!(cat("/etc/shadow").lines().any(|l| l.starts_with("root:*:")));
    assert!(cat("/etc/apt/sources.list.d/debian.sources").contains("Signed-By: /usr/share/keyrings/"));
    for empty in ["/etc/machine-id", "/etc/fstab", "/etc/resolv.conf"] {
        assert_eq!(cat(empty), "", "{empty}");
    }
    let list = |path: &str| inside(&content, &format!("ls -p {path}"));
    assert!(list("/etc/ssh").contains("sshd_config") && !list("/etc/ssh").contains("ssh_host_"));
    assert!(!list("/etc/apt/apt.conf.d").contains("sistemo"));
    assert!(list("/usr/sbin").contains("/sshd/"));
    // Nothing but `.`, `..`, a lock and an empty directory.
    assert_eq!(list("/var/lib/apt/lists").lines().filter(|l| !l.is_empty()).count(), 4);
}

/// Not a test by itself: what [`a_killed_build_leaves_no_process_and_no_mount`] kills.
#[test]
fn victim() {
    let Ok(at) = std::env::var("IMAGE_VICTIM") else { return };
    let image = std::env::var("IMAGE_ID").unwrap().parse().unwrap();
    let _ = images(Path::new(&at)).build(image, &ImageSource::Recipe("debian".into()), &|p| {
        println!("{}", p.what);
    });
}

#[test]
fn a_killed_build_leaves_no_process_and_no_mount() {
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let image = id();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env("IMAGE_VICTIM", dir.path())
        .env("IMAGE_ID", image.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // By then its /proc is mounted in the new root.
    assert!(lines.any(|l| l.unwrap().contains("installing")));
    assert!(!left(dir.path()).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while !left(dir.path()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", left(dir.path()));
        std::thread::yield_now();
    }
    assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(dir.path().to_str().unwrap()));
    assert!(!names(&layout(dir.path()).images()).is_empty());
    images.remove(image).unwrap();
    assert!(names(&layout(dir.path()).images()).is_empty());
}

/// The processes whose command line names `dir`, or whose root is below it.
fn left(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let of = |pid: fs::DirEntry| {
        let at = pid.path();
        at.file_name()?.to_str()?.parse::<u32>().ok()?;
        let root = fs::read_link(at.join("root")).ok()?;
        let line = String::from_utf8_lossy(&fs::read(at.join("cmdline")).ok()?).replace('\0', " ");
        (line.contains(dir) || root.starts_with(dir)).then_some(line)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}
