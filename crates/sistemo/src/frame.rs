//! Exec frames: stands in for `proto` until it is there.
#![allow(missing_docs)]
use std::io;

pub const MAX: usize = 1 << 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Stdin(Vec<u8>),
    StdinEof,
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Resize { rows: u16, cols: u16 },
    Signal(i32),
    Exit { code: Option<u8>, signal: Option<u8> },
    Error(String),
}

impl Frame {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, payload): (u8, Vec<u8>) = match self {
            Self::Stdin(b) => (0, b.clone()),
            Self::StdinEof => (1, vec![]),
            Self::Stdout(b) => (2, b.clone()),
            Self::Stderr(b) => (3, b.clone()),
            Self::Resize { rows, cols } => (4, [rows.to_be_bytes(), cols.to_be_bytes()].concat()),
            Self::Signal(n) => (5, vec![*n as u8]),
            Self::Exit { code, signal } => (6, vec![code.unwrap_or(0), signal.unwrap_or(0)]),
            Self::Error(e) => (7, e.clone().into_bytes()),
        };
        out.push(kind);
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        out.extend_from_slice(&payload);
    }

    pub fn decode(buf: &mut bytes::BytesMut) -> io::Result<Option<Self>> {
        use bytes::Buf;
        if buf.len() < 5 {
            return Ok(None);
        }
        let len = u32::from_be_bytes([buf[1], buf[2], buf[3], buf[4]]) as usize;
        if len > MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if buf.len() < 5 + len {
            return Ok(None);
        }
        let kind = buf[0];
        buf.advance(5);
        let p = buf.split_to(len);
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        Ok(Some(match (kind, &p[..]) {
            (0, p) => Self::Stdin(p.to_vec()),
            (1, _) => Self::StdinEof,
            (2, p) => Self::Stdout(p.to_vec()),
            (3, p) => Self::Stderr(p.to_vec()),
            (4, &[a, b, c, d]) => {
                Self::Resize { rows: u16::from_be_bytes([a, b]), cols: u16::from_be_bytes([c, d]) }
            }
            (5, &[n]) => Self::Signal(i32::from(n)),
            (6, &[code, signal]) => {
                Self::Exit { code: (signal == 0).then_some(code), signal: (signal != 0).then_some(signal) }
            }
            (7, p) => Self::Error(String::from_utf8_lossy(p).into_owned()),
            _ => return Err(bad()),
        }))
    }
}
