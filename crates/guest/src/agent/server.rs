//! The agent's endpoints.
//!
//! Invariant: the number of streams, of commands and the size of every body are bounded; a path that
//! is not known answers 404.

use crate::exec::{self, Commands, refusal, refuse};
use crate::inside::Inside;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto::{GrowDisk, Grown, GuestConfig, State, paths};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

/// Silence after which the host is asked whether it is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(10);
/// How long a command waits until what it may count on was done.
const PREPARED: Duration = Duration::from_secs(5);
const STREAMS: u32 = 64;
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const SEND_BUFFER: usize = 64 << 10;
const HEADERS: u32 = 16 << 10;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What the host wishes.
pub enum Wish {
    /// This configuration; answered with the state once as much was done as can be waited for.
    Hello(Box<GuestConfig>, oneshot::Sender<State>),
    /// A shutdown.
    Shutdown,
    /// That a disk which has become larger is filled; answered once it is.
    Grow(GrowDisk, oneshot::Sender<Grown>),
}

/// What the endpoints need.
pub struct Agent {
    /// The guest's state.
    pub state: watch::Receiver<State>,
    /// The machine's root, once it is mounted.
    pub root: watch::Receiver<Option<Arc<Inside>>>,
    /// To whoever fulfils them.
    pub wishes: mpsc::Sender<Wish>,
    /// Those that run.
    pub commands: Arc<Commands>,
    /// Held while a helper works on a disk.
    pub disks: Mutex<()>,
    /// Held while a helper trims one.
    pub(super) trims: Mutex<()>,
    /// Held while file systems are asked what is in use.
    pub(super) asking: Arc<Mutex<()>>,
    /// What holds the file systems still.
    pub(super) still: Mutex<Option<super::still::Still>>,
}

impl Agent {
    /// An agent that knows what these tell.
    pub fn new(
        state: watch::Receiver<State>,
        root: watch::Receiver<Option<Arc<Inside>>>,
        wishes: mpsc::Sender<Wish>,
    ) -> Arc<Self> {
        let (commands, still) = (Commands::new(), Mutex::default());
        let (disks, trims) = (Mutex::default(), Mutex::default());
        Arc::new(Self { state, root, wishes, commands, disks, trims, asking: Arc::default(), still })
    }

    /// One that knows nothing and does nothing.
    #[cfg(test)]
    pub fn idle() -> Arc<Self> {
        Self::new(watch::channel(State::default()).1, watch::channel(None).1, mpsc::channel(1).0)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::POST, paths::HELLO) => self.hello(request.into_body()).await,
            (&Method::GET, paths::EVENTS) => self.events(),
            (&Method::POST, paths::EXEC) => self.exec(request.into_body()).await,
            (&Method::POST, paths::SHUTDOWN) => match self.wishes.send(Wish::Shutdown).await {
                Ok(()) => json(StatusCode::ACCEPTED, &serde_json::json!({})),
                Err(_) => broken(),
            },
            (&Method::POST, paths::CLOCK) => clock(request.into_body()).await,
            (&Method::POST, paths::RELEASE) => self.release(request.into_body()).await,
            (&Method::POST, paths::GROW) => self.grow(request.into_body()).await,
            (&Method::POST, paths::TRIM) => self.trim(request.into_body()).await,
            (&Method::POST, paths::FREEZE) => self.freeze(request.into_body()).await,
            (&Method::POST, paths::THAW) => self.thaw().await,
            (&Method::GET, paths::USAGE) => self.usage().await,
            (_, paths::HELLO | paths::EVENTS | paths::EXEC | paths::SHUTDOWN | paths::CLOCK)
            | (_, paths::RELEASE | paths::GROW | paths::TRIM | paths::FREEZE | paths::THAW)
            | (_, paths::USAGE) => refuse(refusal(405, "this is not done so", None)),
            _ => refuse(refusal(404, "this agent does not know this path", None)),
        }
    }

    async fn hello(&self, body: Incoming) -> Answer {
        let Ok(body) = Limited::new(body, proto::MAX_JSON).collect().await else {
            return refuse(refusal(413, "the configuration is too long or broke off", None));
        };
        let Ok(config) = serde_json::from_slice(&body.to_bytes()) else {
            return refuse(refusal(400, "the configuration cannot be understood", None));
        };
        let (to, answer) = oneshot::channel();
        let sent = self.wishes.send(Wish::Hello(config, to)).await;
        match (sent, answer.await) {
            (Ok(()), Ok(state)) => json(StatusCode::OK, &state),
            _ => broken(),
        }
    }

    fn events(&self) -> Answer {
        let lines =
            futures_util::stream::unfold((self.state.clone(), true), |(mut state, first)| async move {
                if !first {
                    state.changed().await.ok()?;
                }
                let mut line = serde_json::to_vec(&*state.borrow_and_update()).unwrap_or_default();
                line.push(b'\n');
                Some((Ok(Frame::data(Bytes::from(line))), (state, false)))
            });
        Response::new(UnsyncBoxBody::new(StreamBody::new(lines)))
    }

    async fn exec(&self, body: impl Body<Data = Bytes> + Unpin + Send + 'static) -> Answer {
        let Some(root) = self.root.borrow().clone() else {
            return refuse(refusal(503, "the machine's root is not mounted", None));
        };
        // A guest that has just booted may not have mounted its volumes yet, which a command counts on.
        let mut state = self.state.clone();
        let _ = timeout(PREPARED, state.wait_for(|s| s.generation > 0 || s.error.is_some())).await;
        match self.commands.place() {
            Some(place) => exec::answer(&root, body, place).await,
            None => refuse(refusal(503, "the machine runs too many commands or shuts down", None)),
        }
    }
}

/// The guest has stood still: its clock is set to the host's.
async fn clock(body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, proto::MAX_JSON).collect().await else {
        return refuse(refusal(413, "the time is too long or broke off", None));
    };
    let Ok(told) = serde_json::from_slice(&body.to_bytes()) else {
        return refuse(refusal(400, "the time cannot be understood", None));
    };
    match crate::clock::set(told) {
        Ok(set) => json(StatusCode::OK, &set),
        Err(e) => refuse(refusal(500, &format!("the clock cannot be set: {e}"), None)),
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut answer =
        Response::new(UnsyncBoxBody::new(Full::from(serde_json::to_vec(value).unwrap_or_default())));
    *answer.status_mut() = status;
    answer
}

pub(super) fn broken() -> Answer {
    refuse(refusal(500, "the agent is ending", None))
}

/// Serves HTTP/2 on a stream until it ends.
///
/// # Errors
/// When the other end is no client of HTTP/2 or does not answer any more.
pub async fn connection<S>(stream: S, agent: Arc<Agent>) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(agent.answer(request).await) }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
