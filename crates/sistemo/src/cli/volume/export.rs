//! `sistemo volume export V [FILE|-] [--format raw|qcow2] [--zstd]`.
//!
//! Invariant: a file gets its name once it is whole and on the disk, with its checksum beside it; what
//! there was under that name stays.

use crate::cli::context::Context;
use crate::cli::progress::Shown;
use crate::cli::transfer::{Kept, Out, convert, io};
use crate::cli::wait::at;
use crate::cli::{Ended, input, render};
use crate::client::Client;
use crate::sparse::{Event, Reader};
use clap::{Args, ValueEnum};
use http_body_util::BodyExt;
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use types::operation::Progress;
use types::snapshot::Snapshot;
use types::volume::Volume;
use types::{ByteSize, Code, Operation, Problem};

/// What to make of it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The bytes as they are; holes stay holes
    Raw,
    /// For QEMU and its kin; made by `qemu-img`
    Qcow2,
}

/// Which, and where to.
#[derive(Args)]
pub struct Export {
    /// Name or id, of a volume or a snapshot
    volume: String,
    /// The file to make, or a directory to make it in, or - for standard output [default: VOLUME.raw]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to make of it
    #[arg(long, value_enum, default_value = "raw")]
    format: Kind,
    /// Compress it with zstd
    #[arg(long)]
    zstd: bool,
}

/// What is to be read.
struct Known {
    id: String,
    name: String,
    size_bytes: Option<u64>,
}

/// The volume of this name, or else the snapshot.
async fn known(client: &Client, named: &str) -> Result<Known, Problem> {
    match client.get::<Volume>(&["volumes", named]).await {
        Ok(v) => Ok(Known { id: v.id.to_string(), name: v.name.to_string(), size_bytes: Some(v.size_bytes) }),
        Err(missing) if missing.code == Code::VolumeNotFound => {
            match client.get::<Snapshot>(&["snapshots", named]).await {
                Ok(s) => {
                    Ok(Known { id: s.id.to_string(), name: s.name.to_string(), size_bytes: s.size_bytes })
                }
                Err(other) if other.code == Code::SnapshotNotFound => Err(missing),
                Err(other) => Err(other),
            }
        }
        Err(other) => Err(other),
    }
}

/// What was made.
#[derive(Serialize)]
struct Made {
    volume: String,
    /// `-` for standard output.
    file: String,
    size_bytes: u64,
    file_bytes: u64,
    sha256: String,
}

impl Export {
    /// Writes it.
    pub async fn run(self, context: &Context) -> Ended {
        let until = context.until()?;
        if context.no_wait() {
            return Err(Problem::new(
                Code::Usage,
                "an export cannot be left to the daemon: this command writes the file",
            )
            .hint("leave --no-wait out; a shell runs it in the background with & at its end")
            .into());
        }
        tokio::select! {
            ended = self.write(context) => ended,
            () = at(until) => Err(Problem::new(Code::TimedOut, "the content did not come in time")
                .hint("nothing was kept; give it more time, or leave --timeout out")
                .into()),
        }
    }

