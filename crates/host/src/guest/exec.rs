//! Commands in a guest.
//!
//! Invariant: bytes are passed on, never gathered: what waits is bounded by HTTP/2's windows and one
//! pipe of [`PIPE`] bytes.

use super::body::Outgoing;
use super::session::{refusal, send};
use super::{Agents, PATIENCE, unreachable};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use proto::{ExecRequest, Frame, paths};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use types::{MachineId, Problem, RunId};

/// What may wait between the guest and the client.
const PIPE: usize = 64 << 10;
/// How long the agent may take to begin a command.
const BEGIN: Duration = Duration::from_secs(30);

/// Frames ([`proto::Frame`]) from and to a command.
pub type ExecStream = DuplexStream;

impl Agents {
    /// Starts a command in the guest. One that the guest does not have ends as in a shell: its
    /// stream carries the reason and exit code 127 or 126.
    ///
    /// # Errors
    /// `guest-unreachable`, `guest-failed`.
    pub async fn exec(
        &self,
        machine: MachineId,
        run: RunId,
        request: &ExecRequest,
    ) -> Result<ExecStream, Problem> {
        let session = self.session(machine, run);
        let sender = session.sender(PATIENCE).await.ok_or_else(unreachable)?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let (from_client, to_client) = tokio::io::split(theirs);
        let head = Bytes::from(proto::encode_exec(request));
        let (tell, gone) = oneshot::channel();
        let body = futures_util::stream::once(async { head }).chain(pieces(from_client, tell)).boxed();
        // With what a refusal says: a guest may take its time over that, too.
        let begun = async {
            let answer = send(sender, Method::POST, paths::EXEC, Outgoing::Stream(body)).await?;
            Ok::<_, Problem>(match answer.status() {
                StatusCode::OK => Ok(answer),
                _ => Err(refusal(answer).await),
            })
        };
        match tokio::time::timeout(BEGIN, begun).await.map_err(|_| unreachable())?? {
            Ok(answer) => {
                tokio::spawn(pass(answer, to_client, gone));
                Ok(ours)
            }
            Err((problem, Some(code))) => {
                tokio::spawn(say(problem.message, code, to_client));
                Ok(ours)
            }
            Err((problem, None)) => Err(problem),
        }
    }
}

/// What the client sends, until it is gone: the end of a command's input is a frame, so the end of
/// the stream is the end of the client, which `gone` is told.
fn pieces(
    from: ReadHalf<DuplexStream>,
    gone: oneshot::Sender<()>,
) -> impl futures_util::Stream<Item = Bytes> + Send {
    futures_util::stream::unfold((from, gone), |(mut from, gone)| async {
        let mut bytes = BytesMut::with_capacity(16 << 10);
        match from.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => Some((bytes.freeze(), (from, gone))),
            _ => {
                let _ = gone.send(());
                None
            }
        }
    })
}

async fn pass(answer: Response<Incoming>, mut to: WriteHalf<DuplexStream>, gone: oneshot::Receiver<()>) {
    let mut body = answer.into_body();
    let gone = async {
        // Without a word, it is only that the guest wants no more input.
        if gone.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(gone);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // Dropping the body resets the stream, which tells the guest to end the command.
            () = &mut gone => return,
        };
        let Some(frame) = frame else { break };
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => {
                if to.write_all(&data).await.is_err() {
                    return;
                }
            }
            Ok(Err(_)) => {}
            Err(e) => {
                tracing::debug!("exec: {e}");
                let mut bytes = Vec::new();
                Frame::Error("the connection to the guest was lost".into()).encode(&mut bytes);
                let _ = to.write_all(&bytes).await;
                break;
            }
        }
    }
    let _ = to.shutdown().await;
}

async fn say(message: String, code: u8, mut to: WriteHalf<DuplexStream>) {
    let mut bytes = Vec::new();
    Frame::Stderr(format!("{message}\n").into_bytes()).encode(&mut bytes);
    Frame::Exit { code: Some(code), signal: None }.encode(&mut bytes);
    let _ = to.write_all(&bytes).await;
    let _ = to.shutdown().await;
}
