//! All ports of the world.

use super::{File, Guests, Place, Process, World};
use crate::port::{
    Backup, Capacity, Clock, DiskObs, Fault, FileObs, Footprint, Fresh, FromSnapshot, Grown, Guest, GuestObs,
    Health, Held, ImageObs, Images, Net, NicPlan, OnProgress, Pool, Pools, ProcessObs, RunDisk, RunPlan,
    SnapshotObs, Vmm, VolumeObs,
};
use std::collections::{BTreeMap, HashMap};
use types::fs::FileSystem;
use types::image::ImageSource;
use types::network::NetworkSpec;
use types::operation::Progress;
use types::{ByteSize, Code, ImageId, MachineId, Problem, RunId, SnapshotId, Timestamp, VolumeId};
use uuid::Uuid;

fn generation(sidecar: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(sidecar)
        .ok()
        .and_then(|v| v["generation"].as_u64())
        .unwrap_or(0)
}

impl World {
    /// Begins an effect: a point to be killed at, and the fault that a test asked for.
    pub(super) fn begin(&self, what: &'static str) -> Result<(), Fault> {
        self.tick(what);
        match self.state().faults.get(what) {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// Whether there is room for something new; what is small finds some that was kept.
    pub(super) fn room(&self) -> Result<(), Fault> {
        match self.state().full {
            true => Err(Fault::lasting(Code::PoolFull, "there is no room")),
            false => Ok(()),
        }
    }
}

impl super::State {
    /// The process of a run that is alive.
    fn alive(&mut self, machine: MachineId, run: RunId) -> Result<&mut Process, Fault> {
        let p = self.processes.get_mut(&machine).filter(|p| p.run == run && p.started && !p.exited);
        p.ok_or_else(|| Fault::passing(Code::GuestUnreachable, "there is no process"))
    }

    /// The process of a run whose agent hears what it is told.
    fn heard(&mut self, machine: MachineId, run: RunId) -> Result<&mut Process, Fault> {
        let deaf = matches!(self.guests, Guests::Deaf | Guests::Silent);
        let up = self.up();
        let p = self.alive(machine, run)?;
        if deaf || p.stands.is_some() || up < p.since + super::HELLO {
            return Err(Fault::passing(Code::GuestUnreachable, "the agent does not answer"));
        }
        Ok(p)
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.state().now)
    }

    fn uptime(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.state().up()).unwrap_or(0))
    }

    fn host_boot(&self) -> String {
        format!("boot-{}", self.state().boots)
    }

    fn new_id(&self) -> Uuid {
        let mut s = self.state();
        s.ids += 1;
        // The counter in front keeps them in the order of time; spread behind, it makes the tails
        // distinct, as random ones nearly always are.
        let tail = s.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Uuid::from_u128((u128::from(s.ids) << 80) | (7 << 76) | (2 << 62) | u128::from(tail >> 4))
    }
}

/// One pool of the world.
pub(super) struct InPool {
    pub world: World,
    pub pool: String,
}

impl std::ops::Deref for InPool {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl InPool {
    fn at(&self, volume: VolumeId) -> Place {
        (self.pool.clone(), volume)
    }

    /// A volume's file, which no process has open.
    fn still(&self, volume: VolumeId, done: &str) -> Option<File> {
        let mut s = self.state();
        if s.processes.values().any(|p| !p.exited && p.volumes.contains(&volume)) {
            s.violations.push(format!("{volume:?} is {done} while a process has it open"));
        }
        s.files.get(&self.at(volume)).cloned()
    }

    /// A snapshot's file, to be made `size` long.
    fn kept(&self, snapshot: SnapshotId, size: ByteSize) -> Result<File, Fault> {
        match self.state().snapshots.get(&snapshot) {
            None => Err(Fault::lasting(Code::SnapshotLost, "what is copied is gone")),
            Some(file) if size < file.size => {
                Err(Fault::lasting(Code::VolumeTooSmall, "the copy would be cut"))
            }
            Some(file) => Ok(file.clone()),
        }
    }

