//! The agent's endpoints over a stream, with real commands of this system.

use bytes::{Bytes, BytesMut};
use guest::agent::{Agent, Wish, connection};
use guest::exec::Commands;
use guest::inside::Inside;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::{ExecRequest, Frame, GuestConfig, Refusal, State, Tty, encode_exec, paths};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A host in a session with an agent whose machine is this system.
struct Host {
    send: SendRequest<Body>,
    session: JoinHandle<()>,
    state: watch::Sender<State>,
    wishes: mpsc::Receiver<Wish>,
    commands: Arc<Commands>,
}

async fn host() -> Host {
    let (state, see_state) = watch::channel(State { generation: 1, ..State::default() });
    let root = watch::channel(Some(Arc::new(Inside::at("/").unwrap()))).1;
    let (wish, wishes) = mpsc::channel(4);
    let agent = Agent::new(see_state, root, wish);
    let commands = agent.commands.clone();
    let (ours, theirs) = tokio::io::duplex(32 << 10);
    let session = tokio::spawn(async move {
        let _ = connection(theirs, agent).await;
    });
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
    let (send, connection) = client.unwrap();
    tokio::spawn(connection);
    Host { send, session, state, wishes, commands }
}

impl Host {
    async fn ask(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.send.send_request(request).await.unwrap()
    }

    async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let body = Body::new(Full::new(body.into()));
        self.ask(Request::post(format!("http://guest{path}")).body(body).unwrap()).await
    }

    /// Begins a command.
    async fn begin(&mut self, request: &ExecRequest) -> Result<Command, (StatusCode, Refusal)> {
        let (input, mut from) = mpsc::channel::<Bytes>(1);
        let body = futures_util::stream::poll_fn(move |context| {
            from.poll_recv(context).map(|bytes| bytes.map(|b| Ok(BodyFrame::data(b))))
        });
        input.send(encode_exec(request).into()).await.unwrap();
        let request = Request::post(format!("http://guest{}", paths::EXEC));
        let answer = self.ask(request.body(Body::new(StreamBody::new(body))).unwrap()).await;
        let status = answer.status();
        if status != 200 {
            let refusal = answer.into_body().collect().await.unwrap().to_bytes();
            return Err((status, serde_json::from_slice(&refusal).unwrap()));
        }
        Ok(Command { input: Some(input), output: answer.into_body(), bytes: BytesMut::new() })
    }

    /// Runs a command to its end with this input.
    async fn run(&mut self, request: &ExecRequest, input: &[Frame]) -> Outcome {
        let command = self.begin(request).await.unwrap();
        for frame in input {
            command.say(frame).await;
        }
        command.say(&Frame::StdinEof).await;
        command.outcome().await
    }

    async fn refused(&mut self, request: &ExecRequest) -> (StatusCode, Refusal) {
        self.begin(request).await.map(|_| ()).unwrap_err()
    }
}

struct Command {
    input: Option<mpsc::Sender<Bytes>>,
    output: Incoming,
    bytes: BytesMut,
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<Frame>,
}

impl Command {
    async fn say(&self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // A command that has ended takes no input any more.
        let _ = self.input.as_ref().unwrap().send(bytes.into()).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.bytes).unwrap() {
                return Some(frame);
            }
            let data = self.output.frame().await?.ok()?.into_data().unwrap();
            self.bytes.extend_from_slice(&data);
        }
    }

    /// Reads until the output so far satisfies.
    async fn until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        while !enough(&said) {
            match self.next().await {
                Some(Frame::Stdout(bytes)) => said += &String::from_utf8_lossy(&bytes),
                other => panic!("{other:?} after {said:?}"),
            }
        }
        said
    }

    async fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(frame) = self.next().await {
            assert_eq!(outcome.end, None, "a frame after the last");
            match frame {
                Frame::Stdout(bytes) => outcome.stdout.extend(bytes),
                Frame::Stderr(bytes) => outcome.stderr.extend(bytes),
                last => outcome.end = Some(last),
            }
        }
        outcome
    }
}

