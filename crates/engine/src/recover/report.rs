//! What a recovery says.

use serde::Serialize;
use std::fmt;
use types::Name;
use types::operation::Kind;
use uuid::Uuid;

/// How something came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As its sidecar has it.
    Recovered,
    /// From its content alone, under a made-up name.
    Adopted,
    /// Its record only: its file is gone.
    Lost,
    /// It was being deleted: the daemon moves it to the trash.
    Deleting,
    /// It was deleted, and can be taken back.
    Trashed,
    /// A machine whose hypervisor runs on.
    Running,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Recovered => "recovered",
            Self::Adopted => "adopted",
            Self::Lost => "lost",
            Self::Deleting => "deleting",
            Self::Trashed => "trashed",
            Self::Running => "running",
        })
    }
}

/// Something that is in the database again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Restored {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// Its name from now on.
    pub name: Name,
    /// How it came back.
    pub outcome: Outcome,
    /// What is different from what it was, or may be.
    pub notes: Vec<String>,
}

/// Something that was left as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Left {
    /// What, or where.
    pub what: String,
    /// Why nothing could be made of it.
    pub why: String,
}

/// All that a recovery says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// What is in the database again.
    pub items: Vec<Restored>,
    /// What was left as it is.
    pub left: Vec<Left>,
    /// What no file tells.
    pub unknown: Vec<String>,
}

/// What no file tells, whatever was found.
pub(super) fn unknown() -> Vec<String> {
    [
        "operations and history before this recovery are gone",
        "requests of the last moments before the loss may be missing, if their sidecar was not written yet",
        "which kernel each machine was pinned to: the next start takes the newest",
        "machines that do not run are stopped, whatever they were",
    ]
    .map(str::to_owned)
    .to_vec()
}
