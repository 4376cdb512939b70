//! One exec, from its request to its last frame.
//!
//! Invariant: the process is reaped whatever happens, unless it hangs in the kernel when the machine shuts
//! down, and its group is signalled only while the unreaped leader keeps the group's number taken. Nothing
//! keeps a place for long once the machine shuts down.

use super::child::{Running, begin, refusal};
use super::commands::Place;
use super::input::{Input, Over};
use super::output::{Frames, encode, pump};
use crate::inside::Inside;
use bytes::{Bytes, BytesMut};
use futures_util::future::OptionFuture;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame as BodyFrame};
use hyper::{Response, StatusCode};
use proto::{ExecRequest, Frame, Refusal};
use rustix::process::{Signal, kill_process_group};
use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// What the agent answers with.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How long the host may take to say what to run.
const HEAD: Duration = Duration::from_secs(10);
/// How long a command whose host is gone may take to end after SIGHUP.
const GRACE: Duration = Duration::from_secs(5);
/// How long what a command said before it ended may take to be heard once the machine shuts down.
const HEARD: Duration = Duration::from_secs(2);
/// How long a command may take to end after SIGKILL once the machine shuts down: one that hangs in the
/// kernel, as in a file system whose server is gone, does not end.
const KILLED: Duration = Duration::from_secs(3);
const SHUTS_DOWN: &str = "the machine shuts down";
/// Frames between the command and the connection; a frame has at most 16 KiB.
const QUEUE: usize = 2;

/// Runs what the request says; the command lives on in a task that keeps its place.
pub async fn answer<B>(inside: &Inside, mut body: B, place: Place) -> Answer
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let mut bytes = BytesMut::new();
    let request = match timeout(HEAD, head(&mut body, &mut bytes)).await {
        Ok(Some(request)) => request,
        _ => return refuse(refusal(400, "the request says no command that can be understood", None)),
    };
    let mut running = match begin(inside, &request) {
        Ok(running) => running,
        Err(refused) => return refuse(refused),
    };
    let (frames, answer) = mpsc::channel(QUEUE);
    let input = Input::new(body, bytes, &mut running);
    tokio::spawn(attend(running, input, frames, place));
    let stream = futures_util::stream::unfold(answer, |mut answer| async move {
        let bytes: Bytes = answer.recv().await?;
        Some((Ok(BodyFrame::data(bytes)), answer))
    });
    Response::new(UnsyncBoxBody::new(StreamBody::new(stream)))
}

/// An answer that says why not.
pub fn refuse((status, refusal): (u16, Refusal)) -> Answer {
    // It holds strings and numbers only, so it always serialises.
    let json = serde_json::to_vec(&refusal).unwrap_or_default();
    let mut answer = Response::new(UnsyncBoxBody::new(Full::from(json)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

async fn head<B: Body<Data = Bytes> + Unpin>(body: &mut B, bytes: &mut BytesMut) -> Option<ExecRequest> {
    loop {
        if let Some(request) = proto::decode_exec(bytes).ok()? {
            return Some(request);
        }
        if let Ok(data) = body.frame().await?.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
}

/// Stays with a command until it has ended and the host knows how, or the host is gone.
async fn attend<B>(mut running: Running, input: Input<B>, frames: Frames, mut place: Place)
where
    B: Body<Data = Bytes> + Unpin,
{
    let (tell_ended, ended) = watch::channel(false);
    let stdout = pump(running.stdout.clone(), Frame::Stdout, frames.clone(), ended.clone());
    let stderr: OptionFuture<_> =
        running.stderr.take().map(|from| pump(from, Frame::Stderr, frames.clone(), ended)).into();
    let output = async { tokio::join!(stdout, stderr) };
    tokio::pin!(output);
    let mut input = Box::pin(input.run());
    let (mut hearing, mut heard) = (true, false);
    let lost = loop {
        tokio::select! {
            _ = running.ended.readable() => break None,
            _ = &mut output, if !heard => heard = true,
            end = &mut input, if hearing => match end {
                Over::Said => hearing = false,
                Over::Gone => break Some(None),
                Over::Nonsense => break Some(Some("the host sent what is no frame for a command")),
            },
            () = frames.closed() => break Some(None),
            () = place.ending() => break Some(Some(SHUTS_DOWN)),
        }
    };
    drop(input);
    let Some(why) = lost else {
        let status = running.child.wait();
        tell_ended.send_replace(true);
        let rest = async {
            if !heard {
                let _ = output.await;
            }
            let _ = frames.send(encode(&last(status))).await;
        };
        tokio::select! {
            () = rest => {}
            () = frames.closed() => {}
            // How it ended is not told where what it said is not whole.
            () = shut_down(&mut place, HEARD) => {
                let _ = frames.try_send(encode(&Frame::Error(SHUTS_DOWN.to_owned())));
            }
        }
        return;
    };
    if let Some(why) = why {
        let _ = frames.try_send(encode(&Frame::Error(why.to_owned())));
    }
    drop(frames);
    end(running, place).await;
}

/// Waits until the machine shuts down, and then as long as `patience`.
async fn shut_down(place: &mut Place, patience: Duration) {
    place.ending().await;
    sleep(patience).await;
}

/// Ends the command's process group. Until it has ended it keeps its place, but not from a shutdown.
async fn end(mut running: Running, mut place: Place) {
    let signal = |signal| {
        let _ = kill_process_group(running.group, signal);
    };
    signal(Signal::HUP);
    // A stopped process would not hear it.
    signal(Signal::CONT);
    let _ = timeout(GRACE, running.ended.readable()).await;
    // What the leader leaves behind may be about to end as well.
    sleep(Duration::from_millis(200)).await;
    signal(Signal::KILL);
    let ended = tokio::select! {
        _ = running.ended.readable() => true,
        () = shut_down(&mut place, KILLED) => false,
    };
    // It would keep everybody waiting for one that has not ended.
    if ended {
        let _ = running.child.wait();
    }
}

fn last(status: std::io::Result<ExitStatus>) -> Frame {
    match status {
        Ok(status) => {
            Frame::Exit { code: status.code().map(|c| c as u8), signal: status.signal().map(|s| s as u8) }
        }
        Err(e) => Frame::Error(format!("how the command ended cannot be told: {e}")),
    }
}
