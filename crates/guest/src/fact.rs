//! The journal: how PID 1 and helpers tell the agent what they did.
//!
//! It is a file in the initramfs, so an agent that had to be restarted reads it again and knows
//! everything. One JSON document a line, appended by single writes.
//!
//! Invariant: a line that cannot be understood is skipped; the state made of the lines is bounded,
//! whatever they say.

use proto::{Growth, GuestConfig, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Where the agent's processes meet, in the initramfs.
pub const RUN: &str = "/run/sistemo";
/// The journal's path.
pub const JOURNAL: &str = "/run/sistemo/facts";
const NOTES: usize = 64;
const LONGEST_NOTE: usize = 500;

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// The root file system was mounted from the disk that the kernel calls `disk`.
    RootMounted {
        /// The disk's serial.
        serial: String,
        /// Such as `vda`.
        disk: String,
    },
    /// A data disk was mounted.
    Mounted {
        /// The disk's serial.
        serial: String,
        /// Such as `vdb`.
        disk: String,
        /// Where, in the root.
        path: String,
        /// It cannot be grown.
        read_only: bool,
    },
    /// A data disk could not be mounted.
    NotMounted {
        /// The disk's serial.
        serial: String,
    },
    /// A data disk was unmounted, whoever wanted that.
    Unmounted {
        /// The disk's serial.
        serial: String,
    },
    /// Why there is no root.
    Failed(String),
    /// What a person should know about something; `None`: it is well again.
    Note {
        /// Replaces an earlier note about the same.
        about: String,
        /// One sentence.
        text: Option<String>,
    },
    /// How far a growth is.
    Growing(Growth),
    /// A growth ended, well or not.
    Grown {
        /// The disk's serial.
        serial: String,
    },
    /// This configuration was applied.
    Applied(Box<GuestConfig>),
    /// PID 1 hands over to the image's init or to its own loop.
    Ready,
}

/// The writing end.
pub struct Journal(Option<File>);

impl Journal {
    /// Opens the journal; making it if need be.
    pub fn open() -> Self {
        let _ = std::fs::create_dir_all(RUN);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(JOURNAL);
        if let Err(e) = &file {
            crate::log::complain(&format!("cannot open the agent's journal: {e}"));
        }
        Self(file.ok())
    }

    /// Appends a fact, and says it on the console where a person would like to read it.
    pub fn post(&self, fact: &Fact) {
        if let Fact::Note { text: Some(text), .. } | Fact::Failed(text) = fact {
            crate::log::complain(text);
        }
        let Ok(mut line) = serde_json::to_vec(fact) else { return };
        line.push(b'\n');
        if let Some(mut file) = self.0.as_ref() {
            let _: io::Result<()> = file.write_all(&line);
        }
    }

    /// Notes a failure, or that there is none any more.
    pub fn outcome<T, E: std::fmt::Display>(&self, about: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.post(&Fact::Note { about: about.to_owned(), text: None });
                Some(value)
            }
            Err(e) => {
                self.post(&Fact::Note { about: about.to_owned(), text: Some(format!("{about}: {e}")) });
                None
            }
        }
    }
}

/// A mounted data disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The kernel's name.
    pub disk: String,
    /// Where it is mounted in the root.
    pub path: String,
    /// It cannot be grown.
    pub read_only: bool,
}

/// What a note about a disk is about that is hidden by another mount.
pub fn covering(serial: &str) -> String {
    format!("what covers disk {serial}")
}

/// What all facts together say.
#[derive(Default, Debug)]
pub struct Board {
    /// Serial and kernel name of the root disk, once it is mounted.
    pub root: Option<(String, String)>,
    /// Mounted data disks by serial.
    pub volumes: BTreeMap<String, Volume>,
    /// Disks that were mounted and were let go of.
    pub released: BTreeSet<String>,
    /// Disks that could not be mounted, and may be yet.
    pub failed: BTreeSet<String>,
    /// The configuration that was applied last.
    pub applied: Option<GuestConfig>,
    /// PID 1 has handed over.
    pub ready: bool,
    error: Option<String>,
    notes: Vec<(String, String)>,
    growing: BTreeMap<String, Growth>,
}

