//! `Idempotency-Key` and `If-Match`.
//!
//! Invariant: a key is one caller's own, and two requests are the same only if method, address and
//! body are. A body that is a disk is not kept to compare: there its length has to do. A header that makes
//! no sense is refused and not passed over.

use super::MAX_BODY;
use super::access::{Caller, secret};
use super::problem::Failure;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::{Conditions, Once};
use sha2::{Digest, Sha256};
use types::{Code, Problem};

/// The longest key.
const MAX_KEY: usize = 255;

/// Puts the request's conditions beside it.
pub async fn attach(request: Request, next: Next) -> Response {
    match read(request).await {
        Ok(request) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

async fn read(mut request: Request) -> Result<Request, Failure> {
    let if_match = if_match(request.headers())?;
    let key = key(request.method(), request.headers())?;
    let caller = request.extensions().get::<Caller>().map(|c| c.actor.0.clone());
    let once = match (key, caller) {
        (Some(key), Some(caller)) => {
            let mut print = Sha256::new();
            print.update(format!("{} {}\n", request.method(), request.uri()));
            if request.uri().path() == super::import::PATH {
                let length = request.headers().get(header::CONTENT_LENGTH);
                print.update(length.map_or(&b""[..], |l| l.as_bytes()));
            } else {
                let (parts, body) = request.into_parts();
                let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
                    Problem::new(Code::InvalidRequest, "the body cannot be read: it is too large")
                        .hint(format!("it has at most {MAX_BODY} bytes"))
                })?;
                print.update(&bytes);
                request = Request::from_parts(parts, Body::from(bytes));
            }
            // From wherever they ask, it is the same caller.
            let caller = caller.split('@').next().unwrap_or_default();
            let once = Once {
                key: secret::hash(&format!("{caller}\n{key}")),
                print: secret::hex(&print.finalize()),
            };
            Some(once)
        }
        _ => None,
    };
    if once.is_some() || if_match.is_some() {
        request.extensions_mut().insert(Conditions { once, if_match });
    }
    Ok(request)
}

fn key(method: &Method, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key").filter(|_| *method == Method::POST) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if fits {
        return Ok(Some(text.to_owned()));
    }
    Err(Problem::new(Code::InvalidRequest, "the Idempotency-Key cannot be used")
        .hint(format!("it has 1 to {MAX_KEY} printable ASCII characters; a random UUID serves")))
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).and_then(|t| t.parse().ok());
    match number {
        Some(revision) => Ok(Some(revision)),
        None => Err(Problem::new(Code::InvalidRequest, "the If-Match is not an ETag of this API")
            .hint("send the ETag of the answer that showed the thing, with its quotes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_understood_or_refused() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        let revision = |text: &str| if_match(&with("if-match", text));
        assert_eq!(revision("\"12\"").unwrap(), Some(12));
        assert_eq!(revision("*").unwrap(), None);
        for bad in ["12", "W/\"12\"", "\"x\"", "\"1\", \"2\"", "", "\""] {
            assert!(revision(bad).is_err(), "{bad}");
        }
        let key_of = |text: &str| key(&Method::POST, &with("idempotency-key", text));
        assert_eq!(key_of("a/b c").unwrap().as_deref(), Some("a/b c"));
        assert!(key_of("").is_err() && key_of(&"x".repeat(256)).is_err());
        assert_eq!(key(&Method::GET, &with("idempotency-key", "a")).unwrap(), None);
    }
}
