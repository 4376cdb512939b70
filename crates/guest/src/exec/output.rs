//! From the command to the host.
//!
//! Invariant: what a command wrote before it ended is sent, however slow the host is; what its
//! offspring keeps open does not keep the exec open for long.

use super::fds::End;
use bytes::Bytes;
use proto::Frame;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Frames on their way to the host, encoded.
pub type Frames = mpsc::Sender<Bytes>;

/// The most bytes of a frame.
const PIECE: usize = 16 << 10;
/// Once the command has ended: how long to wait for more from whoever has its output open.
const SILENCE: Duration = Duration::from_millis(500);
/// The same, when they never are silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends everything that comes out of `from` until its end, or until `ended` and nothing more comes.
pub async fn pump(from: Arc<End>, kind: fn(Vec<u8>) -> Frame, to: Frames, mut ended: watch::Receiver<bool>) {
    let mut buffer = vec![0; PIECE];
    // What the command itself left, and until when its offspring is heard.
    let mut last: Option<(u64, Instant)> = None;
    loop {
        if last.is_none() && *ended.borrow() {
            last = Some((from.waiting(), Instant::now() + PATIENCE));
        }
        let deadline = last.map(|(_, until)| until.min(Instant::now() + SILENCE));
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            _ = ended.wait_for(|&ended| ended), if deadline.is_none() => continue,
        };
        let Ok(n @ 1..) = read else { return };
        if to.send(encode(&kind(buffer[..n].to_vec()))).await.is_err() {
            return;
        }
        if let Some((left, until)) = &mut last {
            *left = left.saturating_sub(n as u64);
            if *left > 0 {
                // The host may be slow; the command's own output has all the time it needs.
                *until = Instant::now() + PATIENCE;
            } else if Instant::now() >= *until {
                return;
            }
        }
    }
}

/// A frame's bytes.
pub fn encode(frame: &Frame) -> Bytes {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out.into()
}
