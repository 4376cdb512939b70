//! What changed, told by revision.
//!
//! Invariant: a follower that goes on from the last revision it saw misses nothing; where the log
//! does not reach back so far, it is told so.

use crate::Engine;
use crate::store::{Change, Watch};
use types::event::{ChangeEvent, Subject};
use types::{Code, Problem};

impl Engine {
    /// The store's revision now.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn revision(&self) -> Result<u64, Problem> {
        Ok(self.0.db.0.revision()?)
    }

    /// What changed after `from`, oldest first, and up to which revision that is all.
    ///
    /// # Errors
    /// `revision-gone`, `database-failed`.
    pub fn changes(&self, from: u64) -> Result<(u64, Vec<ChangeEvent>), Problem> {
        let gone = |why: &str| {
            Problem::new(Code::RevisionGone, format!("changes after revision {from} cannot be told: {why}"))
                .hint("read the lists anew, and follow from now")
        };
        if from > self.revision()? {
            return Err(gone("there is no such revision"));
        }
        match self.0.db.0.watch("", from)? {
            Watch::Compacted => Err(gone("the log does not reach back so far")),
            Watch::Changes(all) => {
                let upto = all.last().map_or(from, |c| c.revision);
                let mut told: Vec<ChangeEvent> = all.iter().filter_map(event).collect();
                // Spec and status of one thing are one thing to a follower.
                told.dedup_by(|b, a| {
                    let same = (a.revision, a.kind, a.id) == (b.revision, b.kind, b.id);
                    a.deleted |= same && b.deleted;
                    same
                });
                Ok((upto, told))
            }
        }
    }
}

fn event(change: &Change) -> Option<ChangeEvent> {
    let mut parts = change.key.split('/');
    let kind = match parts.next()? {
        "machine" => Subject::Machine,
        "volume" => Subject::Volume,
        "image" => Subject::Image,
        "network" => Subject::Network,
        "snapshot" => Subject::Snapshot,
        "pool" => Subject::Pool,
        "operation" => Subject::Operation,
        "history" => Subject::History,
        _ => return None,
    };
    let id = parts.next()?.parse().ok()?;
    let deleted = change.deleted && parts.next() != Some("status");
    Some(ChangeEvent { revision: change.revision, kind, id, deleted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::sim::World;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use types::volume::CreateVolume;
    use types::{Actor, Name};

    #[test]
    fn changes_are_told_and_resumed() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let heard = Arc::new(AtomicU64::new(0));
        let hears = heard.clone();
        engine.on_commit(Arc::new(move |r| hears.store(r, Ordering::Relaxed)));
        let from = engine.revision().unwrap();
        let root = Actor("root".into());
        let asked = CreateVolume {
            name: Some(Name::new("v").unwrap()),
            size_bytes: 1 << 30,
            ..CreateVolume::default()
        };
        engine.create_volume(&root, asked).unwrap();
        engine.run_until_idle(100).unwrap();
        let id = engine.volume("v").unwrap().id.0;
        let (upto, all) = engine.changes(from).unwrap();
        assert_eq!(upto, engine.revision().unwrap());
        assert!(all.iter().any(|e| e.kind == Subject::Volume && e.id == id && !e.deleted));
        assert!(all.iter().any(|e| e.kind == Subject::Operation));
        assert!(all.iter().any(|e| e.kind == Subject::History));
        assert_eq!(heard.load(Ordering::Relaxed), engine.revision().unwrap());
        let middle = all[0].revision;
        let rest: Vec<_> = all.iter().filter(|e| e.revision > middle).cloned().collect();
        assert_eq!(engine.changes(middle).unwrap().1, rest);
        let now = engine.revision().unwrap();
        engine.delete_volume(&root, "v", false).unwrap();
        engine.run_until_idle(100).unwrap();
        world.pass(48 * 3600 * 1000);
        engine.resync().unwrap();
        engine.run_until_idle(100).unwrap();
        assert!(engine.changes(now).unwrap().1.iter().any(|e| e.id == id && e.deleted));
        world.disk().compact(now);
        assert_eq!(engine.changes(from).unwrap_err().code, Code::RevisionGone);
        assert_eq!(engine.changes(u64::MAX).unwrap_err().code, Code::RevisionGone);
    }
}