    fn publish(&self, volume: VolumeId, file: File, sidecar: &[u8], progress: OnProgress<'_>) {
        let at = self.at(volume);
        if self.state().files.contains_key(&at) {
            return;
        }
        self.state().parts.insert(at.clone());
        progress(Progress { what: "filling".into(), done: 0, total: None, unit: "bytes".into() });
        self.tick("part written");
        self.state().sidecars.insert(at.clone(), generation(sidecar));
        self.tick("sidecar published");
        let mut s = self.state();
        s.files.insert(at.clone(), file);
        s.parts.remove(&at);
    }
}

impl Pool for InPool {
    fn observe(&self, volume: VolumeId) -> Result<VolumeObs, Fault> {
        let (s, at) = (self.state(), self.at(volume));
        Ok(VolumeObs {
            file: s.files.get(&at).map(|f| FileObs { size: f.size, allocated: f.size }),
            sidecar: s.sidecars.get(&at).copied(),
            trashed: s.trash.contains_key(&at),
        })
    }

    fn footprint(&self, volume: VolumeId) -> Result<Option<Footprint>, Fault> {
        Ok(self.state().files.get(&self.at(volume)).map(|f| super::pools::taken(f.size)))
    }

    fn create_blank(
        &self,
        volume: VolumeId,
        size: ByteSize,
        (fs, _): (FileSystem, Uuid),
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("create_blank")?;
        self.room()?;
        self.publish(volume, File { size, marks: vec![fs.to_string()] }, sidecar, progress);
        self.tick("created");
        Ok(())
    }

    fn create_from_upload(&self, volume: VolumeId, size: ByteSize, sidecar: &[u8]) -> Result<(), Fault> {
        self.begin("create_from_upload")?;
        self.room()?;
        self.publish(volume, File { size, marks: vec!["sent".into()] }, sidecar, &|_| ());
        self.tick("taken");
        Ok(())
    }

    fn create_from_image(
        &self,
        volume: VolumeId,
        image: ImageId,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("create_from_image")?;
        let Some(least) = self.state().images.get(&image).copied() else {
            return Err(Fault::lasting(Code::ImageNotFound, "the image is gone"));
        };
        if size < least {
            return Err(Fault::lasting(Code::VolumeTooSmall, "the image would be cut"));
        }
        self.room()?;
        self.publish(volume, File { size, marks: vec![image.to_string()] }, sidecar, progress);
        self.tick("cloned");
        Ok(())
    }

    fn create_copy(
        &self,
        volume: VolumeId,
        (pool, source): (&str, VolumeId),
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("create_copy")?;
        let whole = |w: &Self| {
            let mut s = w.state();
            if s.processes.values().any(|p| !p.exited && p.volumes.contains(&source)) {
                s.violations.push(format!("{source:?} is copied while a process has it open"));
            }
            s.files.get(&(pool.to_owned(), source)).cloned()
        };
        let Some(was) = whole(self) else {
            return Err(Fault::lasting(Code::VolumeLost, "what is copied is gone"));
        };
        if size < was.size {
            return Err(Fault::lasting(Code::VolumeTooSmall, "the copy would be cut"));
        }
        self.room()?;
        progress(Progress { what: "copying".into(), done: 0, total: None, unit: "bytes".into() });
        self.tick("half copied");
        if whole(self) != Some(was.clone()) {
            self.state().violations.push(format!("{source:?} changed while it was copied"));
        }
        self.publish(volume, File { size, marks: was.marks }, sidecar, progress);
        self.tick("copied");
        Ok(())
    }

    fn observe_snapshot(&self, snapshot: SnapshotId) -> Result<SnapshotObs, Fault> {
        let s = self.state();
        Ok(SnapshotObs {
            file: s.snapshots.get(&snapshot).map(|f| FileObs { size: f.size, allocated: f.size }),
            sidecar: s.snapshot_sidecars.get(&snapshot).copied(),
        })
    }

