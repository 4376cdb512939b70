//! Reading what shall be a volume.
//!
//! Invariant: the end is told only once the checksum was right, so that nothing comes of what is damaged.

use super::fetch::{fetch, fetched, missing};
use super::packing::{Packing, packing, unpacked_once};
use super::qcow2::Disk;
use super::{checksum_of, io};
use crate::sparse;
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::Sender;
use types::{Code, Problem};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
/// Zeros in runs of this length are left out of a stream.
const BLOCK: usize = 64 << 10;
/// The longest checksum file that is read.
const SUM: u64 = 4096;

/// What is sent at a time.
pub type Piece = std::io::Result<Bytes>;

/// What shall be a volume.
pub struct Input {
    from: From,
    /// What it is called, for messages.
    shown: String,
    /// The checksum of the bytes as they are there.
    expected: Option<String>,
    /// How much there is to read, if that is known.
    pub total: Option<u64>,
    /// Its bytes are a disk's, whatever they look like.
    raw: bool,
}

enum From {
    /// Raw, with its holes.
    Sparse(File),
    /// A disk in a file.
    Qcow2(File),
    /// Whatever comes, which may be compressed.
    Stream(Box<dyn Read + Send>),
    /// What a program fetches.
    Fetched(Child),
}

impl Input {
    /// Opens `from`: a file, a URL, or `-`. `expected` goes before what stands in a file beside it. What it
    /// is wrapped in is seen from its first bytes, unless it is `raw`: those of a disk are its guest's to write.
    ///
    /// # Errors
    /// `usage`, `io-error`, `tool-missing`.
    pub fn open(from: &str, expected: Option<&str>, raw: bool) -> Result<Self, Problem> {
        let expected = expected.map(sum).transpose()?;
        let shown = from.to_owned();
        if from == "-" {
            let from = From::Stream(Box::new(std::io::stdin()));
            return Ok(Self { from, shown: "standard input".into(), expected, total: None, raw });
        }
        if from.starts_with("http://") || from.starts_with("https://") {
            return Ok(Self { from: From::Fetched(fetch(from)?), shown, expected, total: None, raw });
        }
        let path = PathBuf::from(from);
        let file = File::open(&path)
            .map_err(|e| unknown_scheme(from).unwrap_or_else(|| usage(&io("read", &path, &e))))?;
        let seen = file.metadata().map_err(|e| io("read", &path, &e))?;
        if seen.is_dir() {
            return Err(Problem::new(
                Code::Usage,
                format!("{} is a directory, not the bytes of a disk", path.display()),
            )
            .hint("name a file: raw, compressed with zstd, or a qcow2"));
        }
        let expected = match expected {
            None => beside(&path)?,
            given => given,
        };
        if !seen.is_file() {
            // A device has an end, or whoever gives one that has none waits for the largest volume.
            return Ok(Self { from: From::Stream(Box::new(file)), shown, expected, total: None, raw });
        }
        let mut head = [0; 4];
        let known = file.read_at(&mut head, 0).map_err(|e| io("read", &path, &e))?;
        let total = Some(seen.len());
        let from = match wrapped(raw, &head[..known])? {
            Packing::None => From::Sparse(file),
            Packing::Zstd => From::Stream(Box::new(file)),
            Packing::Qcow2 => From::Qcow2(file),
        };
        Ok(Self { from, shown, expected, total, raw })
    }

    fn failed(&self, e: &std::io::Error) -> Problem {
        Problem::new(Code::IoError, format!("cannot read {}: {e}", self.shown))
            .hint("nothing was made of it; look at what it is on, and try again")
    }

    /// Why what is compressed cannot be unpacked, as far as that is not for want of reading it.
    fn packed_badly(&self, e: &std::io::Error) -> Problem {
        let text = match e.kind() {
            _ if e.raw_os_error().is_some() => return self.failed(e),
            std::io::ErrorKind::UnexpectedEof => format!("{} is cut off: its zstd breaks off", self.shown),
            _ => format!("{} is damaged: its zstd cannot be unpacked", self.shown),
        };
        tracing::debug!(error = %e, "zstd");
        Problem::new(Code::IoError, text).hint("nothing was made of it; fetch or export it again")
    }
}

/// The problem of a file that is not there and looks like a URL of what nobody fetches here.
fn unknown_scheme(from: &str) -> Option<Problem> {
    let (scheme, _) = from.split_once("://")?;
    let text = format!("nothing is fetched from {}://", scheme.escape_debug());
    let hint = "http:// and https:// are; else fetch it by another tool into a file, or into \
                `sistemo volume import -`";
    Some(Problem::new(Code::Usage, text).hint(hint))
}

fn wrapped(raw: bool, head: &[u8]) -> Result<Packing, Problem> {
    if raw { Ok(Packing::None) } else { packing(head) }
}

