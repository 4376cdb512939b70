//! Commands for QEMU, over its control socket.
//!
//! Invariant: every command has a deadline; an answer is believed for nothing but its own machine;
//! what is held of a peer is bounded.

use super::message::{Lines, Message, parse};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Commands without an answer, after which a session is given up.
const MAX_WAITING: usize = 64;
/// How long a peer may leave what is written to it unread.
const WRITE: Duration = Duration::from_secs(10);

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
    /// Goes along, and is closed here once it is gone.
    fd: Option<OwnedFd>,
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
        self.execute_with(command, arguments, None, deadline)
    }

    /// As [`Qmp::execute`], with a descriptor for QEMU.
    ///
    /// # Errors
    /// As there.
    pub fn execute_with(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<OwnedFd>,
        deadline: Duration,
    ) -> Answer {
        let (answer, answered) = sync_channel(1);
        self.requests.try_send(Request { command, arguments, fd, answer }).map_err(|_| Failed::Silent)?;
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
            while let Some(line) = lines.take()? {
                match parse(&line)? {
                    Message::Greeting => send(&mut stream, 0, "qmp_capabilities", Value::Null, None).await?,
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
                    send(&mut stream, next, request.command, request.arguments, request.fd).await?;
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

async fn send(
    stream: &mut UnixStream,
    id: u64,
    command: &str,
    arguments: Value,
    fd: Option<OwnedFd>,
) -> io::Result<()> {
    let mut message = json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        message["arguments"] = arguments;
    }
    let line = format!("{message}\r\n");
    let write = async {
        let begun = match fd {
            Some(fd) => stream.async_io(Interest::WRITABLE, || pass(stream, line.as_bytes(), &fd)).await?,
            None => 0,
        };
        stream.write_all(&line.as_bytes()[begun..]).await
    };
    tokio::time::timeout(WRITE, write).await?
}

/// Writes as much as goes at once, and a descriptor with it.
fn pass(stream: &UnixStream, bytes: &[u8], fd: &OwnedFd) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
