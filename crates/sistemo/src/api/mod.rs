//! The HTTP API: decode, call the engine, encode. `/v1/…`, described by `openapi/v1.json`.
//!
//! Invariant: a handler decides nothing; what is refused here is only what cannot be decoded, and
//! every refusal of a change is in history.

pub mod access;
mod answers;
mod body;
mod call;
mod changes;
mod conditions;
mod config;
mod describe;
pub mod events;
mod examples;
mod exec;
mod export;
mod extract;
mod history;
mod host;
mod images;
mod import;
mod layer;
mod login;
mod logs;
mod machines;
mod metrics;
mod networks;
mod operations;
mod page;
mod pages;
mod peer;
mod pools;
mod problem;
mod refusals;
mod serve;
mod snapshots;
mod ssh;
mod status;
mod storage;
mod tokens;
mod usage;
mod users;
mod volumes;

pub use access::Gate;
pub use answers::Answers;
pub use config::Setting;
pub use exec::{ExecRequest, UPGRADE};
pub use metrics::Metrics;
pub use peer::{GROUP, Peer, actor_of, group_id};
pub use problem::ProblemBody;
pub use serve::{Listener, serve};
pub use ssh::SshAccess;
pub use status::{PoolRoom, Status};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Engine;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use problem::Failure;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use types::{Code, MachineId, Problem, RunId, Timestamp};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest request body: the longest argv that Linux takes is 2 MiB, and JSON may double it.
const MAX_BODY: usize = 4 << 20;

/// A stream of `proto`'s exec frames, both ways.
pub trait Frames: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Frames for T {}

/// What the API needs of the guests beyond the engine: live streams, which change no state.
pub trait Guests: Send + Sync {
    /// Starts a command in the guest; the stream carries its frames.
    fn exec(
        &self,
        machine: MachineId,
        run: RunId,
        request: ExecRequest,
    ) -> BoxFuture<'_, Result<Box<dyn Frames>, Problem>>;

    /// What the serial console has shown, and with `follow` what it shows from then on.
    ///
    /// # Errors
    /// `io-error`.
    fn console(
        &self,
        machine: MachineId,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Problem>;

    /// What a run has used of the host, as far as the host can tell; `tap` is its interface there.
    fn usage(&self, _machine: MachineId, _run: RunId, _tap: &str) -> Option<::host::vmm::Usage> {
        None
    }
}

/// What a daemon tells of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// The name of this host.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The private key for `ssh`, if there is one.
    pub ssh_key: Option<PathBuf>,
}

/// Finds the files of a pool: for the content of volumes, which does not pass through the engine.
pub type Contents = Arc<dyn Fn(&str) -> Result<Arc<::host::storage::FilePool>, Problem> + Send + Sync>;

/// What every handler has.
pub struct App {
    /// The mind.
    pub engine: Engine,
    /// Changes of operations, as they happen.
    pub events: events::Hub,
    /// Who may do what.
    pub gate: Gate,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The guests.
    pub guests: Arc<dyn Guests>,
    /// Room in the pools.
    pub capacity: Arc<dyn Fn() -> Result<Vec<engine::PoolRoom>, Problem> + Send + Sync>,
    /// The content of volumes.
    pub contents: Contents,
    /// Answers that still stand.
    pub answers: Answers,
    /// The daemon itself.
    pub about: About,
    /// What it runs with.
    pub settings: RwLock<Vec<crate::config::Setting>>,
    /// Becomes true when the daemon stops: endless answers end then.
    pub stopping: watch::Receiver<bool>,
}

/// The handlers' shared state.
pub type Shared = Arc<App>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sistemo",
        description = "Self-hosted virtual machines, storage first. Changes answer 202 with an \
                       operation; errors are RFC 9457 problems with a stable code. Every POST takes an \
                       Idempotency-Key but login, logout and setup, which come before it is known whose key \
                       it would be or change nothing when they are tried again, and exec, whose stream cannot \
                       be given a second time.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody))
)]
struct Description;

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(machines::list, machines::deploy))
        .routes(routes!(machines::show, machines::delete, machines::edit))
        .routes(routes!(machines::delete_plan))
        .routes(routes!(machines::restore))
        .routes(routes!(machines::start))
        .routes(routes!(machines::stop))
        .routes(routes!(machines::restart))
        .routes(routes!(machines::clone))
        .routes(routes!(machines::attach))
        .routes(routes!(machines::detach))
        .routes(routes!(exec::exec))
        .routes(routes!(logs::logs))
        .routes(routes!(ssh::ssh))
        .routes(routes!(volumes::list, volumes::create))
        .routes(routes!(volumes::show, volumes::delete, volumes::edit))
        .routes(routes!(volumes::resize))
        .routes(routes!(volumes::clone))
        .routes(routes!(pools::move_volume))
        .routes(routes!(pools::list, pools::create))
        .routes(routes!(pools::show, pools::delete))
        .routes(routes!(pools::resize))
        .routes(routes!(volumes::trim))
        .routes(routes!(storage::storage))
        .routes(routes!(export::export))
        .routes(routes!(import::import))
        .routes(routes!(volumes::restore))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::show, snapshots::delete))
        .routes(routes!(snapshots::restore))
        .routes(routes!(snapshots::undelete))
        .routes(routes!(snapshots::of_volume))
        .routes(routes!(snapshots::of_machine))
        .routes(routes!(images::list, images::pull))
        .routes(routes!(images::show, images::delete))
        .routes(routes!(networks::list))
        .routes(routes!(networks::show))
        .routes(routes!(operations::list))
        .routes(routes!(operations::show_operation))
        .routes(routes!(operations::events))
        .routes(routes!(history::list))
        .routes(routes!(host::shutdown))
        .routes(routes!(host::resume))
        .routes(routes!(config::config))
        .routes(routes!(changes::events))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::passwd))
        .routes(routes!(users::delete))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(login::session))
        .routes(routes!(login::setup))
        .routes(routes!(status::status))
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .routes(routes!(metrics::metrics))
}

/// The description of the API, as `openapi/v1.json` holds it.
pub fn description() -> utoipa::openapi::OpenApi {
    let mut api = routes().into_openapi();
    describe::complete(&mut api);
    api
}

/// All routes, behind the layer that gives every answer a request id and every failure a shape.
pub fn router(app: Shared) -> Router {
    Router::from(routes())
        .route("/setup", axum::routing::get(page::setup))
        .route("/setup.js", axum::routing::get(page::script))
        .route("/v1/openapi.json", axum::routing::get(openapi))
        .fallback(|| async {
            Failure::from(
                Problem::new(Code::RouteNotFound, "there is nothing at this address")
                    .hint("the API is described at /v1/openapi.json"),
            )
        })
        .method_not_allowed_fallback(|| async {
            Failure::from(
                Problem::new(Code::RouteNotFound, "this address does not know this method")
                    .hint("the API is described at /v1/openapi.json"),
            )
            .status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(conditions::attach))
        .layer(axum::middleware::from_fn_with_state(app.clone(), access::guard::guard))
        .layer(CompressionLayer::new().compress_when(Predicate::and(
            DefaultPredicate::new(),
            NotForContentType::const_new("application/octet-stream"),
        )))
        .layer(axum::middleware::from_fn_with_state(app.clone(), layer::around))
        .with_state(app)
}

/// Made when it is asked for: it is rarely needed and large to keep.
async fn openapi() -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(description())
}