impl Board {
    /// Takes the whole lines from the front of `bytes`.
    pub fn read(&mut self, bytes: &mut Vec<u8>) {
        let Some(end) = bytes.iter().rposition(|&b| b == b'\n') else { return };
        for line in bytes[..end].split(|&b| b == b'\n') {
            if let Ok(fact) = serde_json::from_slice(line) {
                self.take(fact);
            }
        }
        bytes.drain(..=end);
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::RootMounted { serial, disk } => self.root = Some((serial, disk)),
            Fact::Mounted { serial, disk, path, read_only } => {
                self.released.remove(&serial);
                self.failed.remove(&serial);
                self.volumes.insert(serial, Volume { disk, path, read_only });
            }
            Fact::NotMounted { serial } => {
                self.volumes.remove(&serial);
                self.failed.insert(serial);
            }
            Fact::Unmounted { serial } => {
                self.failed.remove(&serial);
                self.notes.retain(|(about, _)| *about != covering(&serial));
                if self.volumes.remove(&serial).is_some() {
                    self.released.insert(serial);
                }
            }
            Fact::Failed(why) => self.error = Some(why),
            Fact::Note { about, text } => {
                self.notes.retain(|(a, _)| *a != about);
                if let (Some(text), true) = (text, self.notes.len() < NOTES) {
                    self.notes.push((about, text.chars().take(LONGEST_NOTE).collect()));
                }
            }
            Fact::Growing(growth) => {
                self.growing.insert(growth.serial.clone(), growth);
            }
            Fact::Grown { serial } => {
                self.growing.remove(&serial);
            }
            Fact::Applied(config) => self.applied = Some(*config),
            Fact::Ready => self.ready = true,
        }
    }

    /// What is noted about something.
    pub fn note(&self, about: &str) -> Option<String> {
        self.notes.iter().find(|(a, _)| a == about).map(|(_, text)| text.clone())
    }

    /// What the host is told.
    pub fn state(&self) -> State {
        State {
            protocol: proto::VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            kernel: crate::modules::kernel(),
            generation: self.applied.as_ref().map_or(0, |c| c.generation),
            root_mounted: self.root.is_some(),
            error: self.error.clone(),
            notes: self.notes.iter().map(|(_, text)| text.clone()).collect(),
            growing: self.growing.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fact: &Fact) -> Vec<u8> {
        let mut out = serde_json::to_vec(fact).unwrap();
        out.push(b'\n');
        out
    }

    #[test]
    fn lines_are_taken_whole_and_rubbish_is_passed_over() {
        let root = Fact::RootMounted { serial: "r".into(), disk: "vda".into() };
        let mut bytes = [&b"rubbish\n\xff\n"[..], &line(&root), &line(&Fact::Ready)].concat();
        let rest = bytes.split_off(bytes.len() - 3);
        let mut board = Board::default();
        board.read(&mut bytes);
        assert_eq!(board.root, Some(("r".into(), "vda".into())));
        assert!(!board.ready);
        bytes.extend_from_slice(&rest);
        board.read(&mut bytes);
        assert!(board.ready && bytes.is_empty());
    }

    #[test]
    fn a_note_goes_when_it_is_well_again_and_notes_are_bounded() {
        let mut board = Board::default();
        let note =
            |n: usize, text: Option<&str>| Fact::Note { about: n.to_string(), text: text.map(str::to_owned) };
        (0..1000).for_each(|n| board.take(note(n, Some(&"x".repeat(9000)))));
        assert_eq!(board.state().notes.len(), NOTES);
        assert!(board.state().notes.iter().all(|n| n.len() == LONGEST_NOTE));
        (0..1000).for_each(|n| board.take(note(n, None)));
        assert!(board.state().notes.is_empty());
    }

    #[test]
    fn a_growth_is_shown_until_it_ends() {
        let mut board = Board::default();
        for done in [1, 2] {
            board.take(Fact::Growing(Growth { serial: "r".into(), done, total: 3 }));
        }
        assert_eq!(board.state().growing, [Growth { serial: "r".into(), done: 2, total: 3 }]);
        board.take(Fact::Grown { serial: "r".into() });
        assert!(board.state().growing.is_empty());
    }
}
