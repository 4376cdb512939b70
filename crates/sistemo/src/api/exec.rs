//! Commands in a guest: a request that becomes a stream of frames.
//!
//! Invariant: whatever the API can refuse is refused with a problem before the connection changes;
//! afterwards bytes are only passed on, never looked into.

use super::access::Caller;
use super::call::{call, closing, write};
use super::extract::{Raw, Seg, Who, recorded};
use super::problem::Failure;
use super::{Frames, ProblemBody, Shared};
use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use types::operation::{Kind, Target, Verb};
use types::{Code, Problem};
use utoipa::ToSchema;

/// The protocol that an exec connection changes to: frames of `[kind u8][length u32 be][payload]`.
pub const UPGRADE: &str = "sistemo-exec/1";

/// A command to run in a guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The command and its arguments, passed on exactly.
    pub argv: Vec<String>,
    /// Give it a terminal.
    #[serde(default)]
    pub tty: bool,
    /// The terminal's rows.
    #[serde(default)]
    pub rows: u16,
    /// The terminal's columns.
    #[serde(default)]
    pub cols: u16,
    /// `TERM` in the guest.
    #[serde(default)]
    pub term: Option<String>,
}

/// Runs a command in the guest. The request asks for an upgrade to `sistemo-exec/1`; after 101 the
/// connection carries frames both ways.
#[utoipa::path(
    post,
    path = "/v1/machines/{machine}/exec",
    tag = "machines",
    operation_id = "machines_exec",
    params(("machine" = String, Path, description = "Id or name")),
    request_body = ExecRequest,
    responses(
        (status = 101, description = "The connection carries frames now"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn exec(
    State(app): State<Shared>,
    Seg(machine): Seg<String>,
    who: Who,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let opened = open(&app, &machine, request).await;
    let (upgrade, frames, target) =
        recorded(&app, &who.0, Verb::MachineExec, (Kind::Machine, &machine), opened).await?;
    tracing::info!(machine = %target.id.unwrap_or_default(), actor = %who.0, "exec");
    // Whoever goes into a guest leaves a line, or does not go in.
    write(&app, move |engine| engine.used(&who.0, Verb::MachineExec, target)).await?;
    let closing = closing(&app, caller);
    tokio::spawn(async move {
        // The guest goes on when the daemon stops, and so does the command; only the stream ends.
        tokio::select! {
            () = bridge(upgrade, frames) => {}
            () = closing => {}
        }
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Starts the command.
async fn open(
    app: &Shared,
    machine: &str,
    mut request: Request,
) -> Result<(OnUpgrade, Box<dyn Frames>, Target), Failure> {
    let upgrade = upgrade(&mut request)?;
    let asked: ExecRequest = Raw::from_request(request, app).await?.json()?;
    if asked.argv.first().is_none_or(String::is_empty) {
        return Err(invalid("there is no command").into());
    }
    if asked.argv.iter().any(|a| a.contains('\0')) {
        return Err(invalid("an argument holds a zero byte").into());
    }
    let machine = machine.to_owned();
    let (id, run, name) = call(app, move |engine| {
        let (id, run) = engine.running(&machine)?;
        Ok((id, run, engine.machine(&id.to_string())?.name.to_string()))
    })
    .await?;
    // Not what the command is: its arguments may be secret.
    let target = Target { kind: Kind::Machine, id: Some(id.0), name };
    Ok((upgrade, app.guests.exec(id, run, asked).await?, target))
}

fn upgrade(request: &mut Request) -> Result<OnUpgrade, Problem> {
    let asked = request.headers().get(header::UPGRADE).is_some_and(|v| v.as_bytes() == UPGRADE.as_bytes());
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    match upgrade {
        Some(upgrade) if asked => Ok(upgrade),
        _ => Err(invalid("the connection cannot change its protocol")
            .hint(format!("ask with `Connection: upgrade` and `Upgrade: {UPGRADE}`"))),
    }
}

async fn bridge(upgrade: OnUpgrade, frames: Box<dyn Frames>) {
    match upgrade.await {
        Ok(client) => carry(TokioIo::new(client), frames).await,
        Err(e) => tracing::debug!("an exec connection did not change: {e}"),
    }
}

/// Carries frames both ways until the guest has no more, or the client is gone.
async fn carry(client: impl AsyncRead + AsyncWrite, frames: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_guest, mut to_guest) = tokio::io::split(frames);
    tokio::select! {
        () = feed(&mut from_client, &mut to_guest) => {}
        ended = tokio::io::copy(&mut from_guest, &mut to_client) => {
            if let Err(e) = ended {
                tracing::debug!("an exec stream ended early: {e}");
            }
            let _ = to_client.shutdown().await;
        }
    }
}

/// Passes on what the client sends, until it is gone: the end of input is a frame, so a client that ends
/// its side is gone, and its command with it. A command that has ended takes no more, but what it
/// said last may still be on its way.
async fn feed(from_client: &mut (impl AsyncRead + Unpin), to_guest: &mut (impl AsyncWrite + Unpin)) {
    let mut piece = vec![0; 16 << 10];
    let mut taken = true;
    loop {
        match from_client.read(&mut piece).await {
            Ok(n) if n > 0 => taken = taken && to_guest.write_all(&piece[..n]).await.is_ok(),
            _ => return,
        }
    }
}

fn invalid(message: &str) -> Problem {
    Problem::new(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_ends_before_its_input_is_heard_to_the_end() {
        // Which of the two directions is looked at first is left to chance.
        for _ in 0..50 {
            let (mut client, ours) = tokio::io::duplex(64);
            let (frames, mut guest) = tokio::io::duplex(64);
            guest.write_all(b"the end").await.unwrap();
            drop(guest);
            client.write_all(b"late input").await.unwrap();
            let mut heard = String::new();
            let (read, ()) = tokio::join!(client.read_to_string(&mut heard), carry(ours, frames));
            assert_eq!((read.unwrap(), heard.as_str()), (7, "the end"));
        }
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_it() {
        let (client, ours) = tokio::io::duplex(64);
        let (frames, mut guest) = tokio::io::duplex(64);
        drop(client);
        carry(ours, frames).await;
        assert_eq!(guest.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
