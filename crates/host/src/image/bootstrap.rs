//! Building a distribution's root directory with mmdebstrap.
//!
//! Invariant: it runs in mount and process namespaces of its own, so that no mount and no process of
//! it is left behind, however it ends; and with the daemon it ends.

use super::recipe::{DPKG, FINISH, PACKAGES, Recipe};
use crate::child::{self, Failed};
use crate::copy::Pace;
use crate::{apt, fault};
use engine::port::{Fault, OnProgress};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use types::Code;
use types::operation::Progress;

/// A mirror or a package's script that says nothing for this long will say nothing more.
const QUIET: Duration = Duration::from_secs(30 * 60);

/// Builds the recipe in `dir`; returns the root directory.
///
/// # Errors
/// `tool-missing`, `no-permission`, `image-failed`, `pool-full`, `io-error`.
pub fn run(recipe: &Recipe, dir: &Path, progress: OnProgress<'_>) -> Result<PathBuf, Fault> {
    if !rustix::process::geteuid().is_root() {
        let text = format!("building image {} needs root", recipe.distro);
        return Err(Fault::lasting(Code::NoPermission, text)
            .hint("run the daemon as root, or give the path of a file that holds an ext4 file system"));
    }
    let (root, sources, reach) = (dir.join("root"), dir.join("build.sources"), dir.join("apt.conf"));
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|e| fault::io("write apt's configuration", dir, &e))
    };
    write(&sources, &recipe.sources)?;
    write(&reach, &apt::reach())?;
    if !is_installed("mmdebstrap") {
        return Err(crate::tool::missing("mmdebstrap", "mmdebstrap"));
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--", "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--verbose"]);
    command.arg(format!("--include={PACKAGES}"));
    command.args(DPKG.map(|rule| format!("--dpkgopt={rule}")));
    // Not by --aptopt: how this host reaches the archive is not for the guest.
    command.arg(r#"--setup-hook=cp "$SISTEMO_APT_CONF" "$1/etc/apt/apt.conf.d/00sistemo-build""#);
    command.arg(r#"--customize-hook=chroot "$1" sh -c "$SISTEMO_FINISH""#);
    command.env("SISTEMO_APT_CONF", &reach).env("SISTEMO_FINISH", FINISH);
    command.env("SISTEMO_DISTRO", recipe.distro).env("SISTEMO_SOURCES", &recipe.guest_sources);
    // Its temporaries go with the rest, should it be killed.
    command.env("TMPDIR", dir);
    command.arg(&recipe.suite).arg(&root).arg(&sources);
    let mut watch = Watch::new(recipe.distro);
    let mut heard = |line: &str| watch.hear(line, progress);
    match child::run(&mut command, "util-linux", Code::ImageFailed, QUIET, &mut heard) {
        Ok(()) => Ok(root),
        Err(failed) => Err(judge(failed, recipe.distro, dir)),
    }
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/bin".into()]).any(|dir| dir.join(tool).is_file())
}

/// What went wrong, as far as it can be told from what was said.
fn judge(failed: Failed, name: &str, dir: &Path) -> Fault {
    let said = |words: &[&str]| words.iter().any(|w| failed.tail.contains(w));
    if said(&["No space left on device", "You don't have enough free space"]) {
        return fault::full(&format!("build image {name}"), dir, None);
    }
    let lasting = |text: String| Fault::lasting(failed.fault.problem.code, text);
    if said(&["Could not resolve", "Temporary failure resolving", "Could not connect", "Cannot initiate"]) {
        return lasting(format!("image {name} was not built: its archive cannot be reached"))
            .hint("check the host's network, its name servers and its apt sources");
    }
    if said(&["NO_PUBKEY", "is not signed", "EXPKEYSIG"]) {
        return lasting(format!("image {name} was not built: its archive's signature is not trusted"))
            .hint("check the host's clock, and update the package of the archive's keys");
    }
    let why = failed.fault.problem.message.replace("unshare", "mmdebstrap");
    lasting(format!("image {name} was not built: {why}")).hint("the daemon's log has what it said")
}

/// Follows a build by what it says.
struct Watch {
    name: &'static str,
    stage: &'static str,
    /// How many packages this stage has behind it; installing handles each twice.
    done: u64,
    /// How many there are of this round: of the base, then of the rest.
    round: Option<u64>,
    pace: Pace,
}

const DOWNLOADING: &str = "downloading packages";
const INSTALLING_BASE: &str = "installing the base";
const INSTALLING: &str = "installing packages";

impl Watch {
    fn new(name: &'static str) -> Self {
        Self { name, stage: "", done: 0, round: None, pace: Pace::new() }
    }

    fn hear(&mut self, line: &str, progress: OnProgress<'_>) {
        match line.strip_prefix("I: ").and_then(|s| s.split_once(' ')) {
            Some(("running", s)) if s.starts_with("apt-get update") => self.enter("reading package lists"),
            Some(("extracting", _)) => self.enter("unpacking the base"),
            Some(("installing", s)) if s.starts_with("essential") => self.enter(INSTALLING_BASE),
            Some(("cleaning", _)) => self.enter("cleaning up"),
            _ => self.count(line),
        }
        if self.pace.due() {
            progress(self.told());
        }
    }

    fn count(&mut self, line: &str) {
        if let Some(count) = newly_installed(line) {
            self.enter(DOWNLOADING);
            self.round = Some(count);
            return;
        }
        if line.starts_with("Unpacking ") && self.stage == DOWNLOADING {
            self.enter(INSTALLING);
        }
        if match self.stage {
            DOWNLOADING => line.starts_with("Get:"),
            INSTALLING | INSTALLING_BASE => line.starts_with("Unpacking ") || line.starts_with("Setting up "),
            _ => false,
        } {
            self.done += 1;
        }
    }

    fn enter(&mut self, stage: &'static str) {
        self.stage = stage;
        self.done = 0;
        // A new stage is told at once.
        self.pace = Pace::new();
    }

    fn told(&self) -> Progress {
        let what = match self.stage {
            "" => format!("building image {}", self.name),
            stage => format!("building image {}: {stage}", self.name),
        };
        let total = match self.stage {
            DOWNLOADING => self.round,
            INSTALLING | INSTALLING_BASE => self.round.map(|n| 2 * n),
            _ => None,
        };
        match total {
            Some(total) if self.stage != DOWNLOADING => {
                let done = self.done.min(total) * 100 / total.max(1);
                Progress { what, done, total: Some(100), unit: "percent".into() }
            }
            _ => {
                let done = total.map_or(self.done, |total| self.done.min(total));
                Progress { what, done, total, unit: "packages".into() }
            }
        }
    }
}

/// `0 upgraded, 69 newly installed, 0 to remove and 0 not upgraded.`
fn newly_installed(line: &str) -> Option<u64> {
    line.split(", ").find_map(|part| part.strip_suffix(" newly installed"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_followed() {
        let mut watch = Watch::new("debian");
        let script = [
            ("I: running apt-get update...", "reading package lists", 0, None),
            ("Get:1 http://x InRelease", "reading package lists", 0, None),
            ("0 upgraded, 2 newly installed, 0 to remove", "downloading packages", 0, Some(2)),
            ("Get:1 http://x a", "downloading packages", 1, Some(2)),
            ("Get:2 http://x b", "downloading packages", 2, Some(2)),
            ("I: extracting archives...", "unpacking the base", 0, None),
            ("I: installing essential packages...", "installing the base", 0, Some(100)),
            ("Unpacking a (1) ...", "installing the base", 25, Some(100)),
            ("Setting up a (1) ...", "installing the base", 50, Some(100)),
            ("I: installing remaining packages inside the chroot...", "installing the base", 50, Some(100)),
            ("0 upgraded, 5 newly installed, 0 to remove", "downloading packages", 0, Some(5)),
            ("Unpacking c (1) ...", "installing packages", 10, Some(100)),
            ("Setting up c (1) ...", "installing packages", 20, Some(100)),
            ("I: cleaning package lists and apt cache...", "cleaning up", 0, None),
        ];
        for (line, stage, done, total) in script {
            watch.hear(line, &|_| ());
            let told = watch.told();
            assert_eq!(told.what, format!("building image debian: {stage}"), "{line}");
            assert_eq!((told.done, told.total), (done, total), "{line}");
        }
    }
}
