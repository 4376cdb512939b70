//! A sparse file on a connection: its data, and where it belongs.
//!
//! `application/octet-stream`: pieces of `offset: u64, length: u32, bytes`, all little-endian, in order
//! of their offsets; the last has the file's size as its offset, and no bytes.
//!
//! Invariant: a stream without its last piece is one that broke off.

/// Bytes before those of a piece.
pub const HEAD: usize = 12;
/// The longest piece.
pub const LONGEST: u32 = 4 << 20;

/// The head of a piece.
pub fn head(offset: u64, length: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&offset.to_le_bytes());
    head[8..].copy_from_slice(&length.to_le_bytes());
    head
}

/// What comes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// These bytes belong there.
    Data(u64, &'a [u8]),
    /// That was all; the file has this size.
    End(u64),
}

/// Takes a stream apart, however it was cut.
#[derive(Default)]
pub struct Reader {
    head: Vec<u8>,
    /// Where the rest of the piece belongs, and how much that is.
    at: u64,
    left: u64,
    ended: bool,
}

impl Reader {
    /// Takes what has come. `each` may be told of a piece in several parts.
    ///
    /// # Errors
    /// What is wrong with the stream, or what `each` says.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Event<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.ended {
                return Err("something follows the end".into());
            }
            if self.left > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(self.left as usize));
                each(Event::Data(self.at, now))?;
                self.at += now.len() as u64;
                self.left -= now.len() as u64;
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
            self.head.extend_from_slice(now);
            bytes = later;
            if self.head.len() == HEAD {
                self.begin()?;
                if self.ended {
                    each(Event::End(self.at))?;
                }
            }
        }
        Ok(())
    }

    /// Whether the last piece has come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn begin(&mut self) -> Result<(), String> {
        let (offset, length) = self.head.split_at(8);
        let offset = u64::from_le_bytes(offset.try_into().map_err(|_| "too short")?);
        let length = u32::from_le_bytes(length.try_into().map_err(|_| "too short")?);
        self.head.clear();
        if offset < self.at || length > LONGEST || offset.checked_add(length.into()).is_none() {
            return Err(format!("a piece of {length} bytes at {offset} does not belong there"));
        }
        (self.at, self.left, self.ended) = (offset, length.into(), length == 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pieces = Vec<(u64, Vec<u8>)>;

    fn read(stream: &[u8], cut: usize) -> Result<(Pieces, Option<u64>), String> {
        let (mut reader, mut data, mut end) = (Reader::default(), Pieces::new(), None);
        for part in stream.chunks(cut) {
            reader.push(part, &mut |event| {
                match event {
                    Event::End(size) => end = Some(size),
                    Event::Data(at, bytes) => match data.last_mut() {
                        Some((from, held)) if *from + held.len() as u64 == at => held.extend(bytes),
                        _ => data.push((at, bytes.to_vec())),
                    },
                }
                Ok(())
            })?;
        }
        assert_eq!(reader.ended(), end.is_some());
        Ok((data, end))
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_comes(
            pieces in prop::collection::vec((1u64..1 << 40, prop::collection::vec(any::<u8>(), 1..50)), 0..8),
            tail in 0u64..1000,
            cut in 1usize..100,
        ) {
            let (mut stream, mut at, mut sent) = (vec![], 0, vec![]);
            for (gap, bytes) in pieces {
                at += gap;
                stream.extend(head(at, bytes.len() as u32));
                stream.extend(&bytes);
                sent.push((at, bytes.clone()));
                at += bytes.len() as u64;
            }
            let broken = read(&stream, cut).unwrap();
            prop_assert_eq!(broken.1, None);
            stream.extend(head(at + tail, 0));
            prop_assert_eq!(read(&stream, cut).unwrap(), (sent, Some(at + tail)));
        }

        #[test]
        fn whatever_comes_is_borne(stream in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..50) {
            let _ = read(&stream, cut);
        }
    }

    #[test]
    fn what_goes_back_or_goes_on_is_refused() {
        let back = [&head(10, 1)[..], b"x", &head(5, 1), b"y"].concat();
        assert!(read(&back, 64).is_err());
        let on = [&head(10, 0)[..], b"x"].concat();
        assert!(read(&on, 64).is_err());
        assert!(read(&head(0, LONGEST + 1), 64).is_err());
        assert!(read(&head(u64::MAX, 1), 64).is_err());
    }
}
