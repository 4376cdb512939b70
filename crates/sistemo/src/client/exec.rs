//! A command in a guest, from the client's side.

use super::{Client, route, transport};
use crate::api::{ExecRequest, UPGRADE};
use bytes::Bytes;
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use types::{Code, Problem};

/// A connection that carries frames both ways.
pub type ExecStream = TokioIo<Upgraded>;

impl Client {
    /// Starts a command in a guest.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn exec(&self, machine: &str, asked: &ExecRequest) -> Result<ExecStream, Problem> {
        let body = serde_json::to_vec(asked)
            .map_err(|e| Problem::new(Code::Internal, format!("cannot write the request: {e}")))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(route(&["machines", machine, "exec"]))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, UPGRADE)
            .body(Full::new(Bytes::from(body)))
            .map_err(super::unaskable)?;
        let answer = transport::send(&self.target, &self.trust, request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refusal(answer).await);
        }
        hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(|e| transport::lost(&e.to_string()))
    }
}