fn command(argv: &[&str]) -> ExecRequest {
    ExecRequest { argv: argv.iter().map(|&a| a.to_owned()).collect(), ..ExecRequest::default() }
}

fn shell(script: &str) -> ExecRequest {
    command(&["sh", "-c", script])
}

fn exit(code: u8) -> Option<Frame> {
    Some(Frame::Exit { code: Some(code), signal: None })
}

fn test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), body).await.unwrap() });
}

/// Waits until a process is gone, zombies included.
async fn gone(pid: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[test]
fn arguments_environment_and_streams_are_exact() {
    test(async {
        let mut host = host().await;
        let args = command(&["printf", "%s|", "a b", "", "$x", "q'q\"", "\n"]);
        assert_eq!(host.run(&args, &[]).await.stdout, b"a b||$x|q'q\"|\n|");
        let streams = host.run(&shell("cat; echo err >&2; exit 7"), &[Frame::Stdin(b"in".to_vec())]).await;
        assert_eq!(streams, Outcome { stdout: b"in".to_vec(), stderr: b"err\n".to_vec(), end: exit(7) });
        let env = ExecRequest { env: vec!["A=b=c".into(), "HOME=/x".into()], ..command(&["env"]) };
        let said = String::from_utf8(host.run(&env, &[]).await.stdout).unwrap();
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(lines, ["A=b=c", "HOME=/x", "LANG=C.UTF-8", path, "USER=root"]);
        let place = ExecRequest { cwd: "/usr".into(), ..command(&["pwd"]) };
        assert_eq!(host.run(&place, &[]).await.stdout, b"/usr\n");
        let adj = host.run(&command(&["cat", "/proc/self/oom_score_adj"]), &[]).await;
        assert_eq!(adj.stdout, b"0\n");
        // Whatever this process itself ignores: what a test run in the background does, for one.
        // SAFETY: nobody here uses this signal, and no handler is installed.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let signals = host.run(&command(&["grep", "-hE", "Sig(Ign|Blk)", "/proc/self/status"]), &[]).await;
        // Two signals are the C library's own (nptl(7)), and it lets nobody set them.
        let own = 0b11 << (32 - 1);
        for line in String::from_utf8(signals.stdout).unwrap().lines() {
            let set = u64::from_str_radix(line.split_once(":\t").unwrap().1, 16).unwrap();
            assert_eq!(set & !own, 0, "{line}");
        }
    });
}

#[test]
fn what_cannot_run_is_refused_before_anything() {
    test(async {
        let mut host = host().await;
        let cases = [
            (command(&["no-such-command"]), 404, Some(127)),
            (command(&["/etc/passwd"]), 400, Some(126)),
            (command(&["/etc"]), 400, Some(126)),
            (command(&[]), 400, None),
            (command(&["echo", "a\0b"]), 400, None),
            (ExecRequest { env: vec!["novalue".into()], ..command(&["true"]) }, 400, None),
            (ExecRequest { cwd: "/nowhere".into(), ..command(&["true"]) }, 400, None),
        ];
        for (request, status, code) in cases {
            let (said, refusal) = host.refused(&request).await;
            assert_eq!((said.as_u16(), refusal.exit), (status, code), "{request:?}: {refusal:?}");
            assert!(!refusal.message.is_empty());
        }
        assert_eq!(host.post(paths::EXEC, &b"\0\0\0\x02{}"[..]).await.status(), 400);
        assert_eq!(host.post(paths::EXEC, &b"\xff\0\0\0"[..]).await.status(), 400);
        assert_eq!(host.post("/v1/unheard-of", "").await.status(), 404);
        assert_eq!(host.post(paths::EVENTS, "").await.status(), 405);
    });
}

#[test]
fn signals_end_and_are_told() {
    test(async {
        let mut host = host().await;
        let mut command = host.begin(&shell("echo ready; sleep 1000")).await.unwrap();
        command.until(|said| said == "ready\n").await;
        command.say(&Frame::Signal(0)).await;
        command.say(&Frame::Signal(15)).await;
        let end = Some(Frame::Exit { code: None, signal: Some(15) });
        assert_eq!(command.outcome().await.end, end);
    });
}

#[test]
fn a_terminal_is_one() {
    test(async {
        let mut host = host().await;
        let mut request = shell("tty; stty size; echo $TERM; echo err >&2; read x; stty size; cat; exit 3");
        request.tty = Some(Tty { rows: 33, cols: 77 });
        let mut command = host.begin(&request).await.unwrap();
        let said = command.until(|said| said.contains("err")).await;
        assert!(said.starts_with("/dev/pts/"), "{said}");
        assert!(said.contains("33 77\r\nxterm-256color\r\n"), "{said}");
        command.say(&Frame::Resize { rows: 10, cols: 20 }).await;
        command.say(&Frame::Stdin(b"\n".to_vec())).await;
        command.until(|said| said.contains("10 20")).await;
        // The end of the input ends `cat`.
        command.say(&Frame::StdinEof).await;
        let outcome = command.outcome().await;
        assert_eq!((outcome.end, outcome.stderr), (exit(3), Vec::new()));
        // The control character is a signal for what runs in the foreground.
        let mut request = shell("trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done");
        request.tty = Some(Tty { rows: 1, cols: 1 });
        let mut command = host.begin(&request).await.unwrap();
        command.until(|said| said.contains("ready")).await;
        command.say(&Frame::Stdin(vec![3])).await;
        assert_eq!(command.outcome().await.end, exit(4));
    });
}

#[test]
fn much_goes_through_both_ways_and_nothing_is_lost_at_the_end() {
    test(async {
        let mut host = host().await;
        let mut command = host.begin(&shell("cat; echo end")).await.unwrap();
        let input = command.input.take().unwrap();
        let feed = tokio::spawn(async move {
            for n in 0..400u32 {
                let mut bytes = Vec::new();
                Frame::Stdin(vec![n as u8; 10_000]).encode(&mut bytes);
                input.send(bytes.into()).await.unwrap();
            }
        });
        let outcome = command.outcome().await;
        feed.await.unwrap();
        let wanted: Vec<u8> = (0..400u32).flat_map(|n| [n as u8; 10_000]).chain(*b"end\n").collect();
        assert!(outcome.stdout == wanted && outcome.end == exit(0));
    });
}

#[test]
fn a_slow_host_holds_the_command_back() {
    test(async {
        let mut host = host().await;
        let mut request = shell("echo $$; exec yes");
        request.cwd = "/".into();
        let mut command = host.begin(&request).await.unwrap();
        let said = command.until(|said| said.contains('\n')).await;
        let pid = said.lines().next().unwrap();
        // It writes until every buffer on the way is full, and then waits in a write.
        let end = Instant::now() + Duration::from_secs(30);
        let written = || {
            let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
            io.lines().find_map(|l| l.strip_prefix("wchar: ")?.parse::<u64>().ok()).unwrap()
        };
        let mut before = written();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = written();
            if now == before && now > 0 {
                break;
            }
            before = now;
            assert!(Instant::now() < end, "it was never held back");
        }
        // hyper's client alone lets 5 MiB come; of ours there is little more.
        assert!(before < 8 << 20, "{before}");
        // Other commands go on meanwhile.
        assert_eq!(host.run(&shell("echo well"), &[]).await.stdout, b"well\n");
    });
}

