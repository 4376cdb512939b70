//! Pools: looking and doing.
//!
//! Invariant: a pool's volumes are woken whenever it comes, so that none of them waits for the regular look.

use super::close::Ending;
use super::{Broken, Next};
use crate::Engine;
use crate::db::{Change, PoolRecord};
use crate::plan::Answer;
use crate::plan::pool::{Inside, Step, plan};
use types::operation::{Kind, Progress};
use types::pool::{PoolDeletion, PoolOn, PoolSpec, PoolStatus};
use types::volume::VolumeSpec;
use types::{ByteSize, Code, PoolId, Problem, Verb};

impl Engine {
    pub(super) fn look_at_pool(&self, id: PoolId) -> Result<Next, Broken> {
        let Some(record) = self.0.db.record::<PoolSpec>(id.0)? else {
            self.0.queue.settled((Kind::Pool, id.0));
            return Ok(Next::Idle);
        };
        let seen = self.0.ports.pools.observe(&record.spec)?;
        let inside = match &record.spec.deleting {
            Some(going) if going.lost => self.inside(record.spec.name.as_str())?,
            _ => Inside::default(),
        };
        match plan(&record.spec, &record.status, &seen, &inside) {
            Answer::Do(step) => self.do_pool(&record, &step),
            Answer::Settled => {
                let status = PoolStatus {
                    observed_generation: record.spec.generation,
                    made: true,
                    size: record.spec.on.size().unwrap_or_default(),
                    fault: None,
                };
                self.conclude_pool(&record, status)?;
                Ok(Next::Idle)
            }
            Answer::Stuck(problem) => {
                let again = self.give_up_pool(id, &problem)?;
                Ok(if again { Next::Again } else { Next::Idle })
            }
            Answer::Wait(wait) => Ok(self.wait((Kind::Pool, id.0), &wait)),
        }
    }

    fn do_pool(&self, record: &PoolRecord, step: &Step) -> Result<Next, Broken> {
        let (spec, pools) = (&record.spec, &self.0.ports.pools);
        match step {
            Step::Make => {
                pools.make(spec, &|p: Progress| self.0.live.progress(Kind::Pool, spec.id.0, &p))?;
            }
            Step::Bring => pools.bring(spec)?,
            Step::Grow { to } => {
                pools.grow(spec, *to)?;
                let mut change = Change::system();
                let status = PoolStatus { size: *to, ..record.status.value.clone() };
                change.update(&record.status, &status).on(spec);
                change.commit(&self.0.db)?;
            }
            Step::WriteRecord => pools.write_record(spec)?,
            Step::Remove => pools.remove(spec, record.status.made)?,
            Step::LetGo => self.let_go_of_lost(record)?,
            Step::Abandon => pools.abandon(spec)?,
            Step::Forget => return self.forget_pool(record),
        }
        Ok(Next::Again)
    }

    fn forget_pool(&self, record: &PoolRecord) -> Result<Next, Broken> {
        let spec = &record.spec;
        let mut change = Change::system();
        change
            .on(spec)
            .on(&record.status)
            .delete(spec.key.clone())
            .delete(record.status.key.clone())
            .delete(crate::key::name(Kind::Pool, spec.name.as_str()))
            .delete(crate::key::sum(spec.name.as_str()));
        if let PoolOn::Directory { path } = &spec.on {
            change.delete(crate::key::pool_path(path));
        }
        let because = spec.deleting.as_ref().and_then(|d| d.because.clone());
        self.commit_and_close(change, Kind::Pool, spec.id.0, |op| {
            Some(match (&because, op.verb) {
                (_, Verb::PoolDelete) => Ending::well(),
                (Some(problem), _) => Ending::failed(problem.clone()),
                (None, _) => Ending::failed(Problem::new(Code::Superseded, "the pool was deleted meanwhile")),
            })
        })?;
        self.0.queue.settled((Kind::Pool, spec.id.0));
        Ok(Next::Idle)
    }

    fn conclude_pool(&self, record: &PoolRecord, status: PoolStatus) -> Result<(), Broken> {
        let came = status.fault.is_none() && status != record.status.value;
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(&record.spec);
        }
        let generation = record.spec.generation;
        self.commit_and_close(change, Kind::Pool, record.spec.id.0, |op| match &status.fault {
            _ if op.generation > generation => None,
            Some(problem) => Some(Ending::failed(problem.clone())),
            None if op.verb == Verb::PoolDelete => None,
            None => Some(Ending::well()),
        })?;
        self.0.queue.settled((Kind::Pool, record.spec.id.0));
        if came {
            for volume in self.0.db.records::<VolumeSpec>()? {
                let name = record.spec.name.as_str();
                if volume.spec.pool == name || volume.spec.leaving.as_deref() == Some(name) {
                    self.wake(Kind::Volume, volume.spec.id.0);
                }
            }
        }
        Ok(())
    }

    /// A pool that could not be made is released; one that could not be grown wants its old size again; one
    /// that could not be removed stays.
    pub(super) fn give_up_pool(&self, id: PoolId, problem: &Problem) -> Result<bool, Broken> {
        let Some(record) = self.0.db.record::<PoolSpec>(id.0)? else { return Ok(false) };
        let (spec, status) = (&record.spec, &record.status);
        if let Some(going) = &spec.deleting {
            let kept = matches!(problem.code, Code::PoolInUse | Code::PoolOffline) && !going.lost;
            if going.because.is_none() && kept {
                let mut new = spec.value.clone();
                new.deleting = None;
                return self.change_pool(&record, new, Verb::PoolDelete, problem).map(|()| true);
            }
            let generation = spec.generation;
            self.commit_and_close(Change::system(), Kind::Pool, id.0, |op| {
                (op.generation <= generation).then(|| Ending::failed(problem.clone()))
            })?;
            return Ok(false);
        }
        let open = self.open_operations(Kind::Pool, id.0)?;
        if let Some(op) = open.iter().find(|op| op.verb == Verb::PoolCreate).filter(|_| !status.made) {
            let mut new = spec.value.clone();
            new.generation += 1;
            new.deleting = Some(PoolDeletion {
                at: self.0.ports.clock.now(),
                operation: op.id,
                because: Some(problem.clone()),
                lost: false,
            });
            let mut change = Change::system();
            change.update(spec, &new).on(status);
            change.commit(&self.0.db)?;
            return Ok(true);
        }
        let resizing = open.iter().any(|op| op.verb == Verb::PoolResize);
        if let (true, PoolOn::Loop { size, sparse }) = (resizing, &spec.on) {
            if status.size < *size && status.size > ByteSize::default() {
                let mut new = spec.value.clone();
                new.on = PoolOn::Loop { size: status.size, sparse: *sparse };
                return self.change_pool(&record, new, Verb::PoolResize, problem).map(|()| true);
            }
        }
        self.conclude_pool(&record, PoolStatus { fault: Some(problem.clone()), ..status.value.clone() })?;
        Ok(false)
    }

    /// Takes back what a request wanted, which ends with this problem.
    fn change_pool(
        &self,
        record: &PoolRecord,
        mut new: PoolSpec,
        verb: Verb,
        problem: &Problem,
    ) -> Result<(), Broken> {
        new.generation += 1;
        let mut change = Change::system();
        change.update(&record.spec, &new);
        self.commit_and_close(change, Kind::Pool, new.id.0, |op| {
            (op.verb == verb).then(|| Ending::failed(problem.clone()))
        })
    }
}
