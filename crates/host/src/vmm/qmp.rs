//! QEMU's control protocol (its `docs/interop/qmp-spec`): lines of JSON on a socket.
//!
//! A guest that has broken out of its virtual machine speaks here, so an answer is believed for
//! nothing but its own machine.
//!
//! Invariant: a line is bounded before it is held, no bytes make the parser panic, and every command
//! has a deadline.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The longest line, in bytes.
const MAX_LINE: usize = 1 << 20;
/// Commands without an answer, after which a session is given up.
const MAX_WAITING: usize = 64;
/// How long a peer may leave what is written to it unread.
const WRITE: Duration = Duration::from_secs(10);

/// What QEMU says.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// The first line of a session.
    Greeting,
    /// A command was done.
    Return {
        /// The command's number.
        id: Option<u64>,
        /// Its answer.
        value: Value,
    },
    /// A command was refused.
    Error {
        /// The command's number.
        id: Option<u64>,
        /// Why, for the log.
        description: String,
    },
    /// Something happened.
    Event {
        /// Its name, such as `SHUTDOWN`.
        name: String,
        /// What belongs to it.
        data: Value,
    },
}

/// Reads one line.
///
/// # Errors
/// `InvalidData` for what is no message.
pub fn parse(line: &[u8]) -> io::Result<Message> {
    let mut message: Value = serde_json::from_slice(line).map_err(|_| ErrorKind::InvalidData)?;
    let id = message.get("id").and_then(Value::as_u64);
    if message.get("QMP").is_some() {
        return Ok(Message::Greeting);
    }
    if let Some(value) = message.get_mut("return") {
        return Ok(Message::Return { id, value: value.take() });
    }
    if let Some(error) = message.get("error") {
        let description = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
        return Ok(Message::Error { id, description: description.to_owned() });
    }
    let data = message.get_mut("data").map(Value::take).unwrap_or_default();
    let name = message.get("event").and_then(Value::as_str).ok_or(ErrorKind::InvalidData)?;
    Ok(Message::Event { name: name.to_owned(), data })
}

/// Cuts a stream into lines.
#[derive(Default)]
pub struct Lines {
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// `InvalidData` for one that is too long.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            Some(at) => {
                let end = self.searched + at;
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.buffer.len() > MAX_LINE => Err(ErrorKind::InvalidData.into()),
            None => {
                self.searched = self.buffer.len();
                Ok(None)
            }
        }
    }
}

/// Why a command has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// QEMU refused it.
    Refused(String),
    /// There is no QEMU that answers.
    Silent,
}

type Answer = Result<Value, Failed>;
type OnEvent = Arc<dyn Fn(&str, &Value) + Send + Sync>;

struct Request {
    command: &'static str,
    arguments: Value,
    answer: SyncSender<Answer>,
}

/// A machine's control, for any thread that may block.
#[derive(Clone)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
}

impl Qmp {
    /// A control of the QEMU that listens at `path`, and the task that carries it: it ends with the
    /// connection, and can be begun again.
    pub fn new(path: PathBuf, on_event: OnEvent) -> (Self, Session) {
        let (requests, queue) = mpsc::channel(16);
        (Self { requests }, Session { path, on_event, queue })
    }

    /// Does a command, and returns its answer.
    ///
    /// # Errors
    /// [`Failed`]; after `deadline` it counts as silent, and may yet be done.
    pub fn execute(&self, command: &'static str, arguments: Value, deadline: Duration) -> Answer {
        let (answer, answered) = sync_channel(1);
        self.requests.try_send(Request { command, arguments, answer }).map_err(|_| Failed::Silent)?;
        answered.recv_timeout(deadline).map_err(|_| Failed::Silent)?
    }
}

/// The other end of a [`Qmp`].
pub struct Session {
    path: PathBuf,
    on_event: OnEvent,
    queue: mpsc::Receiver<Request>,
}

impl Session {
    /// Connects and serves until the connection ends. Commands that were not answered are silent.
    pub async fn serve(&mut self) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.path).await?;
        let (mut lines, mut waiting) = (Lines::default(), HashMap::new());
        let (mut ready, mut next) = (false, 1);
        let mut buffer = vec![0; 16 << 10];
        loop {
            while let Some(line) = lines.next()? {
                match parse(&line)? {
                    Message::Greeting => send(&mut stream, 0, "qmp_capabilities", Value::Null).await?,
                    Message::Return { id: Some(0), .. } => ready = true,
                    Message::Return { id, value } => tell(&mut waiting, id, Ok(value)),
                    Message::Error { id, description } => {
                        tell(&mut waiting, id, Err(Failed::Refused(description)));
                    }
                    Message::Event { name, data } => (self.on_event)(&name, &data),
                }
            }
            tokio::select! {
                n = stream.read(&mut buffer) => match n? {
                    0 => return Ok(()),
                    n => lines.push(&buffer[..n]),
                },
                Some(request) = self.queue.recv(), if ready => {
                    if waiting.len() >= MAX_WAITING {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    send(&mut stream, next, request.command, request.arguments).await?;
                    waiting.insert(next, request.answer);
                    next += 1;
                }
            }
        }
    }
}

