//! Noticing, within a session, that a new host has begun to speak.
//!
//! A host that dies and comes back quickly may not be seen to have gone; then its SYN arrives in the
//! middle of the old session: as a frame of HTTP/2 that cannot be, or as the rest of a frame that
//! will never be whole. Its bytes may also be somebody's data, so only the place tells.
//!
//! Invariant: the last bytes are kept, so that a SYN which a session has swallowed is answered after
//! the session; a session whose frames are whole is never suspected.

use proto::preamble;

/// How many of the last bytes are kept: more than the SYNs of a patient host.
const KEPT: usize = 4096;
/// RFC 9113, 3.4.
const PREFACE: usize = 24;
/// RFC 9113, 4.1.
const HEAD: usize = 9;
/// The greatest length of a frame that we could ever have allowed.
const LONGEST: usize = 1 << 20;

/// What went by in a session.
pub struct Tail {
    kept: Vec<u8>,
    /// Bytes until the next frame begins.
    until_frame: usize,
    head: Vec<u8>,
    broken: bool,
}

impl Tail {
    /// Before a session's first byte.
    pub fn new() -> Self {
        Self { kept: Vec::new(), until_frame: PREFACE, head: Vec::new(), broken: false }
    }

    /// Sees bytes go by.
    pub fn see(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        self.follow(bytes);
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.broken {
            if self.until_frame > 0 {
                let skip = self.until_frame.min(bytes.len());
                self.until_frame -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            let take = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let [a, b, c, ..] = self.head[..] else { continue };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            self.broken = length > LONGEST;
            if self.head.len() == HEAD {
                self.until_frame = length;
                self.head.clear();
            }
        }
    }

    /// What went by cannot be HTTP/2 any more.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// The last bytes are a SYN within a frame that is not whole: if nothing follows, it was one.
    pub fn suspicious(&self) -> bool {
        let syn = preamble::syn(&[0; 16]);
        let whole = self.until_frame == 0 && self.head.is_empty();
        !whole && self.kept.len() >= 32 && self.kept[self.kept.len() - 32..][..16] == syn[..16]
    }

    /// The last bytes.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut out = (length as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&vec![0xff; length]);
        out
    }

    fn seen(parts: &[&[u8]], piece: usize) -> Tail {
        let mut tail = Tail::new();
        parts.concat().chunks(piece).for_each(|bytes| tail.see(bytes));
        tail
    }

    proptest! {
        #[test]
        fn whole_frames_are_never_suspected(
            lengths in prop::collection::vec(0usize..5000, 0..5), piece in 1usize..3000,
        ) {
            let mut bytes = vec![b'P'; PREFACE];
            lengths.iter().for_each(|&l| bytes.extend(frame(l)));
            let tail = seen(&[&bytes], piece);
            prop_assert!(!tail.broken() && !tail.suspicious());
            // A SYN that is data in a whole frame is data.
            let mut data = frame(32);
            data.splice(HEAD.., preamble::syn(&[1; 16]));
            prop_assert!(!seen(&[&bytes, &data], piece).suspicious());
        }

        #[test]
        fn a_new_host_is_noticed(
            length in 0usize..5000, cut in 0usize..5000, piece in 1usize..3000,
        ) {
            let old = [vec![b'P'; PREFACE], frame(length)].concat();
            let cut = cut.min(old.len());
            let syn = preamble::syn(&[3; 16]);
            let tail = seen(&[&old[..cut], &syn], piece);
            prop_assert!(tail.broken() || tail.suspicious() || cut + 32 >= old.len());
            prop_assert!(tail.kept().ends_with(&syn));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), piece in 1usize..64) {
            let tail = seen(&[&bytes], piece);
            prop_assert!(tail.kept().len() <= KEPT);
        }
    }
}
