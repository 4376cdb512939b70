//! What a client was told, volume by volume.
//!
//! Invariant: what an acknowledged change made is certain; of the one change that was under way when
//! the power went, either end is right and nothing in between.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;
/// How many volumes a client keeps at once.
const VOLUMES: usize = 5;

/// A change of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Make it with this many bytes.
    Create(u64),
    /// Give it this many bytes.
    Resize(u64),
    /// Delete it.
    Delete,
}

impl Change {
    /// The command line that asks for it.
    pub fn line(self, name: &str) -> String {
        match self {
            Self::Create(size) => format!("volume create {}M --name {name} -o json", size / MIB),
            Self::Resize(size) => format!("volume resize {name} {}M -o json", size / MIB),
            Self::Delete => format!("volume delete {name} -y"),
        }
    }
}

/// A volume that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What one client knows: names begin with its own word, so it knows everything about them.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// Ids of those that were acknowledged as deleted.
    pub deleted: Vec<String>,
    /// What was asked last and not answered.
    pub under_way: Option<(String, Change)>,
    next: u64,
}

impl Model {
    /// Something to ask for next.
    pub fn choose(&mut self, client: &str, rng: &mut StdRng) -> (String, Change) {
        let n = self.volumes.len();
        let make = n == 0 || (n < VOLUMES && rng.random_bool(0.5));
        if make {
            self.next += 1;
            // From 256 MiB on the profile has a journal of 64 MiB: a create that takes a while.
            let mib = if rng.random_bool(0.1) { 256 } else { rng.random_range(8..96) };
            return (format!("{client}-{}", self.next), Change::Create(mib * MIB));
        }
        let (name, volume) = self.volumes.iter().nth(rng.random_range(0..n)).expect("it is below the count");
        let change = if rng.random_bool(0.6) {
            Change::Resize(volume.size + rng.random_range(1..512) * MIB)
        } else {
            Change::Delete
        };
        (name.clone(), change)
    }

    /// What was asked was done; `shown` is what the command printed.
    pub fn acknowledge(&mut self, name: &str, change: Change, shown: &str) {
        self.under_way = None;
        let printed = |key: &str| -> Value {
            let all: Value = serde_json::from_str(shown).expect("it prints JSON");
            all[key].clone()
        };
        match change {
            Change::Create(size) => {
                assert_eq!(printed("size_bytes"), size);
                let id = printed("id").as_str().expect("an id").to_owned();
                self.volumes.insert(name.to_owned(), Volume { id, size });
            }
            Change::Resize(size) => {
                assert_eq!(printed("size_bytes"), size);
                self.volumes.get_mut(name).expect("only what is there is resized").size = size;
            }
            Change::Delete => {
                let gone = self.volumes.remove(name).expect("only what is there is deleted");
                self.deleted.push(gone.id);
            }
        }
    }

    /// Whether a volume of this name may be there with this size, or, without one, be missing.
    pub fn allows(&self, name: &str, seen: Option<&Volume>) -> bool {
        let change = self.under_way.as_ref().filter(|(n, _)| n == name).map(|(_, c)| *c);
        match (self.volumes.get(name), change, seen) {
            (None, Some(Change::Create(size)), Some(seen)) => seen.size == size,
            (None, _, seen) => seen.is_none(),
            (Some(_), Some(Change::Delete), None) => true,
            (Some(_), _, None) => false,
            (Some(known), change, Some(seen)) => {
                let grown = matches!(change, Some(Change::Resize(to)) if to == seen.size);
                known.id == seen.id && (known.size == seen.size || grown)
            }
        }
    }

    /// Takes over what is there, which was found right.
    pub fn adopt(&mut self, seen: BTreeMap<String, Volume>) {
        self.deleted
            .extend(self.volumes.iter().filter(|(n, _)| !seen.contains_key(*n)).map(|(_, v)| v.id.clone()));
        self.volumes = seen;
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_is_right_and_nothing_else() {
        let volume = |size| Volume { id: "x".into(), size };
        let mut model = Model::default();
        model.acknowledge("a", Change::Create(8), r#"{"id":"x","size_bytes":8}"#);
        assert!(model.allows("a", Some(&volume(8))));
        assert!(!model.allows("a", Some(&volume(9))) && !model.allows("a", None));
        assert!(!model.allows("a", Some(&Volume { id: "y".into(), size: 8 })));
        assert!(!model.allows("b", Some(&volume(8))) && model.allows("b", None));
        model.under_way = Some(("a".into(), Change::Resize(9)));
        assert!(model.allows("a", Some(&volume(8))) && model.allows("a", Some(&volume(9))));
        assert!(!model.allows("a", Some(&volume(10))) && !model.allows("a", None));
        model.under_way = Some(("a".into(), Change::Delete));
        assert!(model.allows("a", Some(&volume(8))) && model.allows("a", None));
        model.under_way = Some(("b".into(), Change::Create(8)));
        assert!(model.allows("b", Some(&volume(8))) && model.allows("b", None));
        assert!(!model.allows("b", Some(&volume(9))));
        model.adopt(BTreeMap::new());
        assert_eq!((model.deleted, model.under_way), (vec!["x".into()], None));
    }
}
