//! How a session begins on a stream that may hold bytes of a dead one.
//!
//! A virtio-serial port has no sessions: bytes that a dead daemon never read reach the next one, and
//! bytes that it wrote reach the guest later. So each side proves that it hears *this* other side:
//!
//! ```text
//! host  → guest   SYN  magic(16) host nonce(16)
//! guest → host    ACK  magic(16) host nonce(16) guest nonce(16)
//! host  → guest   GO   magic(16) guest nonce(16)
//! ```
//!
//! The host sends one SYN per connection and discards until the ACK with its nonce. The guest answers
//! every SYN with an ACK of a fresh nonce and discards until the GO with its last one. After GO the
//! stream belongs to the session; the guest is silent until then, so nothing stale can follow.
//!
//! Invariant: no sequence of bytes makes a scanner panic, hold more than one message, or accept a
//! nonce that was not its own.

use bytes::{Buf, BytesMut};

/// 128 random bits.
pub type Nonce = [u8; 16];

// Each begins with bytes that are no HTTP/2 frame (a length above every limit), so that a session
// that the guest believes alive ends at once when a new host says SYN into it.
const SYN: [u8; 16] = *b"\xff\xff\xff\xffsistemo/SYN1";
const ACK: [u8; 16] = *b"\xff\xff\xff\xffsistemo/ACK1";
const GO: [u8; 16] = *b"\xff\xff\xff\xffsistemo/GO-1";

/// The host's opening.
pub fn syn(host: &Nonce) -> Vec<u8> {
    [SYN, *host].concat()
}

/// The guest's answer.
pub fn ack(host: &Nonce, guest: &Nonce) -> Vec<u8> {
    [ACK, *host, *guest].concat()
}

/// The host's confirmation.
pub fn go(guest: &Nonce) -> Vec<u8> {
    [GO, *guest].concat()
}

/// Drops from the front of `bytes` what cannot begin a message with one of `magics`; tells which
/// magic stands at the front, if one does as a whole.
fn seek(bytes: &mut BytesMut, magics: &[[u8; 16]]) -> Option<usize> {
    let begins = |rest: &[u8], magic: &[u8; 16]| {
        let n = rest.len().min(magic.len());
        rest[..n] == magic[..n]
    };
    let at = (0..bytes.len()).find(|&i| magics.iter().any(|m| begins(&bytes[i..], m)));
    bytes.advance(at.unwrap_or(bytes.len()));
    if bytes.len() < 16 {
        return None;
    }
    magics.iter().position(|m| begins(bytes, m))
}

fn nonce(bytes: &[u8]) -> Nonce {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[..16]);
    out
}

/// Host: takes bytes until the ACK with nonce `host`; then the guest's nonce, and only what followed
/// it is left in `bytes`.
pub fn find_ack(bytes: &mut BytesMut, host: &Nonce) -> Option<Nonce> {
    while seek(bytes, &[ACK]).is_some() {
        if bytes.len() < 48 {
            return None;
        }
        if bytes[16..32] == host[..] {
            let guest = nonce(&bytes[32..48]);
            bytes.advance(48);
            return Some(guest);
        }
        // A message of another session, or bytes that look like one: a true one may begin inside.
        bytes.advance(1);
    }
    None
}

/// What the guest found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// A host opens: answer with [`ack`].
    Syn(Nonce),
    /// The host has heard the answer: the session begins with the next byte.
    Go,
}

/// Guest: takes bytes until the next SYN, or the GO with the nonce that was last answered.
pub fn find_opening(bytes: &mut BytesMut, last: Option<&Nonce>) -> Option<Opening> {
    while let Some(which) = seek(bytes, &[SYN, GO]) {
        if bytes.len() < 32 {
            return None;
        }
        let said = nonce(&bytes[16..32]);
        if which == 0 {
            // Its nonce is looked through as well: of a host that died while it wrote, the next one's
            // SYN may stand there.
            bytes.advance(16);
            return Some(Opening::Syn(said));
        }
        if last == Some(&said) {
            bytes.advance(32);
            return Some(Opening::Go);
        }
        bytes.advance(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const H: Nonce = [1; 16];
    const G: Nonce = [2; 16];

    #[test]
    fn both_sides_meet() {
        let mut guest = BytesMut::from(&syn(&H)[..]);
        assert_eq!(find_opening(&mut guest, None), Some(Opening::Syn(H)));
        let mut host = BytesMut::from(&ack(&H, &G)[..]);
        assert_eq!(find_ack(&mut host, &H), Some(G));
        guest.extend_from_slice(&go(&G));
        guest.extend_from_slice(b"PRI * HTTP/2.0");
        assert_eq!(find_opening(&mut guest, Some(&G)), Some(Opening::Go));
        assert_eq!(&guest[..], b"PRI * HTTP/2.0");
    }

    #[test]
    fn a_stale_answer_is_passed_over() {
        let mut host = BytesMut::from(&[ack(&[9; 16], &[8; 16]), ack(&H, &G)].concat()[..]);
        assert_eq!(find_ack(&mut host, &H), Some(G));
        let mut guest = BytesMut::from(&[go(&[8; 16]), syn(&H)].concat()[..]);
        assert_eq!(find_opening(&mut guest, Some(&G)), Some(Opening::Syn(H)));
        // A host that died within its SYN does not swallow the next one's.
        let mut guest = BytesMut::from(&[&syn(&[9; 16])[..20], &syn(&H)].concat()[..]);
        assert!(matches!(find_opening(&mut guest, None), Some(Opening::Syn(_))));
        assert_eq!(find_opening(&mut guest, None), Some(Opening::Syn(H)));
    }

    proptest! {
        #[test]
        fn found_after_any_rubbish_however_it_is_cut(
            mut rubbish in prop::collection::vec(prop_oneof![Just(0xffu8), Just(b's'), any::<u8>()], 0..200),
            cut in 0usize..49,
            piece in 1usize..64,
        ) {
            rubbish.extend_from_slice(&ack(&[7; 16], &G)[..cut.min(48)]);
            rubbish.extend_from_slice(&ack(&H, &G));
            let mut buffer = BytesMut::new();
            let mut found = None;
            for bytes in rubbish.chunks(piece) {
                buffer.extend_from_slice(bytes);
                found = find_ack(&mut buffer, &H);
                if found.is_some() { break; }
                prop_assert!(buffer.len() < 48);
            }
            prop_assert_eq!(found, Some(G));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while find_opening(&mut buffer, Some(&G)).is_some() {}
            prop_assert!(buffer.len() < 32);
            let mut buffer = BytesMut::from(&bytes[..]);
            while find_ack(&mut buffer, &H).is_some() {}
            prop_assert!(buffer.len() < 48);
        }
    }
}
