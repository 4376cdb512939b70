//! From the host to the command.
//!
//! Invariant: no more than [`AHEAD`] bytes and one frame are held for a command that does not read;
//! signals and sizes overtake the input that waits.

use super::child::{Running, resize};
use super::fds::End;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use proto::Frame;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// How much input may wait for the command.
const AHEAD: usize = 64 << 10;

/// Why there is no more from the host.
#[derive(Debug)]
pub enum Over {
    /// It has sent everything.
    Said,
    /// It is gone.
    Gone,
    /// It sent what is no frame for a command.
    Nonsense,
}

/// The host's side of a command's input.
pub struct Input<B> {
    /// The request.
    pub body: B,
    /// What of it was received and not understood yet.
    pub bytes: BytesMut,
    waiting: VecDeque<u8>,
    to: Option<Arc<End>>,
    tty: bool,
    group: Pid,
}

impl<B: Body<Data = Bytes> + Unpin> Input<B> {
    /// Input for a command that runs.
    pub fn new(body: B, bytes: BytesMut, running: &mut Running) -> Self {
        Self {
            body,
            bytes,
            waiting: VecDeque::new(),
            to: running.stdin.take(),
            tty: running.tty,
            group: running.group,
        }
    }

    /// Passes on everything until the host has no more to say.
    pub async fn run(mut self) -> Over {
        let mut ended = false;
        let mut closing = false;
        loop {
            while let Some(frame) = match Frame::decode(&mut self.bytes) {
                Ok(frame) => frame,
                Err(_) => return Over::Nonsense,
            } {
                match frame {
                    Frame::Stdin(_) | Frame::StdinEof if closing => {}
                    Frame::Stdin(bytes) => self.waiting.extend(bytes),
                    Frame::StdinEof => closing = true,
                    Frame::Resize { rows, cols } => self.resize(rows, cols),
                    Frame::Signal(number) => self.signal(number),
                    _ => return Over::Nonsense,
                }
            }
            if self.to.is_none() {
                // The command reads no more; the host's input goes nowhere.
                self.waiting.clear();
            }
            if self.waiting.is_empty() && closing {
                self.close().await;
            }
            if ended && self.waiting.is_empty() {
                return Over::Said;
            }
            tokio::select! {
                written = write(self.to.as_deref(), self.waiting.as_slices().0), if !self.waiting.is_empty() => {
                    match written {
                        Ok(n) => self.waiting.advance(n),
                        Err(_) => self.to = None,
                    }
                }
                frame = self.body.frame(), if !ended && self.waiting.len() < AHEAD => match frame {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.bytes.extend_from_slice(&data);
                        }
                    }
                    Some(Err(_)) => return Over::Gone,
                    None => {
                        ended = true;
                        closing = true;
                    }
                },
            }
        }
    }

    /// The end of the input: of a pipe by closing it, of a terminal by the character that says so.
    async fn close(&mut self) {
        let Some(to) = self.to.take() else { return };
        if !self.tty {
            return;
        }
        if let Ok(modes) = tcgetattr(to.fd()) {
            if modes.local_modes.contains(LocalModes::ICANON) {
                let _ = to.write(&[modes.special_codes[SpecialCodeIndex::VEOF]]).await;
            }
        }
    }

    fn resize(&self, rows: u16, cols: u16) {
        if let (true, Some(to)) = (self.tty, &self.to) {
            let _ = resize(to.fd(), rows, cols);
        }
    }

    fn signal(&self, number: u8) {
        // A number that is none, or one that the C library keeps to itself, does nothing.
        if let Some(signal) = Signal::from_named_raw(i32::from(number)) {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

async fn write(to: Option<&End>, bytes: &[u8]) -> io::Result<usize> {
    match to {
        Some(to) => to.write(bytes).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
