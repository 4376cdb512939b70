//! Lists as bodies that are written while they are read.
//!
//! Invariant: memory for the encoded form does not grow with the list.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;

/// About how much is encoded at a time.
const PIECE: usize = 64 << 10;

/// Answers `{"items":[…]}`, and with a cursor `{"items":[…],"next_cursor":"…"}`; a cursor has nothing in it
/// that JSON would escape.
pub fn page<T: Serialize + Send + 'static>(items: Vec<T>, next_cursor: Option<String>) -> Response {
    let pieces = stream::iter(Pieces { items: items.into_iter(), next_cursor, began: false, ended: false });
    let mut answer = Response::new(Body::from_stream(pieces));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Answers with JSON that is written already.
pub fn whole(json: Bytes) -> Response {
    let mut answer = Response::new(Body::from(json));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

struct Pieces<T> {
    items: std::vec::IntoIter<T>,
    next_cursor: Option<String>,
    began: bool,
    ended: bool,
}

impl<T: Serialize> Iterator for Pieces<T> {
    type Item = Result<Bytes, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE / 8);
        if !self.began {
            piece.extend_from_slice(b"{\"items\":[");
        }
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.push(b']');
                if let Some(next) = self.next_cursor.take() {
                    piece.extend_from_slice(format!(",\"next_cursor\":\"{next}\"").as_bytes());
                }
                piece.push(b'}');
                self.ended = true;
                break;
            };
            if self.began {
                piece.push(b',');
            }
            self.began = true;
            if serde_json::to_writer(&mut piece, &item).is_err() {
                // Views hold nothing that JSON cannot; a list cut short is seen by the client.
                self.ended = true;
            }
        }
        self.began = true;
        Some(Ok(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_one_json_document_whatever_its_length() {
        for n in [0usize, 1, 2, 20_000] {
            let items: Vec<_> = (0..n).map(|i| serde_json::json!({ "n": i })).collect();
            let body = axum::body::to_bytes(page(items.clone(), None).into_body(), usize::MAX).await.unwrap();
            let all: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(all, serde_json::json!({ "items": items }));
        }
    }
}
