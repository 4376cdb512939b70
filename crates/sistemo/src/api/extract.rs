//! What handlers take from a request.
//!
//! Invariant: whatever cannot be taken becomes a problem that names the field.

use super::access::Caller;
use super::access::guard::refused;
use super::problem::Failure;
use super::{MAX_BODY, Shared, call};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use engine::{Conditions, Engine};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use std::time::Duration;
use types::operation::{Kind, Verb};
use types::{Actor, Code, Name, Problem};

/// How long a body may take to come.
const COMES: Duration = Duration::from_secs(30);

/// Segments of the path.
pub struct Seg<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Seg<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Failure> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|e| invalid(format!("the address is not understood: {}", e.body_text())).into())
    }
}

/// The query.
pub struct Args<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Args<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Failure> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(query) => Ok(Self(query.0)),
            Err(e) => {
                let why = e.body_text();
                // What comes before is the library's.
                let why = why.rsplit_once("query string: ").map_or(why.as_str(), |(_, why)| why);
                let problem = invalid(format!("the query is not understood: {why}"))
                    .hint("the API is described at /v1/openapi.json");
                Err(told(state, parts, problem).await?)
            }
        }
    }
}

/// The refusal of what cannot be taken from a request, which history has if it was a change.
async fn told(app: &Shared, parts: &Parts, problem: Problem) -> Result<Failure, Failure> {
    if let Some(caller) = parts.extensions.get::<Caller>().cloned() {
        refused(app, parts, &caller, &problem).await?;
    }
    Ok(problem.into())
}

/// Who asks, and under which conditions.
pub struct Who(pub Actor, pub Conditions);

impl Who {
    /// The engine, under these conditions.
    pub fn on(&self, engine: &Engine) -> Engine {
        engine.under(self.1.clone())
    }
}

impl FromRequestParts<Shared> for Who {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Failure> {
        match parts.extensions.get::<Caller>() {
            Some(caller) => {
                let conditions = parts.extensions.get::<Conditions>().cloned().unwrap_or_default();
                Ok(Self(caller.actor.clone(), conditions))
            }
            None => Err(Problem::new(Code::NoPermission, "it is not known who asks").into()),
        }
    }
}

/// No query and no body: what somebody sends in the belief that it counts is refused, not passed over.
pub struct Bare;

impl FromRequest<Shared> for Bare {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &Shared) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if let Some(query) = parts.uri.query().filter(|q| !q.is_empty()) {
            let name: String = query.split(['=', '&']).next().unwrap_or_default().chars().take(64).collect();
            let text = format!("the query is not understood: unknown field `{}`", name.escape_debug());
            return Err(told(state, &parts, invalid(text).hint("this request has no query")).await?);
        }
        let body = Raw::from_request(Request::from_parts(parts.clone(), body), state).await?;
        if !body.is_absent() && body.json::<Nothing>().is_err() {
            let problem = invalid("the body is not understood: this request has none".into());
            return Err(told(state, &parts, problem).await?);
        }
        Ok(Self)
    }
}

/// `{}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The body, not yet understood.
pub struct Raw(Bytes);

impl FromRequest<Shared> for Raw {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &Shared) -> Result<Self, Failure> {
        let refuse = |why: String, status: StatusCode| {
            let problem = invalid(format!("the body cannot be read: {why}"));
            Failure::from(problem.hint(format!("it has at most {MAX_BODY} bytes"))).status(status)
        };
        // One that says beforehand that it is too large need not come first.
        if request.body().size_hint().lower() > MAX_BODY as u64 {
            return Err(refuse("it is too large".into(), StatusCode::PAYLOAD_TOO_LARGE));
        }
        match tokio::time::timeout(COMES, Bytes::from_request(request, state)).await {
            Ok(body) => body.map(Self).map_err(|e| refuse(e.body_text(), e.status())),
            Err(_) => {
                let text = format!("the body did not come within {} s", COMES.as_secs());
                Err(Failure::from(Problem::new(Code::TimedOut, text)).status(StatusCode::REQUEST_TIMEOUT))
            }
        }
    }
}

impl Raw {
    /// Whether there is no body, for requests that can be made without.
    pub fn is_absent(&self) -> bool {
        matches!(self.0.trim_ascii(), b"" | b"null")
    }

    /// Understands the body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let asked = serde_json::from_slice(&self.0).map_err(|e| {
            // The vocabulary's own refusals have better codes than a parser's.
            bad_name(&self.0).unwrap_or_else(|| not_understood(&e.to_string()))
        })?;
        // serde takes the values of a list for the fields, in their order.
        if self.0.trim_ascii_start().first() == Some(&b'[') {
            return Err(not_understood("it is a list, not an object"));
        }
        Ok(asked)
    }

    /// Understands the body of a change; a refusal goes into history.
    pub async fn change<T: DeserializeOwned>(
        &self,
        app: &Shared,
        who: &Who,
        verb: Verb,
        kind: Kind,
        name: &str,
    ) -> Result<T, Failure> {
        recorded(app, &who.0, verb, (kind, name), self.json().map_err(Failure::from)).await
    }
}

/// Records in the history that a change was refused, if it was, before the engine could do so.
pub async fn recorded<T>(
    app: &Shared,
    actor: &Actor,
    verb: Verb,
    target: (Kind, &str),
    asked: Result<T, Failure>,
) -> Result<T, Failure> {
    if let Err(failure) = &asked {
        call::refused(app, actor, verb, target, failure.problem()).await?;
    }
    asked
}

fn not_understood(why: &str) -> Problem {
    invalid(format!("the body is not understood: {why}")).hint("the API is described at /v1/openapi.json")
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidRequest, message)
}

fn bad_name(body: &[u8]) -> Option<Problem> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    Name::new(&named.name).err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::label::Edit;

    #[test]
    fn a_list_is_not_taken_for_an_object() {
        let read = |body: &'static str| Raw(Bytes::from_static(body.as_bytes())).json::<Edit>();
        assert_eq!(read("\n[null, null, {}]").unwrap_err().code, Code::InvalidRequest);
        assert_eq!(read("[").unwrap_err().code, Code::InvalidRequest);
        assert_eq!(read("{\"protected\": true}").unwrap().protected, Some(true));
    }
}
