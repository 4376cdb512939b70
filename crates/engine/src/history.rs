//! The audit log: one line for every request that was refused or has ended.
//!
//! Invariant: a line is written in the transaction that ends its operation, and never changed.

use crate::db::{Change, Rev, Take};
use crate::store::Limit;
use crate::{Engine, key};
use serde::Deserialize;
use types::operation::{HistoryEntry, Kind, OperationState, Outcome, Target};
use types::{Actor, Name, Operation, Problem, Timestamp, Verb};
use uuid::Uuid;

/// The most characters that are kept of what a refusal says: whoever is refused has a hand in it, and would
/// push all else out of the log.
const SAID: usize = 500;

/// The line of an operation that has ended; for one that has not, what it would be now.
pub fn line(id: Uuid, op: &Operation) -> HistoryEntry {
    let outcome = match op.state {
        OperationState::Running => Outcome::Running,
        OperationState::Succeeded => Outcome::Succeeded,
        OperationState::Failed => Outcome::Failed,
    };
    HistoryEntry {
        id,
        time: op.created_at,
        actor: op.actor.clone(),
        action: op.verb,
        target: op.target.clone(),
        outcome,
        problem: op.problem.clone(),
        warnings: op.warnings.clone(),
        duration_ms: took(op),
        operation: Some(op.id),
    }
}

/// From its acceptance to its end, in milliseconds.
pub fn took(op: &Operation) -> Option<u64> {
    op.ended_at.map(|end| u64::try_from(end.millis() - op.created_at.millis()).unwrap_or(0))
}

/// What all specs have, whatever the kind.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Engine {
    /// Records a request that was refused. A database that cannot take it does not change the
    /// refusal; it is said in the log.
    pub fn refused(&self, actor: &Actor, verb: Verb, target: Target, problem: &Problem) {
        let mut change = Change::new(actor, None, verb);
        let cut = |text: &String| text.chars().take(SAID).collect();
        let (message, hint) = (cut(&problem.message), problem.hint.as_ref().map(cut));
        let problem = Problem { message, hint, ..problem.clone() };
        let entry = self.line(actor, verb, self.known(verb, target), Some(problem));
        change.put(key::history(entry.id), &entry);
        if let Err(e) = change.commit(&self.0.db) {
            tracing::error!(error = %e, %verb, "a refusal could not be recorded");
        }
    }

    /// What a refused request is about, by id and by name, whichever of the two was typed: else a line would be
    /// found by one of them only. What is not there stays as it was typed, and so does a name that was to be taken.
    fn known(&self, verb: Verb, typed: Target) -> Target {
        match self.look_up(verb, &typed) {
            Ok(Some((id, name))) => Target { id: Some(id), name, ..typed },
            // The refusal is worth more than its target's other name.
            Ok(None) | Err(_) => typed,
        }
    }

    fn look_up(&self, verb: Verb, typed: &Target) -> Result<Option<(Uuid, String)>, Problem> {
        if typed.id.is_some() || matches!(typed.kind, Kind::Node | Kind::Token | Kind::User) {
            return Ok(None);
        }
        let by_name = match verb {
            // By name, whoever has it now is another.
            Verb::MachineDeploy
            | Verb::VolumeCreate
            | Verb::VolumeImport
            | Verb::PoolCreate
            | Verb::ImagePull
            | Verb::VolumeRestore
            | Verb::MachineRestore
            | Verb::SnapshotUndelete => None,
            _ => Name::new(&typed.name).ok(),
        };
        let id = match (Uuid::parse_str(&typed.name), by_name) {
            (Ok(id), _) => Some(id),
            (Err(_), Some(name)) => {
                self.0.db.get::<Uuid>(&key::name(typed.kind, name.as_str()))?.map(|claim| claim.value)
            }
            (Err(_), None) => None,
        };
        let Some(id) = id else { return Ok(None) };
        let spec = self.0.db.get::<Named>(&key::spec(typed.kind, id))?;
        Ok(spec.map(|spec| (id, spec.value.name)))
    }

    /// Writes into a change what it does without being asked, and why.
    pub(crate) fn note(&self, change: &mut Change, verb: Verb, target: Target, why: String) {
        let entry = self.line(&Actor::system(), verb, target, None);
        let entry = HistoryEntry { warnings: vec![why], ..entry };
        change.put(key::history(entry.id), &entry);
    }

    /// A line of what is done or refused now, and is no operation.
    pub(crate) fn line(
        &self,
        actor: &Actor,
        verb: Verb,
        target: Target,
        problem: Option<Problem>,
    ) -> HistoryEntry {
        HistoryEntry {
            id: self.0.ports.clock.new_id(),
            time: self.0.ports.clock.now(),
            actor: actor.clone(),
            action: verb,
            target,
            outcome: if problem.is_some() { Outcome::Refused } else { Outcome::Succeeded },
            duration_ms: problem.is_none().then_some(0),
            problem,
            warnings: vec![],
            operation: None,
        }
    }

    fn after(&self, id: Uuid) -> Result<After, Problem> {
        let line = self.0.db.get::<HistoryEntry>(&key::history(id))?;
        Ok(After { id, revision: line.map(|line| line.revision) })
    }

    /// The audit log, newest first, with the operations that are under way on top.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryEntry>, Problem> {
        let mut lines = Vec::new();
        // Those under way come first.
        if query.before.is_none() {
            for open in self.0.db.scan::<types::OperationId>(key::OPEN, Limit::All)? {
                if let Some(op) = self.0.db.get::<Operation>(&key::operation(open.value))? {
                    lines.push(line(op.id.0, &op.value));
                }
            }
        }
        lines.retain(|l| query.wants(l) && query.before_open.is_none_or(|before| l.id < before));
        lines.sort_by_key(|l| std::cmp::Reverse(l.id));
        let after = query.after.map(|id| self.after(id)).transpose()?;
        let found = self.0.db.newest::<HistoryEntry>(
            key::HISTORY,
            query.before.map(key::history),
            query.limit,
            |read| match &after {
                Some(after) if after.is_long_before(&read.value) => Take::Stop,
                Some(after) if !after.is_before(read) => Take::No,
                _ if query.wants(&read.value) => Take::Yes,
                _ => Take::No,
            },
        )?;
        for entry in found {
            // It may have ended between the two scans.
            lines.retain(|l| l.operation.is_none() || l.operation != entry.value.operation);
            lines.push(entry.value);
        }
        // Before they are put in order: the next page goes on after the last one here.
        lines.truncate(query.limit);
        lines.sort_by_key(|l| std::cmp::Reverse((l.time, l.id)));
        Ok(lines)
    }
}