    fn take_snapshot(
        &self,
        snapshot: SnapshotId,
        of: VolumeId,
        live: bool,
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("take_snapshot")?;
        let look = |w: &Self| match live {
            true => w.state().files.get(&w.at(of)).cloned(),
            false => w.still(of, "made a snapshot of"),
        };
        let Some(was) = look(self) else {
            return Err(Fault::lasting(Code::VolumeLost, "what is copied is gone"));
        };
        if live && !self.state().shares {
            self.state().violations.push(format!("{of:?} is copied while it may be written"));
        }
        self.room()?;
        self.state().snapshot_parts.insert(snapshot);
        progress(Progress { what: "copying".into(), done: 0, total: None, unit: "bytes".into() });
        self.tick("half taken");
        if look(self).as_ref() != Some(&was) {
            self.state().violations.push(format!("{of:?} changed while a snapshot was made of it"));
        }
        let mut s = self.state();
        s.snapshot_parts.remove(&snapshot);
        s.snapshots.insert(snapshot, was);
        drop(s);
        self.tick("taken");
        Ok(())
    }

    fn settle_snapshot(&self, snapshot: SnapshotId) -> Result<ByteSize, Fault> {
        self.begin("settle_snapshot")?;
        let size = self.state().snapshots.get(&snapshot).map(|f| f.size);
        size.ok_or_else(|| Fault::lasting(Code::SnapshotLost, "its file is gone"))
    }

    fn write_snapshot_sidecar(&self, snapshot: SnapshotId, sidecar: &[u8]) -> Result<(), Fault> {
        self.begin("write_snapshot_sidecar")?;
        self.state().snapshot_sidecars.insert(snapshot, generation(sidecar));
        self.tick("snapshot's sidecar written");
        Ok(())
    }

    fn remove_snapshot(&self, snapshot: SnapshotId) -> Result<(), Fault> {
        self.begin("remove_snapshot")?;
        self.state().snapshots.remove(&snapshot);
        self.tick("snapshot's file removed");
        let mut s = self.state();
        s.snapshot_sidecars.remove(&snapshot);
        s.snapshot_parts.remove(&snapshot);
        drop(s);
        self.tick("snapshot removed");
        Ok(())
    }

    fn create_from_snapshot(
        &self,
        volume: VolumeId,
        FromSnapshot { id: from, .. }: FromSnapshot<'_>,
        size: ByteSize,
        sidecar: &[u8],
        progress: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("create_from_snapshot")?;
        let was = self.kept(from, size)?;
        self.room()?;
        self.tick("half copied");
        if self.kept(from, size).as_ref() != Ok(&was) {
            self.state().violations.push(format!("{from:?} changed while it was copied"));
        }
        self.publish(volume, File { size, marks: was.marks }, sidecar, progress);
        self.tick("copied");
        Ok(())
    }

    fn reset(
        &self,
        volume: VolumeId,
        (_, to): (&str, SnapshotId),
        size: ByteSize,
        _: OnProgress<'_>,
    ) -> Result<(), Fault> {
        self.begin("reset")?;
        let new = self.kept(to, size)?;
        self.room()?;
        if self.still(volume, "reset").is_none() {
            return Err(Fault::lasting(Code::VolumeLost, "what is replaced is gone"));
        }
        let at = self.at(volume);
        self.state().parts.insert(at.clone());
        self.tick("half replaced");
        let _ = self.still(volume, "reset");
        let mut s = self.state();
        s.parts.remove(&at);
        s.files.insert(at, File { size, marks: new.marks });
        drop(s);
        self.tick("replaced");
        Ok(())
    }

    fn grow(&self, volume: VolumeId, to: ByteSize) -> Result<(), Fault> {
        self.begin("grow")?;
        let mut s = self.state();
        let file =
            s.files.get_mut(&self.at(volume)).ok_or_else(|| Fault::lasting(Code::VolumeLost, "gone"))?;
        file.size = file.size.max(to);
        drop(s);
        self.tick("grown");
        Ok(())
    }

