//! Calling the engine, which blocks, from handlers, which must not.

use super::Shared;
use super::access::{Caller, no_longer};
use super::problem::Failure;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use types::operation::{Kind, Target, Verb};
use types::{Actor, Code, Name, Operation, Problem};

/// How many changes are decided at once; the rest wait in order, without a thread.
static WRITERS: Semaphore = Semaphore::const_new(16);

/// Runs `f` where it may block.
pub async fn call<T: Send + 'static>(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Failure> {
    let engine = app.engine.clone();
    // So that what the engine logs carries the request's id.
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(|| f(&engine))).await {
        Ok(result) => result.map_err(Failure::from),
        Err(e) => {
            tracing::error!("a request failed in the engine: {e}");
            Err(Problem::new(Code::Internal, "the daemon failed over this request").into())
        }
    }
}

/// Runs `f`, which writes, where it may block. Writers queue for the store anyway; here so few of
/// them do so at a time that readers always find a thread.
pub async fn write<T: Send + 'static>(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Failure> {
    let turn = WRITERS.acquire().await;
    // The work goes on when whoever asked is gone, and the turn with it.
    let work = move |engine: &Engine| {
        let _turn = turn;
        f(engine)
    };
    call(app, work).await
}

/// Has history keep that a change was refused before the engine was asked to make it.
pub async fn refused(
    app: &Shared,
    actor: &Actor,
    verb: Verb,
    (kind, name): (Kind, &str),
    problem: &Problem,
) -> Result<(), Failure> {
    // No name needs more to be recognised.
    let target = Target { kind, id: None, name: name.chars().take(Name::MAX + 1).collect() };
    let (actor, problem) = (actor.clone(), problem.clone());
    write(app, move |engine| {
        engine.refused(&actor, verb, target, &problem);
        Ok(())
    })
    .await
}

/// Runs `f` and answers with what it found.
pub async fn view<T: serde::Serialize + Send + 'static>(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
) -> Result<Json<T>, Failure> {
    call(app, f).await.map(Json)
}

/// Runs `f` and answers with what it found, and its revision as the ETag.
pub async fn tagged<T: serde::Serialize + Send + 'static>(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
    revision: impl FnOnce(&T) -> u64,
) -> Result<Response, Failure> {
    let found = call(app, f).await?;
    let tag = format!("\"{}\"", revision(&found));
    Ok(([(header::ETAG, tag)], Json(found)).into_response())
}

/// Runs `f` and answers 202 with the operation and where to follow it.
pub async fn change(
    app: &Shared,
    f: impl FnOnce(&Engine) -> Result<Operation, Problem> + Send + 'static,
) -> Result<Response, Failure> {
    write(app, f).await.map(accepted)
}

/// 202 with the operation and where to follow it.
pub fn accepted(operation: Operation) -> Response {
    let place = format!("/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(operation)).into_response()
}

/// Completes once a stream has to end: the daemon stops, or whoever asked for it may no longer.
pub fn closing(app: &Shared, caller: Caller) -> BoxFuture<'static, ()> {
    let (app, mut stopping) = (app.clone(), app.stopping.clone());
    Box::pin(async move {
        tokio::select! {
            () = stopped(&mut stopping) => {}
            () = no_longer(&app, &caller) => {}
        }
    })
}

/// Returns once the daemon stops.
pub async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could stop it; whoever waits does so beside something else.
        std::future::pending::<()>().await;
    }
}

/// What a filter of a list names: by name, whether it was asked for by id or name.
pub async fn called(app: &Shared, kind: Kind, asked: &mut Option<String>) -> Result<(), Failure> {
    if let Some(text) = asked.take() {
        *asked = Some(match types::id::looks_like_id(&text) {
            true => call(app, move |engine| engine.called(kind, &text)).await?,
            false => text,
        });
    }
    Ok(())
}
