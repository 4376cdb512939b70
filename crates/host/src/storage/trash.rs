//! Deleted volumes, kept for a while.
//!
//! Invariant: until when a file is kept is in its name, so that one rename moves it and nothing else
//! has to be written. Only names of exactly our shape are ever removed.

use super::fill;
use crate::{Layout, durable, fault};
use engine::port::Fault;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use types::{Timestamp, VolumeId};

/// A file in the trash: `<milliseconds>.<id>.raw` or `.json`.
#[derive(PartialEq, Eq, Debug)]
struct Kept {
    until: i64,
    volume: VolumeId,
    content: bool,
}

impl Kept {
    fn name(&self) -> String {
        let end = if self.content { "raw" } else { "json" };
        format!("{}.{}.{end}", self.until, self.volume)
    }

    /// Reads a name; `None` if we would not have written it exactly so.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (until, volume, end) = (parts.next()?, parts.next()?, parts.next()?);
        let kept = Self { until: until.parse().ok()?, volume: volume.parse().ok()?, content: end == "raw" };
        (kept.name() == name).then_some(kept)
    }
}

/// The volume whose content is in the trash under this name.
pub fn deleted(name: &str) -> Option<VolumeId> {
    Kept::parse(name).filter(|kept| kept.content).map(|kept| kept.volume)
}

fn list(dir: &Path) -> io::Result<Vec<(PathBuf, Kept)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(kept) = entry.file_name().to_str().and_then(Kept::parse) {
            found.push((entry.path(), kept));
        }
    }
    Ok(found)
}

/// Whether the trash holds the volume's file.
pub fn holds(layout: &Layout, volume: VolumeId) -> Result<bool, Fault> {
    let kept = list(&layout.trash()).map_err(|e| fault::io("look into the trash", &layout.trash(), &e))?;
    Ok(kept.iter().any(|(_, k)| k.volume == volume && k.content))
}

/// Moves what is published into the trash, the sidecar first: a kill between the two leaves the
/// file where it is, and the next call moves it.
pub fn put(layout: &Layout, volume: VolumeId, keep_until: Timestamp) -> io::Result<()> {
    fill::sweep(layout, volume)?;
    for (from, content) in [(layout.volume_sidecar(volume), false), (layout.volume(volume), true)] {
        if from.symlink_metadata().is_ok() {
            let kept = Kept { until: keep_until.millis(), volume, content };
            durable::rename(&from, &layout.trash().join(kept.name()))?;
        }
    }
    // An earlier call may have been killed between its rename and its sync.
    durable::sync_dir(&layout.trash())?;
    durable::sync_dir(&layout.volumes())
}

/// Moves a volume's file back. `publish` publishes a sidecar, before the one in the trash goes: a kill
/// leaves the file in the trash with a sidecar that is not, which nothing else does.
pub fn take_out(
    layout: &Layout,
    volume: VolumeId,
    publish: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut ours = list(&layout.trash())?;
    ours.retain(|(_, kept)| kept.volume == volume);
    let content = ours.iter().find(|(_, kept)| kept.content).map(|(path, _)| path.clone());
    let content = content.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    publish()?;
    for (path, _) in ours.iter().filter(|(_, kept)| !kept.content) {
        durable::remove(path)?;
    }
    durable::sync_dir(&layout.trash())?;
    fill::name(&content, &layout.volume(volume))?;
    durable::sync_dir(&layout.trash())
}

/// Removes what is published, all temporaries and what is in the trash; of what is published the file
/// first, so that a kill leaves something that shows that removing is not done, and of the trash last.
pub fn remove(layout: &Layout, volume: VolumeId) -> io::Result<()> {
    durable::discard(&layout.volume(volume))?;
    durable::remove(&layout.volume_sidecar(volume))?;
    fill::sweep(layout, volume)?;
    durable::remove(&super::upload::path(layout, volume))?;
    durable::sync_dir(&layout.volumes())?;
    let mut ours = list(&layout.trash())?;
    ours.retain(|(_, kept)| kept.volume == volume);
    ours.sort_by_key(|(_, kept)| kept.content);
    for (path, _) in &ours {
        durable::discard(path)?;
    }
    durable::sync_dir(&layout.trash())
}

/// Removes what is kept until `now` or less and is not `known`; tells the volumes whose files went.
pub fn purge(layout: &Layout, now: Timestamp, known: &dyn Fn(VolumeId) -> bool) -> io::Result<Vec<VolumeId>> {
    super::upload::sweep(layout, now, known)?;
    let mut due = list(&layout.trash())?;
    due.retain(|(_, kept)| kept.until <= now.millis() && !known(kept.volume));
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let mut gone = Vec::new();
    for (path, kept) in due {
        durable::discard(&path)?;
        if kept.content {
            gone.push(kept.volume);
        }
    }
    durable::sync_dir(&layout.trash())?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_our_own_names_are_read() {
        let id = "0192f0c1-2345-7abc-8def-0123456789ab";
        let name = format!("1700000000000.{id}.raw");
        assert_eq!(Kept::parse(&name).unwrap().name(), name);
        for foreign in [
            format!("+5.{id}.raw"),
            format!("05.{id}.raw"),
            format!("5.{id}.raw.bak"),
            format!("5.{id}.RAW"),
            format!("5.{}.raw", id.to_uppercase()),
            format!("5.{{{id}}}.raw"),
            format!(".5.{id}.raw"),
            "notes.txt".into(),
        ] {
            assert_eq!(Kept::parse(&foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(name in any::<String>()) {
            let _ = Kept::parse(&name);
        }
    }
}
