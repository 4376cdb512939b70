//! What goes to the guest: bytes, sizes of the terminal, signals.

use super::terminal;

use proto::Frame;
use std::io::Read;
use std::pin::Pin;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use types::{Code, Problem};

/// So many pieces wait for a slow guest before standard input is no longer read.
const WAITING: usize = 4;
/// The largest piece.
const PIECE: usize = 64 << 10;

/// What happens on this side.
pub struct Inputs {
    /// What goes to the guest.
    pub events: mpsc::Receiver<Frame>,
    /// Ends with an exit code when this command has to go at once.
    pub killed: Pin<Box<dyn Future<Output = u8>>>,
}

/// Begins to listen to standard input and signals.
pub fn start(forward: bool, tty: bool, raw: bool) -> Result<Inputs, Problem> {
    let (send, events) = mpsc::channel(WAITING);
    let killed = signals(send.clone(), tty, raw)?;
    if forward {
        // A thread, since a read of a terminal cannot be taken back; the process's end ends it.
        std::thread::spawn(move || read(&send));
    } else {
        let _ = send.try_send(Frame::StdinEof);
    }
    Ok(Inputs { events, killed })
}

fn read(send: &mpsc::Sender<Frame>) {
    let mut stdin = std::io::stdin().lock();
    let mut piece = vec![0; PIECE];
    loop {
        let frame = match stdin.read(&mut piece) {
            Ok(0) | Err(_) => Frame::StdinEof,
            Ok(n) => Frame::Stdin(piece[..n].to_vec()),
        };
        let last = frame == Frame::StdinEof;
        if send.blocking_send(frame).is_err() || last {
            return;
        }
    }
}

/// The first SIGINT or SIGTERM goes to the command; the second, or one that finds the terminal raw
/// (where ^C is a key), ends this one, as does SIGHUP.
fn signals(
    send: mpsc::Sender<Frame>,
    tty: bool,
    raw: bool,
) -> Result<Pin<Box<dyn Future<Output = u8>>>, Problem> {
    let listen =
        |kind| signal(kind).map_err(|e| Problem::new(Code::Internal, format!("cannot take signals: {e}")));
    let mut int = listen(SignalKind::interrupt())?;
    let mut term = listen(SignalKind::terminate())?;
    let mut hup = listen(SignalKind::hangup())?;
    let mut resized = listen(SignalKind::window_change())?;
    Ok(Box::pin(async move {
        let mut patient = !raw;
        loop {
            let number = tokio::select! {
                _ = int.recv() => 2,
                _ = term.recv() => 15,
                _ = hup.recv() => return 128 + 1,
                _ = resized.recv() => {
                    if let Some((rows, cols)) = terminal::size().filter(|_| tty) {
                        let _ = send.send(Frame::Resize { rows, cols }).await;
                    }
                    continue;
                }
            };
            // A channel that is full is a guest that does not listen.
            if !std::mem::take(&mut patient) || send.try_send(Frame::Signal(number)).is_err() {
                return 128 + number;
            }
        }
    }))
}
