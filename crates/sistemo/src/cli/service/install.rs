//! `sistemo service install`.

use super::{Root, UNITS, failed, paths, program, system, unit};
use crate::api::GROUP;
use crate::cli::context::Context;
use crate::cli::render::Format;
use crate::cli::{Ended, render};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

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
    group_made: bool,
    started: bool,
    todo: Vec<String>,
}

const ENABLE: [&str; 4] = ["enable", "--now", unit::DAEMON, unit::GUESTS];

impl Install {
    /// Installs it.
    pub fn run(self, context: &Context) -> Ended {
        let root = Root::new(self.root)?;
        let config = context.config(Vec::new(), false)?;
        let program = program::find()?;
        program::check(&config.data_dir)?;
        let group_made = system::ensure_group(root.0.as_deref(), GROUP)?;
        let mut units = Vec::new();
        // A package's units are as they should be, unless they start another program.
        if !(root.packaged() && program == Path::new("/usr/bin/sistemo")) {
            let dir = root.path(UNITS);
            for (name, text) in unit::fitted(&program, &config.data_dir) {
                let path = dir.join(name);
                publish(&path, &text).map_err(|e| failed("write", &path, &e))?;
                units.push(path);
            }
        }
        let start = root.booted() && !self.no_start;
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
        let done = Done { program, units, group_made, started: start, todo };
        if context.format() == Format::Name {
            return paths(&done.units);
        }
        render::one(context.format(), &done, text)
    }
}

fn text(done: &Done) -> String {
    let mut out = String::new();
    for unit in &done.units {
        out.push_str(&format!("wrote {}\n", unit.display()));
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
}
