//! One request on one connection.
//!
//! Invariant: failing to connect is `daemon-unreachable` (or `no-permission`), told apart from
//! whatever a daemon answers.

use super::url::Target;
use crate::sockpath;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use types::{Code, Problem};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the head of an answer may take: longer than the API's own limit.
const ANSWER: Duration = Duration::from_secs(90);

/// Sends a request and reads the head of the answer.
pub(super) async fn send(
    target: &Target,
    method: Method,
    uri: &str,
    body: Option<Bytes>,
) -> Result<Response<Incoming>, Problem> {
    let mut request = Request::builder().method(method).uri(uri);
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .header(header::HOST, host(target))
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|e| Problem::new(Code::InvalidRequest, format!("cannot be asked: {e}")))?;
    dispatch(target, request).await
}

/// Sends a request that was made elsewhere.
pub(super) async fn dispatch(
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Problem> {
    match target {
        Target::Unix(path) => {
            let short = sockpath::Short::new(path).map_err(|e| unreachable(target, &e))?;
            let stream = within(target, UnixStream::connect(short.path())).await?;
            talk(stream, request).await
        }
        Target::Tcp(host) => {
            let stream = within(target, TcpStream::connect(host)).await?;
            talk(stream, request).await
        }
    }
}

/// The `Host` header.
pub(super) fn host(target: &Target) -> &str {
    match target {
        Target::Unix(_) => "sistemo",
        Target::Tcp(host) => host,
    }
}

async fn within<T>(
    target: &Target,
    connecting: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(unreachable(target, &e)),
        Err(_) => Err(unreachable(target, &ErrorKind::TimedOut.into())),
    }
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e.to_string()))?;
    tokio::spawn(async move {
        // Its errors reach whoever reads the answer.
        let _ = connection.with_upgrades().await;
    });
    match tokio::time::timeout(ANSWER, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|e| lost(&e.to_string())),
        Err(_) => Err(Problem::new(Code::TimedOut, "the daemon did not answer in time")
            .hint("see the daemon's log; what it had accepted goes on")),
    }
}

/// A connection that broke after it was there.
pub(super) fn lost(why: &str) -> Problem {
    Problem::new(Code::DaemonUnreachable, format!("the connection to the daemon was lost: {why}"))
        .hint("what it had accepted goes on; see `sistemo history` once the daemon is back")
}

fn unreachable(target: &Target, error: &std::io::Error) -> Problem {
    if error.kind() == ErrorKind::PermissionDenied {
        return Problem::new(Code::NoPermission, format!("you may not connect to the daemon at {target}"))
            .hint("run the command as root, or as a member of the socket's group");
    }
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no socket".to_owned(),
        ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        _ => error.to_string(),
    };
    let problem = Problem::new(Code::DaemonUnreachable, format!("no daemon answers at {target}: {why}"));
    match target {
        Target::Unix(_) => problem.hint(
            "start it with `sistemo up`, or name its data directory with --data-dir or its address with --url",
        ),
        Target::Tcp(_) => problem.hint("check the address; TCP stays closed until it can ask who is there"),
    }
}
