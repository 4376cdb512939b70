//! The regular look at everything, made cheap: what was read in one go is looked at as it was read,
//! and only what is not at rest is looked at in full.
//!
//! Invariant: a record that was read ahead is only ever used to find that nothing is to be done.
//! Whoever changes a record wakes it afterwards, which drops what was read before.

use super::Broken;
use super::queue::Key;
use crate::admit::restorable;
use crate::db::{MachineRecord, VolumeRecord};
use crate::plan::{Answer, machine, volume};
use crate::store::Limit;
use crate::{Engine, key};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use types::image::ImageSpec;
use types::machine::{Desired, MachineSpec};
use types::network::NetworkSpec;
use types::operation::Kind;
use types::pool::PoolSpec;
use types::snapshot::SnapshotSpec;
use types::volume::VolumeSpec;
use types::{NetworkId, Problem};

/// The networks by id.
pub type Networks = HashMap<NetworkId, NetworkSpec>;

/// A record that was read ahead of the look at it.
pub enum Known {
    /// A machine's, with the networks of that moment, and whether the host was shutting down.
    Machine(Box<MachineRecord>, Arc<Networks>, bool),
    /// A volume's.
    Volume(Box<VolumeRecord>),
}

impl Engine {
    /// Wakes everything there is.
    pub(super) fn wake_everything(&self) -> Result<(), Problem> {
        let db = &self.0.db;
        // Read first: an operation that is accepted later wakes what it is about.
        let open: HashSet<String> = db.0.scan(key::OPEN, Limit::All)?.into_iter().map(|e| e.key).collect();
        let busy: HashSet<&str> = open.iter().filter_map(|k| k.rsplit_once('/')).map(|(of, _)| of).collect();
        let quiet = |kind, id| !busy.contains(key::opens(kind, id).trim_end_matches('/'));
        let mut all: Vec<(Key, Option<Known>)> = Vec::new();
        for id in open.iter().filter_map(|k| key::opened_node(k)) {
            all.push(((Kind::Node, id), None));
        }
        for r in db.records::<ImageSpec>()? {
            all.push(((Kind::Image, r.spec.id.0), None));
        }
        for r in db.records::<SnapshotSpec>()? {
            all.push(((Kind::Snapshot, r.spec.id.0), None));
        }
        // Before what is in them.
        for r in db.records::<PoolSpec>()? {
            all.push(((Kind::Pool, r.spec.id.0), None));
        }
        for r in db.records::<VolumeSpec>()? {
            let id = r.spec.id.0;
            let known = quiet(Kind::Volume, id).then(|| Known::Volume(Box::new(r)));
            all.push(((Kind::Volume, id), known));
        }
        let networks = db.records::<NetworkSpec>()?.into_iter().map(|n| (n.spec.id, n.spec.value));
        let networks = Arc::new(networks.collect::<Networks>());
        let halting = self.halting()?;
        for r in db.records::<MachineSpec>()? {
            let id = r.spec.id.0;
            let known =
                quiet(Kind::Machine, id).then(|| Known::Machine(Box::new(r), Arc::clone(&networks), halting));
            all.push(((Kind::Machine, id), known));
        }
        self.0.queue.wake_all(all);
        Ok(())
    }

    /// Whether there is nothing to do about a record, and nothing to write down.
    pub(super) fn rests(&self, known: &Known) -> Result<bool, Broken> {
        match known {
            Known::Machine(record, ..) if record.spec.deleting.as_ref().is_some_and(|d| d.released) => {
                let (spec, status) = (&record.spec, &record.status);
                Ok(spec.deleting.as_ref().is_some_and(|d| d.keep_until.is_some())
                    && status.observed_generation == spec.generation
                    && !self.machine_expired(spec)?)
            }
            Known::Machine(record, networks, halting) => {
                let (spec, status) = (&record.spec, &record.status);
                let noted = status.observed_generation == spec.generation
                    && (spec.desired == Desired::Running || status.fault.is_none());
                if !noted || (status.run.is_none() && machine::wants_run(spec, status)) {
                    return Ok(false);
                }
                let Some(nics) = super::machine::nics_in(spec, |id| networks.get(&id).cloned()) else {
                    return Ok(false);
                };
                let look = self.machine_look(record, nics, *halting)?;
                Ok(machine::plan(spec, status, &look, self.rules()) == Answer::Settled)
            }
            Known::Volume(record) => {
                let (spec, status) = (&record.spec, &record.status);
                if let Some(until) = restorable(record).filter(|_| spec.leaving.is_none()) {
                    // It was seen in the trash, where nobody else has a hand in.
                    return Ok(status.observed_generation == spec.generation && !self.let_go(until));
                }
                let noted = status.observed_generation == spec.generation
                    && status.filled
                    && status.size == spec.size
                    && status.fault.is_none()
                    && status.condition.is_none();
                let moves = spec.moving.is_some() || spec.leaving.is_some();
                if !noted || moves || spec.deleting.is_some() {
                    return Ok(false);
                }
                let pool = self.pool(&spec.pool)?.observe(spec.id)?;
                let look = volume::Look {
                    pool,
                    claimed: false,
                    image: volume::ImageLook::Missing,
                    expired: false,
                    reset: volume::ResetLook::Ready,
                    elsewhere: None,
                };
                Ok(volume::plan(spec, status, &look) == Answer::Settled)
            }
        }
    }
}