fn tell(waiting: &mut HashMap<u64, SyncSender<Answer>>, id: Option<u64>, answer: Answer) {
    if let Some(asker) = id.and_then(|id| waiting.remove(&id)) {
        // Whoever asked may have given up.
        let _ = asker.try_send(answer);
    }
}

async fn send(stream: &mut UnixStream, id: u64, command: &str, arguments: Value) -> io::Result<()> {
    let mut message = json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        message["arguments"] = arguments;
    }
    let line = format!("{message}\r\n");
    tokio::time::timeout(WRITE, stream.write_all(line.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_told_apart() {
        let of = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(of(r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#), Message::Greeting);
        let done = Message::Return { id: Some(3), value: json!({"status": "running"}) };
        assert_eq!(of(r#"{"return": {"status": "running"}, "id": 3}"#), done);
        let refused = Message::Error { id: Some(4), description: "no".into() };
        assert_eq!(of(r#"{"id": 4, "error": {"class": "GenericError", "desc": "no"}}"#), refused);
        let event = Message::Event { name: "STOP".into(), data: Value::Null };
        assert_eq!(of(r#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#), event);
        for bad in ["", "[]", "7", "{}", r#"{"event": 7}"#, "null"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        assert!(lines.next().unwrap().is_none());
        lines.push(b"xx");
        assert!(lines.next().is_err());
    }

    /// A QEMU that does as `script` says, line for line.
    fn peer(
        script: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || script(listener.accept().unwrap().0));
        (dir, path)
    }

    #[test]
    fn a_command_is_answered_between_events_and_silence_ends() {
        use std::io::{BufRead, BufReader, Write};
        let (_dir, path) = peer(|mut stream| {
            let mut said = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"{\"QMP\": {}}\r\n").unwrap();
            assert!(said.next().unwrap().unwrap().contains("qmp_capabilities"));
            stream.write_all(b"{\"return\": {}, \"id\": 0}\n").unwrap();
            assert!(said.next().unwrap().unwrap().contains("query-status"));
            stream.write_all(b"{\"event\": \"RESET\"}\n{\"return\": 5, \"id\": 1}\n").unwrap();
            assert!(said.next().unwrap().unwrap().contains("cont"));
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (events, happened) = sync_channel(9);
        let on_event: OnEvent = Arc::new(move |name, _| events.send(name.to_owned()).unwrap());
        let (qmp, mut session) = Qmp::new(path, on_event);
        let carrier = std::thread::spawn(move || runtime.block_on(session.serve()));
        let patience = Duration::from_secs(20);
        assert_eq!(qmp.execute("query-status", Value::Null, patience), Ok(json!(5)));
        assert_eq!(happened.recv().unwrap(), "RESET");
        assert_eq!(qmp.execute("cont", Value::Null, patience), Err(Failed::Silent));
        carrier.join().unwrap().unwrap();
        assert_eq!(qmp.execute("cont", Value::Null, patience), Err(Failed::Silent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), piece in 1usize..9) {
            let mut lines = Lines::default();
            for bytes in bytes.chunks(piece) {
                lines.push(bytes);
                while let Ok(Some(line)) = lines.next() {
                    let _ = parse(&line);
                }
            }
        }

        #[test]
        fn no_json_makes_it_panic(
            key in prop_oneof![Just("QMP"), Just("return"), Just("error"), Just("event"), Just("id")],
            value in prop_oneof![Just("{}"), Just("null"), Just("-1"), Just("\"x\""), Just("[1]"), Just("1e400")],
            other in prop_oneof![Just("data"), Just("id"), Just("desc")],
        ) {
            let _ = parse(format!("{{\"{key}\": {value}, \"{other}\": {value}}}").as_bytes());
        }

        #[test]
        fn lines_are_whole_however_they_are_cut(
            told in prop::collection::vec("[a-z]{0,9}", 0..9), piece in 1usize..9,
        ) {
            let text: String = told.iter().map(|l| format!("{l}\n")).collect();
            let (mut lines, mut heard) = (Lines::default(), vec![]);
            for bytes in text.as_bytes().chunks(piece) {
                lines.push(bytes);
                while let Some(line) = lines.next().unwrap() {
                    heard.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(heard, told);
        }
    }
}
