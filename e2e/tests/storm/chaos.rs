//! The storm: ask, kill, look.

use crate::check::{Known, guests_answer};
use crate::pace::Pace;
use crate::script::{Ask, Script};
use crate::world::World;
use e2e::{Host, Ran, scratch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a command may take to tell how it ended once the daemon is there again: it looks every two
/// seconds.
const TELLING: Duration = Duration::from_secs(120);

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")),
        Err(_) => default,
    }
}

struct Storm {
    host: Host,
    script: Script,
    world: World,
    known: Known,
    pace: Pace,
    rng: StdRng,
    kills: u64,
    /// Kills by what had become of the requests: all of them told, one of them under way, none accepted.
    late: u64,
    amid: u64,
    early: u64,
}

#[test]
fn killed_at_any_moment_of_anything() {
    let (kills, seed) = (number("SISTEMO_KILLS", 30), number("SISTEMO_STORM_SEED", rand::random()));
    println!("    SISTEMO_STORM_SEED={seed}");
    let files = scratch().join("storm-images");
    let _ = std::fs::remove_dir_all(&files);
    std::fs::create_dir_all(&files).unwrap();
    // The trash is emptied all the time, and killed doing it; the reconciler looks often.
    let settings = [("SISTEMO_TRASH_KEEP", "5s"), ("SISTEMO_RECONCILER_INTERVAL", "3s")];
    let host = Host::seeded_with("storm", &settings);
    // So that fetching one is killed as well.
    std::fs::remove_dir_all(host.data().join("kernels")).unwrap();
    let world = World { images: BTreeSet::from(["debian".to_owned()]), ..World::default() };
    let mut known = Known::new();
    // The image of the seed.
    let made = Ask::Pull { file: "debian".into() };
    known.settle(&host, std::slice::from_ref(&made));
    let mut storm = Storm {
        host,
        script: Script::new(files.clone()),
        world,
        known,
        pace: Pace::default(),
        rng: StdRng::seed_from_u64(seed),
        kills: 0,
        late: 0,
        amid: 0,
        early: 0,
    };
    storm.do_well(Ask::MakePool { name: "fast".into(), mib: 4096 });
    let began = Instant::now();
    for round in 0.. {
        if storm.kills >= kills {
            break;
        }
        // A third of the storm is about machines.
        storm.round(round, round % 3 == 0);
    }
    storm.clear();
    let _ = std::fs::remove_dir_all(&files);
    println!(
        "    {} amid what was accepted, {} before, {} after, {} amid recovery; {} s",
        storm.amid,
        storm.early,
        storm.late,
        storm.kills - storm.amid - storm.early - storm.late,
        began.elapsed().as_secs()
    );
    println!("    real SIGKILLs survived: {}", storm.kills);
}

/// A client's command.
struct Client {
    ask: Ask,
    child: Child,
    /// When it was seen to have ended.
    ended: Option<Duration>,
}

impl Storm {
    fn round(&mut self, round: u64, machine: bool) {
        let asked = self.script.choose(&self.world, machine, &mut self.rng);
        for ask in &asked {
            if let Ask::Pull { file } = ask {
                make_image(file, self.rng.random_bool(0.5));
            }
        }
        let moment = self.pace.moment(&asked, &mut self.rng);
        let lines: Vec<String> = asked.iter().map(Ask::line).collect();
        println!("    {round}: killed after {} ms of: {}", moment.as_millis(), lines.join(" | "));

        let began = Instant::now();
        let mut clients: Vec<Client> = asked.iter().map(|ask| self.begin(ask.clone())).collect();
        while began.elapsed() < moment {
            for client in clients.iter_mut().filter(|c| c.ended.is_none()) {
                client.ended = client.child.try_wait().unwrap().map(|_| began.elapsed());
            }
            std::thread::park_timeout((moment - began.elapsed().min(moment)).min(Duration::from_millis(5)));
        }
        self.host.crash();
        self.kills += 1;
        for client in &clients {
            match client.ended {
                Some(after) => self.pace.ended(&client.ask, after),
                None => self.pace.had_not_ended(&client.ask, moment),
            }
        }
        // Recovery is killed as well.
        while self.rng.random_bool(0.2) {
            self.host.begin_up();
            std::thread::sleep(Duration::from_millis(self.rng.random_range(0..1500)));
            self.host.crash();
            self.kills += 1;
        }
        self.host.up();
        self.look(clients);
    }

    fn begin(&self, ask: Ask) -> Client {
        let line = ask.line();
        let child = self.host.begin(&line.split(' ').collect::<Vec<_>>());
        Client { ask, child, ended: None }
    }

