//! What things take of the disks of the host.
//!
//! Invariant: a few looks at a time have a thread: a disk that hangs holds up who asks about room, and
//! nobody else.

use super::call::call;
use super::extract::Args;
use super::pages::PageArgs;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::extract::State;
use axum::response::Response;
use engine::Engine;
use tokio::sync::Semaphore;
use types::pool::DEFAULT_POOL;
use types::storage::PoolUsage;
use types::{List, Problem};

static LOOKS: Semaphore = Semaphore::const_new(4);

/// Runs `f`, which looks at many files, in its turn.
pub async fn look<T: Send + 'static>(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Failure> {
    let turn = LOOKS.acquire().await;
    call(app, move |engine| {
        // Kept while it lasts, also when nobody waits for the answer any more.
        let _turn = turn;
        f(engine)
    })
    .await
}

/// Tells where the room of every pool is.
#[utoipa::path(
    get,
    path = "/v1/storage",
    tag = "storage",
    operation_id = "storage",
    params(PageArgs),
    responses(
        (status = 200, description = "The default pool first, then by name", body = List<PoolUsage>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn storage(State(app): State<Shared>, Args(args): Args<PageArgs>) -> Result<Response, Failure> {
    let all = look(&app, |engine| engine.storage()).await?;
    // The default one sorts before all others.
    Ok(args.of(all, |p| format!("{}{}", u8::from(p.name != DEFAULT_POOL), p.name))?)
}
