//! A real daemon for tests that boot real guests.
//!
//! Invariant: a test has a data directory of its own and uses nothing but the `sistemo` command, as a
//! person would; when it ends, however it ends, no process, link or file of it is left.
//!
//! Run through `scripts/in-namespace`: daemons make bridges and tables. Building the Debian image
//! takes a minute, so tests start from a copy of a data directory ([`seed`]) that holds it, but for
//! the one that is about the first deploy.

pub mod cut;
mod ran;
pub mod seed;

pub use ran::Ran;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer after its start, and to end after a signal.
const DAEMON: Duration = Duration::from_secs(60);
/// How long a guest may take, on a host that is busy with others, for what it does by itself.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// How long any command may take; one that takes longer stands still.
const COMMAND: Duration = Duration::from_secs(1200);

/// A daemon and its data directory.
pub struct Host {
    data: PathBuf,
    log: PathBuf,
    daemon: Option<Child>,
    settings: Vec<(String, String)>,
    keep: bool,
    /// The data directory is another's: at the end the daemon is killed and nothing else is done.
    lent: bool,
}

/// The program under test: `$SISTEMO_BIN`, or the one of this build.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("SISTEMO_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a test has a path");
    // target/debug/deps/guests-… lies beside target/debug/sistemo.
    me.ancestors().nth(2).expect("a test lies in target").join("sistemo")
}

