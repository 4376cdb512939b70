//! What the host asks about disks: each is done by a helper process, one at a time; so are trims, which take
//! long, but beside the others.
//!
//! Invariant: a helper's words are bounded; a request that breaks off leaves its helper to end.

use super::server::{Agent, Answer, json};
use crate::exec::{refusal, refuse};
use crate::{again, disk, release};
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use proto::{GrowDisk, ReleaseDisk, TrimDisk, Trimmed};
use serde::de::DeserializeOwned;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// How long a disk may take to be seen to have grown, and file systems to say what is in use.
const SEEN: Duration = Duration::from_secs(3);
/// How long a growth is waited for.
const FILLED: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(5);

/// Reads a request's document.
pub(super) async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Answer> {
    let Ok(body) = Limited::new(body, proto::MAX_JSON).collect().await else {
        return Err(refuse(refusal(413, "the request is too long or broke off", None)));
    };
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| refuse(refusal(400, "the request cannot be understood", None)))
}

impl Agent {
    pub(super) async fn release(&self, body: Incoming) -> Answer {
        let ReleaseDisk { serial, force } = match read(body).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let force = if force { "force" } else { "" };
        match self.help(&["release", &serial, force]).await {
            Err(answer) => answer,
            Ok(out) if out.status.success() => json(StatusCode::OK, &serde_json::json!({})),
            Ok(out) if out.status.code() == Some(i32::from(release::BUSY)) => {
                refuse(refusal(409, &String::from_utf8_lossy(&out.stdout), None))
            }
            Ok(_) => refuse(refusal(500, "the disk cannot be unmounted; the console says why", None)),
        }
    }

    pub(super) async fn trim(&self, body: Incoming) -> Answer {
        let TrimDisk { serial } = match read(body).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        // Not in turn with the others: a release is not waited for as long as a trim may take.
        let _turn = self.trims.lock().await;
        match self.help_at_once(&["trim", &serial]).await {
            Err(answer) => answer,
            Ok(out) if out.status.success() => {
                let bytes = String::from_utf8_lossy(&out.stdout).trim().parse().unwrap_or_default();
                json(StatusCode::OK, &Trimmed { bytes })
            }
            Ok(out) => {
                let why = String::from_utf8_lossy(&out.stderr);
                let why = why.lines().last().unwrap_or("the disk cannot be trimmed");
                refuse(refusal(500, why, None))
            }
        }
    }

    pub(super) async fn grow(&self, body: Incoming) -> Answer {
        let asked: GrowDisk = match read(body).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let end = Instant::now() + SEEN;
        let large =
            || disk::find(&asked.serial).and_then(|d| disk::size(&d).ok()).is_some_and(|s| s >= asked.bytes);
        while !large() {
            if Instant::now() >= end {
                return refuse(refusal(500, "the disk has not become larger in the guest", None));
            }
            sleep(PAUSE).await;
        }
        let (to, answer) = oneshot::channel();
        if self.wishes.send(super::Wish::Grow(asked, to)).await.is_err() {
            return super::server::broken();
        }
        match timeout(FILLED, answer).await {
            Ok(Ok(grown)) => json(StatusCode::OK, &grown),
            Ok(Err(_)) => super::server::broken(),
            Err(_) => json(StatusCode::OK, &proto::Grown { growing: true, note: None }),
        }
    }

    pub(super) async fn usage(&self) -> Answer {
        let Some(root) = self.root.borrow().clone() else {
            return refuse(refusal(503, "the machine's root is not mounted", None));
        };
        // One that hangs in a file system keeps its turn, so that there is never a second.
        let Ok(turn) = timeout(SEEN, self.asking.clone().lock_owned()).await else {
            return refuse(refusal(503, "a file system does not answer", None));
        };
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            crate::used::all(&root)
        });
        match timeout(SEEN, asked).await {
            Ok(Ok(said)) => json(StatusCode::OK, &said),
            Ok(Err(_)) => super::server::broken(),
            Err(_) => refuse(refusal(503, "a file system does not answer", None)),
        }
    }

    /// Runs a helper on the machine's root, after those before it.
    async fn help(&self, arguments: &[&str]) -> Result<Output, Answer> {
        let _turn = self.disks.lock().await;
        self.help_at_once(arguments).await
    }

    /// Runs a helper on the machine's root.
    pub(super) async fn help_at_once(&self, arguments: &[&str]) -> Result<Output, Answer> {
        let Some(root) = self.root.borrow().clone() else {
            return Err(refuse(refusal(503, "the machine's root is not mounted", None)));
        };
        let mut command = again(arguments[0]);
        command.args(arguments[1..].iter().filter(|a| !a.is_empty()));
        let run = || {
            command.stdin(Stdio::from(root.fd().try_clone_to_owned()?));
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            tokio::process::Command::from(command).spawn()
        };
        let out = match run() {
            Ok(child) => child.wait_with_output().await,
            Err(e) => Err(e),
        };
        out.map_err(|e| refuse(refusal(500, &format!("the helper cannot be run: {e}"), None)))
    }
}
