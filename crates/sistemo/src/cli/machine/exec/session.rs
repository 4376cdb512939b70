//! Frames between the guest's command and this process's input and outputs.
//!
//! Invariant: reading never waits for writing: a guest that does not take its input can still be
//! heard, and the other way round.

use crate::cli::{Stop, render};

use bytes::BytesMut;
use proto::Frame;
use std::io::Write;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use types::{Code, Problem};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With this exit code.
    Exit(u8),
}

/// Bridges until the command ends.
pub async fn run(
    stream: impl AsyncRead + AsyncWrite,
    inputs: mpsc::Receiver<Frame>,
    out: impl Write,
    err: impl Write,
) -> Result<End, Stop> {
    let (from, to) = tokio::io::split(stream);
    tokio::pin!(from);
    tokio::select! {
        end = hear(from, out, err) => end,
        never = tell(to, inputs) => match never {},
    }
}

/// Passes inputs on. Ends never: whether the command has ended is heard, not guessed.
async fn tell(to: impl AsyncWrite, mut inputs: mpsc::Receiver<Frame>) -> std::convert::Infallible {
    tokio::pin!(to);
    let mut bytes = Vec::new();
    while let Some(frame) = inputs.recv().await {
        bytes.clear();
        frame.encode(&mut bytes);
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

async fn hear(
    mut from: impl AsyncRead + Unpin,
    mut out: impl Write,
    mut err: impl Write,
) -> Result<End, Stop> {
    let mut bytes = BytesMut::with_capacity(64 << 10);
    loop {
        while let Some(frame) = Frame::decode(&mut bytes).map_err(|_| nonsense())? {
            let written = match frame {
                Frame::Stdout(piece) => out.write_all(&piece).and_then(|()| out.flush()),
                Frame::Stderr(piece) => err.write_all(&piece).and_then(|()| err.flush()),
                Frame::Exit { code, signal } => {
                    return Ok(End::Exit(match (code, signal) {
                        (_, Some(signal)) => 128u8.saturating_add(signal),
                        (code, None) => code.unwrap_or(0),
                    }));
                }
                Frame::Error(why) => {
                    return Err(Problem::new(Code::GuestFailed, why).into());
                }
                _ => return Err(nonsense()),
            };
            written.map_err(|e| render::written(&e))?;
        }
        match from.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => {}
            ended => return Err(broken(ended.err())),
        }
    }
}

fn broken(error: Option<std::io::Error>) -> Stop {
    let why = error.map_or_else(|| "it was closed".to_owned(), |e| e.to_string());
    Problem::new(Code::GuestUnreachable, format!("the connection to the command broke before its end: {why}"))
        .hint("the command may still be running in the guest")
        .into()
}

fn nonsense() -> Stop {
    Problem::new(Code::GuestFailed, "what the guest sends is not understood")
        .hint("the guest's agent may be of another version: restart the machine")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|f| f.encode(&mut bytes));
        bytes
    }

    /// Plays a guest that answers with `frames`, and returns how it ended and what was printed.
    async fn play(frames: &[Frame]) -> (Result<End, Stop>, Vec<u8>, Vec<u8>) {
        let (ours, mut guest) = tokio::io::duplex(7);
        let answer = encoded(frames);
        let (_keep, inputs) = mpsc::channel(1);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let guest = async move {
            guest.write_all(&answer).await.unwrap();
        };
        let (ended, ()) = tokio::join!(run(ours, inputs, &mut out, &mut err), guest);
        (ended, out, err)
    }

    #[tokio::test]
    async fn outputs_stay_apart_and_the_code_is_the_commands_own() {
        let exit = |code, signal| Frame::Exit { code, signal };
        let (end, out, err) = play(&[
            Frame::Stdout(b"one ".to_vec()),
            Frame::Stderr(b"oops".to_vec()),
            Frame::Stdout(b"two".to_vec()),
            exit(Some(7), None),
        ])
        .await;
        assert!(matches!(end, Ok(End::Exit(7))));
        assert_eq!((out.as_slice(), err.as_slice()), (&b"one two"[..], &b"oops"[..]));
        let (end, ..) = play(&[exit(None, Some(9))]).await;
        assert!(matches!(end, Ok(End::Exit(137))));
    }

    #[tokio::test]
    async fn sistemos_own_failures_are_problems() {
        let code = |end: Result<End, Stop>| match end {
            Err(Stop::Problem(problem)) => problem.code,
            _ => panic!("no problem"),
        };
        let (end, ..) = play(&[Frame::Error("no such command".into())]).await;
        assert_eq!(code(end), Code::GuestFailed);
        let (end, ..) = play(&[Frame::Stdout(b"x".to_vec())]).await;
        assert_eq!(code(end), Code::GuestUnreachable);
        let (end, ..) = play(&[Frame::StdinEof]).await;
        assert_eq!(code(end), Code::GuestFailed);
    }

    #[tokio::test]
    async fn input_reaches_the_guest_while_it_talks() {
        let (ours, mut guest) = tokio::io::duplex(64);
        let (send, inputs) = mpsc::channel(4);
        let told = [Frame::Stdin(b"hello".to_vec()), Frame::Resize { rows: 5, cols: 9 }, Frame::StdinEof];
        for frame in &told {
            send.send(frame.clone()).await.unwrap();
        }
        let expected = encoded(&told);
        let guest = async move {
            let mut heard = vec![0; expected.len()];
            guest.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, expected);
            let exit = Frame::Exit { code: Some(0), signal: None };
            guest.write_all(&encoded(&[exit])).await.unwrap();
            guest
        };
        let (end, _) = tokio::join!(run(ours, inputs, Vec::new(), Vec::new()), guest);
        assert!(matches!(end, Ok(End::Exit(0))));
    }
}
