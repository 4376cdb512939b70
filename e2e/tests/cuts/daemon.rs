//! The daemon on a disk that loses its power, in the middle of what clients ask of it.

use crate::check;
use crate::model::Model;
use e2e::cut::{Kind, Place, Powered};
use e2e::{Host, Ran};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The disk; sparse, since almost everything on it is.
const DISK: u64 = 6 << 30;
const CLIENTS: usize = 3;
/// How many cuts a disk sees before a new one takes its place.
const CUTS_OF_A_DISK: u64 = 5;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")),
        Err(_) => default,
    }
}

/// A disk, the daemon on it, and what its clients know.
struct Scene {
    // In this order: the daemon goes before its disk.
    host: Host,
    powered: Option<Powered>,
    place: Place,
    kind: Kind,
    models: Vec<Model>,
}

impl Scene {
    fn new(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let place = Place::new().unwrap();
        place.format(kind, DISK).unwrap();
        let powered = Some(place.power(kind, false).unwrap());
        // One below the mount: the daemon makes its directory itself.
        let data = place.data().join("sistemo");
        let log = place.disk().with_file_name("daemon.log");
        let host = Host::lent(&data, &log, settings);
        Self { host, powered, place, kind, models: vec![Model::default(); CLIENTS] }
    }

    /// Clients ask for this and that until `done`, and `meanwhile` decides when that is; when it
    /// returns, the daemon is dead. Returns how many changes were acknowledged.
    fn work(&mut self, rng: &mut StdRng, meanwhile: impl FnOnce(&AtomicBool, &mut StdRng)) -> u64 {
        let (done, dead) = (AtomicBool::new(false), AtomicBool::new(false));
        let acknowledged = AtomicU64::new(0);
        let host = &self.host;
        std::thread::scope(|scope| {
            for (n, model) in self.models.iter_mut().enumerate() {
                let mut rng = StdRng::seed_from_u64(rng.random());
                let (done, dead, acknowledged) = (&done, &dead, &acknowledged);
                scope.spawn(move || {
                    while !done.load(SeqCst) {
                        let (name, change) = model.choose(&format!("c{n}"), &mut rng);
                        model.under_way = Some((name.clone(), change));
                        let Some(ran) = ask(host, &change.line(&name), dead) else { return };
                        if ran.code == 0 {
                            model.acknowledge(&name, change, &ran.out);
                            acknowledged.fetch_add(1, SeqCst);
                        } else {
                            assert!(done.load(SeqCst), "{name} {change:?}: {ran:?}\n{}", host.log_tail());
                            return;
                        }
                    }
                });
            }
            meanwhile(&done, rng);
            dead.store(true, SeqCst);
        });
        acknowledged.into_inner()
    }

    /// The power goes; what the disk holds comes back without anybody on it.
    fn cut_and_return(&mut self, seed: u64) {
        let powered = self.powered.take().expect("it is on");
        powered.cut(seed);
        self.restart(powered);
    }

    fn restart(&mut self, powered: Powered) {
        self.host.crash();
        drop(powered);
        self.powered = Some(self.place.power(self.kind, false).unwrap());
        check::database(self.host.data());
    }

