//! Holding the guest's file systems still, for the host.
//!
//! Invariant: a helper holds them, which lets go by itself once this process or its patience is at an
//! end; a new request ends an older one first.

use super::disks::read;
use super::server::{Agent, Answer, json};
use crate::exec::{refusal, refuse};
use crate::{again, freeze, log};
use hyper::StatusCode;
use hyper::body::Incoming;
use proto::{Freeze, Held, Thawed};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;

/// The longest that anything is held.
const LONGEST: u64 = 60;
/// How long writing out may take before anything is held.
const WRITTEN_OUT: Duration = Duration::from_secs(50);
/// How long letting go may take.
const LET_GO: Duration = Duration::from_secs(20);
/// The longest word of a helper: a machine has no more than 27 disks.
const WORD: u64 = 4096;

/// A helper that holds everything.
pub struct Still {
    child: Child,
    socket: BufReader<UnixStream>,
    /// The serials of the disks that it holds.
    serials: Vec<String>,
}

impl Still {
    async fn begin(root: OwnedFd, seconds: u64) -> io::Result<Self> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = again("freeze");
        command.arg(seconds.to_string());
        command.stdin(Stdio::from(root)).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
        let child = tokio::process::Command::from(command).spawn()?;
        let mut still = Self { child, socket: BufReader::new(UnixStream::from_std(ours)?), serials: vec![] };
        let word = still.word().await?;
        if let Some(serials) = word.strip_prefix(freeze::HELD).filter(|_| word.ends_with('\n')) {
            still.serials = serials.split_whitespace().map(str::to_owned).collect();
            return Ok(still);
        }
        // It held nothing, or holds nothing any more.
        let out = still.child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or_default().to_owned();
        Err(io::Error::other(said))
    }

    async fn word(&mut self) -> io::Result<String> {
        let mut word = String::new();
        (&mut self.socket).take(WORD).read_line(&mut word).await?;
        Ok(word)
    }

    /// Lets go; whether everything was held until now.
    async fn end(mut self) -> io::Result<bool> {
        self.socket.get_mut().write_all(b"\n").await?;
        let word = self.word().await?;
        self.child.wait().await?;
        match word.as_str() {
            freeze::THROUGHOUT => Ok(true),
            freeze::BROKEN => Ok(false),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Agent {
    pub(super) async fn freeze(&self, body: Incoming) -> Answer {
        let Freeze { seconds } = match read(body).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let Some(root) = self.root.borrow().clone() else {
            return refuse(refusal(503, "the machine's root is not mounted", None));
        };
        let mut still = self.still.lock().await;
        if let Some(older) = still.take() {
            let _ = timeout(LET_GO, older.end()).await;
        }
        let Ok(root) = root.fd().try_clone_to_owned() else { return super::server::broken() };
        match timeout(WRITTEN_OUT, Still::begin(root, seconds.clamp(1, LONGEST))).await {
            Ok(Ok(begun)) => {
                let held = Held { serials: Some(begun.serials.clone()) };
                *still = Some(begun);
                json(StatusCode::OK, &held)
            }
            Ok(Err(e)) => refuse(refusal(500, &e.to_string(), None)),
            // Dropped, its socket is at its end, so that it lets go of whatever it comes to hold.
            Err(_) => refuse(refusal(500, "the guest takes too long to write out what is not written", None)),
        }
    }

    pub(super) async fn thaw(&self) -> Answer {
        let Some(still) = self.still.lock().await.take() else {
            return json(StatusCode::OK, &Thawed { throughout: false });
        };
        let ended =
            timeout(LET_GO, still.end()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let throughout = match ended {
            Ok(throughout) => throughout,
            Err(e) => {
                log::complain(&format!("nobody says how what was held is let go: {e}"));
                if let Err(answer) = self.help(&["thaw"]).await {
                    return answer;
                }
                false
            }
        };
        json(StatusCode::OK, &Thawed { throughout })
    }
}
