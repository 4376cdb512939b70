//! Volumes as streams.
//!
//! Invariant: whatever becomes of the connection, the request ends, and with it the hold on the volume.

use super::call::{call, stopped, write};
use super::extract::{Args, Seg, Who};
use super::problem::Failure;
use super::{ProblemBody, Shared};
use crate::sparse;
use ::host::storage::Content;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{Engine, Export};
use futures_util::stream;
use serde::Deserialize;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use types::operation::Progress;
use types::{Code, Problem};
use utoipa::IntoParams;

/// How many are read at once: each has a thread.
static READERS: Semaphore = Semaphore::const_new(16);
/// Pieces that wait for the connection.
const WAITING: usize = 4;
/// Zeros that are sent at a time.
const ZEROS: usize = 1 << 20;

/// How.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportArgs {
    /// Only the data: pieces of offset (u64), length (u32) and bytes, all little-endian, in order; the last
    /// has the volume's size as its offset, and no bytes. Without it every byte of the volume is sent.
    #[serde(default)]
    sparse: bool,
}

/// Reads the whole volume, or a snapshot; it is held meanwhile. Of a volume that a machine runs with, a
/// snapshot is taken first, and goes afterwards.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/export",
    tag = "volumes",
    operation_id = "volumes_export",
    params(("volume" = String, Path, description = "Id or name, of a volume or a snapshot"), ExportArgs),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream",
            headers(("x-sistemo-operation" = String, description = "The operation that ends with the stream"))),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export(
    State(app): State<Shared>,
    who: Who,
    Seg(volume): Seg<String>,
    Args(args): Args<ExportArgs>,
) -> Result<Response, Failure> {
    let turn = READERS.try_acquire().map_err(|_| {
        Problem::new(Code::Busy, "as many volumes are being read as can be at once")
            .hint("try again once one of them has ended: `sistemo operation list`")
    })?;
    let served = write(&app, move |engine| {
        let export = who.on(engine).export_volume(&who.0, &volume)?;
        Ok(Served { engine: engine.clone(), export: Some(export) })
    })
    .await?;
    let export = served.export()?;
    let (id, reading) = (export.operation.id, export.reading);
    let at_once = call(&app, move |engine| engine.export_ready(reading)).await.unwrap_or(true);
    let (send, mut pieces) = mpsc::channel(WAITING);
    let (opened, open) = oneshot::channel();
    let contents = app.contents.clone();
    let mut news = app.events.news();
    let stopping = app.stopping.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let ready = until_ready(&served, &mut news, stopping, &send).await;
        let read = tokio::task::spawn_blocking(move || {
            let (engine, Ok(export)) = (&served.engine, served.export()) else { return };
            let content =
                ready.and_then(|()| contents(&export.pool)).and_then(|pool| pool.content(export.reading));
            // What cannot be opened is an answer of its own; only what breaks later cuts the stream.
            let ended = match content {
                Err(problem) => {
                    let _ = opened.send(Err(problem.clone()));
                    Err(problem)
                }
                Ok(content) => {
                    let _ = opened.send(Ok(content.size()));
                    feed(engine, export, content, args.sparse, &send)
                }
            };
            let why = ended.err();
            served.end(why.clone());
            if let Some(problem) = why {
                // Cuts the answer short, which a client can tell from its end; the operation says why.
                let _ = send.blocking_send(Err(io::Error::other(problem.to_string())));
            }
        });
        if read.await.is_err() {
            tracing::error!("a reader of a volume failed badly");
        }
    });
    // Whoever would have to wait for a snapshot has the beginning of an answer at once.
    let size = match at_once {
        true => {
            let failed = |_| Problem::new(Code::Internal, "the daemon failed over the volume");
            Some(open.await.map_err(failed)??)
        }
        false => None,
    };
    let body = Body::from_stream(stream::poll_fn(move |cx| pieces.poll_recv(cx)));
    let mut answer = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    let headers = answer.headers_mut();
    if let Some(size) = size.filter(|_| !args.sparse) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size.bytes()));
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-sistemo-operation", id);
    }
    Ok(answer)
}

