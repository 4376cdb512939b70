//! From a socket to an HTTP/2 session.
//!
//! Invariant: one SYN a connection. Two would be answered twice, and the second answer would stand
//! in the middle of the session (see [`proto::preamble`]).

use super::body::Outgoing;
use bytes::BytesMut;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto::preamble;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How often the agent is asked whether it is still there.
const PING: Duration = Duration::from_secs(10);
/// How long it may take to say so: a guest on a busy host is slow, not gone.
const PONG: Duration = Duration::from_secs(20);

/// How many bytes of a dead session may come before the agent's answer: what fits into the guest's
/// queue (128 writes of 32 KiB), QEMU and the socket, twice over.
const STALE: usize = 10 << 20;

/// The head of a session: requests are sent through it.
pub type Sender = http2::SendRequest<Outgoing>;

/// Connects and waits at most `patience` for the agent's answer. Returns the sender and what drives
/// the session until it ends.
///
/// # Errors
/// `TimedOut` without an answer; `QuotaExceeded` for more nonsense than a dead session can have left;
/// the socket's.
pub async fn connect(
    socket: &Path,
    patience: Duration,
) -> io::Result<(Sender, impl Future<Output = hyper::Result<()>> + use<>)> {
    let mut stream = open(socket).await?;
    let meet = meet(&mut stream);
    tokio::time::timeout(patience, meet).await.map_err(|_| io::ErrorKind::TimedOut)??;
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        // What a guest can make us hold at most, for each stream and in all.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(16 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)
}

/// Connects also where the path is longer than `sun_path`: through a descriptor of its directory.
async fn open(socket: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    if socket.as_os_str().len() < 108 {
        return UnixStream::connect(socket).await;
    }
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = std::fs::File::open(dir)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)).await
}

async fn meet(stream: &mut UnixStream) -> io::Result<()> {
    let ours: preamble::Nonce = rand::random();
    stream.write_all(&preamble::syn(&ours)).await?;
    let mut bytes = BytesMut::new();
    let mut heard = 0;
    let theirs = loop {
        if let Some(theirs) = preamble::find_ack(&mut bytes, &ours) {
            break theirs;
        }
        match stream.read_buf(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => heard += n,
        }
        if heard > STALE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
    };
    if !bytes.is_empty() {
        // The agent is silent until GO: this is not one.
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.write_all(&preamble::go(&theirs)).await
}
