//! A qcow2 whose clusters are compressed with zstd, which the library does not read.
//!
//! Invariant: nothing of it is believed: each length is bounded, and what it promises and does not hold is
//! an error.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of the header that are needed.
const HEADER: usize = 112;
/// Features a reader must know, by their bits: how clusters are compressed, and (which only concerns
/// writers) that reference counts may be stale.
const COMPRESSION: u64 = 1 << 3;
const DIRTY: u64 = 1;
/// The longest first table, in bytes: as long as QEMU takes it.
const TABLE: u64 = 32 << 20;
/// Where in an entry an offset of whole clusters is.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Entries of the second table: this cluster is compressed; this one is all zeros.
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;
/// What lengths of compressed clusters are told in, in bytes.
const SECTOR: u64 = 512;

/// An open one.
pub struct Packed {
    file: File,
    length: u64,
    size: u64,
    cluster_bits: u32,
    /// Offsets of the second tables, zero where there is none.
    first: Vec<u64>,
    /// The second table that was read last, and its place in the first.
    second: (usize, Vec<u64>),
    /// What the compressed cluster that was read last holds, and its number.
    unpacked: (u64, Vec<u8>),
}

enum Cluster {
    Zeros,
    Plain(u64),
    Compressed(Range<u64>),
}

/// Whether this is how a qcow2 begins that is read here.
pub fn is(header: &[u8]) -> bool {
    header.len() >= HEADER && number(header, 4, 4) >= 3 && number(header, 72, 8) & COMPRESSION != 0
}

