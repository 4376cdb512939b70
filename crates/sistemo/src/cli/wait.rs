//! Waiting for an operation.
//!
//! Invariant: whoever stops waiting is told that the operation goes on.

use super::context::Context;
use super::progress::Shown;
use super::{Ended, Stop};
use crate::client::Client;
use std::cell::RefCell;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use types::{Code, List, Operation, OperationState, Problem};

/// The exit code of a command that was interrupted: 128 and the signal's number, as a shell has it.
const INTERRUPTED: u8 = 130;

/// Follows `operation` to its end and shows how far it is; one that failed is an error. With `--no-wait`
/// it is printed instead, and the command is done.
pub async fn wait(context: &Context, client: &Client, operation: Operation) -> Result<Operation, Stop> {
    let id = operation.id;
    if context.no_wait() {
        warn(context, &operation);
        super::render::one(context.format(), &operation, |o| format!("{}\n", o.id))?;
        return Err(Stop::Exit(0));
    }
    let until = context.until()?;
    // One listener for the whole wait: one per round would miss what comes in between.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|e| Problem::new(Code::Internal, format!("cannot take signals: {e}")))?;
    let shown = RefCell::new(Shown::new(context.quiet()));
    let following = client.follow(operation, |now| shown.borrow_mut().update(now));
    tokio::pin!(following);
    let mut ticks = tokio::time::interval(Duration::from_millis(120));
    let ended = loop {
        tokio::select! {
            ended = &mut following => break ended,
            _ = ticks.tick() => shown.borrow().tick(),
            () = at(until) => {
                shown.borrow().clear();
                return Err(Problem::new(Code::TimedOut, format!("operation {id} has not ended in time"))
                    .hint(format!("it goes on in the daemon; `sistemo operation wait {id}` waits further"))
                    .into());
            }
            _ = interrupt.recv() => {
                shown.borrow().clear();
                eprintln!("interrupted: operation {id} goes on in the daemon; see `sistemo history`");
                return Err(Stop::Exit(INTERRUPTED));
            }
        }
    };
    shown.borrow().clear();
    let ended = ended?;
    warn(context, &ended);
    match (ended.state, &ended.problem) {
        (OperationState::Failed, Some(problem)) => Err(problem.clone().into()),
        (OperationState::Failed, None) => {
            Err(Problem::new(Code::Internal, "the operation failed without a reason").into())
        }
        _ => Ok(ended),
    }
}

/// Leaves several operations to themselves: a list of data, or one id on each line.
pub fn left(context: &Context, operations: Vec<Operation>) -> Ended {
    operations.iter().for_each(|operation| warn(context, operation));
    super::render::one(context.format(), &List { items: operations, next_cursor: None }, |all| {
        all.items.iter().map(|o| format!("{}\n", o.id)).collect()
    })
}

fn warn(context: &Context, operation: &Operation) {
    operation.warnings.iter().for_each(|warning| context.warn(warning));
}

/// Returns at that time, if there is one.
pub async fn at(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
