//! A data directory, and hypervisors in it.

use crate::guest::{Archive, boot_files};
use engine::port::{Fault, ProcessObs, RunDisk, RunPlan, Vmm};
use futures_util::StreamExt;
use host::Layout;
use host::vmm::{Qemu, VmmSettings};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use types::volume::VolumeRole;
use types::{ByteSize, MachineId, RunId, VolumeId};
use uuid::Uuid;

/// Emulation on a busy host is slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// See the module.
pub struct World {
    dir: PathBuf,
    keep: Option<tempfile::TempDir>,
    layout: Layout,
    runtime: tokio::runtime::Handle,
    todo: String,
    vmlinuz: Option<PathBuf>,
    plans: std::sync::Mutex<Vec<RunPlan>>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl World {
    /// Whose guests do this.
    pub fn new(todo: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let mut world = Self::at(path, todo);
        world.keep = Some(dir);
        world
    }

    /// The world at this place, as another process sees it.
    pub fn at(dir: PathBuf, todo: &str) -> Self {
        boot_files();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (_stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || runtime.block_on(async { drop(stopped.await) }));
        let layout = Layout::new(dir.join("data"), dir.join("run"));
        std::fs::create_dir_all(layout.volumes()).unwrap();
        let plans = std::sync::Mutex::default();
        Self { dir, keep: None, layout, runtime: handle, todo: todo.into(), vmlinuz: None, plans, _stop }
    }

    /// Whose guests are booted with this.
    pub fn with_kernel(mut self, content: &[u8]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join("vmlinuz");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        self.vmlinuz = Some(path);
        self
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn runtime(&self) -> tokio::runtime::Handle {
        self.runtime.clone()
    }

    /// A daemon's hypervisors, and what it is woken for.
    pub fn qemu(&self) -> (Qemu, Receiver<Uuid>) {
        let mut files = boot_files();
        files.vmlinuz = self.vmlinuz.clone().unwrap_or(files.vmlinuz);
        let todo = self.todo.clone();
        let (tell, woken) = channel();
        let qemu = Qemu::new(
            self.layout.clone(),
            Arc::new(move |_| Ok(files.clone())),
            Arc::new(move |_| Archive::default().file("todo", todo.as_bytes()).finish()),
            Default::default(),
            VmmSettings::default(),
            self.runtime.clone(),
            Arc::new(move |_, id| {
                let _ = tell.send(id);
            }),
        );
        (qemu, woken)
    }

    /// A volume of 16 MiB that says nothing.
    pub fn disk(&self, slot: u8) -> RunDisk {
        let volume = VolumeId(Uuid::now_v7());
        File::create(self.layout.volume(volume)).unwrap().set_len(16 << 20).unwrap();
        RunDisk {
            volume,
            pool: types::pool::DEFAULT_POOL.into(),
            name: format!("disk{slot}").parse().unwrap(),
            slot,
            serial: volume.short(),
            role: if slot == 0 { VolumeRole::Root } else { VolumeRole::Data },
            mount: None,
            by_name: false,
            identity: None,
            read_only: false,
        }
    }

    /// The first bytes of a volume.
    pub fn content(&self, disk: &RunDisk) -> String {
        let mut bytes = [0; 64];
        File::open(self.layout.volume(disk.volume)).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    }

    /// A run with these disks. It is killed when the world ends, however it ends.
    pub fn plan(&self, disks: Vec<RunDisk>) -> RunPlan {
        let plan = RunPlan {
            machine: MachineId(Uuid::now_v7()),
            name: "web".parse().unwrap(),
            generation: 1,
            run: RunId(Uuid::now_v7()),
            uid: 200_001,
            vcpus: 1,
            memory: ByteSize::mib(256),
            kernel: "test".into(),
            disks,
            nics: vec![],
        };
        self.plans.lock().unwrap().push(plan.clone());
        plan
    }

    /// Waits for this text on the console.
    #[track_caller]
    pub fn hear(&self, qemu: &Qemu, plan: &RunPlan, text: &str) -> String {
        let mut console = qemu.console(plan.machine, true);
        let wanted = text.to_owned();
        let listen = async move {
            let mut heard = String::new();
            while !heard.contains(&wanted) {
                match console.next().await {
                    Some(piece) => heard += &String::from_utf8_lossy(&piece.unwrap()),
                    None => return None,
                }
            }
            Some(heard)
        };
        let heard = self.block(async move { tokio::time::timeout(PATIENCE, listen).await });
        let missing = || panic!("no {text:?} in time: {}", self.said(qemu, plan));
        heard.ok().flatten().unwrap_or_else(missing)
    }

    /// All that the console's log holds.
    pub fn said(&self, qemu: &Qemu, plan: &RunPlan) -> String {
        let console = qemu.console(plan.machine, false);
        let pieces: Vec<_> = self.block(console.collect());
        pieces.into_iter().map(|p| String::from_utf8_lossy(&p.unwrap()).into_owned()).collect()
    }

    fn block<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = channel();
        self.runtime.spawn(async move { drop(tell.send(future.await)) });
        told.recv().unwrap()
    }

    /// The run's cgroup.
    pub fn cgroup(&self, plan: &RunPlan) -> PathBuf {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|l| l.contains(" - cgroup2 ")).unwrap();
        PathBuf::from(mount.split(' ').nth(4).unwrap()).join("sistemo").join(plan.run.short())
    }

    /// The run's one process.
    pub fn pid(&self, plan: &RunPlan) -> u32 {
        let procs = std::fs::read_to_string(self.cgroup(plan).join("cgroup.procs")).unwrap();
        let pids: Vec<u32> = procs.lines().map(|l| l.parse().unwrap()).collect();
        assert_eq!(pids.len(), 1, "{procs}");
        pids[0]
    }

    /// That nothing is left of a run.
    #[track_caller]
    pub fn assert_nothing_left(&self, qemu: &Qemu, plan: &RunPlan) {
        assert_eq!(qemu.observe(plan.machine, plan.run).unwrap(), ProcessObs::Absent);
        assert!(!self.cgroup(plan).exists());
        assert!(!self.layout.run().join(plan.machine.short()).exists());
        assert!(!self.layout.machine(plan.machine).join("initrd.new").exists());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (qemu, _) = self.qemu();
        for plan in self.plans.lock().unwrap().iter() {
            let gone = qemu.kill(plan.machine, plan.run).and_then(|()| qemu.clean(plan.machine, plan.run));
            if let Err(e) = gone {
                eprintln!("a run is left: {e}");
            }
        }
    }
}

/// Waits until the machine is woken and is then seen so.
#[track_caller]
pub fn wait_for(qemu: &Qemu, woken: &Receiver<Uuid>, plan: &RunPlan, wanted: ProcessObs) {
    let deadline = Instant::now() + PATIENCE;
    while qemu.observe(plan.machine, plan.run).unwrap() != wanted {
        let left = deadline.saturating_duration_since(Instant::now());
        assert_eq!(woken.recv_timeout(left).expect("a wake in time"), plan.machine.0);
    }
}

/// The code of a refusal.
#[track_caller]
pub fn refused(result: Result<(), Fault>) -> types::Code {
    let fault = result.unwrap_err();
    assert!(fault.problem.hint.is_some(), "{fault}");
    fault.problem.code
}