    /// One cut, with all that may happen around it.
    fn round(&mut self, seed: u64) -> u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut acknowledged = 0;
        self.host.up();
        if rng.random_bool(0.3) {
            // The daemon alone dies, its disk lives on: what it had not flushed is seen and not durable.
            let pid = self.host.pid();
            acknowledged += self.work(&mut rng, |done, rng| {
                sleep(rng, 1500);
                done.store(true, SeqCst);
                kill(pid);
            });
            self.host.crash();
            self.host.up();
            let seen = check::volumes(&self.host, &self.models);
            self.adopt(&seen);
        }
        let (powered, pid) = (self.powered.take().expect("it is on"), self.host.pid());
        acknowledged += self.work(&mut rng, |done, rng| {
            sleep(rng, 3000);
            done.store(true, SeqCst);
            powered.cut(rng.random());
            // On a dead disk it may still answer, but never that something is done that is not.
            sleep(rng, 300);
            kill(pid);
        });
        self.restart(powered);
        if rng.random_bool(0.3) {
            self.host.begin_up();
            sleep(&mut rng, 700);
            self.cut_and_return(rng.random());
        }
        self.host.up();
        self.check();
        acknowledged
    }

    fn check(&mut self) {
        let mut seen = check::volumes(&self.host, &self.models);
        check::operations(&self.host);
        for model in &self.models {
            seen = check::again(&self.host, model, &seen);
        }
        self.adopt(&seen);
        check::volumes(&self.host, &self.models);
        for line in ["volume create 8M --name probe", "volume resize probe 16M", "volume delete probe -y"] {
            let ran = self.host.run(line);
            assert_eq!(ran.code, 0, "{line}: {ran:?}");
        }
        self.host.crash();
    }

    fn adopt(&mut self, seen: &std::collections::BTreeMap<String, crate::model::Volume>) {
        for (client, model) in self.models.iter_mut().enumerate() {
            let word = format!("c{client}-");
            let mine = seen.iter().filter(|(n, _)| n.starts_with(&word));
            model.adopt(mine.map(|(n, v)| (n.clone(), v.clone())).collect());
        }
    }
}

/// What a command line comes to; nothing if the daemon dies before it answers: the command itself
/// would wait a minute for the next one.
fn ask(host: &Host, line: &str, dead: &AtomicBool) -> Option<Ran> {
    let mut child = host.begin(&line.split(' ').collect::<Vec<_>>());
    // What it prints fits into its pipes.
    while child.try_wait().unwrap().is_none() {
        if dead.load(SeqCst) {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Some(child.wait_with_output().unwrap().into())
}

fn kill(daemon: Pid) {
    // Our child until it is waited for, whether it still runs or not.
    kill_process(daemon, Signal::KILL).unwrap();
}

/// Lets some moment of the next milliseconds come.
fn sleep(rng: &mut StdRng, most_ms: u64) {
    std::thread::sleep(Duration::from_micros(rng.random_range(0..most_ms * 1000)));
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let (cuts, first) = (number("SISTEMO_CUTS", 10), number("SISTEMO_CUT_SEED", 1));
    let mut scene = None;
    let mut acknowledged = 0;
    for n in 0..cuts {
        let disk = n / CUTS_OF_A_DISK;
        let kind = if disk.is_multiple_of(2) { Kind::Ext4 } else { Kind::Xfs };
        if n % CUTS_OF_A_DISK == 0 {
            // The old one goes before the new one comes.
            drop(scene.take());
        }
        let scene = scene.get_or_insert_with(|| Scene::new(kind, &[("SISTEMO_RECONCILER_INTERVAL", "2s")]));
        // Printed first: it is what one needs when the next line is a failure.
        println!("    cut {} on {kind:?}, SISTEMO_CUT_SEED={}", n + 1, first + n);
        let began = Instant::now();
        let round = scene.round(first + n);
        println!("    {round} changes acknowledged ({:.1}s)", began.elapsed().as_secs_f32());
        acknowledged += round;
    }
    println!("power cuts survived: {cuts} ({acknowledged} acknowledged changes)");
}

/// What makes every fsync of a program do nothing, while the file system's own flushes go through:
/// the disk stays in order and only what the daemon promised is lost.
const FORGETFUL: (&str, &str) = ("LD_PRELOAD", "libeatmydata.so");

#[test]
fn a_daemon_that_does_not_flush_is_found_out_by_these_checks() {
    let mut cuts = 0;
    let found = (0..10).any(|seed| {
        cuts += 1;
        std::panic::catch_unwind(|| {
            let mut scene = Scene::new(Kind::Ext4, &[FORGETFUL]);
            scene.round(seed);
        })
        .is_err()
    });
    assert!(found, "the checks see nothing");
    println!("a daemon that does not flush was found out after {cuts} cuts");
}
