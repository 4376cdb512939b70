//! Following everything that changes.

use super::Client;
use super::sse::Parser;
use super::transport::lost;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use types::event::ChangeEvent;
use types::{Code, Problem};

/// The changes from now on, as they come.
pub struct Changes {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<ChangeEvent>,
}

impl Client {
    /// Begins to follow. What changes after this returns is told.
    ///
    /// # Errors
    /// What the API answered, or `daemon-unreachable`.
    pub async fn changes(&self) -> Result<Changes, Problem> {
        let body = self.stream(&["events"], "").await?;
        Ok(Changes { body, parser: Parser::default(), ready: VecDeque::new() })
    }
}

impl Changes {
    /// The next change.
    ///
    /// # Errors
    /// `daemon-unreachable` when the stream ends.
    pub async fn next(&mut self) -> Result<ChangeEvent, Problem> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let frame = match self.body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(e)) => return Err(lost(&e.to_string())),
                None => return Err(lost("the stream ended")),
            };
            let Some(piece) = frame.data_ref() else { continue };
            let ready = &mut self.ready;
            // The event at the beginning only says from where; it is no change.
            self.parser
                .push(piece, |data| ready.extend(serde_json::from_slice::<ChangeEvent>(data)))
                .map_err(|why| {
                    Problem::new(Code::Internal, format!("the daemon's events are not understood: {why}"))
                })?;
        }
    }
}
