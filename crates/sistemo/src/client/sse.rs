//! Server-sent events (WHATWG HTML, 9.2), as far as the API uses them.
//!
//! Invariant: bounded: a line or event that never ends is an error.

/// The largest event.
const MAX_EVENT: usize = 1 << 20;

/// Cuts a stream into the data of its events.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Parser {
    /// Takes the next piece; gives the data of each finished event to `found`. Comments and other
    /// fields are passed over.
    pub(super) fn push(&mut self, piece: &[u8], mut found: impl FnMut(&[u8])) -> Result<(), &'static str> {
        for &byte in piece {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() + self.data.len() > MAX_EVENT {
                    return Err("an event is too large");
                }
                continue;
            }
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            if line.is_empty() {
                if !self.data.is_empty() {
                    found(&self.data);
                    self.data.clear();
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
            self.line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_events_however_they_are_cut() {
        let text = b": hello\r\n\r\nevent: operation\ndata: one\n\ndata:two\ndata: three\n\n:\n\n";
        for size in 1..=text.len() {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                parser.push(piece, |d| seen.push(d.to_vec())).unwrap();
            }
            assert_eq!(seen, [b"one".to_vec(), b"two\nthree".to_vec()], "{size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 16];
        assert!((0..17).any(|_| parser.push(&piece, |_| ()).is_err()));
    }
}