    fn write_sidecar(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault> {
        self.begin("write_sidecar")?;
        self.state().sidecars.insert(self.at(volume), generation(sidecar));
        self.tick("sidecar written");
        Ok(())
    }

    fn trash(&self, volume: VolumeId, keep_until: Timestamp) -> Result<(), Fault> {
        self.begin("trash")?;
        self.state().parts.remove(&self.at(volume));
        self.state().sidecars.remove(&self.at(volume));
        self.tick("sidecar trashed");
        let file = self.state().files.remove(&self.at(volume));
        if let Some(file) = file {
            self.state().trash.insert(self.at(volume), (file, keep_until));
        }
        self.tick("file trashed");
        Ok(())
    }

    fn restore(&self, volume: VolumeId, sidecar: &[u8]) -> Result<(), Fault> {
        self.begin("restore")?;
        self.room()?;
        if self.state().files.contains_key(&self.at(volume)) {
            return Ok(());
        }
        if !self.state().trash.contains_key(&self.at(volume)) {
            return Err(Fault::lasting(Code::VolumeLost, "it is not in the trash"));
        }
        self.state().sidecars.insert(self.at(volume), generation(sidecar));
        self.tick("sidecar restored");
        let mut s = self.state();
        if let Some((file, _)) = s.trash.remove(&self.at(volume)) {
            s.files.insert(self.at(volume), file);
        }
        drop(s);
        self.tick("file restored");
        Ok(())
    }

    fn remove(&self, volume: VolumeId) -> Result<(), Fault> {
        self.begin("remove")?;
        self.state().files.remove(&self.at(volume));
        self.tick("file removed");
        let mut s = self.state();
        s.sidecars.remove(&self.at(volume));
        s.parts.remove(&self.at(volume));
        drop(s);
        self.tick("sidecar removed");
        self.state().trash.remove(&self.at(volume));
        self.tick("removed");
        Ok(())
    }

    fn purge_trash(&self, now: Timestamp, known: &dyn Fn(VolumeId) -> bool) -> Result<Vec<VolumeId>, Fault> {
        let here = |(pool, _): &Place| *pool == self.pool;
        let due: Vec<_> = (self.state().trash.iter())
            .filter(|(at, (_, t))| *t <= now && here(at))
            .map(|((_, v), _)| *v)
            .collect();
        let gone: Vec<_> = due.into_iter().filter(|id| !known(*id)).collect();
        self.state().trash.retain(|at, _| !here(at) || !gone.contains(&at.1));
        Ok(gone)
    }

    fn can_make(&self, fs: FileSystem) -> Result<(), Problem> {
        match self.state().faults.get("can_make") {
            Some(fault) if !fs.is_usual() => Err(fault.problem.clone()),
            _ => Ok(()),
        }
    }

    fn recognise(&self, _: VolumeId) -> Result<Option<FileSystem>, Problem> {
        Ok(None)
    }

    fn needs(&self, size: ByteSize, _: Fresh) -> Result<ByteSize, Fault> {
        Ok(ByteSize(size.bytes() >> 17))
    }

    fn shares(&self) -> bool {
        self.state().shares
    }

    fn capacity(&self) -> Result<Capacity, Fault> {
        let free = if self.state().full { ByteSize::default() } else { ByteSize::gib(500) };
        Ok(Capacity { total: ByteSize::gib(1000), free })
    }
}

impl Images for World {
    fn recipes(&self) -> Vec<String> {
        vec!["debian".into()]
    }

    fn probe(&self, path: &str) -> Result<(ByteSize, String), Problem> {
        Ok((ByteSize::gib(1), path.trim_start_matches('/').into()))
    }

    fn observe(&self, image: ImageId) -> Result<Option<ImageObs>, Fault> {
        let s = self.state();
        Ok(s.images.get(&image).map(|size| ImageObs { digest: "00".into(), size: *size }))
    }

