//! Holding the guest's file systems still, for the host.
//!
//! Invariant: a helper holds them, which lets go by itself once this process or its patience is at an
//! end; a new request ends an older one first. Where it is not known what a helper holds, everything is
//! let go.

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
/// How long letting go of everything may take, in place of a helper that does not: the host waits already.
const INSTEAD: Duration = Duration::from_secs(5);
/// The longest word of a helper: a machine has no more than 27 disks.
const WORD: u64 = 4096;

/// What holds everything.
pub enum Still {
    /// This helper.
    By(Box<Helper>),
    /// It is not known: a helper took too long to begin, or to end, or nobody waited for it.
    Unknown,
}

/// A helper that holds everything.
pub struct Helper {
    child: Child,
    socket: BufReader<UnixStream>,
    /// The serials of the disks that it holds.
    serials: Vec<String>,
}

impl Helper {
    async fn begin(root: OwnedFd, seconds: u64) -> io::Result<Self> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = again("freeze");
        command.arg(seconds.to_string());
        command.stdin(Stdio::from(root)).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
        let child = tokio::process::Command::from(command).spawn()?;
        let mut helper = Self { child, socket: BufReader::new(UnixStream::from_std(ours)?), serials: vec![] };
        let word = helper.word().await?;
        if let Some(serials) = word.strip_prefix(freeze::HELD).filter(|_| word.ends_with('\n')) {
            helper.serials = serials.split_whitespace().map(str::to_owned).collect();
            return Ok(helper);
        }
        // It held nothing, or holds nothing any more.
        let out = helper.child.wait_with_output().await?;
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
        // So it stays if this breaks off, because nobody waits for the answer any more.
        if let Some(older) = still.replace(Still::Unknown) {
            if let Err(answer) = self.let_go(older).await {
                return answer;
            }
        }
        let Ok(root) = root.fd().try_clone_to_owned() else { return super::server::broken() };
        match timeout(WRITTEN_OUT, Helper::begin(root, seconds.clamp(1, LONGEST))).await {
            Ok(Ok(begun)) => {
                let held = Held { serials: Some(begun.serials.clone()) };
                *still = Some(Still::By(Box::new(begun)));
                json(StatusCode::OK, &held)
            }
            Ok(Err(e)) => {
                *still = None;
                refuse(refusal(500, &e.to_string(), None))
            }
            Err(_) => {
                // Dropped, its socket is at its end, so that it lets go of whatever it comes to hold; unless
                // it waits for just what it holds. The host will not ask for it, who is told that nothing is.
                let _ = self.let_go_of_all().await;
                refuse(refusal(500, "the guest takes too long to write out what is not written", None))
            }
        }
    }

    pub(super) async fn thaw(&self) -> Answer {
        let mut still = self.still.lock().await;
        let Some(held) = still.take() else {
            return json(StatusCode::OK, &Thawed { throughout: false });
        };
        // So it stays if this fails or breaks off.
        *still = Some(Still::Unknown);
        match self.let_go(held).await {
            Ok(throughout) => {
                *still = None;
                json(StatusCode::OK, &Thawed { throughout })
            }
            Err(answer) => answer,
        }
    }

    /// Lets go of what is held; whether everything was until now.
    async fn let_go(&self, held: Still) -> Result<bool, Answer> {
        if let Still::By(helper) = held {
            let ended = timeout(LET_GO, helper.end()).await;
            match ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(throughout) => return Ok(throughout),
                Err(e) => log::complain(&format!("nobody says how what was held is let go: {e}")),
            }
        }
        self.let_go_of_all().await.map(|()| false)
    }

    /// Lets go of whatever is held, by whomever; not in turn with other helpers, which may wait for just
    /// that.
    async fn let_go_of_all(&self) -> Result<(), Answer> {
        let why = match timeout(INSTEAD, self.help_at_once(&["thaw"])).await {
            Ok(Ok(out)) if out.status.success() => return Ok(()),
            Ok(Ok(_)) => "what is held cannot be let go; the console says why",
            Ok(Err(answer)) => return Err(answer),
            Err(_) => "not everything that is held is let go in time",
        };
        log::complain(why);
        Err(refuse(refusal(500, why, None)))
    }
}