    /// Everything ends by itself, as a whole or not at all, and the clients are told so.
    fn look(&mut self, clients: Vec<Client>) {
        let asked: Vec<Ask> = clients.iter().map(|c| c.ask.clone()).collect();
        let ends = self.known.settle(&self.host, &asked);
        let told = clients.iter().filter(|c| c.ended.is_some()).count();
        match ends.iter().flatten().count() {
            0 => self.early += 1,
            accepted if accepted > told => self.amid += 1,
            _ => self.late += 1,
        }
        for (client, end) in clients.into_iter().zip(&ends) {
            let ran = wait(client.child);
            let outcome = end.as_ref().map_or("never accepted", |e| e["outcome"].as_str().unwrap());
            println!("        {}: {outcome}, told {}", client.ask.line(), ran.code);
            match outcome {
                "succeeded" => {
                    client.ask.happen(&mut self.world);
                    // The answer that it was accepted may have been lost.
                    assert!(matches!(ran.code, 0 | 5), "{ran:?}");
                }
                "never accepted" => assert_eq!(ran.code, 5, "{ran:?}"),
                _ => panic!("a kill made it fail: {end:?}\n{}", self.host.log_tail()),
            }
        }
        let touched = asked.iter().map(|a| a.recorded().1).collect();
        self.known.holds(&self.host, &self.world, &touched);
        guests_answer(&self.host, &self.world);
        for (ask, _) in asked.iter().zip(&ends).filter(|(_, end)| end.is_some()) {
            match ask {
                Ask::Clone { from, name, .. } => self.known.copied(name, from),
                Ask::Snapshot { volume, name } => self.known.copied(name, volume),
                _ => {}
            }
        }
        for (ask, end) in asked.iter().zip(&ends) {
            self.again(ask, end.is_some());
        }
    }

    /// The same once more: it is done now, or it was done and is refused for a reason.
    fn again(&mut self, ask: &Ask, done: bool) {
        let ran = self.host.run(&ask.line());
        let first = ran.err.lines().next().unwrap_or("").to_owned();
        println!("        again: {} {first}", ran.code);
        let refused = match ask {
            Ask::Create { .. }
            | Ask::Clone { .. }
            | Ask::Snapshot { .. }
            | Ask::Deploy { .. }
            | Ask::Boot { .. }
            | Ask::MakePool { .. } => Some("name-taken"),
            Ask::DropPool { .. } => Some("pool-not-found"),
            Ask::DropSnapshot { .. } => Some("snapshot-not-found"),
            Ask::Attach { .. } => Some("volume-in-use"),
            Ask::Detach { .. } => Some("volume-not-attached"),
            Ask::DeleteVolume { .. } => Some("volume-not-found"),
            Ask::DeleteImage { .. } => Some("image-not-found"),
            Ask::Delete { .. } => Some("machine-not-found"),
            Ask::Resize { .. }
            | Ask::Move { .. }
            | Ask::Pull { .. }
            | Ask::Start { .. }
            | Ask::Stop { .. }
            | Ask::Restart { .. } => None,
        };
        match refused.filter(|_| done) {
            Some(code) => {
                assert!(ran.err.contains(&format!("error[{code}]: ")), "{ask:?}: {ran:?}");
                assert!(matches!(ran.code, 3 | 4), "{ask:?}: {ran:?}");
            }
            None => assert_eq!(ran.code, 0, "{ask:?}: {ran:?}\n{}", self.host.log_tail()),
        }
        let ends = self.known.settle(&self.host, std::slice::from_ref(ask));
        if ran.code == 0 {
            let end = ends[0].as_ref().unwrap_or_else(|| panic!("{ask:?} is not in the history"));
            assert_eq!(end["outcome"], "succeeded", "{ask:?}: {end}");
            ask.happen(&mut self.world);
        }
        self.known.holds(&self.host, &self.world, &BTreeSet::from([ask.recorded().1]));
    }

    /// Everything is deleted: then nothing at all is left.
    fn clear(&mut self) {
        let machines: Vec<String> = self.world.machines.keys().cloned().collect();
        for name in machines {
            self.do_well(Ask::Delete { name, keep: false });
        }
        let volumes: Vec<String> = self.world.volumes.keys().cloned().collect();
        for name in volumes {
            self.do_well(Ask::DeleteVolume { name });
        }
        let snapshots: Vec<String> = self.world.snapshots.keys().cloned().collect();
        for name in snapshots {
            self.do_well(Ask::DropSnapshot { name });
        }
        self.known.holds(&self.host, &self.world, &BTreeSet::new());
        // A pool goes once nothing is in its trash any more.
        self.host.ok("trash empty -y");
        let pools = std::mem::take(&mut self.world.pools);
        pools.iter().for_each(|pool| drop(self.host.ok(&format!("pool delete {pool} -y"))));
        self.known.holds(&self.host, &self.world, &BTreeSet::new());
    }

    fn do_well(&mut self, ask: Ask) {
        self.host.ok(&ask.line());
        self.known.settle(&self.host, std::slice::from_ref(&ask));
        ask.happen(&mut self.world);
    }
}

/// Waits for a command to end.
fn wait(mut child: Child) -> Ran {
    e2e::until("the command ends", TELLING, || child.try_wait().unwrap());
    child.wait_with_output().unwrap().into()
}

/// A file that can be an image: every other one has the same content.
fn make_image(file: &Path, own: bool) {
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F"]);
    if !own {
        // By these it is made the same, byte for byte.
        mkfs.args(["-U", "5157e300-0000-4000-8000-000000000000"]);
        mkfs.args(["-E", "hash_seed=5157e300-0000-4000-8000-000000000000"]);
        mkfs.env("E2FSPROGS_FAKE_TIME", "1700000000");
    }
    assert!(mkfs.arg(file).arg("24M").output().unwrap().status.success());
}