    fn build(&self, image: ImageId, _: &ImageSource, _: OnProgress<'_>) -> Result<ImageObs, Fault> {
        self.begin("build")?;
        self.state().images.insert(image, ByteSize::gib(1));
        self.tick("built");
        Ok(ImageObs { digest: "00".into(), size: ByteSize::gib(1) })
    }

    fn remove(&self, image: ImageId) -> Result<(), Fault> {
        self.begin("remove image")?;
        self.state().images.remove(&image);
        self.tick("image removed");
        Ok(())
    }

    fn check_kernel(&self) -> Result<(), Problem> {
        Ok(())
    }

    fn has_kernel(&self, _: &str) -> Result<bool, Fault> {
        Ok(self.state().kernel)
    }

    fn ensure_kernel(&self, _: OnProgress<'_>) -> Result<String, Fault> {
        self.begin("ensure_kernel")?;
        self.state().kernel = true;
        self.tick("kernel there");
        Ok("6.1".into())
    }
}

impl Net for World {
    fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Fault> {
        self.begin("ensure_network")?;
        self.state().bridges.insert(network.bridge.clone());
        self.tick("network there");
        Ok(())
    }

    fn ensure_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<(), Fault> {
        self.begin("ensure_nic")?;
        let mut s = self.state();
        if !s.bridges.contains(&network.bridge) {
            return Err(Fault::passing(Code::NetworkFailed, "the bridge is gone"));
        }
        s.taps.insert(nic.tap.clone());
        drop(s);
        self.tick("nic there");
        Ok(())
    }

    fn has_nic(&self, network: &NetworkSpec, nic: &NicPlan) -> Result<bool, Fault> {
        let s = self.state();
        Ok(s.taps.contains(&nic.tap) && s.bridges.contains(&network.bridge))
    }

    fn remove_nic(&self, nic: &NicPlan) -> Result<(), Fault> {
        self.begin("remove_nic")?;
        self.state().taps.remove(&nic.tap);
        self.tick("nic removed");
        Ok(())
    }
}

impl Vmm for World {
    fn preflight(&self) -> Result<(), Problem> {
        Ok(())
    }

    fn observe(&self, machine: MachineId, run: RunId) -> Result<ProcessObs, Fault> {
        let s = self.state();
        Ok(match s.processes.get(&machine).filter(|p| p.run == run) {
            None => ProcessObs::Absent,
            Some(p) if p.exited && p.started => ProcessObs::Exited { clean: p.clean },
            Some(p) if p.exited => ProcessObs::Absent,
            Some(p) if p.started => ProcessObs::Alive,
            Some(_) => ProcessObs::Starting,
        })
    }

    fn start(&self, plan: &RunPlan) -> Result<(), Fault> {
        self.begin("start")?;
        for disk in &plan.disks {
            self.get(&disk.pool)?;
        }
        let volumes: Vec<_> = plan.disks.iter().map(|d| d.volume).collect();
        let places: Vec<Place> = plan.disks.iter().map(|d| (d.pool.clone(), d.volume)).collect();
        {
            let mut s = self.state();
            if let Some(other) = s.processes.get(&plan.machine).filter(|p| p.run != plan.run && !p.exited) {
                let say = format!("two runs of one machine: {:?} and {:?}", other.run, plan.run);
                s.violations.push(say);
            }
            for at in &places {
                let v = &at.1;
                let busy =
                    s.processes.iter().any(|(m, p)| *m != plan.machine && !p.exited && p.volumes.contains(v));
                if busy {
                    s.violations.push(format!("{v:?} is open in two processes"));
                }
                match s.files.get_mut(at) {
                    None => s.violations.push(format!("{v:?} has no file, and its machine starts")),
                    Some(f) => f.marks.push(plan.run.to_string()),
                }
            }
            let since = s.up();
            let size = |at: &Place| (at.1, s.files.get(at).map(|f| f.size).unwrap_or_default());
            let disks: BTreeMap<_, _> = places.iter().map(size).collect();
            s.processes.entry(plan.machine).or_insert(Process {
                run: plan.run,
                started: false,
                since,
                asked: None,
                volumes,
                mounted: disks.clone(),
                disks,
                applied: plan.generation,
                exited: false,
                clean: false,
                stands: None,
                behind: 0,
                held: None,
            });
        }
        self.tick("process there");
        if let Some(p) = self.state().processes.get_mut(&plan.machine) {
            p.started = true;
        }
        self.tick("started");
        Ok(())
    }