/// Sends all of it, in pieces with their offsets; `done` counts what was read.
///
/// # Errors
/// `io-error`, `checksum-mismatch`; whoever receives hears that it broke off.
pub fn send(mut input: Input, to: &Sender<Piece>, done: &AtomicU64) -> Result<(), Problem> {
    let from = std::mem::replace(&mut input.from, From::Stream(Box::new(std::io::empty())));
    let sent = match from {
        From::Sparse(file) => data(&input, &file, to, done),
        From::Qcow2(file) => whole(&input, &file).and_then(|()| disk(&input, file, to, done)),
        From::Stream(read) => stream(&input, read, to, done),
        From::Fetched(mut child) => match child.stdout.take() {
            Some(out) => stream(&input, Box::new(out), to, done).and_then(|size| fetched(child, size)),
            None => Err(missing()),
        },
    };
    let end = match &sent {
        Ok(Some(size)) => Ok(Bytes::copy_from_slice(&sparse::head(*size, 0))),
        Ok(None) => return Ok(()),
        Err(problem) => Err(std::io::Error::other(problem.to_string())),
    };
    let _ = to.blocking_send(end);
    sent.map(drop)
}

/// Whether somebody still receives.
fn give(to: &Sender<Piece>, at: u64, bytes: &[u8]) -> bool {
    let mut piece = Vec::with_capacity(sparse::HEAD + bytes.len());
    piece.extend_from_slice(&sparse::head(at, bytes.len() as u32));
    piece.extend_from_slice(bytes);
    to.blocking_send(Ok(piece.into())).is_ok()
}

/// A file's data; tells its size, or nothing if nobody receives any more.
fn data(input: &Input, file: &File, to: &Sender<Piece>, done: &AtomicU64) -> Result<Option<u64>, Problem> {
    let failed = |e: std::io::Error| input.failed(&e);
    let size = file.metadata().map_err(failed)?.len();
    let mut hash = input.expected.is_some().then(Sha256::new);
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => size,
            Err(e) => return Err(failed(e.into())),
        };
        if let Some(hash) = &mut hash {
            std::io::copy(&mut std::io::repeat(0).take(start - at), hash).map_err(failed)?;
        }
        at = start;
        if at >= size {
            break;
        }
        let end = seek(file, SeekFrom::Hole(at)).map_err(|e| failed(e.into()))?.min(size);
        while at < end {
            let n = buffer.len().min((end - at) as usize);
            file.read_exact_at(&mut buffer[..n], at).map_err(failed)?;
            if let Some(hash) = &mut hash {
                hash.update(&buffer[..n]);
            }
            if !give(to, at, &buffer[..n]) {
                return Ok(None);
            }
            at += n as u64;
            done.store(at, Ordering::Relaxed);
        }
    }
    check(input, hash)?;
    Ok(Some(size))
}

/// Whether a file is what it should be: nothing is believed of one that is not.
fn whole(input: &Input, file: &File) -> Result<(), Problem> {
    if input.expected.is_none() {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut rest = file;
    std::io::copy(&mut rest, &mut hash).map_err(|e| input.failed(&e))?;
    check(input, Some(hash))
}

/// What the disk in a qcow2 holds; `done` follows how much of the file that may be.
fn disk(input: &Input, file: File, to: &Sender<Piece>, done: &AtomicU64) -> Result<Option<u64>, Problem> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Problem::new(Code::Usage, format!("{} is a qcow2 that is cut off", input.shown))
                .hint("part of the disk is missing from it: fetch, copy or export it again")
        }
        _ => Problem::new(Code::Usage, format!("{} is a qcow2 that is not taken: {e}", input.shown))
            .hint("`qemu-img convert -O raw FILE FILE.raw` makes raw of it, which is taken"),
    };
    let length = file.metadata().map_err(|e| input.failed(&e))?.len();
    let mut disk = Disk::open(file).map_err(failed)?;
    let mut buffer = vec![0; PIECE];
    let (mut at, mut sent) = (0, 0);
    while let Some((start, end)) = disk.data(at).map_err(failed)? {
        at = start;
        while at < end {
            let n = buffer.len().min((end - at) as usize);
            disk.read(&mut buffer[..n], at).map_err(failed)?;
            if !blocks(&buffer[..n], &mut at, to) {
                return Ok(None);
            }
            sent += n as u64;
            done.store(sent.min(length), Ordering::Relaxed);
        }
    }
    Ok(Some(disk.size()))
}

/// Keeps a stream in a file without a name, where it can be read in any order.
fn spool(input: &Input, from: &mut dyn Read) -> Result<File, Problem> {
    let place = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&place, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.map_err(|e| io("write in", &place, &e.into()))?);
    std::io::copy(from, &mut file).map_err(|e| match e.kind() {
        std::io::ErrorKind::StorageFull => io("write in", &place, &e),
        _ => input.failed(&e),
    })?;
    Ok(file)
}

/// Gives those blocks that are not zeros; tells whether somebody still receives.
fn blocks(bytes: &[u8], at: &mut u64, to: &Sender<Piece>) -> bool {
    for block in bytes.chunks(BLOCK) {
        if block.iter().any(|b| *b != 0) && !give(to, *at, block) {
            return false;
        }
        *at += block.len() as u64;
    }
    true
}

