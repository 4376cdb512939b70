//! The gate in front of all handlers.
//!
//! Invariant: the order is: how often, meant for whom, who, what for. So a flood costs no look into
//! the store, and nobody learns anything before it is known who asks. Over TCP, no page of another site
//! changes anything, whatever a browser sends along for it.

use super::address::{client, known_host, same_site, says, says_json};
use super::roles::{Needs, change, needed};
use super::verify::{Shown, caller, shown};
use super::{Caller, From, How, Remote};
use crate::api::call;
use crate::api::import;
use crate::api::problem::Failure;
use crate::api::{Peer, Shared};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use types::{Code, Problem, Role};

/// Lets a request through with who asks beside it, or refuses it.
pub async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match pass(&app, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(failure) => failure.into_response(),
    }
}

async fn pass(app: &Shared, request: &mut Parts) -> Result<(), Failure> {
    let needs = needed(&request.method, request.uri.path());
    if let Some(peer) = request.extensions.get::<Peer>().cloned() {
        request.extensions.insert(From(None));
        let caller = Caller { actor: peer.actor, role: Role::Admin, how: How::Local, expires_at: None };
        if !peer.allowed {
            let problem = Problem::new(
                Code::NoPermission,
                format!("user \"{}\" may not use this daemon", caller.actor),
            )
            .hint("run the command as root, or as a member of group sistemo");
            refused(app, request, &caller, &problem).await?;
            return Err(problem.into());
        }
        request.extensions.insert(caller);
        return Ok(());
    }
    let Some(mut remote) = request.extensions.get::<Remote>().copied() else {
        return Err(Problem::new(Code::NoPermission, "it is not known where the request comes from").into());
    };
    let live = app.gate.live();
    remote.address = client(remote.address, &request.headers, &live.rules.trusted_proxies);
    live.limiter.take(remote.address).map_err(|wait| too_many("requests", wait))?;
    known_host(&request.uri, &request.headers, &live.rules.allowed_hosts)
        .map_err(|p| Failure::from(p).status(StatusCode::MISDIRECTED_REQUEST))?;
    let from = From(Some(remote));
    request.extensions.insert(from);
    let Needs::Role(role) = needs else {
        if !request.method.is_safe() {
            same_site(&request.headers, false)?;
            json_only(request)?;
        }
        return Ok(());
    };
    let shown = shown(&request.headers);
    let by_session = matches!(shown, Shown::Session(..));
    let caller = caller(app, shown, from).await?;
    if !request.method.is_safe() {
        // A browser sends a session by itself, so that one has to say where it comes from.
        same_site(&request.headers, by_session)?;
        json_only(request)?;
    }
    if caller.role < role {
        let problem = Problem::new(
            Code::NoPermission,
            format!("this needs the role {role}, and {} has the role {}", caller.actor, caller.role),
        )
        .hint("ask an admin, or use another token");
        refused(app, request, &caller, &problem).await?;
        return Err(problem.into());
    }
    request.extensions.insert(caller);
    Ok(())
}

/// The refusal of a change is a line of the history.
pub async fn refused(
    app: &Shared,
    request: &Parts,
    caller: &Caller,
    problem: &Problem,
) -> Result<(), Failure> {
    let Some((verb, kind, name)) = change(&request.method, request.uri.path()) else { return Ok(()) };
    call::refused(app, &caller.actor, verb, (kind, name), problem).await
}

fn json_only(request: &Parts) -> Result<(), Failure> {
    let sent = request.uri.path() == import::PATH;
    // Bytes are no form of another site's either.
    let bytes = sent && says(&request.headers, "application/octet-stream");
    if bytes || says_json(&request.headers) {
        return Ok(());
    }
    let (what, kind) =
        if sent { ("bytes", "application/octet-stream") } else { ("JSON", "application/json") };
    let problem = Problem::new(Code::InvalidRequest, format!("the body is not said to be {what}"))
        .hint(format!("send it with `Content-Type: {kind}`"));
    Err(Failure::from(problem).status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// The refusal of too many of something.
pub fn too_many(what: &str, wait: Duration) -> Failure {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let problem = Problem::new(Code::RateLimited, format!("too many {what} from this address"))
        .hint(format!("try again after {seconds} s"));
    Failure::from(problem).header(header::RETRY_AFTER, &seconds.max(1).to_string())
}