/// Refuses a file that ends before its tables do: the library takes what is not there for zeros.
///
/// # Errors
/// They are not all there.
pub fn refuse_cut(file: &File, length: u64) -> io::Result<()> {
    let header = Packed::header(file)?;
    if header.len() < 48 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (cluster_bits, entries) = (number(&header, 20, 4), number(&header, 36, 4));
    if cluster_bits > 21 || entries * 8 > TABLE {
        return Err(damaged("its sizes make no sense"));
    }
    let first = table(file, number(&header, 40, 8), entries)?;
    match first.into_iter().map(|entry| entry & OFFSET).max() {
        Some(last) if last != 0 && last.saturating_add(1 << cluster_bits) > length => {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        _ => Ok(()),
    }
}

/// The big-endian number at `at`.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Packed {
    /// The first bytes of a file, as many as [`is`] looks at.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn header(file: &File) -> io::Result<Vec<u8>> {
        let mut header = vec![0; HEADER];
        let known = fill(file, &mut header, 0)?;
        header.truncate(known);
        Ok(header)
    }

    /// Reads its first table.
    ///
    /// # Errors
    /// It is damaged, encrypted, rests on another file, or has what is not known here.
    pub fn open(file: File) -> io::Result<Self> {
        let header = Self::header(&file)?;
        if !is(&header) || number(&header, 4, 4) != 3 {
            return Err(damaged("its version is not known"));
        }
        if number(&header, 72, 8) & !DIRTY != COMPRESSION || number(&header, 104, 1) != 1 {
            return Err(damaged("it has features that are not known, or is marked as damaged"));
        }
        if number(&header, 8, 8) != 0 {
            return Err(damaged("it rests on another file"));
        }
        if number(&header, 32, 4) != 0 {
            return Err(damaged("it is encrypted"));
        }
        let cluster_bits = number(&header, 20, 4) as u32;
        let size = number(&header, 24, 8);
        if !(9..=21).contains(&cluster_bits) || size > i64::MAX as u64 {
            return Err(damaged("its sizes make no sense"));
        }
        let length = file.metadata()?.len();
        // A second table fills a cluster with entries of eight bytes.
        let tables = size.div_ceil(1 << (2 * cluster_bits - 3));
        if tables * 8 > TABLE || tables > number(&header, 36, 4) {
            return Err(damaged("its first table is not as long as it must be"));
        }
        let first = table(&file, number(&header, 40, 8), tables)?;
        let first = first.into_iter().map(|entry| entry & OFFSET).collect();
        let none = (usize::MAX, vec![]);
        Ok(Self { file, length, size, cluster_bits, first, second: none, unpacked: (u64::MAX, vec![]) })
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next run of bytes from `at` on that are not all known to be zeros.
    ///
    /// # Errors
    /// Its tables are damaged, or cannot be read.
    pub fn data(&mut self, at: u64) -> io::Result<Option<(u64, u64)>> {
        let clusters = self.size.div_ceil(1 << self.cluster_bits);
        let mut cluster = at >> self.cluster_bits;
        while cluster < clusters && matches!(self.cluster(cluster)?, Cluster::Zeros) {
            // Where there is no second table, none of its clusters needs to be looked at.
            let here = self.place(cluster);
            cluster = match self.first[here.0] {
                0 => (here.0 as u64 + 1) << (self.cluster_bits - 3),
                _ => cluster + 1,
            };
        }
        let start = at.max(cluster << self.cluster_bits);
        if start >= self.size {
            return Ok(None);
        }
        Ok(Some((start, self.size.min((cluster + 1) << self.cluster_bits))))
    }

    /// Reads the bytes at `at`, all of them in one cluster.
    ///
    /// # Errors
    /// They cannot be read, or unpacked.
    pub fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let cluster = at >> self.cluster_bits;
        let within = at & ((1 << self.cluster_bits) - 1);
        match self.cluster(cluster)? {
            Cluster::Zeros => buffer.fill(0),
            Cluster::Plain(offset) => self.file.read_exact_at(buffer, offset + within)?,
            Cluster::Compressed(range) => {
                if self.unpacked.0 != cluster {
                    self.unpacked = (cluster, self.unpack(range)?);
                }
                let from = within as usize;
                let bytes = self.unpacked.1.get(from..from + buffer.len());
                buffer.copy_from_slice(bytes.ok_or_else(|| damaged("a cluster ends too early"))?);
            }
        }
        Ok(())
    }

    /// Where in the tables a cluster is.
    fn place(&self, cluster: u64) -> (usize, usize) {
        let entries = self.cluster_bits - 3;
        ((cluster >> entries) as usize, (cluster & ((1 << entries) - 1)) as usize)
    }

    fn cluster(&mut self, cluster: u64) -> io::Result<Cluster> {
        let (one, two) = self.place(cluster);
        let Some(offset) = self.first.get(one) else { return Err(damaged("there is no such cluster")) };
        if *offset == 0 {
            return Ok(Cluster::Zeros);
        }
        if self.second.0 != one {
            self.second = (one, table(&self.file, *offset, 1 << (self.cluster_bits - 3))?);
        }
        let entry = self.second.1[two];
        if entry & COMPRESSED == 0 {
            return Ok(match entry & OFFSET {
                _ if entry & ZEROS != 0 => Cluster::Zeros,
                0 => Cluster::Zeros,
                offset => Cluster::Plain(offset),
            });
        }
        let bits = 62 - (self.cluster_bits - 8);
        let start = entry & ((1 << bits) - 1);
        let sectors = (entry & !(3 << 62)) >> bits;
        let end = (start / SECTOR + sectors + 1) * SECTOR;
        // The last sector of the file may be short.
        Ok(Cluster::Compressed(start..end.min(self.length)))
    }

    fn unpack(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let length = range.end.checked_sub(range.start).ok_or_else(|| damaged("it ends too early"))?;
        let mut packed = vec![0; length as usize];
        self.file.read_exact_at(&mut packed, range.start)?;
        let mut bytes = vec![0; 1 << self.cluster_bits];
        // Behind the end of what is compressed, its last sector may hold anything.
        zstd::Decoder::with_buffer(&packed[..])?.single_frame().read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A table of so many entries.
fn table(file: &File, offset: u64, entries: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; entries as usize * 8];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.chunks_exact(8).map(|entry| number(entry, 0, 8)).collect())
}

/// Reads as much as there is; tells how much.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read_at(&mut buffer[n..], at + n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}