    async fn write(&self, context: &Context) -> Ended {
        let volume = input::reference(&self.volume)?.to_owned();
        let to_pipe = self.file.as_deref() == Some(Path::new("-"));
        if to_pipe && self.format == Kind::Qcow2 {
            return Err(Problem::new(Code::Usage, "qcow2 cannot be written to a pipe")
                .hint("name a file, or leave --format out")
                .into());
        }
        if to_pipe && std::io::stdout().is_terminal() {
            return Err(Problem::new(Code::Usage, "a volume is not printed on a terminal")
                .hint("name a file, or pipe it somewhere")
                .into());
        }
        let client = context.client()?;
        let known = known(&client, &volume).await?;
        let target = if to_pipe { None } else { Some(self.target(&known.name)?) };
        if self.format == Kind::Qcow2 {
            convert::present()?;
        }
        let (mut body, operation) = client.read(&["volumes", &known.id, "export"], "sparse=true").await?;
        let mut out = match &target {
            Some(target) => Out::file(target, self.zstd && self.format == Kind::Raw)?,
            None => Out::pipe(self.zstd)?,
        };
        let mut shown = Shown::new(context.quiet());
        let (mut reader, mut size) = (Reader::default(), 0);
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(e) => return Err(broken(&client, operation, &e.to_string()).await.into()),
            };
            let Some(piece) = frame.data_ref() else { continue };
            let mut failed = None;
            let taken = reader.push(piece, &mut |event| {
                let done = match event {
                    Event::Data(at, bytes) => {
                        size = at;
                        out.data(at, bytes)
                    }
                    Event::End(at) => {
                        size = at;
                        out.end(at)
                    }
                };
                done.map_err(|problem| failed.insert(problem).to_string())
            });
            if let Some(problem) = failed {
                return Err(problem.into());
            }
            taken.map_err(|why| {
                Problem::new(Code::Internal, format!("the daemon's stream is not understood: {why}"))
            })?;
            let total = known.size_bytes;
            shown.step(&Progress { what: "exporting".into(), done: size, total, unit: "bytes".into() });
            shown.tick();
        }
        shown.clear();
        if !reader.ended() {
            return Err(broken(&client, operation, "it ended too early").await.into());
        }
        let mut kept = out.finish()?;
        if let (Kind::Qcow2, Some(target)) = (self.format, &target) {
            kept = convert::qcow2(kept, target, self.zstd)?;
        }
        let made = self.keep(kept, target.as_deref(), known.name, size)?;
        if to_pipe {
            context.remark(&format!("{}  -", made.sha256));
            return Ok(());
        }
        render::done(context, &made, |m| {
            let (size, taken) = (ByteSize(m.size_bytes), ByteSize(m.file_bytes));
            format!(
                "volume \"{}\" of {size} is in {} ({taken}), its checksum in {1}.sha256\n",
                m.volume, m.file
            )
        })
    }

    /// Gives it its name.
    fn keep(
        &self,
        kept: Kept,
        target: Option<&Path>,
        volume: String,
        size_bytes: u64,
    ) -> Result<Made, Problem> {
        let (sha256, file_bytes) = (kept.sha256.clone(), kept.bytes);
        if let Some(target) = target {
            kept.publish(target)?;
        }
        let file = target.map_or_else(|| "-".into(), |t| t.display().to_string());
        Ok(Made { volume, file, size_bytes, file_bytes, sha256 })
    }

    /// Where it goes; nothing has that name yet.
    fn target(&self, volume: &str) -> Result<PathBuf, Problem> {
        let name = match (self.format, self.zstd) {
            (Kind::Raw, false) => format!("{volume}.raw"),
            (Kind::Raw, true) => format!("{volume}.raw.zst"),
            (Kind::Qcow2, _) => format!("{volume}.qcow2"),
        };
        let target = match &self.file {
            None => PathBuf::from(name),
            Some(dir) if dir.is_dir() => dir.join(name),
            Some(file) => file.clone(),
        };
        match target.symlink_metadata() {
            Ok(_) => {
                Err(Problem::new(Code::NameTaken, format!("there is a file {} already", target.display()))
                    .hint("choose another name, or remove it first"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(target),
            Err(e) => Err(io("look at", &target, &e)),
        }
    }
}

/// Why the content broke off: what the operation says, if it can be asked.
async fn broken(client: &Client, operation: Option<String>, why: &str) -> Problem {
    if let Some(id) = operation {
        let ended = client.get::<Operation>(&["operations", &id]).await;
        if let Some(problem) = ended.ok().and_then(|op| op.problem) {
            return problem;
        }
    }
    Problem::new(Code::DaemonUnreachable, format!("the volume's content broke off: {why}"))
        .hint("nothing was kept; `sistemo history --failed` says more")
}