#[test]
fn offspring_does_not_keep_the_exec_open() {
    test(async {
        let mut host = host().await;
        let begun = Instant::now();
        let outcome = host.run(&shell("sleep 1000 & echo $!; (sleep 0.1; echo late) & exit 5"), &[]).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(outcome.end, exit(5));
        let said = String::from_utf8(outcome.stdout).unwrap();
        let pid = said.lines().next().unwrap();
        assert!(said.ends_with("late\n"), "{said}");
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // Not even when it is never silent.
        let begun = Instant::now();
        let outcome = host.run(&shell("while :; do echo x; sleep 0.1; done & exit 6"), &[]).await;
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(outcome.end, exit(6));
    });
}

#[test]
fn a_command_whose_host_is_gone_ends() {
    test(async {
        let mut host = host().await;
        // Its stream is reset.
        let script = "trap '' HUP; sleep 1000 & echo $$ $!; wait";
        let mut command = host.begin(&shell(script)).await.unwrap();
        let said = command.until(|said| said.ends_with('\n')).await;
        drop(command);
        for pid in said.split_whitespace() {
            assert!(gone(pid).await, "{pid} lives");
        }
        // The whole session ends.
        let mut command = host.begin(&shell("sleep 1000 & echo $$ $!; wait")).await.unwrap();
        let said = command.until(|said| said.ends_with('\n')).await;
        host.session.abort();
        for pid in said.split_whitespace() {
            assert!(gone(pid).await, "{pid} lives");
        }
    });
}

