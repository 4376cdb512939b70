//! Failures as RFC 9457 problems.
//!
//! Invariant: the code in an answer is the engine's; only the envelope is made here.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use types::{Code, Problem};
use utoipa::ToSchema;

/// An error answer (`application/problem+json`, RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(title = "Problem")]
pub struct ProblemBody<'a> {
    /// `urn:sistemo:code:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// One sentence that names the things concerned.
    detail: &'a str,
    /// The stable word for what went wrong.
    code: Code,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    /// The id of this request, as in the header `x-request-id` and the daemon's log.
    request_id: &'a str,
}

/// A problem on its way out.
#[derive(Clone, Debug)]
pub struct Failure {
    problem: Problem,
    status: StatusCode,
    headers: Box<HeaderMap>,
}

impl Failure {
    /// Answers with this header too; a value that is none is left out.
    pub fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Answers with another status than the code's own.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What the answer says.
    pub fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            kind: format!("urn:sistemo:code:{}", self.problem.code),
            title: self.problem.code.as_str().replace('-', " "),
            status: self.status.as_u16(),
            detail: &self.problem.message,
            code: self.problem.code,
            hint: self.problem.hint.as_deref(),
            request_id,
        }
    }

    /// The whole answer.
    pub fn answer(&self, request_id: &str) -> Response<Body> {
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_default();
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = self.status;
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answer.headers_mut().extend(HeaderMap::clone(&self.headers));
        answer
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let status =
            StatusCode::from_u16(problem.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { problem, status, headers: Box::default() }
    }
}

impl IntoResponse for Failure {
    /// Leaves the failure in the answer's extensions: the layer around all routes knows the
    /// request's id and writes the body.
    fn into_response(self) -> axum::response::Response {
        let mut answer = self.status.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}
