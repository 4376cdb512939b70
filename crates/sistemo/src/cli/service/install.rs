//! `sistemo service install`.

use super::{Root, UNITS, failed, paths, program, system, unit};
use crate::api::GROUP;
use crate::cli::context::Context;
use crate::cli::render::Format;
use crate::cli::{Ended, render};
use clap::Args;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use types::{Code, Problem};

/// How.
#[derive(Args)]
#[command(after_help = "Members of the group `sistemo` may use the daemon: `usermod -aG sistemo NAME`.")]
pub struct Install {
    /// Write the units but start nothing
    #[arg(long)]
    no_start: bool,
    /// Write below this directory, such as a mounted system, and start nothing
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    program: PathBuf,
    units: Vec<PathBuf>,
    removed: Vec<PathBuf>,
    kept_as: Vec<PathBuf>,
    group_made: bool,
    started: bool,
    todo: Vec<String>,
}

const ENABLE: [&str; 4] = ["enable", "--now", unit::DAEMON, unit::GUESTS];

impl Install {
    /// Installs it.
    pub fn run(self, context: &Context) -> Ended {
        let root = Root::new(self.root)?;
        let config = context.config(false)?;
        let program = program::find()?;
        program::check(&config.data_dir)?;
        let start = root.booted() && !self.no_start;
        if start {
            alone(&config.data_dir, system::main_process(unit::DAEMON))?;
        }
        let group_made = system::ensure_group(root.0.as_deref(), GROUP)?;
        let mut units = Vec::new();
        let mut cleared = Cleared::default();
        let dir = root.path(UNITS);
        // A package's units are as they should be, unless they start another program or on another directory.
        if root.packaged() && unit::as_packaged(&program, &config.data_dir) {
            cleared = clear(&dir)?;
        } else {
            for (name, text) in unit::fitted(&program, &config.data_dir) {
                let path = dir.join(name);
                publish(&path, &text).map_err(|e| failed("write", &path, &e))?;
                units.push(path);
            }
        }
        if root.booted() {
            system::run("systemctl", &["daemon-reload"])?;
        }
        let mut todo = Vec::new();
        if start {
            system::run("systemctl", &ENABLE)?;
        } else {
            if !root.booted() {
                todo.push("systemctl daemon-reload".to_owned());
            }
            todo.push(format!("systemctl {}", ENABLE.join(" ")));
        }
        let Cleared { removed, kept_as } = cleared;
        let done = Done { program, units, removed, kept_as, group_made, started: start, todo };
        if context.format() == Format::Name {
            return paths(&done.units);
        }
        render::done(context, &done, text)
    }
}

fn text(done: &Done) -> String {
    let mut out = String::new();
    for unit in &done.units {
        out.push_str(&format!("wrote {}\n", unit.display()));
    }
    for unit in &done.removed {
        out.push_str(&format!("removed {}, which hid the package's\n", unit.display()));
    }
    for old in &done.kept_as {
        out.push_str(&format!("what it said is in {}\n", old.display()));
    }
    if done.group_made {
        out.push_str(&format!("made group {GROUP}; its members may use the daemon\n"));
    }
    if done.started {
        out.push_str("the daemon runs, now and after every boot\n");
    } else {
        out.push_str("nothing was started; to start it now and at every boot, run:\n");
        for command in &done.todo {
            out.push_str(&format!("  {command}\n"));
        }
    }
    out
}

/// Refuses to start a second daemon on a data directory: it would fail, and be tried again at every boot.
fn alone(data_dir: &Path, service: Option<u32>) -> Result<(), Problem> {
    let Some(holder) = holder(&data_dir.join("sistemo.lock")) else { return Ok(()) };
    if holder.is_some() && holder == service {
        return Ok(());
    }
    let (who, end) = match holder {
        Some(pid) => (format!("a daemon (process {pid})"), format!("`kill {pid}`")),
        None => ("a daemon".to_owned(), "SIGTERM".to_owned()),
    };
    Err(Problem::new(
        Code::DaemonRunning,
        format!("{who} that is not the service already runs on {}", data_dir.display()),
    )
    .hint(format!("end it with {end}, and run this again; machines go on")))
}