/// How much longer than its fellows a line may be on its way from its id to the store.
const ON_ITS_WAY: i64 = 600_000;

/// A line, by which others are told to be newer. Lines get their ids before the store takes them, and it takes
/// them in any order: so it is the order in which it took them that counts.
struct After {
    id: Uuid,
    revision: Option<u64>,
}

impl After {
    fn is_before(&self, read: &Rev<HistoryEntry>) -> bool {
        // One that went with age is older than all that are left.
        self.revision.map_or(read.value.id > self.id, |revision| read.revision > revision)
    }

    fn is_long_before(&self, line: &HistoryEntry) -> bool {
        millis(line.id) < millis(self.id) - ON_ITS_WAY
    }
}

/// When an id was made (RFC 9562, version 7).
fn millis(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(0)
}

/// Which lines of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// At most so many.
    pub limit: usize,
    /// Older than this line, and of nothing that is under way.
    pub before: Option<Uuid>,
    /// Of what is under way, only what was asked before this operation.
    pub before_open: Option<Uuid>,
    /// Written after this line.
    pub after: Option<Uuid>,
    /// Asked at this time or later.
    pub since: Option<Timestamp>,
    /// What was asked: a verb, or the beginning of some up to a dot.
    pub action: Option<String>,
    /// The id or name of what it is about.
    pub target: Option<String>,
    /// Who asked, with or without their address.
    pub actor: Option<String>,
    /// Only what was refused or failed.
    pub failed: bool,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self {
            limit: 50,
            before: None,
            before_open: None,
            after: None,
            since: None,
            action: None,
            target: None,
            actor: None,
            failed: false,
        }
    }
}