/// A stream's bytes, unpacked, without its zeros.
fn stream(
    input: &Input,
    from: Box<dyn Read + Send>,
    to: &Sender<Piece>,
    done: &AtomicU64,
) -> Result<Option<u64>, Problem> {
    let failed = |e: std::io::Error| input.failed(&e);
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let mut hashed = Hashed { from, hash: Arc::clone(&hash), done };
    let mut head = Vec::new();
    (&mut hashed).take(4).read_to_end(&mut head).map_err(failed)?;
    let packing = wrapped(input.raw, &head)?;
    let mut all = Cursor::new(head).chain(hashed);
    let mut unpacked: Box<dyn Read + '_> = match packing {
        Packing::None => Box::new(all),
        Packing::Zstd => Box::new(zstd::Decoder::new(all).map_err(failed)?),
        Packing::Qcow2 => {
            let file = spool(input, &mut all)?;
            drop(all);
            let hash = hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
            check(input, Some(hash))?;
            return disk(input, file, to, done);
        }
    };
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let n = fill(&mut unpacked, &mut buffer).map_err(|e| match packing {
            Packing::Zstd => input.packed_badly(&e),
            _ => input.failed(&e),
        })?;
        if at == 0 && packing == Packing::Zstd {
            // What is packed twice would pass for the bytes of a disk.
            unpacked_once(&buffer[..n.min(4)])?;
        }
        if !blocks(&buffer[..n], &mut at, to) {
            return Ok(None);
        }
        if n < buffer.len() {
            break;
        }
    }
    drop(unpacked);
    let hash = hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
    check(input, Some(hash))?;
    Ok(Some(at))
}

/// Reads until the buffer is full, or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

struct Hashed<'a> {
    from: Box<dyn Read + Send>,
    hash: Arc<Mutex<Sha256>>,
    done: &'a AtomicU64,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hash.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..n]);
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn check(input: &Input, hash: Option<Sha256>) -> Result<(), Problem> {
    let (Some(expected), Some(hash)) = (&input.expected, hash) else { return Ok(()) };
    let is = format!("{:x}", hash.finalize());
    if is == *expected {
        return Ok(());
    }
    Err(Problem::new(
        Code::ChecksumMismatch,
        format!("{} is not what it should be: its sha256 is {is}, not {expected}", input.shown),
    )
    .hint("nothing was made of it; fetch or export it again"))
}

/// A checksum as somebody types it.
fn sum(text: &str) -> Result<String, Problem> {
    let text = text.trim().trim_start_matches("sha256:").to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err(Problem::new(Code::Usage, format!("\"{text}\" is no sha256")).hint("it has 64 hexadecimal digits"))
}

/// The checksum in the file beside it, if there is one.
fn beside(path: &Path) -> Result<Option<String>, Problem> {
    let place = checksum_of(path);
    let file = match File::open(&place) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("read", &place, &e)),
    };
    let mut text = String::new();
    file.take(SUM).read_to_string(&mut text).map_err(|e| io("read", &place, &e))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    sum(first).map(Some).map_err(|problem| {
        Problem::new(problem.code, format!("{} holds no checksum: {problem}", place.display()))
            .hint("mend it, or remove it")
    })
}

fn usage(problem: &Problem) -> Problem {
    Problem { code: Code::Usage, message: problem.message.clone(), hint: Some("name a readable file".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why nothing is sent of it.
    fn refused(from: &Path) -> Problem {
        let from = from.to_str().unwrap();
        let input = match Input::open(from, None, false) {
            Ok(input) => input,
            Err(problem) => return problem,
        };
        let (give, mut pieces) = tokio::sync::mpsc::channel(4);
        let sending = std::thread::spawn(move || send(input, &give, &AtomicU64::new(0)));
        while pieces.blocking_recv().is_some() {}
        sending.join().unwrap().unwrap_err()
    }

    #[test]
    fn what_cannot_be_read_is_told_in_words_that_help() {
        let dir = tempfile::tempdir().unwrap();
        let tell = |problem: Problem| format!("{problem}; {}", problem.hint.clone().unwrap());
        let told = tell(refused(dir.path()));
        assert!(told.contains("is a directory") && told.contains("name a file"), "{told}");
        let told = tell(refused(Path::new("ftp://host/disk.raw")));
        assert!(told.contains("nothing is fetched from ftp://") && told.contains("https://"), "{told}");
        let told = tell(refused(&dir.path().join("none")));
        assert!(told.contains("cannot read") && told.contains("readable file"), "{told}");

        let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let whole = zstd::encode_all(&noise[..], 0).unwrap();
        let path = dir.path().join("disk.raw.zst");
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let told = tell(refused(&path));
        assert!(told.contains("is cut off") && told.contains("again"), "{told}");

        let path = dir.path().join("disk.qcow2");
        std::fs::write(&path, b"QFI\xfb\0\0\0\x03").unwrap();
        let told = tell(refused(&path));
        assert!(told.contains("a qcow2 that is cut off") && !told.contains("convert"), "{told}");
    }
}
