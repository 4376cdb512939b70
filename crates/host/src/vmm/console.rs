//! What a machine's serial console said, kept in two files of bounded length.
//!
//! QEMU offers the console on a socket, and the daemon writes the log: a guest can fill no disk. While
//! no daemon runs, QEMU drops what the guest says.
//!
//! Invariant: `console.log` and `console.log.1` together never exceed two [`LIMIT`]s, whatever a
//! guest says; the log outlives the runs and goes with the machine.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The log, newest.
pub const NEW: &str = "console.log";
/// The log before it.
pub const OLD: &str = "console.log.1";
/// The length at which a log becomes the old one, in bytes.
pub const LIMIT: u64 = 1 << 20;
/// The most that is read at once.
const CHUNK: usize = 64 << 10;

/// One machine's log.
pub struct Console {
    dir: PathBuf,
    writer: Mutex<Option<File>>,
    /// Changes with every line; true once the machine is gone.
    news: watch::Sender<bool>,
}

impl Console {
    /// The log in a machine's directory.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { dir, writer: Mutex::new(None), news: watch::Sender::new(false) })
    }

    fn writer(&self) -> MutexGuard<'_, Option<File>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what the guest said.
    pub fn append(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.writer();
        while !bytes.is_empty() {
            let mut file = match writer.take() {
                Some(file) => file,
                None => open(&self.dir)?,
            };
            let room = LIMIT.saturating_sub(file.metadata()?.len());
            if room == 0 {
                fs::rename(self.dir.join(NEW), self.dir.join(OLD))?;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            file.write_all(now)?;
            *writer = Some(file);
            bytes = later;
        }
        drop(writer);
        self.news.send_modify(|_| ());
        Ok(())
    }

    /// Tells the readers that nothing more will come.
    pub fn close(&self) {
        *self.writer() = None;
        self.news.send_replace(true);
    }

    /// What was said; with `follow`, also what will be, until the machine is gone.
    pub fn read(self: &Arc<Self>, follow: bool) -> BoxStream<'static, io::Result<Bytes>> {
        let reader = Reader { console: self.clone(), files: None };
        let news = self.news.subscribe();
        stream::unfold(Some((reader, news)), move |state| async move {
            let (mut reader, mut news) = state?;
            loop {
                let gone = *news.borrow_and_update();
                let read = tokio::task::spawn_blocking(move || (reader.next(), reader)).await;
                let (piece, back) = match read {
                    Ok(read) => read,
                    Err(e) => return Some((Err(io::Error::other(e)), None)),
                };
                reader = back;
                match piece {
                    Ok(piece) if piece.is_empty() => {}
                    Ok(piece) => return Some((Ok(piece), Some((reader, news)))),
                    Err(e) => return Some((Err(e), None)),
                }
                if !follow || gone || news.changed().await.is_err() {
                    return None;
                }
            }
        })
        .boxed()
    }
}

fn open(dir: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(dir.join(NEW))
}

/// Reads through the old log and the new one, and into whichever comes after it.
struct Reader {
    console: Arc<Console>,
    /// The files still to be read; the last is the newest.
    files: Option<Vec<File>>,
}

fn existing(path: PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Reader {
    /// The next bytes; none if all that is there was read.
    fn next(&mut self) -> io::Result<Bytes> {
        // The writer renames under its lock.
        let _still = self.console.writer();
        let dir = &self.console.dir;
        let files = match &mut self.files {
            Some(files) => files,
            none => {
                let both = [existing(dir.join(OLD))?, existing(dir.join(NEW))?];
                none.insert(both.into_iter().flatten().collect())
            }
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            if let Some(file) = files.first_mut() {
                let n = file.read(&mut buffer)?;
                if n > 0 {
                    buffer.truncate(n);
                    return Ok(buffer.into());
                }
            }
            if files.len() > 1 {
                files.remove(0);
                continue;
            }
            // The end of the newest, unless another has come after it.
            let Some(newest) = existing(dir.join(NEW))? else { return Ok(Bytes::new()) };
            if let Some(file) = files.first() {
                if file.metadata()?.ino() == newest.metadata()?.ino() {
                    return Ok(Bytes::new());
                }
            }
            *files = vec![newest];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(console: &Arc<Console>) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pieces: Vec<_> = runtime.block_on(console.read(false).collect());
        pieces.into_iter().flat_map(|p| p.unwrap().to_vec()).collect()
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::new(dir.path().into());
        assert!(all(&console).is_empty());
        let said: Vec<u8> = (0..5 << 20).map(|n| (n / 7) as u8).collect();
        for piece in said.chunks(100_001) {
            console.append(piece).unwrap();
        }
        let kept = all(&console);
        assert!(kept.len() as u64 > LIMIT && kept.len() as u64 <= 2 * LIMIT);
        assert_eq!(kept, said[said.len() - kept.len()..]);
        // A new daemon goes on where the old one was.
        let again = Console::new(dir.path().into());
        again.append(b"end").unwrap();
        assert!(all(&again).ends_with(b"end"));
    }

    #[test]
    fn a_follower_misses_nothing_across_the_change_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::new(dir.path().into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        console.append(b"first").unwrap();
        let said: Vec<u8> = (0..3 << 20).map(|n| (n / 11) as u8).collect();
        let heard = runtime.block_on(async {
            let mut stream = console.read(true);
            let mut heard = stream.next().await.unwrap().unwrap().to_vec();
            for piece in said.chunks(300_000) {
                console.append(piece).unwrap();
                let wanted = heard.len() + piece.len();
                while heard.len() < wanted {
                    heard.extend(stream.next().await.unwrap().unwrap());
                }
            }
            console.close();
            assert!(stream.next().await.is_none());
            heard
        });
        assert_eq!(heard, [&b"first"[..], &said].concat());
    }
}
