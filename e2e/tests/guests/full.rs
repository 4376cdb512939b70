//! A pool that fills up while a guest writes: it stands, goes on once there is room, and notices nothing.

use e2e::cut::{Kind, Mounted, Place};
use e2e::{Host, PATIENCE, until};
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIB: u64 = 1 << 20;
const PIECE: u64 = 8 * MIB;

/// Taken apart in this order: the daemon with its machines, the mount, the file.
struct Scene {
    host: Host,
    mounted: Mounted,
    place: Place,
}

impl Scene {
    fn new(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let place = Place::new().unwrap();
        let mounted = place.plain(kind, 1536 * MIB).unwrap();
        let data = place.data().join("sistemo");
        let host = Host::seeded_at(&data, &place.disk().with_file_name("daemon.log"), settings);
        Self { host, mounted, place }
    }

    /// Takes all but so much room; for none, also the blocks that only root can have.
    fn leave(&self, left: u64) {
        let file = File::options().write(true).create(true).truncate(false).open(self.filler()).unwrap();
        for step in [PIECE, MIB, 64 << 10, 4096] {
            let mut at = file.metadata().unwrap().len();
            while left == 0 || self.mounted.free() > left + step {
                if fallocate(&file, FallocateFlags::empty(), at, step).is_err() {
                    break;
                }
                at += step;
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.mounted.at().join("filler")
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// Begins to write so many pieces to the data volume, each of them durable, its sum noted.
    fn write(&self, pieces: u64) {
        let script = format!(
            "for i in $(seq 0 {}); do yes \"piece $i\" | head -c {PIECE} > /run/piece; \
             sha256sum < /run/piece >> /run/sums; \
             dd if=/run/piece of=/mnt/appdata/file bs={PIECE} seek=$i conv=notrunc,fsync || exit 1; done",
            pieces - 1
        );
        let unit = ["systemd-run", "--quiet", "--unit=writer", "--property=RemainAfterExit=yes"];
        let mut line = vec!["machine", "exec", "web", "--"];
        line.extend(unit);
        line.extend(["sh", "-c", &script]);
        self.host.ok_args(&line);
    }

    fn wait_until_it_stands(&self) {
        until("it stands", PATIENCE, || {
            self.host.run("volume list -o json").out.contains("\"pool-full\"").then_some(())
        });
        let machine = self.host.json("machine show web");
        assert_eq!(machine["phase"], "running");
        let note = machine["notes"][0].as_str().unwrap();
        assert!(note.contains("is paused") && note.contains("no room"), "{note}");
    }

    fn is_well(&self) -> bool {
        let list = self.host.json("volume list");
        let well = list["items"].as_array().unwrap().iter().all(|v| v["condition"].is_null());
        well && self.host.json("machine show web")["notes"] == Value::Array(vec![])
    }

    /// How often the daemons' logs warn of a pool that fills up.
    fn warnings(&self) -> usize {
        let log = std::fs::read_to_string(self.place.disk().with_file_name("daemon.log"));
        log.unwrap_or_default().matches("guests that write stand until there is room").count()
    }

    fn wait_for_warning(&self, nth: usize) {
        until("the log warns of it", PATIENCE, || (self.warnings() >= nth).then_some(()));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.host.run("machine logs web").out;
            println!("{}", said.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
            println!("{}", self.host.log_tail());
        }
        // So that the machines can be taken back in order.
        let _ = std::fs::remove_file(self.filler());
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn fills_and_goes_on(kind: Kind) {
    println!("    {kind:?}");
    let settings = [("SISTEMO_STOP_TIMEOUT", "8s"), ("SISTEMO_RECONCILER_INTERVAL", "2s")];
    let mut scene = Scene::new(kind, &settings);
    let host = &scene.host;
    host.ok("volume create 1G --name appdata");
    host.ok("machine deploy debian --name web --attach appdata --storage 2G");
    assert!(!host.json("status")["pools"][0]["warning"].to_string().contains("% full"));
    until("it is booted", PATIENCE, || {
        let ran = host.run("machine exec web -- systemctl is-active multi-user.target");
        (ran.out.trim() == "active").then_some(())
    });
    scene.leave(96 * MIB);
    scene.write(20);
    scene.wait_until_it_stands();
    let stood = Instant::now();
    println!("    {}", host.ok("volume show appdata"));
    let warning = host.json("status")["pools"][0]["warning"].as_str().unwrap().to_owned();
    assert!(warning.contains("% full"), "{warning}");
    host.refused("machine start web", "pool-full", 4);
    host.refused("volume create 1T --name none", "pool-full", 4);
    scene.wait_for_warning(1);

    // A daemon that was not there when it happened knows as much.
    scene.host.crash();
    scene.host.up();
    scene.wait_until_it_stands();
    scene.wait_for_warning(2);
    until("the guest's clock is far behind", PATIENCE, || {
        (stood.elapsed() > Duration::from_secs(10)).then_some(())
    });
    scene.make_room();
    until("it goes on by itself", PATIENCE, || scene.is_well().then_some(()));
    right_clock_and_whole_data(&scene.host);
    goes_without_a_byte(&mut scene);
}

fn right_clock_and_whole_data(host: &Host) {
    // "It goes on" is said at once, its clock is set as soon as its agent is heard.
    let (early, late) = until("its clock is right", PATIENCE, || {
        let before = now();
        let ran = host.run("machine exec web -- date +%s.%N");
        let after = now();
        assert!(ran.code == 0 || ran.err.contains("guest-unreachable"), "{ran:?}");
        let inside: f64 = ran.out.trim().parse().ok()?;
        let apart = (inside - after, inside - before);
        (apart.1 > -2.0 && apart.0 < 2.0).then_some(apart)
    });
    println!("    the guest's clock is right within {early:+.2} s to {late:+.2} s");
    until("everything is written", PATIENCE, || {
        match host.sh("web", "systemctl show -P SubState writer").as_str() {
            "exited" => Some(()),
            "running" => None,
            other => panic!("the writer is {other}"),
        }
    });
    let check = format!(
        "echo 3 > /proc/sys/vm/drop_caches; for i in $(seq 0 19); do \
         dd if=/mnt/appdata/file bs={PIECE} skip=$i count=1 2>/dev/null | sha256sum; done | \
         cmp - /run/sums && echo same"
    );
    assert_eq!(host.sh("web", &check), "same");
    let errors = "dmesg | grep -c -i -E 'i/o error|ext4.*(error|abort)' || true";
    assert_eq!(host.sh("web", errors), "0");
    host.sh("web", "systemctl stop writer; rm /run/sums");
}

/// To the last byte: everything but writing goes on.
fn goes_without_a_byte(scene: &mut Scene) {
    scene.leave(24 * MIB);
    scene.write(100);
    scene.wait_until_it_stands();
    scene.wait_for_warning(3);
    scene.leave(0);
    println!("    {} bytes are free", scene.mounted.free());
    let host = &scene.host;
    let stopped = host.run("machine stop web");
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(stopped.err.contains("the plug was pulled"), "{stopped:?}");
    host.ok("volume resize appdata 3G");
    host.ok("machine volume detach web appdata");
    host.ok("volume delete appdata -y");
    host.ok("machine delete web -y --preserve-storage");
    let left = host.json("volume show web-root");
    assert_eq!((&left["status"], &left["condition"]), (&"detached".into(), &Value::Null));
    // Each daemon once at the first crossing, and the second one once more at the second. What the next has to
    // say depends on how much of the deleted volume is already given back.
    assert_eq!(scene.warnings(), 3);
    scene.host.crash();
    scene.host.up();
    // Whatever the daemon itself let out of the trash since, for want of room.
    let told = scene.host.json("history");
    let asked = told["items"].as_array().unwrap().iter().find(|line| line["actor"] != "system").unwrap();
    assert_eq!(asked["action"], "machine.delete");

    // What was on the disk when the plug was pulled is a file system that boots.
    scene.make_room();
    scene.host.ok("machine deploy --volume web-root --name again");
    assert_eq!(scene.host.sh("again", "echo up"), "up");
}

#[test]
fn a_full_ext4_pauses_a_guest_that_goes_on_by_itself() {
    fills_and_goes_on(Kind::Ext4);
}

#[test]
fn a_full_xfs_pauses_a_guest_that_goes_on_by_itself() {
    fills_and_goes_on(Kind::Xfs);
}
