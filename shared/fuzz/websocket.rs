//! The frames that a supernode's WebSocket listener reads. The parser is that listener's own file: it needs nothing
//! of its crate.

#[path = "../../supernode/net/src/websocket/frames.rs"]
#[allow(dead_code, reason = "what writes frames is not fuzzed")]
mod frames;

/// A close answers with two bytes of status at most 125 bytes, a pong with what its ping carried; a header is two.
const ANSWER_BYTES_MAX: usize = 127;

/// However a client's bytes are cut, they amount to the same.
pub(crate) fn websocket(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let cut = read(bytes, usize::from(*piece).max(1));
    assert_eq!(cut, read(bytes, bytes.len().max(1)), "where bytes are cut means nothing");
}

/// What is read of `bytes`, until they break the protocol; whether they do; and the last answer.
fn read(bytes: &[u8], piece: usize) -> (Vec<u8>, bool, Option<Vec<u8>>) {
    let (mut inbound, mut out) = (frames::Inbound::default(), Vec::new());
    for part in bytes.chunks(piece) {
        let mut part = part.to_vec();
        match inbound.handle_bytes(&mut part) {
            Ok(kept) => out.extend_from_slice(&part[..kept]),
            // What stood before the violation in the same piece is not handed on; nothing is.
            Err(_) => return (Vec::new(), true, None),
        }
    }
    let answer = inbound.poll_answer();
    assert!(answer.as_ref().is_none_or(|answer| answer.len() <= ANSWER_BYTES_MAX));
    assert!(inbound.poll_answer().is_none(), "answers do not pile up");
    (out, false, answer)
}
