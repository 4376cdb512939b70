//! A guest that is held still for a snapshot when the daemon dies, or stands: it goes on, and what was kept is
//! what is said of it.

use e2e::cut::{Kind, Mounted, Place};
use e2e::{Host, until};
use rustix::process::{Signal, kill_process};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(180);
/// So many pieces take a while to be shared, and a guest is held for as long.
const PIECES: u64 = 8000;
/// How often the moment may be missed.
const TRIES: usize = 10;

/// Taken apart in this order.
struct Scene {
    host: Host,
    _mounted: Mounted,
    place: Place,
}

impl Scene {
    fn log(&self) -> PathBuf {
        self.place.disk().with_file_name("daemon.log")
    }

    /// What the daemon has said since its log was so long.
    fn said(&self, from: u64) -> String {
        let mut log = File::open(self.log()).unwrap();
        log.seek(SeekFrom::Start(from)).unwrap();
        let mut said = vec![];
        log.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Begins a snapshot, and does this while the guest is held still for it; says when that was.
    fn while_held(&mut self, line: &str, then: impl Fn(&mut Host)) -> (Child, Instant) {
        for _ in 0..TRIES {
            let from = self.log().metadata().unwrap().len();
            let mut child = self.host.begin(&line.split(' ').collect::<Vec<_>>());
            let end = Instant::now() + PATIENCE;
            while !self.said(from).contains("the guest holds still") {
                assert!(Instant::now() < end, "it is not held: {}", self.host.log_tail());
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let at = Instant::now();
            then(&mut self.host);
            if !self.said(from).contains("the guest is to go on") {
                println!("    held: {line}");
                return (child, at);
            }
            println!("    too late: {line}");
            self.goes_on();
            until("the command ends", PATIENCE, || child.try_wait().unwrap());
            for snapshot in self.host.json("snapshot list")["items"].as_array().unwrap() {
                self.host.ok(&format!("snapshot delete {} --now -y", snapshot["name"].as_str().unwrap()));
            }
        }
        panic!("the moment was missed {TRIES} times");
    }

    /// Whatever was done to the daemon is over.
    fn goes_on(&mut self) {
        match self.host.is_up() {
            true => kill_process(self.host.pid(), Signal::CONT).unwrap(),
            false => self.host.up(),
        }
    }

    /// When the guest last wrote something out.
    fn written(&self, file: &Path) -> SystemTime {
        file.metadata().unwrap().modified().unwrap()
    }

    /// Waits until the guest writes again.
    fn writes(&self, file: &Path) {
        let before = self.written(file);
        until("the guest writes", PATIENCE, || (self.written(file) != before).then_some(()));
    }

    fn ended(&self, child: Child) {
        let said = child.wait_with_output().unwrap();
        // The answer that it was accepted may have been lost.
        assert!(matches!(said.status.code(), Some(0 | 5)), "{said:?}");
        until("nothing is under way", PATIENCE, || {
            let history = self.host.json("history -n 20");
            let mut all = history["items"].as_array().unwrap().iter();
            all.all(|entry| entry["outcome"] != "running").then_some(())
        });
    }

    /// The three disks as of one instant, and their file systems as a guest that is still leaves them, if
    /// that is what is said of them.
    fn is_what_it_says(&self, name: &str) {
        let mut counts = vec![];
        for (name, counter) in [(name.to_owned(), "root/n"), (format!("{name}-data"), "n")] {
            let shown = self.host.json(&format!("snapshot show {name}"));
            assert_eq!(shown["status"], "ready", "{shown}");
            let file = format!("pools/default/snapshots/{}.raw", shown["id"].as_str().unwrap());
            let file = self.host.data().join(file);
            println!("    {name}: {} consistent", shown["consistency"]);
            match shown["consistency"].as_str().unwrap() {
                "filesystem" => assert!(super::is_clean(&file), "{shown}"),
                said => assert_eq!(said, "crash"),
            }
            if shown["consistency"] == "filesystem" {
                let out = Command::new("debugfs").args(["-R", &format!("cat {counter}")]).arg(file).output();
                counts.push(String::from_utf8(out.unwrap().stdout).unwrap().trim().parse::<i64>().unwrap());
            }
        }
        println!("    {counts:?}");
        assert!(
            counts.len() != 2 || (0..=1).contains(&(counts[0] - counts[1])),
            "of one instant: {counts:?}"
        );
    }
}

/// Whether every thread of the daemon stands.
fn stands(host: &Host) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid().as_raw_nonzero())).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// Gives blocks to what are holes of a file, here and there: it reads as before.
fn in_pieces(file: &Path) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut block = [0; 4096];
    for at in (0..PIECES).map(|n| n * 8192) {
        file.read_exact_at(&mut block, at).unwrap();
        if block == [0; 4096] {
            file.write_all_at(&block, at).unwrap();
        }
    }
}

