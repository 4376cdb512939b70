//! What a guest's agent, whoever runs a command in it, and QEMU say to the daemon, and the host to the
//! agent.

use super::pieces;
use bytes::BytesMut;
use host::fuzzing::{Lines, message, observation};
use proto::preamble::{Nonce, find_ack, find_opening};
use proto::{Frame, MAX_FRAME, State, decode_exec, encode_exec};

/// The nonces of both ends; made-up bytes meet them by way of the corpus.
const HOST: Nonce = *b"HHHHHHHHHHHHHHHH";
const GUEST: Nonce = *b"GGGGGGGGGGGGGGGG";

/// The handshake, as each end looks for it in whatever comes.
pub fn preamble(data: &[u8]) {
    let (mut at_host, mut at_guest) = (BytesMut::new(), BytesMut::new());
    let mut met = false;
    for piece in pieces(data) {
        at_guest.extend_from_slice(piece);
        while find_opening(&mut at_guest, Some(&GUEST)).is_some() {}
        assert!(at_guest.len() < 32, "the guest holds what is no opening");
        if !met {
            at_host.extend_from_slice(piece);
            met = find_ack(&mut at_host, &HOST).is_some();
            assert!(met || at_host.len() < 48, "the host holds what is no answer");
        }
    }
    // However it is cut, the same is found.
    let rest = data.get(1..).unwrap_or_default();
    let whole = find_ack(&mut BytesMut::from(rest), &HOST);
    assert_eq!(whole.is_some(), met);
}

/// The frames of a command's streams.
pub fn frame(data: &[u8]) {
    let mut buffer = BytesMut::new();
    for piece in pieces(data) {
        buffer.extend_from_slice(piece);
        loop {
            match Frame::decode(&mut buffer) {
                Ok(Some(frame)) => again(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(buffer.len() <= MAX_FRAME + 4 + 256, "more is held than a frame has");
    }
}

fn again(frame: &Frame) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    // Text that was no UTF-8 may have grown beyond what a frame holds.
    if bytes.len() <= MAX_FRAME {
        assert_eq!(Frame::decode(&mut BytesMut::from(&bytes[..])).ok().flatten().as_ref(), Some(frame));
    }
}

/// The head of a command's stream.
pub fn exec_head(data: &[u8]) {
    let mut buffer = BytesMut::new();
    for piece in pieces(data) {
        buffer.extend_from_slice(piece);
        match decode_exec(&mut buffer) {
            Ok(Some(request)) => {
                let mut bytes = BytesMut::from(&encode_exec(&request)[..]);
                assert_eq!(decode_exec(&mut bytes).ok().flatten(), Some(request));
                return;
            }
            Ok(None) => assert!(buffer.len() < proto::MAX_JSON + 4 + 256),
            Err(_) => return,
        }
    }
}

/// A guest's news, and what is kept and shown of it.
pub fn state(data: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(data) else { return };
    let seen = observation(&state);
    assert!(seen.notes.len() <= 32);
    for words in seen.notes.iter().chain(&seen.error) {
        assert!(words.chars().count() <= 400, "{} characters are kept", words.chars().count());
        assert!(!words.chars().any(char::is_control), "a terminal would obey this");
    }
}

/// What comes out of QEMU's control socket.
pub fn qmp(data: &[u8]) {
    let mut lines = Lines::default();
    for piece in pieces(data) {
        lines.push(piece);
        loop {
            match lines.take() {
                Ok(Some(line)) => {
                    assert!(!line.contains(&b'\n'));
                    let _ = message(&line);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
