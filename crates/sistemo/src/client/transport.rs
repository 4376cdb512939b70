//! One request on one connection.
//!
//! Invariant: failing to connect is `daemon-unreachable` (or `no-permission`), told apart from
//! whatever a daemon answers.

use super::tls;
use super::url::Target;
use crate::sockpath;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use types::access::Secret;
use types::{Code, Problem};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the head of an answer may take: longer than the API's own limit.
const ANSWER: Duration = Duration::from_secs(90);

/// How a client shows who it is and whom it expects.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// The one certificate to accept, whoever signed it.
    pub fingerprint: Option<String>,
}

/// Sends a request and reads the head of the answer.
pub(super) async fn send(
    target: &Target,
    trust: &Trust,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Problem> {
    match tokio::time::timeout(ANSWER, send_all(target, trust, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::new(Code::TimedOut, "the daemon did not answer in time")
            .hint("see the daemon's log; what it had accepted goes on")),
    }
}

/// Sends a request that may take as long as it likes, and reads the head of the answer.
pub(super) async fn send_all<B: Sent>(
    target: &Target,
    trust: &Trust,
    mut request: Request<B>,
) -> Result<Response<Incoming>, Problem> {
    let host = HeaderValue::from_str(host(target))
        .map_err(|_| Problem::new(Code::InvalidUrl, "the host cannot be named in a request"))?;
    request.headers_mut().insert(header::HOST, host);
    match target {
        Target::Unix(path) => {
            // The kernel says who asks: no token is needed, and none is sent.
            let short = sockpath::Short::new(path).map_err(|e| unreachable(target, &e))?;
            let stream = within(target, UnixStream::connect(short.path())).await?;
            talk(stream, request).await
        }
        Target::Tcp(host) => {
            if trust.token.is_some() && !target.is_loopback() {
                return Err(insecure(target));
            }
            let stream = within(target, TcpStream::connect(host)).await?;
            // A name such as localhost means what the resolver says; the address is what counts.
            let here = stream.peer_addr().is_ok_and(|a| a.ip().to_canonical().is_loopback());
            if trust.token.is_some() && !here {
                return Err(insecure(target));
            }
            authorize(&mut request, trust)?;
            talk(stream, request).await
        }
        Target::Tls(host) => {
            let stream = within(target, TcpStream::connect(host)).await?;
            let stream = tls::handshake(target, host, stream, trust.fingerprint.as_deref(), CONNECT).await?;
            authorize(&mut request, trust)?;
            talk(stream, request).await
        }
    }
}

fn authorize<B>(request: &mut Request<B>, trust: &Trust) -> Result<(), Problem> {
    let Some(token) = &trust.token else { return Ok(()) };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        Problem::new(Code::NotAuthenticated, "the token holds characters that no token has")
            .hint("look at SISTEMO_TOKEN or the file of --token-file")
    })?;
    value.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(())
}

fn insecure(target: &Target) -> Problem {
    Problem::new(
        Code::InsecureUrl,
        format!("a token is not sent to {target}: everybody in between could read it"),
    )
    .hint("use https://, or forward the port with ssh -L and use http://localhost")
}

/// The `Host` header.
pub(super) fn host(target: &Target) -> &str {
    match target {
        Target::Unix(_) => "sistemo",
        Target::Tcp(host) | Target::Tls(host) => host,
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

/// What a request can carry.
pub(super) trait Sent:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}
impl<B> Sent for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

async fn talk<S, B: Sent>(stream: S, request: Request<B>) -> Result<Response<Incoming>, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e.to_string()))?;
    tokio::spawn(async move {
        // Its errors reach whoever reads the answer.
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(|e| lost(&e.to_string()))
}

/// A connection that broke after it was there.
pub(super) fn lost(why: &str) -> Problem {
    Problem::new(Code::DaemonUnreachable, format!("the connection to the daemon was lost: {why}"))
        .hint("what it had accepted goes on; see `sistemo history` once the daemon is back")
}

pub(super) fn unreachable(target: &Target, error: &std::io::Error) -> Problem {
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
        _ => problem.hint("check the address; the daemon's `listen` says where TCP is"),
    }
}