/// Where everything of these tests is kept: `$SISTEMO_E2E_DIR`, or `target/e2e`.
pub fn scratch() -> PathBuf {
    if let Some(path) = std::env::var_os("SISTEMO_E2E_DIR") {
        return path.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").join("target/e2e")
}

impl Host {
    /// A daemon on a data directory that holds the image and the kernel already.
    pub fn seeded(name: &str) -> Self {
        let host = Self::unborn(name);
        seed::copy_to(&host.data);
        host.born()
    }

    /// A daemon on an empty data directory.
    pub fn empty(name: &str) -> Self {
        Self::unborn(name).born()
    }

    /// As [`Host::seeded`], with settings (`SISTEMO_…`) of its own.
    pub fn seeded_with(name: &str, settings: &[(&str, &str)]) -> Self {
        let mut host = Self::unborn(name);
        host.settings = settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        seed::copy_to(&host.data);
        host.born()
    }

    /// Sets a variable (`SISTEMO_…`) for every command from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.into(), value.into()));
    }

    /// A data directory without a daemon.
    pub fn unborn(name: &str) -> Self {
        let data = scratch().join(name);
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(scratch()).expect("target is writable");
        let log = data.with_extension("log");
        Self { data, log, daemon: None, settings: vec![], keep: false, lent: false }
    }

    /// No daemon yet, on a data directory of the caller's, who also takes away what is in it.
    pub fn lent(data: &Path, log: &Path, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Self { data: data.into(), log: log.into(), daemon: None, settings, keep: true, lent: true }
    }

    /// As [`Host::seeded_with`], on a data directory in a place of the caller's, which outlives this.
    pub fn seeded_at(data: &Path, log: &Path, settings: &[(&str, &str)]) -> Self {
        seed::copy_to(data);
        let mut host = Self::lent(data, log, settings);
        // What it makes, it takes back: links and cgroups are not in that place.
        (host.lent, host.keep) = (false, false);
        host.born()
    }

    fn born(mut self) -> Self {
        self.up();
        self
    }

    /// Takes back a setting of its own, from the next start on.
    pub fn unset(&mut self, key: &str) {
        self.settings.retain(|(k, _)| k != key);
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env("SISTEMO_DATA_DIR", &self.data).env_remove("SISTEMO_URL");
        // The defaults are for hosts with something to spare.
        command.env("SISTEMO_STOP_TIMEOUT", "300s").env("SISTEMO_SSH_TIMEOUT", "300s");
        command.envs(self.settings.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn up(&mut self) {
        self.begin_up();
        let end = Instant::now() + DAEMON;
        loop {
            if self.run("status").code == 0 {
                return;
            }
            let daemon = self.daemon.as_mut().expect("it was just begun");
            let ended = daemon.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < end, "the daemon is not up: {}", self.log_tail());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Starts the daemon and does not wait for it.
    pub fn begin_up(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("scratch is writable");
        let mut command = self.command(&["up"]);
        if self.settings.iter().all(|(key, _)| key != "SISTEMO_LOG") {
            command.env("SISTEMO_LOG", "debug");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon can be begun"));
    }

    /// The end of the daemon's log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(4000);
        log[(from..log.len()).find(|i| log.is_char_boundary(*i)).unwrap_or(0)..].to_owned()
    }

    /// Whether it was begun and not ended since.
    pub fn is_up(&self) -> bool {
        self.daemon.is_some()
    }

    /// The daemon's process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.daemon.as_ref().expect("the daemon is up"))
    }

    /// Kills the daemon as a crash would, and waits until it is gone.
    pub fn crash(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon is up");
        daemon.kill().expect("it is our child");
        daemon.wait().expect("it is our child");
    }

    /// Ends the daemon in order; returns whether it ended well.
    pub fn down(&mut self) -> bool {
        let Some(mut daemon) = self.daemon.take() else { return true };
        kill_process(Pid::from_child(&daemon), Signal::TERM).expect("it is our child");
        let end = Instant::now() + DAEMON;
        while Instant::now() < end {
            if let Some(status) = daemon.try_wait().expect("it is our child") {
                return status.success();
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = daemon.kill();
        let _ = daemon.wait();
        false
    }

    /// Runs a command line; words are separated by single spaces.
    pub fn run(&self, line: &str) -> Ran {
        self.args(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs a command with exactly these arguments.
    pub fn args<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("sistemo can be run");
        let (pid, (ended, end)) = (Pid::from_child(&child), std::sync::mpsc::channel::<()>());
        let guard = std::thread::spawn(move || {
            // Killed before it is waited for, so that its number is its own.
            if end.recv_timeout(COMMAND) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let ran = child.wait_with_output().expect("it is our child");
        let _ = ended.send(());
        guard.join().expect("it only waits");
        ran.into()
    }

    /// Begins a command with these arguments and pipes to all of its streams.
    pub fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("sistemo can be run")
    }

    /// Runs a line on a terminal at which somebody types `typed`.
    pub fn at_terminal(&self, line: &str, typed: &str) -> Ran {
        let mut command = Command::new("script");
        command.args(["-qefc", &format!("{} {line}", program().display()), "/dev/null"]);
        command.env("SISTEMO_DATA_DIR", &self.data).env_remove("SISTEMO_URL").env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("script (bsdutils) can be run");
        let mut stdin = child.stdin.take().expect("it has one");
        stdin.write_all(typed.as_bytes()).expect("it listens");
        // `script` ends its terminal with its input, so that stays open until it has ended.
        let ran = child.wait_with_output().expect("it is our child").into();
        drop(stdin);
        ran
    }

    /// Runs a line that has to end well; returns what it printed.
    pub fn ok(&self, line: &str) -> String {
        self.ok_args(&line.split(' ').collect::<Vec<_>>())
    }

    /// As [`Host::ok`], with exactly these arguments.
    pub fn ok_args<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let began = Instant::now();
        let ran = self.args(args);
        let line: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        println!("    $ sistemo {}   ({:.1}s)", line.join(" "), began.elapsed().as_secs_f32());
        assert_eq!(ran.code, 0, "{line:?}: {ran:?}\n{}", self.log_tail());
        ran.out
    }

    /// Runs a line that has to be refused with this code and exit code, and a hint.
    pub fn refused(&self, line: &str, code: &str, exit: i32) {
        let ran = self.run(line);
        println!("    $ sistemo {line}   -> {}", ran.err.lines().next().unwrap_or(""));
        assert_eq!(ran.code, exit, "{line}: {ran:?}");
        assert!(ran.err.contains(&format!("error[{code}]: ")), "{line}: {ran:?}");
        assert!(ran.err.contains("hint: "), "{line}: {ran:?}");
    }

    /// What a line that has to end well prints as JSON.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).expect("it prints JSON")
    }

    /// Runs a shell script in a machine; returns its trimmed output.
    pub fn sh(&self, machine: &str, script: &str) -> String {
        self.ok_args(&["machine", "exec", machine, "--", "sh", "-c", script]).trim().to_owned()
    }

    /// Waits until this script, run in a machine, says what is right; what it said.
    pub fn sh_until(&self, machine: &str, script: &str, right: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let ran = self.args(&["machine", "exec", machine, "--", "sh", "-c", script]);
            let said = ran.out.trim();
            if ran.code == 0 && right(said) {
                return said.to_owned();
            }
            assert!(Instant::now() < end, "{script}: {ran:?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// A volume's file.
    pub fn file_of(&self, volume: &str) -> PathBuf {
        let shown: Value = serde_json::from_str(&self.run(&format!("volume show {volume} -o json")).out)
            .expect("it prints JSON");
        let id = shown["id"].as_str().expect("an id");
        let pool = shown["pool"].as_str().expect("a pool");
        self.data.join("pools").join(pool).join("volumes").join(format!("{id}.raw"))
    }

    /// Keeps the data directory when this ends.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Pools in files stay mounted beyond the daemon.
    fn unmount_pools(&self) {
        for entry in std::fs::read_dir(self.data.join("pools")).into_iter().flatten().flatten() {
            let file = entry.path();
            if file.extension().is_none_or(|end| end != "img") {
                continue;
            }
            cut::detach(&file.with_extension(""));
            let found = Command::new("losetup").args(["-n", "-O", "NAME", "-j"]).arg(&file).output();
            for device in String::from_utf8_lossy(&found.map(|o| o.stdout).unwrap_or_default()).lines() {
                let _ = Command::new("losetup").args(["-d", device.trim()]).status();
            }
        }
    }

    fn end(&mut self) {
        if self.lent {
            if self.daemon.is_some() {
                self.crash();
            }
            return;
        }
        if self.daemon.is_none() && self.data.join("sistemo.db").exists() {
            self.up();
        }
        let machines = self.run("machine list -o json");
        let machines: Value = serde_json::from_str(&machines.out).unwrap_or_default();
        for machine in machines["items"].as_array().into_iter().flatten() {
            self.run(&format!("machine delete {} -y", machine["id"].as_str().unwrap_or("-")));
        }
        self.down();
        self.unmount_pools();
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed must not be hidden by a failure to clean up after it.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
        if ended.is_err() {
            eprintln!("{} was not cleaned up", self.data.display());
        }
    }
}

/// Waits until `f` answers; fails with `what` after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The hypervisor of a machine, by its id on the command line: its process and its arguments.
pub fn hypervisor(machine: &str) -> Option<(Pid, Vec<String>)> {
    std::fs::read_dir("/proc").expect("/proc is there").flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_string_lossy().parse().ok()?)?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line: Vec<String> =
            line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        let ours = line[0].contains("qemu-system") && line.iter().any(|a| a.contains(machine));
        ours.then_some((pid, line))
    })
}
