//! Volumes that are sent.
//!
//! Invariant: what is not whole is nobody's volume, and is removed.

use super::call::{accepted, call, stopped, write};
use super::extract::{Args, Who, recorded};
use super::pages::labels_in_query;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use crate::sparse::{Event, Reader};
use ::engine::Expected;
use ::host::storage::{FilePool, Upload};
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use types::operation::Kind;
use types::volume::{ImportVolume, VolumeRole};
use types::{Code, Name, Operation, Problem, Verb, VolumeId};
use utoipa::IntoParams;

/// Where this is.
pub const PATH: &str = "/v1/volumes/import";
/// How many are received at once: each has a thread.
static WRITERS: Semaphore = Semaphore::const_new(8);
/// Pieces that wait for the disk.
const WAITING: usize = 8;
/// How long nothing may come.
const QUIET: Duration = Duration::from_secs(60);

/// What to make of it.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportArgs {
    /// Its name; without one, Sistemo makes one up.
    #[param(value_type = Option<String>)]
    name: Option<String>,
    /// The pool it shall live in; `default` unless given.
    #[param(value_type = Option<String>)]
    pool: Option<String>,
    /// What it is for; `data` unless given.
    role: Option<VolumeRole>,
    /// Its size, rounded up to a MiB; without one, that of what is sent.
    size_bytes: Option<u64>,
    /// Labels, such as `env=prod,tier=web`.
    label: Option<String>,
    /// Only the data is sent, as an export with `sparse` has it.
    #[serde(default)]
    sparse: bool,
}

/// Makes a volume of what is sent: the bytes of a disk or of a file system.
#[utoipa::path(
    post,
    path = "/v1/volumes/import",
    tag = "volumes",
    operation_id = "volumes_import",
    params(ImportArgs),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The content"),
    responses(
        (status = 202, description = "All of it is there, and accepted", body = Operation),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn import(
    State(app): State<Shared>,
    who: Who,
    Args(args): Args<ImportArgs>,
    request: Request,
) -> Result<Response, Failure> {
    // A try of what was accepted before is answered as that was, and nothing is received.
    let again = who.on(&app.engine);
    if let Some(operation) = call(&app, move |_| again.accepted_before()).await? {
        return Ok(accepted(operation));
    }
    let name = args.name.clone().unwrap_or_default();
    let received = take_in(&app, args, request).await;
    let Received { id, length, asked, files } =
        recorded(&app, &who.0, Verb::VolumeImport, (Kind::Volume, &name), received).await?;
    let made = write(&app, move |engine| who.on(engine).import_volume(&who.0, (id, length), &asked)).await;
    // Of two tries that were sent at once, one makes the volume.
    if !made.as_ref().is_ok_and(|operation| operation.target.id == Some(id.0)) {
        files.discard(id);
    }
    made.map(accepted)
}

/// A volume's content that is there as a whole, and no volume yet.
struct Received {
    id: VolumeId,
    length: u64,
    asked: ImportVolume,
    files: Arc<FilePool>,
}

/// Receives what is to become a volume, if it can.
async fn take_in(app: &Shared, args: ImportArgs, request: Request) -> Result<Received, Failure> {
    let _turn = WRITERS.try_acquire().map_err(|_| {
        Problem::new(Code::Busy, "as many volumes are being received as can be at once")
            .hint("try again once one of them is there")
    })?;
    let asked = ImportVolume {
        name: args.name.as_deref().map(Name::new).transpose()?,
        pool: args.pool,
        role: args.role.unwrap_or(VolumeRole::Data),
        size_bytes: args.size_bytes,
        labels: labels_in_query(args.label.as_deref())?,
    };
    let expected = asked.clone();
    // What is packed is of another length than its content.
    let length = request.body().size_hint().exact().filter(|_| !args.sparse);
    let Expected { id, pool, bounds } =
        call(app, move |engine| engine.expect_import(&expected, length)).await?;
    let contents = app.contents.clone();
    let files = call(app, move |_| contents(&pool)).await?;
    let upload = {
        let files = files.clone();
        call(app, move |_| files.receive(id, bounds)).await?
    };
    let length = receive(app, request, upload, args.sparse).await?;
    Ok(Received { id, length, asked, files })
}

/// Receives the body to its end; tells how long the content is.
async fn receive(app: &Shared, request: Request, upload: Upload, sparse: bool) -> Result<u64, Failure> {
    let (give, pieces) = mpsc::channel(WAITING);
    let written = tokio::task::spawn_blocking(move || store(pieces, upload, sparse));
    let mut body = request.into_body();
    let mut stopping = app.stopping.clone();
    let broken = loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(QUIET, body.frame()) => frame,
            () = stopped(&mut stopping) => break Some(Problem::new(Code::ShuttingDown, "the daemon is ending")),
        };
        match frame {
            Err(_) => break Some(Problem::new(Code::TimedOut, "nothing came for a minute")),
            Ok(None) => break None,
            Ok(Some(Err(e))) => {
                break Some(Problem::new(Code::InvalidRequest, format!("the body broke off: {e}")));
            }
            Ok(Some(Ok(frame))) => {
                let Ok(piece) = frame.into_data() else { continue };
                // Whoever writes has failed, and says why.
                if give.send(Piece::Data(piece)).await.is_err() {
                    break None;
                }
            }
        }
    };
    if broken.is_none() {
        let _ = give.send(Piece::End).await;
    }
    drop(give);
    let written =
        written.await.map_err(|_| Problem::new(Code::Internal, "the daemon failed over what was sent"))?;
    match broken {
        Some(problem) => Err(problem.into()),
        None => Ok(written?),
    }
}

/// What came.
enum Piece {
    Data(Bytes),
    End,
}

/// Writes what comes until its end.
fn store(mut pieces: mpsc::Receiver<Piece>, mut upload: Upload, sparse: bool) -> Result<u64, Problem> {
    let (mut reader, mut at, mut end) = (Reader::default(), 0, None);
    loop {
        match pieces.blocking_recv() {
            None => return Err(Problem::new(Code::InvalidRequest, "the body broke off")),
            Some(Piece::Data(piece)) if sparse => {
                let mut failed = None;
                let taken = reader.push(&piece, &mut |event| match event {
                    Event::Data(at, bytes) => {
                        upload.data(at, bytes).map_err(|problem| failed.insert(problem).to_string())
                    }
                    Event::End(size) => {
                        end = Some(size);
                        Ok(())
                    }
                });
                if let Some(problem) = failed {
                    return Err(problem);
                }
                taken.map_err(|why| {
                    Problem::new(Code::InvalidRequest, format!("the body is not understood: {why}"))
                })?;
            }
            Some(Piece::Data(piece)) => {
                upload.data(at, &piece)?;
                at += piece.len() as u64;
            }
            Some(Piece::End) => {
                let size = if sparse { end } else { Some(at) };
                let size = size.ok_or_else(|| Problem::new(Code::InvalidRequest, "the body broke off"))?;
                if size == 0 || size > types::ByteSize::MAX.bytes() {
                    let most = types::ByteSize::MAX;
                    return Err(Problem::new(Code::InvalidSize, format!("{size} bytes are no volume"))
                        .hint(format!("send the bytes of a disk, {most} at the most")));
                }
                upload.finish(size)?;
                return Ok(size);
            }
        }
    }
}