    fn health(&self, machine: MachineId, run: RunId) -> Result<Health, Fault> {
        let s = self.state();
        let stands = s.processes.get(&machine).filter(|p| p.run == run && !p.exited).and_then(|p| p.stands);
        Ok(stands.map_or(Health::Running, |(why, _)| Health::Stands { slot: Some(0), why }))
    }

    fn resume(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.begin("resume")?;
        let mut s = self.state();
        let (still, up) = (s.write_error(), s.up());
        if let Some(p) = s.processes.get_mut(&machine).filter(|p| p.run == run) {
            if let Some((_, since)) = p.stands.take() {
                // What the guest was about to do comes later by as long, and so does its clock.
                p.since += up - since;
                p.asked = p.asked.map(|asked| asked + up - since);
                p.behind += up - since;
                p.stands = still.map(|why| (why, up));
            }
        }
        drop(s);
        self.tick("resumed");
        Ok(())
    }

    fn disks(&self, machine: MachineId, run: RunId) -> Result<Vec<DiskObs>, Fault> {
        let s = self.state();
        let Some(p) = s.processes.get(&machine).filter(|p| p.run == run && !p.exited) else {
            return Err(Fault::passing(Code::GuestUnreachable, "there is no process"));
        };
        let one = |v: &VolumeId| DiskObs {
            serial: v.short(),
            ready: p.disks.contains_key(v),
            size: p.disks.get(v).copied().unwrap_or_default(),
        };
        Ok(p.volumes.iter().map(one).collect())
    }

    fn plug(&self, machine: MachineId, run: RunId, disk: &RunDisk) -> Result<(), Fault> {
        self.begin("plug")?;
        self.get(&disk.pool)?;
        let volume = disk.volume;
        let mut s = self.state();
        if s.processes.iter().any(|(m, p)| *m != machine && !p.exited && p.volumes.contains(&volume)) {
            s.violations.push(format!("{volume:?} is open in two processes"));
        }
        let Some(size) = s.files.get(&(disk.pool.clone(), volume)).map(|f| f.size) else {
            return Err(Fault::lasting(Code::VolumeLost, "its file is gone"));
        };
        let p = s.alive(machine, run)?;
        if !p.volumes.contains(&volume) {
            p.volumes.push(volume);
        }
        drop(s);
        self.tick("file opened");
        self.state().alive(machine, run)?.disks.entry(volume).or_insert(size);
        self.tick("plugged");
        Ok(())
    }

    fn unplug(&self, machine: MachineId, run: RunId, serial: &str) -> Result<(), Fault> {
        self.begin("unplug")?;
        let mut s = self.state();
        let clings = s.guests == Guests::Clinging;
        let p = s.alive(machine, run)?;
        let Some(volume) = p.volumes.iter().copied().find(|v| v.short() == serial) else { return Ok(()) };
        if clings && p.disks.contains_key(&volume) {
            return Err(Fault::lasting(Code::GuestFailed, "the guest keeps it"));
        }
        p.disks.remove(&volume);
        p.mounted.remove(&volume);
        drop(s);
        self.tick("pulled out");
        self.state().alive(machine, run)?.volumes.retain(|v| *v != volume);
        self.tick("unplugged");
        Ok(())
    }

