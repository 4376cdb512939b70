//! Volumes on their way to another pool.
//!
//! Invariant: a volume is held still from the request on until it has arrived or turned back, so both files are
//! the same while there are two; which of them it is, one transaction decides, and what is removed after that
//! is never the one it lives in.

use super::close::Ending;
use super::{Broken, Next};
use crate::Engine;
use crate::db::{Change, VolumeRecord, encode};
use crate::plan::volume::{Step, arrived, turned_back};
use types::operation::{Kind, Progress};
use types::{Problem, Verb};

impl Engine {
    /// Does a step of a move.
    pub(super) fn do_move(&self, record: &VolumeRecord, step: &Step) -> Result<Next, Broken> {
        let spec = &record.spec;
        match step {
            Step::Carry { to } => {
                let tell = |p: Progress| self.0.live.progress(Kind::Volume, spec.id.0, &p);
                let sidecar = encode(&arrived(spec, to));
                let from = (spec.pool.as_str(), spec.id);
                self.pool(to)?.create_copy(spec.id, from, spec.size, &sidecar, &tell)?;
            }
            Step::Arrive { to } => {
                let mut change = Change::system();
                change.update(spec, &arrived(spec, to)).on(&record.status);
                self.release_hold(&mut change, spec.id.0, (Kind::Volume, spec.id.0))?;
                change.commit(&self.0.db)?;
                tracing::info!(volume = %spec.name, from = spec.pool, to, "it lives in another pool now");
            }
            Step::TurnBack { .. } => self.turn_back(record, None)?,
            Step::Leave { pool } if *pool != spec.pool => {
                self.pool(pool)?.remove(spec.id)?;
                let mut new = spec.value.clone();
                new.leaving = None;
                new.generation += 1;
                let mut change = Change::system();
                change.update(spec, &new);
                change.commit(&self.0.db)?;
            }
            _ => return Err(Broken::Raced),
        }
        Ok(Next::Again)
    }

    /// A volume stays where it is; whoever wanted it elsewhere learns why.
    pub(super) fn turn_back(&self, record: &VolumeRecord, why: Option<&Problem>) -> Result<(), Broken> {
        let spec = &record.spec;
        let mut change = Change::system();
        change.update(spec, &turned_back(spec)).on(&record.status);
        self.release_hold(&mut change, spec.id.0, (Kind::Volume, spec.id.0))?;
        self.commit_and_close(change, Kind::Volume, spec.id.0, |op| {
            let why = why.filter(|_| op.verb == Verb::VolumeMove)?;
            Some(Ending::failed(why.clone()))
        })
    }
}