#[test]
fn a_shutdown_ends_commands_and_lets_none_begin() {
    test(async {
        let mut host = host().await;
        let mut stubborn =
            host.begin(&shell("trap '' HUP TERM; echo $$; while :; do sleep 1; done")).await.unwrap();
        let pid = stubborn.until(|said| said.ends_with('\n')).await;
        host.commands.end().await;
        assert!(gone(&pid).await);
        assert!(matches!(stubborn.outcome().await.end, Some(Frame::Error(_))));
        assert_eq!(host.refused(&command(&["true"])).await.0, 503);
    });
}

#[test]
fn nonsense_for_a_command_ends_it() {
    test(async {
        let mut host = host().await;
        let mut command = host.begin(&shell("echo $$; exec sleep 1000")).await.unwrap();
        let pid = command.until(|said| said.ends_with('\n')).await;
        command.say(&Frame::Stdout(b"no".to_vec())).await;
        assert!(matches!(command.outcome().await.end, Some(Frame::Error(_))));
        assert!(gone(&pid).await);
    });
}

#[test]
fn hello_events_and_shutdown_reach_the_keeper() {
    test(async {
        let mut host = host().await;
        let request = Request::get(format!("http://guest{}", paths::EVENTS)).body(Body::default()).unwrap();
        let mut events = host.ask(request).await.into_body();
        let mut event = async || -> State {
            serde_json::from_slice(&events.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap()
        };
        assert!(!event().await.root_mounted);
        host.state.send_modify(|s| s.root_mounted = true);
        assert!(event().await.root_mounted);

        let mut wishes = std::mem::replace(&mut host.wishes, mpsc::channel(1).1);
        let keeper = tokio::spawn(async move {
            let Some(Wish::Hello(config, answer)) = wishes.recv().await else { panic!() };
            let _ = answer.send(State { generation: config.generation, ..State::default() });
            assert!(matches!(wishes.recv().await, Some(Wish::Shutdown)));
        });
        let config = GuestConfig { generation: 7, ..GuestConfig::default() };
        let answer = host.post(paths::HELLO, serde_json::to_vec(&config).unwrap()).await;
        let state: State = serde_json::from_slice(&answer.collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(state.generation, 7);
        assert_eq!(host.post(paths::HELLO, "{").await.status(), 400);
        assert_eq!(host.post(paths::HELLO, vec![b' '; proto::MAX_JSON + 1]).await.status(), 413);
        assert_eq!(host.post(paths::SHUTDOWN, "").await.status(), 202);
        keeper.await.unwrap();
    });
}

#[test]
fn no_command_runs_before_the_root_is_there() {
    test(async {
        let (wish, _) = mpsc::channel(1);
        let agent = Agent::new(watch::channel(State::default()).1, watch::channel(None).1, wish);
        let (ours, theirs) = tokio::io::duplex(1 << 14);
        tokio::spawn(async move { connection(theirs, agent).await });
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        let body = Body::new(Full::from(encode_exec(&command(&["true"]))));
        let request = Request::post(format!("http://guest{}", paths::EXEC)).body(body).unwrap();
        assert_eq!(send.send_request(request).await.unwrap().status(), 503);
    });
}
