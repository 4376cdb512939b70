//! `sistemo volume import FILE|URL|- [--name N] [--root]`.

use crate::cli::context::Context;
use crate::cli::progress::Shown;
use crate::cli::transfer::{Input, Piece, send};
use crate::cli::wait::{at, wait};
use crate::cli::{Ended, Stop, input, render};
use crate::client::Client;
use clap::Args;
use futures_util::stream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use types::label::Labels;
use types::operation::Progress;
use types::volume::{Volume, VolumeRole};
use types::{ByteSize, Code, Name, Operation, Problem};

/// Pieces that wait for the connection.
const WAITING: usize = 4;

/// What to make a volume of.
#[derive(Args)]
pub struct Import {
    /// A raw file (compressed with zstd or not), a qcow2, a URL of one, or - for standard input
    #[arg(value_name = "FILE")]
    from: String,
    /// The volume's name [default: the file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its size, never less than what is imported has [default: the same]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    storage: Option<String>,
    /// The pool it shall live in [default: default]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// There is a system on it: a machine can boot from it
    #[arg(long)]
    root: bool,
    /// A label; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// The checksum of the file [default: what FILE.sha256 says, if that is there]
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Unpack nothing: these are the bytes of a disk, whatever they look like
    #[arg(long)]
    as_is: bool,
}

impl Import {
    /// Sends it and waits until the volume is ready.
    pub async fn run(self, context: &Context) -> Ended {
        let name = match &self.name {
            Some(name) => Some(Name::new(name)?),
            None => named(&self.from)?,
        };
        let size = self.storage.as_deref().map(input::size).transpose()?;
        let role = if self.root { VolumeRole::Root } else { VolumeRole::Data };
        let pool = self.pool.as_deref().map(input::reference).transpose()?.map(str::to_owned);
        let labels = Labels::parse(&self.label)?;
        let asked = Asked { name, size, pool, role, labels };
        let input = Input::open(&self.from, self.sha256.as_deref(), self.as_is)?;
        take(context, input, &asked).await
    }
}

/// What to make of it.
pub struct Asked {
    pub name: Option<Name>,
    pub size: Option<u64>,
    pub pool: Option<String>,
    pub role: VolumeRole,
    pub labels: Labels,
}

/// Sends it and waits until the volume is ready.
pub async fn take(context: &Context, input: Input, asked: &Asked) -> Ended {
    let until = context.until()?;
    let client = context.client()?;
    let mut query = format!("sparse=true&role={}", asked.role);
    query.extend(asked.name.iter().map(|name| format!("&name={name}")));
    query.extend(asked.pool.iter().map(|pool| format!("&pool={pool}")));
    query.extend(asked.size.iter().map(|size| format!("&size_bytes={size}")));
    if !asked.labels.is_empty() {
        query.push_str(&format!("&label={}", asked.labels.in_query()));
    }
    let accepted = tokio::select! {
        accepted = transfer(context, &client, input, &query) => accepted?,
        () = at(until) => {
            return Err(Problem::new(Code::TimedOut, "the content was not sent in time")
                .hint("nothing was made of it; give it more time, or leave --timeout out")
                .into());
        }
    };
    let ended = wait(context, &client, accepted).await?;
    let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
    let made: Volume = client.get(&["volumes", &id]).await?;
    render::done(context, &made, |v| {
        format!("volume \"{}\" of {} is ready\n", v.name, ByteSize(v.size_bytes))
    })
}

async fn transfer(context: &Context, client: &Client, input: Input, query: &str) -> Result<Operation, Stop> {
    let (give, mut pieces) = mpsc::channel::<Piece>(WAITING);
    let (done, total) = (Arc::new(AtomicU64::new(0)), input.total);
    let counted = Arc::clone(&done);
    let (tell, read) = oneshot::channel();
    // A thread of nobody's: one that waits for what never comes does not keep the command from ending.
    std::thread::spawn(move || drop(tell.send(send(input, &give, &counted))));
    let body = stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let mut sending = Box::pin(client.send(&["volumes", "import"], query, body));
    let mut shown = Shown::new(context.quiet());
    let mut ticks = tokio::time::interval(Duration::from_millis(120));
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            _ = ticks.tick() => {
                let done = done.load(Ordering::Relaxed);
                shown.step(&Progress { what: "importing".into(), done, total, unit: "bytes".into() });
                shown.tick();
            }
        }
    };
    shown.clear();
    match sent {
        Ok(operation) => Ok(operation),
        Err(problem) => {
            drop(sending);
            // It may have broken off because of what was read, which then is the reason.
            let read = tokio::time::timeout(Duration::from_secs(1), read).await;
            Err(read.ok().and_then(Result::ok).and_then(Result::err).unwrap_or(problem).into())
        }
    }
}

/// The name that a file suggests.
fn named(from: &str) -> Result<Option<Name>, Problem> {
    if from == "-" {
        return Ok(None);
    }
    let path = from.split(['?', '#']).next().filter(|_| from.contains("://")).unwrap_or(from);
    let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let mut stem = file.as_ref();
    for end in [".zst", ".raw", ".img", ".qcow2", ".ext4"] {
        stem = stem.trim_end_matches(end);
    }
    Name::new(stem).map(Some).map_err(|_| {
        Problem::new(Code::Usage, format!("what the volume is to be called cannot be told from {from}"))
            .hint("say it with --name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_suggests_a_name() {
        let name = |from| named(from).unwrap().map(|n| n.to_string());
        assert_eq!(name("-"), None);
        for from in [
            "appdata.raw.zst",
            "/srv/appdata.ext4",
            "https://example.org/x/appdata.img?token=1",
            "appdata.qcow2",
        ] {
            assert_eq!(name(from).as_deref(), Some("appdata"), "{from}");
        }
        assert!(named("/srv/App Data.raw").unwrap_err().hint.unwrap().contains("--name"));
    }
}