impl HistoryQuery {
    fn wants(&self, line: &HistoryEntry) -> bool {
        let begins = |whole: &str, part: &str, at: char| {
            whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(at))
        };
        let is_target =
            |t: &String| line.target.name == *t || line.target.id.is_some_and(|id| id.to_string() == *t);
        self.since.is_none_or(|since| line.time >= since)
            && self.action.as_ref().is_none_or(|a| begins(&line.action.to_string(), a, '.'))
            && self.target.as_ref().is_none_or(is_target)
            && self.actor.as_ref().is_none_or(|a| begins(&line.actor.0, a, '@'))
            && (!self.failed || matches!(line.outcome, Outcome::Failed | Outcome::Refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::sim::World;

    #[test]
    fn a_line_that_the_store_took_late_is_told_all_the_same() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let target = Target { kind: Kind::Volume, id: None, name: "v".into() };
        let ada = Actor("ada".into());
        let lines = [(); 3].map(|()| engine.line(&ada, Verb::VolumeCreate, target.clone(), None));
        // The first one is overtaken on its way.
        for n in [1, 0, 2] {
            let mut change = Change::system();
            change.put(key::history(lines[n].id), &lines[n]);
            change.commit(&engine.0.db).unwrap();
        }
        let after = |n: usize| {
            let query = HistoryQuery { after: Some(lines[n].id), ..HistoryQuery::default() };
            let mut ids: Vec<_> = engine.history(&query).unwrap().iter().map(|l| l.id).collect();
            ids.sort();
            ids
        };
        assert_eq!(after(1), [lines[0].id, lines[2].id]);
        assert_eq!(after(0), [lines[2].id]);
        assert!(after(2).is_empty());
    }

    #[test]
    fn a_refusal_is_found_by_name_and_by_id() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let ada = Actor("ada".into());
        let create = || {
            let name = Name::new("a").ok();
            types::volume::CreateVolume { name, size_bytes: 1 << 30, ..Default::default() }
        };
        let id = engine.create_volume(&ada, create()).unwrap().target.id.unwrap();
        crate::sim::run::settle(&world, &engine);
        let protect = |on| types::label::Edit { protected: Some(on), ..Default::default() };
        engine.edit_volume(&ada, "a", &protect(true)).unwrap();
        crate::sim::run::settle(&world, &engine);
        engine.delete_volume(&ada, "a", false).unwrap_err();
        engine.delete_volume(&ada, &id.to_string(), false).unwrap_err();
        let told = |target: &str| {
            let query =
                HistoryQuery { target: Some(target.to_owned()), failed: true, ..HistoryQuery::default() };
            let found = engine.history(&query).unwrap();
            found.into_iter().map(|l| (l.action, l.target.id, l.target.name)).collect::<Vec<_>>()
        };
        let both = vec![(Verb::VolumeDelete, Some(id), "a".to_owned()); 2];
        assert_eq!(told("a"), both);
        assert_eq!(told(&id.to_string()), both);
        // What is not there, and a name that another has.
        engine.delete_volume(&ada, "b", false).unwrap_err();
        assert_eq!(told("b"), [(Verb::VolumeDelete, None, "b".to_owned())]);
        engine.create_volume(&ada, create()).unwrap_err();
        assert_eq!(told("a")[0], (Verb::VolumeCreate, None, "a".to_owned()));
        assert_eq!(told(&id.to_string()), both);
        // One that is in the trash, by its id.
        engine.edit_volume(&ada, "a", &protect(false)).unwrap();
        engine.delete_volume(&ada, "a", false).unwrap();
        crate::sim::run::settle(&world, &engine);
        let grow = types::volume::ResizeVolume { size_bytes: 2 << 30 };
        engine.resize_volume(&ada, &id.to_string(), grow).unwrap_err();
        assert_eq!(told("a")[0], (Verb::VolumeResize, Some(id), "a".to_owned()));
    }

    #[test]
    fn pages_go_through_what_is_under_way_and_on() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let ada = Actor("ada".into());
        for n in 0..5 {
            let name = types::Name::new(&format!("v{n}")).ok();
            let asked = types::volume::CreateVolume { name, size_bytes: 1 << 30, ..Default::default() };
            engine.create_volume(&ada, asked).unwrap();
            if n == 1 {
                crate::sim::run::settle(&world, &engine);
            }
        }
        // Two have ended; three are under way.
        let page = |before, before_open| {
            let query = HistoryQuery { limit: 2, before, before_open, ..HistoryQuery::default() };
            let found = engine.history(&query).unwrap();
            found.iter().map(|l| (l.target.name.clone(), l.id, l.outcome)).collect::<Vec<_>>()
        };
        let names = |page: &[(String, Uuid, Outcome)]| page.iter().map(|l| l.0.clone()).collect::<Vec<_>>();
        let first = page(None, None);
        assert_eq!(names(&first), ["v4", "v3"]);
        let second = page(None, Some(first[1].1));
        assert_eq!(names(&second), ["v2", "v1"]);
        assert_eq!(names(&page(Some(second[1].1), None)), ["v0"]);
    }
}