    fn stretch(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<(), Fault> {
        self.begin("stretch")?;
        let mut s = self.state();
        let short = s.files.iter().any(|((_, v), f)| v.short() == serial && f.size < to);
        if short {
            s.violations.push("a guest was told of more than there is".into());
        }
        let p = s.alive(machine, run)?;
        p.disks.iter_mut().filter(|(v, _)| v.short() == serial).for_each(|(_, size)| *size = to);
        drop(s);
        self.tick("stretched");
        Ok(())
    }

    fn while_paused(&self, machine: MachineId, run: RunId, then: &dyn Fn()) -> Result<(), Fault> {
        self.begin("pause")?;
        self.tick("paused");
        then();
        self.tick("goes on");
        self.state().alive(machine, run).map(drop)
    }

    fn backup(&self, machine: MachineId, run: RunId, backup: &Backup<'_>) -> Result<(), Fault> {
        self.begin("backup")?;
        self.state().snapshot_parts.extend(backup.disks.iter().map(|(_, _, id)| *id));
        self.tick("targets made");
        (backup.hold)();
        let mut then = Vec::new();
        for (serial, _, snapshot) in backup.disks {
            let mut s = self.state();
            let p = s.alive(machine, run)?;
            let volume = p.disks.keys().copied().find(|v| v.short() == *serial);
            let file =
                volume.and_then(|v| s.files.iter().find(|((_, id), _)| *id == v)).map(|(_, f)| f.clone());
            let gone = || Fault::passing(Code::GuestUnreachable, "there is no such disk");
            then.push((*snapshot, file.ok_or_else(gone)?));
        }
        self.tick("copies begun");
        (backup.begun)();
        self.tick("half copied");
        self.state().alive(machine, run).map(drop)?;
        for (id, file) in then {
            let mut s = self.state();
            s.snapshot_parts.remove(&id);
            s.snapshots.insert(id, file);
            drop(s);
            self.tick("copied");
        }
        Ok(())
    }

    fn kill(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.begin("kill")?;
        let mut s = self.state();
        let (up, good) = (s.up(), s.guests == Guests::Good);
        let mut early = false;
        if let Some(p) = s.processes.get_mut(&machine).filter(|p| p.run == run) {
            early = good && !p.exited && p.asked.is_some_and(|asked| up < asked + super::DOWN);
            p.exited = true;
        }
        if early {
            s.violations.push("the plug was pulled while the guest was shutting down".into());
        }
        drop(s);
        self.tick("killed");
        Ok(())
    }

    fn clean(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.begin("clean")?;
        let mut s = self.state();
        match s.processes.get(&machine).filter(|p| p.run == run) {
            Some(p) if !p.exited => {
                s.violations.push("cleaned while the process was there".into());
                return Err(Fault::passing(Code::Busy, "a process is still there"));
            }
            Some(_) => drop(s.processes.remove(&machine)),
            None => {}
        }
        drop(s);
        self.tick("cleaned");
        Ok(())
    }

    fn sidecar(&self, machine: MachineId) -> Result<Option<u64>, Fault> {
        Ok(self.state().machine_dirs.get(&machine).copied().flatten())
    }

    fn write_sidecar(&self, machine: MachineId, sidecar: &[u8]) -> Result<(), Fault> {
        self.begin("machine sidecar")?;
        self.state().machine_dirs.insert(machine, Some(generation(sidecar)));
        self.tick("machine sidecar written");
        Ok(())
    }

    fn remove(&self, machine: MachineId) -> Result<(), Fault> {
        self.begin("remove machine")?;
        if let Some(dir) = self.state().machine_dirs.get_mut(&machine) {
            *dir = None;
        }
        self.tick("machine half removed");
        self.state().machine_dirs.remove(&machine);
        self.tick("machine removed");
        Ok(())
    }
}

impl Guest for World {
    fn observe(&self, machine: MachineId, run: RunId) -> Result<GuestObs, Fault> {
        let s = self.state();
        let up = s.processes.get(&machine).filter(|p| p.run == run && p.started && !p.exited);
        let hello = up.is_some_and(|p| p.stands.map_or(s.up(), |(_, t)| t) >= p.since + super::HELLO)
            && s.guests != Guests::Silent;
        let generation = up.map_or(0, |p| p.applied);
        Ok(GuestObs { hello, root_mounted: hello, generation, ..GuestObs::default() })
    }

