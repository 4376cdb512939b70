//! What QEMU says on its control socket: lines of JSON (its `docs/interop/qmp-spec`).
//!
//! A guest that has broken out of its virtual machine speaks here.
//!
//! Invariant: a line is bounded before it is held, and no bytes make the parser panic.

use serde_json::Value;
use std::io::{self, ErrorKind};

/// The longest line, in bytes.
const MAX_LINE: usize = 1 << 20;

/// What QEMU says.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// The first line of a session.
    Greeting,
    /// A command was done.
    Return {
        /// The command's number.
        id: Option<u64>,
        /// Its answer.
        value: Value,
    },
    /// A command was refused.
    Error {
        /// The command's number.
        id: Option<u64>,
        /// Why, for the log.
        description: String,
    },
    /// Something happened.
    Event {
        /// Its name, such as `SHUTDOWN`.
        name: String,
        /// What belongs to it.
        data: Value,
    },
}

/// Reads one line.
///
/// # Errors
/// `InvalidData` for what is no message.
pub fn parse(line: &[u8]) -> io::Result<Message> {
    let mut message: Value = serde_json::from_slice(line).map_err(|_| ErrorKind::InvalidData)?;
    let id = message.get("id").and_then(Value::as_u64);
    if message.get("QMP").is_some() {
        return Ok(Message::Greeting);
    }
    if let Some(value) = message.get_mut("return") {
        return Ok(Message::Return { id, value: value.take() });
    }
    if let Some(error) = message.get("error") {
        let description = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
        return Ok(Message::Error { id, description: description.to_owned() });
    }
    let data = message.get_mut("data").map(Value::take).unwrap_or_default();
    let name = message.get("event").and_then(Value::as_str).ok_or(ErrorKind::InvalidData)?;
    Ok(Message::Event { name: name.to_owned(), data })
}

/// Cuts a stream into lines.
#[derive(Default)]
pub struct Lines {
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// `InvalidData` for one that is too long.
    pub fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            Some(at) => {
                let end = self.searched + at;
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.buffer.len() > MAX_LINE => Err(ErrorKind::InvalidData.into()),
            None => {
                self.searched = self.buffer.len();
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn messages_are_told_apart() {
        let of = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(of(r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#), Message::Greeting);
        let done = Message::Return { id: Some(3), value: json!({"status": "running"}) };
        assert_eq!(of(r#"{"return": {"status": "running"}, "id": 3}"#), done);
        let refused = Message::Error { id: Some(4), description: "no".into() };
        assert_eq!(of(r#"{"id": 4, "error": {"class": "GenericError", "desc": "no"}}"#), refused);
        let event = Message::Event { name: "STOP".into(), data: Value::Null };
        assert_eq!(of(r#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#), event);
        for bad in ["", "[]", "7", "{}", r#"{"event": 7}"#, "null"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        assert!(lines.take().unwrap().is_none());
        lines.push(b"xx");
        assert!(lines.take().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), piece in 1usize..9) {
            let mut lines = Lines::default();
            for bytes in bytes.chunks(piece) {
                lines.push(bytes);
                while let Ok(Some(line)) = lines.take() {
                    let _ = parse(&line);
                }
            }
        }

        #[test]
        fn no_json_makes_it_panic(
            key in prop_oneof![Just("QMP"), Just("return"), Just("error"), Just("event"), Just("id")],
            value in prop_oneof![Just("{}"), Just("null"), Just("-1"), Just("\"x\""), Just("[1]"), Just("1e400")],
            other in prop_oneof![Just("data"), Just("id"), Just("desc")],
        ) {
            let _ = parse(format!("{{\"{key}\": {value}, \"{other}\": {value}}}").as_bytes());
        }

        #[test]
        fn lines_are_whole_however_they_are_cut(
            told in prop::collection::vec("[a-z]{0,9}", 0..9), piece in 1usize..9,
        ) {
            let text: String = told.iter().map(|l| format!("{l}\n")).collect();
            let (mut lines, mut heard) = (Lines::default(), vec![]);
            for bytes in text.as_bytes().chunks(piece) {
                lines.push(bytes);
                while let Some(line) = lines.take().unwrap() {
                    heard.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(heard, told);
        }
    }
}
