//! A typed client of the API: what the command line uses, and whoever else wants to.
//!
//! Invariant: it only asks; when no daemon answers, nothing is done behind its back, and a lost
//! connection loses nothing, since an accepted operation lives in the daemon.

mod changes;
mod exec;
mod follow;
mod items;
mod split;
mod sse;
mod tls;
mod transport;
mod url;

pub use changes::Changes;
pub use exec::ExecStream;
pub use follow::Patience;
pub use items::Items;
pub use url::Target;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use transport::Trust;
use types::access::Secret;
use types::{Code, Operation, Problem};

/// The largest answer that is read as one piece; lists are read item by item.
const MAX_ANSWER: usize = 8 << 20;

/// Where the API is, and how patiently to follow what it does.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    trust: Trust,
    patience: Patience,
}

impl Client {
    /// A client of the API at `url`. Connects with each request.
    ///
    /// # Errors
    /// `invalid-url`.
    pub fn new(url: &str) -> Result<Self, Problem> {
        Ok(Self { target: Target::parse(url)?, trust: Trust::default(), patience: Patience::default() })
    }

    /// Shows this token, where nobody in between can read it.
    #[must_use]
    pub fn token(mut self, token: Option<Secret>) -> Self {
        self.trust.token = token;
        self
    }

    /// Accepts this certificate and no other, whoever signed it.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Option<String>) -> Self {
        self.trust.fingerprint = fingerprint;
        self
    }

    /// Sets how long a lost connection is tried again.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// `GET` of one resource.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Problem> {
        self.json(Method::GET, &route(path), None).await
    }

    /// `GET` with a query, which is given encoded.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn query<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<T, Problem> {
        self.json(Method::GET, &format!("{}?{query}", route(path)), None).await
    }

    /// `GET` of a list, item by item at flat memory.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn list<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<Items<T>, Problem> {
        let answer = self.stream(path, query).await?;
        Ok(Items::new(answer))
    }

    /// `GET` of something without an end, or too large to hold.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn stream(&self, path: &[&str], query: &str) -> Result<Incoming, Problem> {
        let mut uri = route(path);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let answer = self.answer(Method::GET, &uri, None).await?;
        Ok(answer.into_body())
    }

    /// `POST` whose answer is a stream of bytes, with the id of the operation that ends with it.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn read(&self, path: &[&str], query: &str) -> Result<(Incoming, Option<String>), Problem> {
        let answer = self.answer(Method::POST, &format!("{}?{query}", route(path)), None).await?;
        let operation = answer.headers().get("x-sistemo-operation");
        let operation = operation.and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok((answer.into_body(), operation))
    }

    /// `POST` of a stream of bytes, however long that takes.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`, also if the stream fails.
    pub async fn send<S>(&self, path: &[&str], query: &str, bytes: S) -> Result<Operation, Problem>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static,
    {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}?{query}", route(path)))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(StreamBody::new(bytes.map_ok(Frame::data)))
            .map_err(unaskable)?;
        let answer = transport::send_all(&self.target, &self.trust, request).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let bytes = whole(answer.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.nonsense(&e.to_string()))
    }

    /// Asks for a change; answers once it is accepted.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Problem::new(Code::Internal, format!("cannot write the request: {e}")))?;
        self.json(Method::POST, &route(path), Some(body.into())).await
    }

    /// Asks for a change of what is there; answers once it is accepted.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn patch(&self, path: &[&str], body: &impl Serialize) -> Result<Operation, Problem> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Problem::new(Code::Internal, format!("cannot write the request: {e}")))?;
        self.json(Method::PATCH, &route(path), Some(body.into())).await
    }

    /// Asks for a change that needs no words.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn act(&self, path: &[&str]) -> Result<Operation, Problem> {
        self.json(Method::POST, &route(path), None).await
    }

    /// Asks for something to go.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<T, Problem> {
        let mut uri = route(path);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        self.json(Method::DELETE, &uri, None).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: Option<Bytes>,
    ) -> Result<T, Problem> {
        let answer = self.answer(method, uri, body).await?;
        let bytes = whole(answer.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.nonsense(&e.to_string()))
    }

    /// An answer that is not an error.
    async fn answer(
        &self,
        method: Method,
        uri: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(unaskable)?;
        let answer = transport::send(&self.target, &self.trust, request).await?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    async fn refusal(&self, answer: Response<Incoming>) -> Problem {
        #[derive(serde::Deserialize)]
        struct Told {
            code: Code,
            detail: String,
            hint: Option<String>,
        }
        let status = answer.status();
        match whole(answer.into_body()).await {
            Ok(bytes) => match serde_json::from_slice::<Told>(&bytes) {
                Ok(told) => Problem { code: told.code, message: told.detail, hint: told.hint },
                Err(_) => self.nonsense(&format!("HTTP status {status}")),
            },
            Err(problem) => problem,
        }
    }

    fn nonsense(&self, what: &str) -> Problem {
        Problem::new(Code::Internal, format!("what answers at {} is not understood: {what}", self.target))
            .hint("check that --url points at a Sistemo daemon of the same version")
    }
}

fn unaskable(e: hyper::http::Error) -> Problem {
    Problem::new(Code::InvalidRequest, format!("cannot be asked: {e}"))
}

/// The whole body, bounded.
async fn whole(body: Incoming) -> Result<Bytes, Problem> {
    Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|e| transport::lost(&e.to_string()))
}

/// `/v1/` and the segments, each encoded so that it stays one segment.
pub(crate) fn route(segments: &[&str]) -> String {
    let mut out = String::from("/v1");
    for segment in segments {
        out.push('/');
        out.push_str(&encode(segment));
    }
    out
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(route(&["machines", "../x"]), "/v1/machines/..%2Fx");
        assert_eq!(route(&["machines", "a?b#c%"]), "/v1/machines/a%3Fb%23c%25");
        assert_eq!(encode("ü"), "%C3%BC");
    }
}
