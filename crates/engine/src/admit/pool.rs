//! Requests about pools.
//!
//! Invariant: a pool goes only while nothing is in it. Who puts a volume in changes the pool's sum, and who
//! removes the pool holds only while that stays as it was when nothing was found. One that is lost goes with the
//! records of what was in it, and with nothing else.

use super::volume::size;
use super::{Draft, taken};
use crate::db::{PoolRecord, VolumeRecord};
use crate::{Engine, key};
use types::machine::MachineSpec;
use types::operation::Kind;
use types::pool::{CreatePool, DEFAULT_POOL, MIN_POOL, PoolDeletion, PoolOn, PoolSpec, ResizePool};
use types::snapshot::SnapshotSpec;
use types::volume::VolumeSpec;
use types::{Actor, ByteSize, Code, MachineId, Operation, PoolId, Problem, Verb};

/// What is to be said of a pool whose file is not preallocated.
const SPARSE: &str = "its file takes room only as it is written to: when the host's disk is full, writes that the \
    guests were told are on disk are lost, and the pool may not mount again. Keep room free on the host's disk";

impl Engine {
    /// Accepts a new pool.
    ///
    /// # Errors
    /// `invalid-request`, `invalid-size`, `name-taken`, `conflict` if another pool is on the same,
    /// `pool-full`, `tool-missing`, `no-permission`.
    pub fn create_pool(&self, actor: &Actor, req: &CreatePool) -> Result<Operation, Problem> {
        self.admit(actor, Verb::PoolCreate, (Kind::Pool, req.name.as_str()), |draft| {
            let wanted = wanted(req)?;
            if req.name.as_str() == DEFAULT_POOL {
                return Err(taken(Kind::Pool, DEFAULT_POOL));
            }
            let id = PoolId(self.0.ports.clock.new_id());
            self.take_name(draft, Kind::Pool, &req.name, id.0)?;
            let on = self.0.ports.pools.probe(&req.name, &wanted)?;
            if let PoolOn::Loop { size, sparse: false } = &on {
                self.refuse_file_of_pool(&req.name, *size)?;
            }
            if let PoolOn::Directory { path } = &on {
                let claim = key::pool_path(path);
                if self.0.db.0.get(&claim)?.is_some() {
                    return Err(Problem::new(Code::Conflict, format!("{path} is another pool's"))
                        .hint("`sistemo pool list` shows them; give it a directory of its own"));
                }
                draft.change.claim(claim, &id);
            }
            if req.sparse {
                draft.operation.warnings.push(SPARSE.into());
            }
            let spec = PoolSpec {
                id,
                name: req.name.clone(),
                generation: 1,
                node: self.settings().node.clone(),
                created_at: self.now(),
                on,
                deleting: None,
            };
            draft.change.claim(key::spec(Kind::Pool, id.0), &spec);
            draft.about(Kind::Pool, id.0, spec.name.as_str(), 1);
            Ok(())
        })
    }

