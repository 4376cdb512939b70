//! What happens around every request: an id, a limit of time, a line in the log.
//!
//! Invariant: every answer carries `x-request-id`, and every failure is a problem, whoever made it.

use super::Shared;
use super::problem::Failure;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tracing::Instrument;
use types::{Code, Problem};

/// How long the head of an answer may take. Streams begin within it and last as they like.
const LIMIT: Duration = Duration::from_secs(60);

/// Wraps a request.
pub async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let began = Instant::now();
    // Of the highest level, or a filter for warnings would leave it out.
    let span = tracing::error_span!("request", %id);
    let running = AssertUnwindSafe(next.run(request).instrument(span)).catch_unwind();
    // What is sent for hours is answered once it is there; whoever receives it looks at the clock.
    let limit = if path == super::import::PATH { Duration::MAX } else { LIMIT };
    let answer = match tokio::time::timeout(limit, running).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => failed(Code::Internal, "the daemon failed over this request", &id),
        Err(_) => failed(Code::TimedOut, "the daemon took too long over this request", &id),
    };
    let mut answer = shape(answer, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert("x-request-id", value);
    }
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers tell how things are now, and one of them carries a token.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = answer.status().as_u16();
    app.metrics.request(&method, status, began.elapsed());
    let ms = began.elapsed().as_millis();
    tracing::debug!(request = %id, %method, %path, status, ms, "answered");
    answer
}

fn failed(code: Code, what: &str, id: &str) -> Response {
    tracing::error!(request = %id, %code, "{what}");
    let problem = Problem::new(code, what).hint("the daemon's log says more, under this request's id");
    Failure::from(problem).answer(id)
}

fn shape(mut answer: Response, id: &str) -> Response {
    if let Some(failure) = answer.extensions_mut().remove::<Failure>() {
        if failure.problem().code.exit() == 1 {
            tracing::warn!(request = %id, code = %failure.problem().code, "{}", failure.problem());
        }
        return failure.answer(id);
    }
    // What the framework refused by itself, such as a path that is not UTF-8.
    let bare = answer.status().is_client_error() || answer.status().is_server_error();
    let shaped =
        answer.headers().get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/"));
    if bare && !shaped {
        let status = answer.status();
        let why = status.canonical_reason().unwrap_or("refused");
        let code = match status {
            StatusCode::NOT_FOUND => Code::RouteNotFound,
            s if s.is_server_error() => Code::Internal,
            _ => Code::InvalidRequest,
        };
        let problem = Problem::new(code, format!("the request cannot be used: {why}"));
        return Failure::from(problem).status(status).answer(id);
    }
    answer
}