#[test]
fn a_guest_that_is_held_when_the_daemon_dies_goes_on() {
    let place = Place::new().unwrap();
    let mounted = place.plain(Kind::Xfs, 3072 * MIB).unwrap();
    let (data, log) = (place.data().join("sistemo"), place.disk().with_file_name("daemon.log"));
    let host = Host::seeded_at(&data, &log, &[]);
    let mut scene = Scene { host, _mounted: mounted, place };
    let host = &scene.host;
    host.ok("volume create 256M --name data");
    host.ok("volume create 256M --name pieces");
    in_pieces(&host.file_of("pieces"));
    host.ok("machine deploy debian --name web --attach data --attach pieces");
    host.sh(
        "web",
        "nohup sh -c 'i=10000; while i=$((i+1)); do echo $i 1<>/root/n; echo $i 1<>/mnt/data/n; \
         sync /mnt/data/n; done' >/dev/null 2>&1 &",
    );
    let file = host.file_of("data");
    scene.writes(&file);

    // Nobody comes back: the guest lets go by itself.
    let (child, at) = scene.while_held("machine snapshot web --name alone", Host::crash);
    scene.writes(&file);
    let held = at.elapsed();
    println!("    the guest went on after {:.1} s", held.as_secs_f32());
    assert!(held > Duration::from_secs(10), "it was not held");
    scene.host.up();
    scene.ended(child);
    scene.is_what_it_says("alone");
    scene.writes(&file);

    // The daemon comes back while it is held: it is held anew for what is taken then.
    let (child, _) = scene.while_held("machine snapshot web --name anew", Host::crash);
    scene.host.up();
    scene.ended(child);
    scene.is_what_it_says("anew");
    scene.writes(&file);

    // With a disk that no guest holds still it is stopped, until a daemon is back that lets it go on.
    scene.host.ok("volume create 64M --fs none --name bare");
    scene.host.ok("machine volume attach web bare:none");
    let (child, _) = scene.while_held("machine snapshot web --name stopped", Host::crash);
    scene.host.up();
    scene.ended(child);
    scene.is_what_it_says("stopped");
    scene.writes(&file);
    assert_eq!(scene.host.json("snapshot show stopped-bare")["consistency"], "crash");
    scene.host.ok("machine volume detach web bare");

    // The daemon stands for longer than a guest waits: what it kept may be of a guest that wrote.
    let (child, _) = scene.while_held("volume snapshot pieces --name late", |host| {
        kill_process(host.pid(), Signal::STOP).unwrap();
        until("it stands", PATIENCE, || stands(host).then_some(()));
    });
    scene.writes(&file);
    scene.goes_on();
    scene.ended(child);
    assert_eq!(scene.host.json("snapshot show late")["consistency"], "crash");
    // The session with its agent may have to be made anew.
    let errors = until("the guest answers", PATIENCE, || {
        let script = "dmesg | grep -c -i -E 'ext4.*error' || true";
        let ran = scene.host.args(&["machine", "exec", "web", "--", "sh", "-c", script]);
        (ran.code == 0).then_some(ran.out)
    });
    assert_eq!(errors.trim(), "0");
}