/// Whether a daemon holds its lock, and which process it is, if it has said so.
fn holder(lock: &Path) -> Option<Option<u32>> {
    let file = std::fs::File::open(lock).ok()?;
    // Given back at once, with the file.
    if flock(&file, FlockOperation::NonBlockingLockShared) != Err(rustix::io::Errno::WOULDBLOCK) {
        return None;
    }
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    Some(read.ok().and_then(|_| text.trim().parse().ok()))
}

/// What was taken out of the way of a package's units.
#[derive(Default)]
struct Cleared {
    removed: Vec<PathBuf>,
    kept_as: Vec<PathBuf>,
}

/// Takes units that an earlier `service install` wrote out of the way of a package's, which they hide. One that
/// somebody has changed is kept under a name that the service manager does not read; others' are left.
fn clear(dir: &Path) -> Result<Cleared, Problem> {
    let mut cleared = Cleared::default();
    for name in [unit::DAEMON, unit::GUESTS] {
        let path = dir.join(name);
        // A link is a mask, or somebody's own way to have units.
        if !path.symlink_metadata().is_ok_and(|seen| seen.is_file()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| failed("read", &path, &e))?;
        match unit::whose(name, &text) {
            unit::Whose::Foreign => continue,
            unit::Whose::Ours => std::fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?,
            unit::Whose::Changed => {
                let old = path.with_extension("service.old");
                std::fs::rename(&path, &old).map_err(|e| failed("rename", &path, &e))?;
                cleared.kept_as.push(old);
            }
        }
        cleared.removed.push(path);
    }
    Ok(cleared)
}

/// A reader sees the old text or the new one.
fn publish(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|have| have == text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let fresh = path.with_extension("service.new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_written_once_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/sistemo.service");
        publish(&path, "one\n").unwrap();
        let first = path.metadata().unwrap().modified().unwrap();
        publish(&path, "one\n").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), first);
        publish(&path, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn ours_make_way_for_a_packages_units() {
        let dir = tempfile::tempdir().unwrap();
        let (program, data) = (Path::new("/usr/local/bin/sistemo"), Path::new("/var/lib/sistemo"));
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        let units = unit::fitted(program, data);
        put(units[0].0, &units[0].1);
        put(units[1].0, &format!("{}# changed\n", units[1].1));
        let cleared = clear(dir.path()).unwrap();
        assert_eq!((cleared.removed.len(), cleared.kept_as.len()), (2, 1));
        assert!(!there(unit::DAEMON) && !there(unit::GUESTS) && there("sistemo-guests.service.old"));
        put(unit::DAEMON, "[Service]\nExecStart=/opt/mine\n");
        std::os::unix::fs::symlink("/dev/null", dir.path().join(unit::GUESTS)).unwrap();
        assert!(clear(dir.path()).unwrap().removed.is_empty());
        assert!(there(unit::DAEMON) && there(unit::GUESTS));
    }

    #[test]
    fn a_daemon_that_is_not_the_service_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(alone(dir.path(), None).is_ok());
        let mut lock = std::fs::File::create(dir.path().join("sistemo.lock")).unwrap();
        assert!(alone(dir.path(), None).is_ok());
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(alone(dir.path(), None).unwrap_err().code, Code::DaemonRunning);
        writeln!(lock, "4711").unwrap();
        let problem = alone(dir.path(), Some(1)).unwrap_err();
        assert!(problem.message.contains("(process 4711)"), "{problem:?}");
        assert!(problem.hint.unwrap().contains("`kill 4711`"));
        assert!(alone(dir.path(), Some(4711)).is_ok());
    }
}