    fn shutdown(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.begin("shutdown")?;
        let mut s = self.state();
        let now = s.up();
        if let Some(p) = s.processes.get_mut(&machine).filter(|p| p.run == run) {
            if p.stands.is_some() {
                return Err(Fault::passing(Code::GuestUnreachable, "the guest stands"));
            }
            p.asked.get_or_insert(now);
        }
        drop(s);
        self.tick("asked");
        Ok(())
    }

    fn set_clock(&self, machine: MachineId, run: RunId) -> Result<(), Fault> {
        self.begin("set_clock")?;
        if let Some(p) = self.state().processes.get_mut(&machine).filter(|p| p.run == run) {
            if p.stands.is_some() {
                return Err(Fault::passing(Code::GuestUnreachable, "the guest stands"));
            }
            p.behind = 0;
        }
        self.tick("clock set");
        Ok(())
    }

    fn configure(&self, plan: &RunPlan) -> Result<(), Fault> {
        self.begin("configure")?;
        let mut s = self.state();
        let p = s.heard(plan.machine, plan.run)?;
        for disk in plan.disks.iter().filter(|d| d.mount.is_some()) {
            if let Some(size) = p.disks.get(&disk.volume).copied() {
                p.mounted.insert(disk.volume, size);
            }
        }
        p.applied = plan.generation;
        drop(s);
        self.tick("configured");
        Ok(())
    }

    fn release(&self, machine: MachineId, run: RunId, serial: &str, force: bool) -> Result<(), Fault> {
        self.begin("release")?;
        let mut s = self.state();
        let busy = s.guests == Guests::Busy && !force;
        let p = s.heard(machine, run)?;
        if busy && p.mounted.keys().any(|v| v.short() == serial) {
            return Err(Fault::lasting(Code::Busy, "the guest uses it"));
        }
        p.mounted.retain(|v, _| v.short() != serial);
        drop(s);
        self.tick("released");
        Ok(())
    }

    fn grow(&self, machine: MachineId, run: RunId, serial: &str, to: ByteSize) -> Result<Grown, Fault> {
        self.begin("guest grows")?;
        let mut s = self.state();
        let p = s.heard(machine, run)?;
        if p.disks.iter().any(|(v, size)| v.short() == serial && *size < to) {
            s.violations.push("a guest was to fill more than it has".into());
            return Ok(Grown::default());
        }
        p.mounted.iter_mut().filter(|(v, _)| v.short() == serial).for_each(|(_, size)| *size = to);
        drop(s);
        self.tick("guest has grown");
        Ok(Grown::default())
    }

    fn disk_usage(&self, runs: &[(MachineId, RunId)]) -> HashMap<RunId, Vec<(String, ByteSize)>> {
        let mut s = self.state();
        let said = runs.iter().filter_map(|(machine, run)| {
            let mounted = &s.heard(*machine, *run).ok()?.mounted;
            Some((*run, mounted.iter().map(|(v, size)| (v.short(), ByteSize(size.bytes() >> 8))).collect()))
        });
        said.collect()
    }

    fn freeze(&self, machine: MachineId, run: RunId) -> Result<Held, Fault> {
        self.begin("freeze")?;
        let mut s = self.state();
        let until = s.up() + super::HELD;
        let guest = s.heard(machine, run)?;
        guest.held = Some(until);
        let serials = guest.mounted.keys().map(|volume| volume.short()).collect();
        drop(s);
        self.tick("held still");
        Ok(Held(Some(serials)))
    }

    fn thaw(&self, machine: MachineId, run: RunId) -> Result<bool, Fault> {
        self.begin("thaw")?;
        let mut s = self.state();
        let up = s.up();
        let held = s.heard(machine, run)?.held.take();
        drop(s);
        self.tick("let go");
        Ok(held.is_some_and(|until| until > up))
    }

    fn trim(&self, machine: MachineId, run: RunId, _: &str) -> Result<(), Fault> {
        self.begin("trim")?;
        self.state().heard(machine, run).map(drop)?;
        self.tick("trimmed");
        Ok(())
    }
}
