//! The frames of an exec stream: `[kind u8][length u32 be][payload]`.
//!
//! Invariant: bounded: a frame that says it is longer than [`MAX`] is an error before it is held,
//! and no sequence of bytes makes the decoder panic.

use bytes::{Buf, BytesMut};
use std::io;

/// The longest payload.
pub const MAX: usize = 1 << 20;
/// Kind and length.
const HEAD: usize = 5;

const STDIN: u8 = 0;
const STDIN_EOF: u8 = 1;
const STDOUT: u8 = 2;
const STDERR: u8 = 3;
const RESIZE: u8 = 4;
const SIGNAL: u8 = 5;
const EXIT: u8 = 6;
const ERROR: u8 = 7;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Input for the command.
    Stdin(Vec<u8>),
    /// The input's end.
    StdinEof,
    /// Output of the command.
    Stdout(Vec<u8>),
    /// Error output of the command; with a terminal, everything is output.
    Stderr(Vec<u8>),
    /// The terminal's new size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// A signal for the command.
    Signal(u8),
    /// The command's end, the last frame.
    Exit {
        /// Its exit code, unless a signal ended it.
        code: Option<u8>,
        /// The signal that ended it.
        signal: Option<u8>,
    },
    /// Why the command could not be run, the last frame.
    Error(String),
}

impl Frame {
    /// Appends the frame's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, payload: &[u8]| {
            out.push(kind);
            // Whoever makes frames keeps to MAX, which fits.
            out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            out.extend_from_slice(payload);
        };
        match self {
            Self::Stdin(bytes) => put(STDIN, bytes),
            Self::StdinEof => put(STDIN_EOF, &[]),
            Self::Stdout(bytes) => put(STDOUT, bytes),
            Self::Stderr(bytes) => put(STDERR, bytes),
            Self::Resize { rows, cols } => {
                put(RESIZE, &[rows.to_be_bytes(), cols.to_be_bytes()].concat());
            }
            Self::Signal(number) => put(SIGNAL, &[*number]),
            Self::Exit { code, signal } => {
                put(EXIT, &[code.unwrap_or(0), signal.unwrap_or(0)]);
            }
            Self::Error(why) => put(ERROR, why.as_bytes()),
        }
    }

    /// Takes the next frame from the front of `bytes`, if it is there as a whole.
    ///
    /// # Errors
    /// `InvalidData` for a frame that is too long, unknown or misshapen.
    pub fn decode(bytes: &mut BytesMut) -> io::Result<Option<Self>> {
        let [kind, a, b, c, d, ..] = bytes[..] else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if bytes.len() < HEAD + length {
            return Ok(None);
        }
        bytes.advance(HEAD);
        let payload = bytes.split_to(length);
        Ok(Some(match (kind, &payload[..]) {
            (STDIN, bytes) => Self::Stdin(bytes.to_vec()),
            (STDIN_EOF, []) => Self::StdinEof,
            (STDOUT, bytes) => Self::Stdout(bytes.to_vec()),
            (STDERR, bytes) => Self::Stderr(bytes.to_vec()),
            (RESIZE, &[a, b, c, d]) => {
                Self::Resize { rows: u16::from_be_bytes([a, b]), cols: u16::from_be_bytes([c, d]) }
            }
            (SIGNAL, &[number]) => Self::Signal(number),
            (EXIT, &[code, 0]) => Self::Exit { code: Some(code), signal: None },
            (EXIT, &[_, signal]) => Self::Exit { code: None, signal: Some(signal) },
            (ERROR, why) => Self::Error(String::from_utf8_lossy(why).into_owned()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            bytes().prop_map(Frame::Stdin),
            Just(Frame::StdinEof),
            bytes().prop_map(Frame::Stdout),
            bytes().prop_map(Frame::Stderr),
            any::<(u16, u16)>().prop_map(|(rows, cols)| Frame::Resize { rows, cols }),
            any::<u8>().prop_map(Frame::Signal),
            any::<u8>().prop_map(|c| Frame::Exit { code: Some(c), signal: None }),
            (1..=64u8).prop_map(|s| Frame::Exit { code: None, signal: Some(s) }),
            any::<String>().prop_map(Frame::Error),
        ]
    }

    proptest! {
        #[test]
        fn what_is_told_is_heard_however_it_is_cut(
            told in prop::collection::vec(frames(), 0..8), piece in 1usize..20,
        ) {
            let mut bytes = Vec::new();
            told.iter().for_each(|f| f.encode(&mut bytes));
            let mut heard = Vec::new();
            let mut buffer = BytesMut::new();
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    heard.push(frame);
                }
            }
            prop_assert_eq!(heard, told);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut buffer) {}
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once() {
        let mut buffer = BytesMut::from(&[2, 0xff, 0, 0, 0][..]);
        assert!(Frame::decode(&mut buffer).is_err());
    }
}
