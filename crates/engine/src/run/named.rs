//! Names in the place of ids: ports know nothing else, people do not know them.

use super::queue::Key;
use crate::Engine;
use crate::db::Spec;
use types::image::ImageSpec;
use types::machine::MachineSpec;
use types::operation::Kind;
use types::snapshot::SnapshotSpec;
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
            Kind::Snapshot => {
                let spec = self.spec_of::<SnapshotSpec>(id);
                if let Some(spec) = &spec {
                    put(spec.volume.0, Some(spec.volume_name.clone()));
                }
                put(id, spec.map(|s| s.name));
            }
            Kind::Image => put(id, self.spec_of::<ImageSpec>(id).map(|s| s.name)),
            // A pool is known to everybody by its name.
            Kind::Pool | Kind::Network | Kind::Node | Kind::Token | Kind::User => {}
        }
        problem
    }

    /// A guest's notes as a person reads them: it knows its disks by their serials only.
    pub(crate) fn notes_with_names(&self, spec: &MachineSpec, notes: &mut [String]) {
        // Mostly there are none, and then nothing is looked up.
        for note in notes.iter_mut().filter(|n| n.contains("disk ")) {
            for disk in &spec.disks {
                let serial = format!("disk {}", disk.volume.short());
                if !note.contains(&serial) {
                    continue;
                }
                if let Some(volume) = self.spec_of::<VolumeSpec>(disk.volume.0) {
                    *note = note.replace(&serial, &format!("volume \"{}\"", volume.name));
                }
            }
        }
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
    use types::machine::{DeployMachine, MachineSpec};
    use types::operation::Kind;
    use types::volume::CreateVolume;
    use types::{Actor, ByteSize, Code, Name, Problem};

    #[test]
    fn what_a_port_calls_by_its_id_is_told_by_its_name() {
        let world = World::new();
        let engine = world.boot(Settings::default()).unwrap();
        let request = CreateVolume {
            name: Some(Name::new("appdata").unwrap()),
            size_bytes: ByteSize::gib(1).bytes(),
            ..CreateVolume::default()
        };
        let id = engine.create_volume(&Actor("ada".into()), request).unwrap().target.id.unwrap();
        let said = Problem::new(Code::PoolFull, format!("no room to make volume {id}: 5 are free"))
            .hint(format!("put {id}.raw back"));
        let told = engine.named((Kind::Volume, id), said.clone());
        assert_eq!(told.message, "no room to make volume \"appdata\": 5 are free");
        assert_eq!(told.hint, said.hint);
        assert_eq!(engine.named((Kind::Machine, id), said.clone()), said, "there is none");
    }

    #[test]
    fn what_a_guest_calls_by_its_serial_is_told_by_its_name() {
        let engine = World::new().boot(Settings::default()).unwrap();
        let (name, image) = (Some(Name::new("web").unwrap()), Some("debian".into()));
        let asked = DeployMachine { name, image, ..DeployMachine::default() };
        engine.deploy(&Actor("ada".into()), asked).unwrap();
        let spec = engine.0.db.find::<MachineSpec>("web").unwrap().spec.value;
        let serial = spec.disks[0].volume.short();
        let mut notes =
            [format!("disk {serial} is growing: 5.0GB of 10.0GB"), "disk 0123 is not ours".into()];
        engine.notes_with_names(&spec, &mut notes);
        assert_eq!(notes, ["volume \"web-root\" is growing: 5.0GB of 10.0GB", "disk 0123 is not ours"]);
    }
}
