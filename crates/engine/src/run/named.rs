//! Names in the place of ids: ports know nothing else, people do not know them.

use super::queue::Key;
use crate::Engine;
use crate::db::Spec;
use types::image::ImageSpec;
use types::machine::MachineSpec;
use types::operation::Kind;
use types::volume::{VolumeSource, VolumeSpec};
use types::{Name, Problem};
use uuid::Uuid;

impl Engine {
    /// The problem as a person reads it. The hint stays: what it tells to do may need a file's name.
    pub(super) fn named(&self, (kind, id): Key, mut problem: Problem) -> Problem {
        let mut put = |id: Uuid, name: Option<Name>| {
            if let Some(name) = name {
                problem.message = problem.message.replace(&id.to_string(), &format!("\"{name}\""));
            }
        };
        match kind {
            Kind::Volume => {
                let spec = self.spec_of::<VolumeSpec>(id);
                if let Some(VolumeSource::Image { image }) = spec.as_ref().map(|s| &s.source) {
                    put(image.0, self.spec_of::<ImageSpec>(image.0).map(|s| s.name));
                }
                put(id, spec.map(|s| s.name));
            }
            Kind::Machine => put(id, self.spec_of::<MachineSpec>(id).map(|s| s.name)),
            Kind::Image => put(id, self.spec_of::<ImageSpec>(id).map(|s| s.name)),
            Kind::Network | Kind::Node | Kind::Token | Kind::User => {}
        }
        problem
    }

    /// A record's spec; what cannot be read is told by its id.
    fn spec_of<S: Spec>(&self, id: Uuid) -> Option<S> {
        self.0.db.record::<S>(id).ok().flatten().map(|record| record.spec.value)
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::sim::World;
    use types::operation::Kind;
    use types::volume::CreateVolume;
    use types::{Actor, ByteSize, Code, Name, Problem};

    #[test]
    fn what_a_port_calls_by_its_id_is_told_by_its_name() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let request =
            CreateVolume { name: Some(Name::new("appdata").unwrap()), size_bytes: ByteSize::gib(1).bytes() };
        let id = engine.create_volume(&Actor("ada".into()), request).unwrap().target.id.unwrap();
        let said = Problem::new(Code::PoolFull, format!("no room to make volume {id}: 5 are free"))
            .hint(format!("put {id}.raw back"));
        let told = engine.named((Kind::Volume, id), said.clone());
        assert_eq!(told.message, "no room to make volume \"appdata\": 5 are free");
        assert_eq!(told.hint, said.hint);
        assert_eq!(engine.named((Kind::Machine, id), said.clone()), said, "there is none");
    }
}