/// A request that somebody serves. Whatever becomes of them, it ends: also when whoever asked is gone before
/// there was anybody to read.
struct Served {
    engine: Engine,
    export: Option<Export>,
}

impl Served {
    fn export(&self) -> Result<&Export, Problem> {
        self.export.as_ref().ok_or_else(|| Problem::new(Code::Internal, "the export was taken"))
    }

    /// Ends it.
    fn end(mut self, why: Option<Problem>) {
        if let Some(export) = self.export.take() {
            end(&self.engine, &export, why);
        }
    }
}

fn end(engine: &Engine, export: &Export, why: Option<Problem>) {
    if let Err(e) = engine.end_export(export, why) {
        tracing::error!("the end of an export cannot be recorded: {e}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some(export) = self.export.take() else { return };
        let engine = self.engine.clone();
        let ending = move || end(&engine, &export, Some(away()));
        // It waits for the disk, which no handler may.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(ending)),
            Err(_) => ending(),
        }
    }
}

/// Waits until what is to be read is there.
async fn until_ready(
    served: &Served,
    news: &mut watch::Receiver<u64>,
    mut stopping: watch::Receiver<bool>,
    to: &Pieces,
) -> Result<(), Problem> {
    let export = served.export()?;
    loop {
        news.mark_unchanged();
        let (asked, of) = (served.engine.clone(), export.operation.id);
        let reading = export.reading;
        let ready = tokio::task::spawn_blocking(move || asked.export_ready(reading)).await;
        if ready.map_err(|_| Problem::new(Code::Internal, format!("export {of} cannot be looked at")))?? {
            return Ok(());
        }
        tokio::select! {
            told = news.changed() => {
                told.map_err(|_| Problem::new(Code::ShuttingDown, "the daemon is ending"))?;
            }
            () = to.closed() => return Err(away()),
            () = stopped(&mut stopping) => return Err(Problem::new(Code::ShuttingDown, "the daemon is ending")),
        }
    }
}

fn away() -> Problem {
    Problem::new(Code::Superseded, "whoever read the volume went away")
}

/// Where pieces go.
type Pieces = mpsc::Sender<io::Result<Bytes>>;

fn feed(
    engine: &Engine,
    export: &Export,
    mut content: Content,
    sparse: bool,
    to: &Pieces,
) -> Result<(), Problem> {
    let size = content.size().bytes();
    let give = |piece: Bytes| to.blocking_send(Ok(piece)).map_err(|_| away());
    let zeros = Bytes::from(vec![0; if sparse { 0 } else { ZEROS }]);
    let (mut at, mut told) = (0, Instant::now());
    let fill = |from: u64, until: u64| {
        let mut from = from;
        while !sparse && from < until {
            let n = (until - from).min(ZEROS as u64);
            give(zeros.slice(..n as usize))?;
            from += n;
        }
        Ok::<(), Problem>(())
    };
    let failed =
        |e: io::Error| Problem::new(Code::IoError, format!("volume \"{}\" cannot be read: {e}", export.name));
    while let Some((offset, piece)) = content.piece().map_err(failed)? {
        fill(at, offset)?;
        at = offset + piece.len() as u64;
        if sparse {
            give(sparse::head(offset, piece.len() as u32).to_vec().into())?;
        }
        give(piece.into())?;
        if told.elapsed() > Duration::from_millis(500) {
            told = Instant::now();
            let progress =
                Progress { what: "exporting".into(), done: at, total: Some(size), unit: "bytes".into() };
            engine.export_progress(export, &progress);
        }
    }
    fill(at, size)?;
    if sparse { give(sparse::head(size, 0).to_vec().into()) } else { Ok(()) }
}