    /// Accepts a larger size of a pool that is in a file. The same size is accepted and changes nothing.
    ///
    /// # Errors
    /// `pool-not-found`, `invalid-size`, `invalid-request`, `cannot-shrink`, `pool-full`, `being-deleted`.
    pub fn resize_pool(&self, actor: &Actor, pool: &str, req: &ResizePool) -> Result<Operation, Problem> {
        self.admit(actor, Verb::PoolResize, (Kind::Pool, pool), |draft| {
            let record = self.own_pool(pool, "has the size of the file system that it is on")?;
            refuse_pool_going(&record)?;
            let wanted = size(req.size_bytes, MIN_POOL)?;
            let PoolOn::Loop { size: have, sparse } = record.spec.on else {
                return Err(fixed(pool, "has the size of the file system that it is on"));
            };
            if wanted < have {
                return Err(Problem::new(
                    Code::CannotShrink,
                    format!("pool \"{pool}\" is {have}; {wanted} would be less"),
                )
                .hint("a pool only grows; make a smaller one and move the volumes there"));
            }
            let mut new = record.spec.value.clone();
            if wanted > have {
                if !sparse {
                    let by = ByteSize(wanted.bytes() - have.bytes());
                    self.0.ports.pools.probe_growth(&record.spec.name, by)?;
                    self.refuse_file_of_pool(&record.spec.name, by)?;
                }
                new.on = PoolOn::Loop { size: wanted, sparse };
                new.generation += 1;
                draft.change.update(&record.spec, &new);
            } else {
                draft.change.on(&record.spec);
            }
            draft.about(Kind::Pool, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    /// Accepts the end of a pool that nothing is in; or, if it is `lost`, of one that is offline: the records
    /// of what is in it go with it, and nothing that it is on is touched.
    ///
    /// # Errors
    /// `pool-not-found`, `pool-in-use`, `being-deleted`; if it is `lost`: `conflict` while it is there,
    /// `volume-in-use`, `protected`, `busy`.
    pub fn delete_pool(&self, actor: &Actor, pool: &str, lost: bool) -> Result<Operation, Problem> {
        self.admit(actor, Verb::PoolDelete, (Kind::Pool, pool), |draft| {
            let record = self.own_pool(pool, "is the data directory's own")?;
            refuse_pool_going(&record)?;
            // Read before it is looked whether anything is in it.
            crate::sum::hold(&mut draft.change, &self.0.db, record.spec.name.as_str())?;
            if lost {
                self.refuse_needed(draft, &record)?;
            } else {
                self.refuse_used(&record)?;
            }
            let mut new = record.spec.value.clone();
            new.generation += 1;
            new.deleting =
                Some(PoolDeletion { at: self.now(), operation: draft.operation.id, because: None, lost });
            draft.change.update(&record.spec, &new);
            draft.about(Kind::Pool, new.id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    fn refuse_used(&self, record: &PoolRecord) -> Result<(), Problem> {
        let pool = record.spec.name.as_str();
        let uses = |v: &VolumeRecord| {
            let spec = &v.spec;
            [Some(&spec.pool), spec.moving.as_ref(), spec.leaving.as_ref()]
                .into_iter()
                .flatten()
                .any(|p| p == pool)
        };
        let mut used = self.0.db.records::<VolumeSpec>()?;
        used.retain(uses);
        let Some(first) = used.first() else { return self.refuse_kept(pool) };
        let (n, name) = (used.len(), &first.spec.name);
        let what = if n == 1 { format!("volume \"{name}\"") } else { format!("{n} volumes") };
        let kept = used.iter().all(|v| v.spec.deleting.is_some());
        let (what, hint) = if kept {
            let hint = "`sistemo volume list --deleted` shows them; `sistemo trash empty` lets go of them";
            (format!("{what} in its trash"), hint.to_owned())
        } else {
            (what, format!("delete them, or `sistemo volume move {name} --pool POOL`"))
        };
        Err(Problem::new(Code::PoolInUse, format!("pool \"{pool}\" has {what}")).hint(hint))
    }

    /// Refuses a pool with snapshots. They are looked for after the volumes: one is only ever asked for
    /// of a volume that is there.
    fn refuse_kept(&self, pool: &str) -> Result<(), Problem> {
        let mut kept = self.0.db.records::<SnapshotSpec>()?;
        kept.retain(|s| s.spec.pool == pool);
        let Some(first) = kept.first() else { return Ok(()) };
        let (n, name) = (kept.len(), &first.spec.name);
        let what = if n == 1 { format!("snapshot \"{name}\"") } else { format!("{n} snapshots") };
        Err(Problem::new(Code::PoolInUse, format!("pool \"{pool}\" has {what}"))
            .hint(format!("`sistemo snapshot delete {name}`; `sistemo snapshot list` shows them")))
    }

    /// Refuses to forget a pool that is there, or that something needs; says what is forgotten with it.
    fn refuse_needed(&self, draft: &mut Draft, record: &PoolRecord) -> Result<(), Problem> {
        let pool = record.spec.name.as_str();
        let offline = self.pool(pool).is_err_and(|fault| fault.problem.code == Code::PoolOffline);
        if !record.status.made || !offline {
            let text = format!("pool \"{pool}\" is not offline, so it is not lost");
            return Err(Problem::new(Code::Conflict, text)
                .hint(format!("delete what is in it, then `sistemo pool delete {pool}`")));
        }
        let mut used = vec![];
        let mut volumes = 0;
        for volume in self.0.db.records::<VolumeSpec>()? {
            let spec = &volume.spec;
            if spec.moving.as_deref() == Some(pool) || (spec.pool == pool && spec.moving.is_some()) {
                let text = format!("volume \"{}\" is being moved", spec.name);
                return Err(Problem::new(Code::Busy, text).hint("try again once that has ended"));
            }
            if spec.pool != pool {
                continue;
            }
            volumes += 1;
            if let Some(machine) = self.0.db.get::<MachineId>(&key::attach(spec.id))? {
                let machine = self.0.db.record::<MachineSpec>(machine.value.0)?;
                let machine = machine.map_or_else(String::new, |m| m.spec.name.as_str().to_owned());
                used.push((spec.name.clone(), machine));
            } else if spec.protected {
                return Err(super::edit::protected(Kind::Volume, &spec.name));
            }
        }
        if let Some((volume, machine)) = used.first() {
            let all: Vec<_> = used.iter().map(|(v, m)| format!("\"{v}\" (machine \"{m}\")")).collect();
            let text = format!("volumes of pool \"{pool}\" are attached: {}", all.join(", "));
            return Err(Problem::new(Code::VolumeInUse, text).hint(format!(
                "`sistemo machine volume detach {machine} {volume}` first; a machine that boots from one goes \
                 by itself: `sistemo machine delete {machine} --preserve-storage`"
            )));
        }
        for machine in self.0.db.records::<MachineSpec>()? {
            let there = |value: &serde_json::Value| value.get("pool").is_some_and(|p| p == pool);
            if machine.spec.making.values().any(there) {
                let text = format!("machine \"{}\" is being made there", machine.spec.name);
                return Err(Problem::new(Code::Busy, text).hint("try again once that has ended"));
            }
        }
        let snapshots = self.0.db.records::<SnapshotSpec>()?.iter().filter(|s| s.spec.pool == pool).count();
        let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (volumes, snapshots) = (some(volumes, "volume"), some(snapshots, "snapshot"));
        draft.warn(format!(
            "{volumes} and {snapshots} of pool \"{pool}\" are forgotten; nothing on its disk is \
             touched"
        ));
        Ok(())
    }

    /// A pool that has a record.
    fn own_pool(&self, pool: &str, why: &str) -> Result<PoolRecord, Problem> {
        if pool == DEFAULT_POOL {
            return Err(fixed(pool, why));
        }
        self.0.db.find::<PoolSpec>(pool)
    }

    /// The pool that something new shall live in; the draft holds only while that can be.
    pub(super) fn usable_pool(&self, draft: &mut Draft, asked: Option<&str>) -> Result<String, Problem> {
        let Some(record) = self.find_pool(asked)? else { return Ok(DEFAULT_POOL.into()) };
        draft.change.on(&record.spec);
        Ok(record.spec.name.as_str().into())
    }

    /// The name of a pool that can be used just now.
    pub(super) fn pool_for(&self, asked: Option<&str>) -> Result<String, Problem> {
        let found = self.find_pool(asked)?;
        Ok(found.map_or(DEFAULT_POOL.into(), |record| record.spec.name.as_str().into()))
    }

    /// Refuses to change what is in a pool that cannot be reached now: it would be decided, and not done.
    pub(super) fn refuse_offline(&self, pool: &str) -> Result<(), Problem> {
        self.pool(pool).map(|_| ()).map_err(|fault| fault.problem)
    }

    /// The record of a pool that can be used; the default one has none.
    fn find_pool(&self, asked: Option<&str>) -> Result<Option<PoolRecord>, Problem> {
        let Some(asked) = asked.filter(|asked| *asked != DEFAULT_POOL) else { return Ok(None) };
        let record = self.0.db.find::<PoolSpec>(asked)?;
        let name = &record.spec.name;
        refuse_pool_going(&record)?;
        if !record.status.made {
            return Err(Problem::new(Code::PoolOffline, format!("pool \"{name}\" is being made"))
                .hint("`sistemo operation list` shows how far that is"));
        }
        self.pool(name.as_str()).map_err(|fault| fault.problem)?;
        Ok(Some(record))
    }
}

fn wanted(req: &CreatePool) -> Result<PoolOn, Problem> {
    let invalid = |text: &str, hint: &str| Err(Problem::new(Code::InvalidRequest, text).hint(hint));
    match (&req.path, req.size_bytes) {
        (Some(_), Some(_)) => invalid("a path and a size exclude each other", "give either --path or --size"),
        (None, None) => invalid(
            "a pool needs something to be on",
            "give --size, such as 200GB, for a file in the data directory, or --path with a directory",
        ),
        (Some(_), None) if req.sparse => {
            invalid("only a pool with a size can be sparse", "leave --sparse away, or give --size")
        }
        (Some(path), None) => Ok(PoolOn::Directory { path: path.clone() }),
        (None, Some(bytes)) => Ok(PoolOn::Loop { size: size(bytes, MIN_POOL)?, sparse: req.sparse }),
    }
}

fn fixed(pool: &str, why: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("pool \"{pool}\" {why}"))
        .hint("`sistemo pool list` shows the others")
}

fn refuse_pool_going(record: &PoolRecord) -> Result<(), Problem> {
    match record.spec.deleting {
        Some(_) => {
            Err(Problem::new(Code::Deleting, format!("pool \"{}\" is being deleted", record.spec.name))
                .hint("`sistemo pool list` shows what there is"))
        }
        None => Ok(()),
    }
}
