//! Requests for volumes that hold what somebody sends.
//!
//! Invariant: what is asked for is whole and in the pool before there is a request, so that nothing of one
//! that broke off is in any list.

use super::volume::{MIN_VOLUME, NewVolume, size};
use super::{Draft, made_up, taken};
use crate::port::{Bounds, beyond};
use crate::{Engine, key};
use types::operation::Kind;
use types::volume::{ImportVolume, VolumeSource};
use types::{Actor, ByteSize, Code, Name, Operation, Problem, Verb, VolumeId};

/// Where something shall be received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The id that its volume will have.
    pub id: VolumeId,
    /// The pool that it will live in.
    pub pool: String,
    /// How far it can be received.
    pub bounds: Bounds,
}

impl Engine {
    /// Judges a request before anything is sent, of which `length` is how long it is, if that is known;
    /// tells where it shall be received.
    ///
    /// # Errors
    /// `name-taken`, `pool-not-found`, `pool-offline`, `pool-full`, `invalid-size`, `limit-exceeded`.
    pub fn expect_import(&self, req: &ImportVolume, length: Option<u64>) -> Result<Expected, Problem> {
        let pool = self.pool_for(req.pool.as_deref())?;
        if let Some(name) = &req.name {
            if self.0.db.0.get(&key::name(Kind::Volume, name.as_str()))?.is_some() {
                return Err(taken(Kind::Volume, name.as_str()));
            }
        }
        let most = self.settings().max_storage;
        let asked = req.size_bytes.map(|bytes| size(bytes, MIN_VOLUME)).transpose()?;
        if let Some(too_much) = asked.into_iter().chain(length.map(ByteSize)).find(|size| *size > most) {
            return Err(beyond(too_much, most));
        }
        let bounds = Bounds { keep: self.room_to_receive(&pool)?, most };
        Ok(Expected { id: VolumeId(self.0.ports.clock.new_id()), pool, bounds })
    }

    /// Accepts a volume of what was sent under this id: so many bytes.
    ///
    /// # Errors
    /// As [`Engine::expect_import`], and `volume-too-small`, `conflict`.
    pub fn import_volume(
        &self,
        actor: &Actor,
        (id, length): (VolumeId, u64),
        req: &ImportVolume,
    ) -> Result<Operation, Problem> {
        let typed = req.name.as_ref().map_or("", Name::as_str);
        self.admit(actor, Verb::VolumeImport, (Kind::Volume, typed), |draft: &mut Draft| {
            let least = size(length, ByteSize::mib(1))?;
            let wanted = req.size_bytes.map(|bytes| size(bytes, MIN_VOLUME)).transpose()?.unwrap_or(least);
            if wanted < least {
                let text = format!("{wanted} is smaller than what was sent, which has {least}");
                return Err(Problem::new(Code::VolumeTooSmall, text)
                    .hint(format!("ask for --storage {}M or more", least.bytes() / ByteSize::MIB)));
            }
            let name = match &req.name {
                Some(name) => name.clone(),
                None => Name::new(&made_up("vol", id.0))?,
            };
            draft.change.claim(key::tail(&id.short()), &id);
            let pool = self.usable_pool(draft, req.pool.as_deref())?;
            let fs = self.pool(&pool).map_err(|fault| fault.problem)?.recognise(id)?;
            let sent = NewVolume {
                id,
                name,
                pool,
                role: req.role,
                size: wanted,
                source: VolumeSource::Upload,
                fs,
                identity: None,
                owner: None,
                labels: req.labels.clone(),
                read_only: false,
            };
            let spec = self.new_volume(draft, sent)?;
            self.warn_of_room(draft, &spec.pool);
            draft.about(Kind::Volume, id.0, spec.name.as_str(), spec.generation);
            Ok(())
        })
    }
}
