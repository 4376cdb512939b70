//! Writing a volume's content, compressed or not.
//!
//! Invariant: in a file holes stay holes; in a stream they cost next to nothing where it is compressed.

use super::{Kept, Part, io};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use types::Problem;
use zstd::stream::write::Encoder;

/// The level that zstd takes by default.
const LEVEL: i32 = 3;
/// Zeros of one frame that stands for so many of them: frames may be strung together (RFC 8878, section 3).
const FRAME: u64 = 64 << 20;
/// Zeros that are written at a time.
const ZEROS: &[u8] = &[0; 256 << 10];

/// Where a volume's content goes.
pub struct Out {
    to: To,
    at: u64,
    part: Option<Part>,
}

enum To {
    /// Its data only, at their offsets.
    Sparse(File, Sha256),
    /// All bytes.
    Plain(Hashed),
    /// All bytes, compressed.
    Zstd(Box<Zstd>),
}

impl Out {
    /// A file that will be called `target`.
    ///
    /// # Errors
    /// `io-error`.
    pub fn file(target: &Path, zstd: bool) -> Result<Self, Problem> {
        let part = Part::beside(target)?;
        let failed = |e| io("write", target, &e);
        let file = part.file.try_clone().map_err(failed)?;
        let to = match zstd {
            true => To::Zstd(Box::new(Zstd::new(Hashed::new(Box::new(file))).map_err(failed)?)),
            false => To::Sparse(file, Sha256::new()),
        };
        Ok(Self { to, at: 0, part: Some(part) })
    }

    /// Standard output.
    ///
    /// # Errors
    /// `io-error`.
    pub fn pipe(zstd: bool) -> Result<Self, Problem> {
        let hashed = Hashed::new(Box::new(std::io::stdout()));
        let to = match zstd {
            true => To::Zstd(Box::new(Zstd::new(hashed).map_err(|e| io("write", Path::new("-"), &e))?)),
            false => To::Plain(hashed),
        };
        Ok(Self { to, at: 0, part: None })
    }

    fn failed(&self, e: &std::io::Error) -> Problem {
        io("write", self.part.as_ref().map_or(Path::new("-"), Part::target), e)
    }

    /// These bytes belong there, behind all that came before.
    ///
    /// # Errors
    /// `io-error`.
    pub fn data(&mut self, at: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.gap(at)?;
        self.at += bytes.len() as u64;
        let written = match &mut self.to {
            To::Sparse(file, hash) => {
                hash.update(bytes);
                file.write_all_at(bytes, at)
            }
            To::Plain(to) => to.write_all(bytes),
            To::Zstd(to) => to.write(bytes),
        };
        written.map_err(|e| self.failed(&e))
    }

    /// That was all, up to this size.
    ///
    /// # Errors
    /// `io-error`.
    pub fn end(&mut self, size: u64) -> Result<(), Problem> {
        self.gap(size)?;
        match &self.to {
            To::Sparse(file, _) => file.set_len(size).map_err(|e| self.failed(&e)),
            _ => Ok(()),
        }
    }

    fn gap(&mut self, until: u64) -> Result<(), Problem> {
        let n = until.saturating_sub(self.at);
        self.at += n;
        let written = match &mut self.to {
            To::Sparse(_, hash) => zeros(n, |z| {
                hash.update(z);
                Ok(())
            }),
            To::Plain(to) => zeros(n, |z| to.write_all(z)),
            To::Zstd(to) => to.zeros(n),
        };
        written.map_err(|e| self.failed(&e))
    }

    /// What has become of it.
    ///
    /// # Errors
    /// `io-error`.
    pub fn finish(self) -> Result<Kept, Problem> {
        let Self { to, part, .. } = self;
        let place = part.as_ref().map_or(Path::new("-").to_owned(), |p| p.target().to_owned());
        let failed = |e: std::io::Error| io("write", &place, &e);
        let (hash, bytes) = match to {
            To::Sparse(file, hash) => (hash, file.metadata().map_err(failed)?.blocks() * 512),
            To::Plain(to) => to.finish().map_err(failed)?,
            To::Zstd(to) => to.finish().map_err(failed)?,
        };
        Ok(Kept { part, sha256: format!("{:x}", hash.finalize()), bytes })
    }
}

