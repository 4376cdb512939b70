//! A list that is read item by item.
//!
//! Invariant: memory does not grow with the list, and a list that breaks off is an error, not a
//! shorter list.

use super::split::Splitter;
use super::transport::lost;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use types::{Code, Problem};

/// The items of an answer, as they arrive.
pub struct Items<T> {
    body: Incoming,
    splitter: Splitter,
    ready: VecDeque<T>,
}

impl<T: DeserializeOwned> Items<T> {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, splitter: Splitter::default(), ready: VecDeque::new() }
    }

    /// The next item, or `None` after the last.
    ///
    /// # Errors
    /// `daemon-unreachable` if the list breaks off; `internal` if an item is not understood.
    pub async fn next(&mut self) -> Result<Option<T>, Problem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.body.frame().await {
                None if self.splitter.ended() => return Ok(None),
                None => return Err(lost("the list broke off")),
                Some(Err(e)) => return Err(lost(&e.to_string())),
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        self.take(piece)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Problem> {
        let ready = &mut self.ready;
        self.splitter
            .push(piece, |item| {
                ready.push_back(serde_json::from_slice(item).map_err(|e| e.to_string())?);
                Ok(())
            })
            .map_err(|e| {
                Problem::new(Code::Internal, format!("the daemon's list is not understood: {e}"))
                    .hint("check that the daemon and this command have the same version")
            })
    }
}
