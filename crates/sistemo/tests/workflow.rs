//! The announcement's workflow through the real command line, API and engine, on simulated ports.

mod common;

use common::Ran;
use engine::sim::World;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::Value;
use sistemo::api::{self, About, App, ExecRequest, Frames, Guests, PoolRoom, events};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use types::{Code, MachineId, Problem, RunId, Timestamp};

/// Guests whose commands say what they were given, in frames that the test decodes by hand.
struct Echo;

impl Guests for Echo {
    fn exec(
        &self,
        _: MachineId,
        _: RunId,
        request: ExecRequest,
    ) -> BoxFuture<'_, Result<Box<dyn Frames>, Problem>> {
        Box::pin(async move {
            if request.argv[0] == "missing" {
                return Err(Problem::new(Code::GuestFailed, "there is no \"missing\""));
            }
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            tokio::spawn(guest(theirs, request.argv));
            Ok(Box::new(ours) as Box<dyn Frames>)
        })
    }

    fn console(
        &self,
        _: MachineId,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<bytes::Bytes>>, Problem> {
        let shown = stream::iter([Ok(bytes::Bytes::from_static(b"booting\r\nlogin: "))]);
        Ok(if follow { shown.chain(stream::pending()).boxed() } else { shown.boxed() })
    }
}

/// Reads input to its end, then prints the arguments and the input, and exits with 3.
async fn guest(mut stream: tokio::io::DuplexStream, argv: Vec<String>) {
    use sistemo::exec::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = bytes::BytesMut::new();
    let mut input = Vec::new();
    'heard: loop {
        while let Some(frame) = Frame::decode(&mut bytes).unwrap() {
            match frame {
                Frame::Stdin(piece) => input.extend(piece),
                Frame::StdinEof => break 'heard,
                _ => {}
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let mut answer = Vec::new();
    Frame::Stdout(format!("{argv:?}\n").into_bytes()).encode(&mut answer);
    Frame::Stderr(input).encode(&mut answer);
    let exit = Frame::Exit { code: Some(3), signal: None };
    exit.encode(&mut answer);
    stream.write_all(&answer).await.unwrap();
}

/// A daemon on simulated ports, in this process.
struct Daemon {
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    time: Arc<AtomicBool>,
}

impl Daemon {
    fn up() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new();
        let engine = world.boot(engine::Settings::default()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let hub = events::Hub::default();
        let news = hub.clone();
        engine.on_operation(Arc::new(move |operation| news.tell(operation)));
        engine.start();
        let app = App {
            engine: engine.clone(),
            events: hub,
            guests: Arc::new(Echo),
            capacity: Arc::new(|| {
                Ok(PoolRoom { name: "default".into(), total_bytes: 1 << 40, free_bytes: 1 << 39 })
            }),
            about: About {
                node: "localhost".into(),
                started_at: Timestamp::from_millis(0),
                data_dir: dir.path().to_owned(),
                ssh_key: None,
            },
            stopping: stopping.clone(),
        };
        // The world's clock: it stands still unless somebody lets time pass.
        let time = Arc::new(AtomicBool::new(true));
        let runs = Arc::clone(&time);
        std::thread::spawn(move || {
            while runs.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(5));
                world.pass(100);
                engine.resync().unwrap();
            }
        });
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("sistemo.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                api::serve(listener, api::router(Arc::new(app)), stopping).await;
            });
        });
        Self { dir, stop, time }
    }

    fn run(&self, line: &str) -> Ran {
        let args: Vec<_> = line.split(' ').collect();
        common::run(self.dir.path(), &args)
    }

    /// Runs a line that has to end well; returns what it printed.
    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    }

    /// Runs a line that has to be refused.
    fn refused(&self, line: &str, code: &str, exit: i32) {
        let ran = self.run(line);
        assert_eq!(ran.code, exit, "{line}: {ran:?}");
        assert!(ran.err.contains(&format!("error[{code}]: ")), "{line}: {ran:?}");
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.time.store(false, Ordering::Relaxed);
        let _ = self.stop.send(true);
    }
}

