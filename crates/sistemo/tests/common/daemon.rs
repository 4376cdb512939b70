//! A daemon in this process: the real API and engine on simulated ports.

use super::Ran;
use engine::sim::World;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use host::storage::FilePool;
use serde_json::Value;
use sistemo::api::{self, About, App, ExecRequest, Frames, Guests, events};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
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
    use proto::Frame;
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
pub struct Daemon {
    pub dir: tempfile::TempDir,
    /// What it believes to be its host.
    pub world: World,
    /// Where TCP is.
    pub address: std::net::SocketAddr,
    /// Of the set-up link.
    pub code: String,
    stop: watch::Sender<bool>,
    time: Arc<AtomicBool>,
}

impl Daemon {
    pub fn up() -> Self {
        Self::with(api::access::Rules::default())
    }

    pub fn with(rules: api::access::Rules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new();
        let engine = world.boot(engine::Settings::default()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let hub = events::Hub::default();
        let news = hub.clone();
        engine.on_commit(hub.revisions());
        let metrics = Arc::new(api::Metrics::default());
        let counts = metrics.clone();
        engine.on_operation(Arc::new(move |operation| {
            counts.operation(operation);
            news.tell(operation);
        }));
        engine.start();
        // What is sent arrives in a real pool, of which the simulated one knows nothing.
        let files = host::Layout::new(dir.path(), dir.path());
        let gate = api::Gate::new(rules);
        let code = gate.setup_code().unwrap();
        let app = App {
            engine: engine.clone(),
            events: hub,
            gate,
            metrics,
            guests: Arc::new(Echo),
            answers: api::Answers::default(),
            contents: Arc::new(move |_| Ok(Arc::new(FilePool::open(files.clone())?))),
            capacity: Arc::new(|| {
                let warning = None;
                let (name, total_bytes, free_bytes, committed_bytes) =
                    ("default".into(), 1 << 40, 1 << 39, 2 << 30);
                Ok(vec![engine::PoolRoom { name, total_bytes, free_bytes, committed_bytes, warning }])
            }),
            about: About {
                node: "localhost".into(),
                started_at: Timestamp::from_millis(0),
                data_dir: dir.path().to_owned(),
                ssh_key: None,
            },
            settings: RwLock::default(),
            stopping: stopping.clone(),
        };
        // The world's clock: it stands still unless somebody lets time pass.
        let time = Arc::new(AtomicBool::new(true));
        let (runs, passing) = (Arc::clone(&time), world.clone());
        std::thread::spawn(move || {
            while runs.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(5));
                passing.pass(100);
                engine.resync().unwrap();
            }
        });
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("sistemo.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let address = tcp.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let tcp = api::Listener::Tcp(tokio::net::TcpListener::from_std(tcp).unwrap(), None);
                let router = api::router(Arc::new(app));
                let tcp = api::serve(tcp, router.clone(), stopping.clone());
                tokio::join!(tcp, api::serve(listener, router, stopping));
            });
        });
        Self { dir, world, address, code, stop, time }
    }

    pub fn run(&self, line: &str) -> Ran {
        let args: Vec<_> = line.split(' ').collect();
        super::run(self.dir.path(), &args)
    }

    /// Runs a line that has to end well; returns what it printed.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    }

    /// Runs a line that has to be refused.
    pub fn refused(&self, line: &str, code: &str, exit: i32) {
        let ran = self.run(line);
        assert_eq!(ran.code, exit, "{line}: {ran:?}");
        assert!(ran.err.contains(&format!("error[{code}]: ")), "{line}: {ran:?}");
    }

    /// Sends these bytes and reads all that comes.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.dir.path().join("sistemo.sock")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks by hand; returns the head of the answer and its body.
    pub fn ask(&self, line: &str, body: &str) -> (String, Value) {
        let length = body.len();
        let answer =
            self.raw(&format!("{line} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let value = serde_json::from_str(body).unwrap_or(Value::String(body.into()));
        (head.to_ascii_lowercase(), value)
    }

    /// Asks over TCP with these headers; returns status, head and body.
    pub fn tcp(&self, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, Value) {
        let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if headers.iter().all(|(name, _)| *name != "host") {
            request += &format!("host: {}\r\n", self.address);
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let value = serde_json::from_str(body).unwrap_or(Value::String(body.into()));
        (status, head.to_owned(), value)
    }

    /// A token of this role, made over the socket.
    pub fn token(&self, role: &str) -> String {
        self.json(&format!("token create --role {role} --name {role}"))["token"].as_str().unwrap().to_owned()
    }

    /// Runs a line over TCP with a token.
    pub fn run_with(&self, token: &str, line: &str) -> Ran {
        let url = format!("http://{}", self.address);
        let args: Vec<_> = line.split(' ').collect();
        let mut command = super::command(self.dir.path(), &args);
        command.env("SISTEMO_URL", url).env("SISTEMO_TOKEN", token).output().unwrap().into()
    }

    /// Prints as JSON what a line that has to end well prints.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.time.store(false, Ordering::Relaxed);
        let _ = self.stop.send(true);
    }
}