fn zeros(mut n: u64, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    while n > 0 {
        let now = n.min(ZEROS.len() as u64);
        each(&ZEROS[..now as usize])?;
        n -= now;
    }
    Ok(())
}

/// Counts and hashes what is written.
struct Hashed {
    to: Box<dyn Write>,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn new(to: Box<dyn Write>) -> Self {
        Self { to, hash: Sha256::new(), bytes: 0 }
    }

    fn finish(mut self) -> std::io::Result<(Sha256, u64)> {
        self.to.flush()?;
        Ok((self.hash, self.bytes))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Compresses on all processors.
struct Zstd {
    /// `None` only while one frame ends and the next begins.
    encoder: Option<Encoder<'static, Hashed>>,
    /// One frame of [`FRAME`] zeros, once it is needed.
    frame: Vec<u8>,
}

fn encoder(to: Hashed) -> std::io::Result<Encoder<'static, Hashed>> {
    let mut encoder = Encoder::new(to, LEVEL)?;
    encoder.include_checksum(true)?;
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(16) as u32);
    encoder.multithread(workers)?;
    Ok(encoder)
}

impl Zstd {
    fn new(to: Hashed) -> std::io::Result<Self> {
        Ok(Self { encoder: Some(encoder(to)?), frame: vec![] })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.encoder {
            Some(encoder) => encoder.write_all(bytes),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn zeros(&mut self, n: u64) -> std::io::Result<()> {
        let frames = n / FRAME;
        if frames > 0 {
            if self.frame.is_empty() {
                let mut one = Encoder::new(vec![], LEVEL)?;
                one.include_checksum(true)?;
                std::io::copy(&mut std::io::repeat(0).take(FRAME), &mut one)?;
                self.frame = one.finish()?;
            }
            let Some(ended) = self.encoder.take() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
            let mut to = ended.finish()?;
            for _ in 0..frames {
                to.write_all(&self.frame)?;
            }
            self.encoder = Some(encoder(to)?);
        }
        zeros(n % FRAME, |z| self.write(z))
    }

    fn finish(self) -> std::io::Result<(Sha256, u64)> {
        match self.encoder {
            Some(encoder) => encoder.finish()?.finish(),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        format!("{:x}", Sha256::digest(bytes))
    }

    #[test]
    fn holes_stay_holes_and_come_back_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let size = 3 * FRAME + 5;
        let mut whole = vec![0; size as usize];
        whole[..3].copy_from_slice(b"abc");
        whole[(2 * FRAME + 1) as usize] = 7;
        for zstd in [false, true] {
            let target = dir.path().join(zstd.to_string());
            let mut out = Out::file(&target, zstd).unwrap();
            out.data(0, b"abc").unwrap();
            out.data(2 * FRAME + 1, &[7]).unwrap();
            out.end(size).unwrap();
            let kept = out.finish().unwrap();
            assert!(kept.bytes < 1 << 20, "{}", kept.bytes);
            let sum = kept.sha256.clone();
            kept.publish(&target).unwrap();
            let written = std::fs::read(&target).unwrap();
            assert_eq!(sum, hex(&written));
            let back = if zstd { zstd::decode_all(&written[..]).unwrap() } else { written };
            assert!(back == whole);
            let said = std::fs::read_to_string(dir.path().join(format!("{zstd}.sha256"))).unwrap();
            assert_eq!(said, format!("{sum}  {zstd}\n"));
            // What there is stays.
            let again = Out::file(&target, zstd).unwrap().finish().unwrap();
            assert_eq!(again.publish(&target).unwrap_err().code, types::Code::NameTaken);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