#[test]
fn the_announcement() {
    let daemon = Daemon::up();
    daemon.ok("machine deploy debian --name web --storage 5GB");
    assert_eq!(
        daemon.ok("volume list"),
        "NAME         SIZE    STATUS     ATTACHED TO   TYPE\n\
         web-root     5.0GB   attached   web           root\n"
    );
    daemon.ok("volume create 2G --name appdata");
    daemon.refused("machine volume attach web appdata", "machine-running", 4);
    daemon.refused("volume resize web-root 10GB", "machine-running", 4);
    daemon.ok("machine stop web");
    daemon.ok("machine volume attach web appdata");
    daemon.refused("volume delete appdata -y", "volume-in-use", 4);
    daemon.ok("machine start web");
    daemon.ok("machine stop web");
    daemon.ok("volume resize web-root 10GB");
    daemon.refused("volume resize web-root 1GB", "cannot-shrink", 4);
    daemon.ok("machine start web");
    daemon.refused("machine delete web --preserve-storage", "not-confirmed", 4);
    let gone = daemon.ok("machine delete web --preserve-storage -y");
    assert!(gone.contains("web-root") && gone.contains("appdata"), "{gone}");
    assert_eq!(
        daemon.ok("volume ls"),
        "NAME         SIZE     STATUS     ATTACHED TO   TYPE\n\
         appdata      2.0GB    detached   -             data\n\
         web-root     10.0GB   detached   -             root\n"
    );
    let machine = daemon.json("machine deploy --volume web-root --name web2");
    assert_eq!(machine["phase"], "running");
    assert_eq!(machine["root_volume"], "web-root");
    daemon.refused("machine show web", "machine-not-found", 3);
    daemon.refused("vm deploy debian --name web2", "name-taken", 4);
}

#[test]
fn history_and_views_carry_their_fields() {
    let daemon = Daemon::up();
    let volume = daemon.json("volume create 1.5G --name data");
    for field in ["id", "name", "status", "condition", "attached_to", "role", "pool", "size_bytes"] {
        assert!(volume.get(field).is_some(), "{field}: {volume}");
    }
    assert_eq!(volume["size_bytes"], 1536u64 << 20);
    let id = volume["id"].as_str().unwrap();
    assert_eq!(daemon.json(&format!("volume show {id}"))["name"], "data");
    daemon.refused("volume show nothing", "volume-not-found", 3);
    daemon.refused("volume create 1G --name data", "name-taken", 4);
    let history = daemon.json("history");
    let newest = &history["items"][0];
    assert_eq!(newest["outcome"], "refused");
    assert_eq!(newest["problem"]["code"], "name-taken");
    assert_ne!(newest["actor"], "");
    assert!(daemon.ok("history -n 1").lines().count() == 2);
    assert_eq!(daemon.json("status")["volumes"], 1);
    assert_eq!(daemon.json("network list")["items"].as_array().unwrap().len(), 1);
    daemon.ok("volume rm data -y");
    assert_eq!(daemon.ok("volume ls").lines().count(), 1);
}

#[test]
fn exec_passes_arguments_input_outputs_and_status() {
    use std::io::Write;
    use std::process::Stdio;
    let daemon = Daemon::up();
    daemon.refused("machine exec web -- ls", "machine-not-found", 3);
    daemon.ok("vm deploy debian --name web");
    let mut child = common::command(
        daemon.dir.path(),
        &["machine", "exec", "web", "--", "sh", "-c", "a  'b' \"c\"\n$d", ""],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let input = "x".repeat(300_000);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "[\"sh\", \"-c\", \"a  'b' \\\"c\\\"\\n$d\", \"\"]\n");
    assert_eq!(ran.err, input);
    daemon.refused("machine exec web -- missing", "guest-failed", 1);
    assert_eq!(daemon.ok("machine logs web"), "booting\r\nlogin: ");
    daemon.refused("machine ssh web", "tool-missing", 4);
    daemon.ok("machine stop web");
    daemon.refused("machine exec web -- ls", "machine-not-running", 4);
}
