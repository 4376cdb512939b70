//! Following an operation to its end.
//!
//! Invariant: the end is told once it was seen and never guessed; a stream that breaks is opened
//! again, each time after asking how far the operation is by now.

use super::Client;
use super::sse::Parser;
use http_body_util::BodyExt;
use std::time::{Duration, Instant};
use types::{Code, Operation, OperationId, OperationState, Problem};

/// How patiently a lost daemon is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For how long without a sign of life.
    pub total: Duration,
    /// The first wait; doubled up to two seconds.
    pub first_wait: Duration,
    /// A stream that is silent for longer counts as broken (the API sends a comment every 10 s).
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(60),
            first_wait: Duration::from_millis(100),
            silence: Duration::from_secs(35),
        }
    }
}

impl Client {
    /// Follows `operation` until it has ended; `seen` is told of every change.
    ///
    /// # Errors
    /// `daemon-unreachable` once patience ends. An operation that failed is not an error here.
    pub async fn follow(
        &self,
        operation: Operation,
        mut seen: impl FnMut(&Operation),
    ) -> Result<Operation, Problem> {
        let id = operation.id;
        let mut now = operation;
        let mut last_sign = Instant::now();
        let mut wait = self.patience.first_wait;
        loop {
            seen(&now);
            if now.state != OperationState::Running {
                return Ok(now);
            }
            if let Some(ended) = self.watch(id, &mut seen, &mut last_sign).await? {
                return Ok(ended);
            }
            // The stream broke: perhaps the daemon restarts. Ask until it answers.
            now = loop {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
                match self.get::<Operation>(&["operations", &id.to_string()]).await {
                    Ok(operation) => break operation,
                    Err(problem) if !passing(&problem) => return Err(problem),
                    Err(problem) if last_sign.elapsed() >= self.patience.total => {
                        return Err(problem.hint(format!(
                            "operation {id} goes on when the daemon is back; see `sistemo history`"
                        )));
                    }
                    Err(_) => {}
                }
            };
            last_sign = Instant::now();
            wait = self.patience.first_wait;
        }
    }

    /// Reads one event stream: the ended operation, or `None` if the stream broke before.
    async fn watch(
        &self,
        id: OperationId,
        seen: &mut impl FnMut(&Operation),
        last_sign: &mut Instant,
    ) -> Result<Option<Operation>, Problem> {
        let mut body = match self.stream(&["operations", &id.to_string(), "events"], "").await {
            Ok(body) => body,
            Err(problem) if passing(&problem) => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let mut parser = Parser::default();
        let mut ended = None;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(self.patience.silence, body.frame()).await {
            *last_sign = Instant::now();
            let Some(piece) = frame.data_ref() else {
                continue;
            };
            let understood = parser.push(piece, |data| {
                if let Ok(operation) = serde_json::from_slice::<Operation>(data) {
                    if operation.state == OperationState::Running {
                        seen(&operation);
                    } else {
                        ended = Some(operation);
                    }
                }
            });
            if let Some(operation) = ended {
                seen(&operation);
                return Ok(Some(operation));
            }
            if understood.is_err() {
                break;
            }
        }
        Ok(None)
    }
}

fn passing(problem: &Problem) -> bool {
    matches!(problem.code, Code::DaemonUnreachable | Code::ShuttingDown | Code::TimedOut)
}
