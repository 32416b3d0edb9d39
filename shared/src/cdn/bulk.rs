//! Reading and writing bulk streams: frames with raw payload between them.
//!
//! For shells: payload never passes through the core. The reader holds at most one frame or one piece.

use prost::Message as _;

use super::{
    offences::Offence,
    part::{Part, Piece},
};
use crate::{
    base::{BlobRoot, RequestId},
    wire::{FrameError, MAX_FRAME_BYTES, cdn as wire, write_frame},
};

/// The swarm protocol's libp2p name.
pub const PROTOCOL: &str = "/blackhole/cdn/1.0.0";
/// The version its streams open with.
pub const SWARM_VERSION: u32 = 1;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// Control messages, both ways.
    Control,
    /// The opener requests, the other side answers with pieces.
    Bulk,
}

/// The first frame of a stream, with its length prefix.
pub fn open_frame(kind: StreamKind) -> Vec<u8> {
    let kind = match kind {
        StreamKind::Control => wire::StreamKind::Control,
        StreamKind::Bulk => wire::StreamKind::Bulk,
    };
    framed(&wire::Open { kind: kind.into(), version: SWARM_VERSION })
}

/// Reads the first frame of a stream, without its prefix.
///
/// # Errors
/// [`Offence::Malformed`] where it is no `Open` of a kind and version we know; end the stream.
pub fn read_open(frame: &[u8]) -> Result<StreamKind, Offence> {
    let open = wire::Open::decode(frame).map_err(|_| Offence::Malformed)?;
    match (open.kind(), open.version) {
        (wire::StreamKind::Control, SWARM_VERSION) => Ok(StreamKind::Control),
        (wire::StreamKind::Bulk, SWARM_VERSION) => Ok(StreamKind::Bulk),
        _ => Err(Offence::Malformed),
    }
}

/// The frame that announces a piece, with its length prefix. The payload follows it.
///
/// # Panics
/// If the payload is longer than any piece: our own store delivers whole pieces.
pub fn piece_frame(request: RequestId, piece: Piece, payload_bytes: usize) -> Vec<u8> {
    let bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    assert!(u64::from(bytes) <= Piece::MAX_BYTES, "a piece of {payload_bytes} bytes");
    let (kind, index) = match piece {
        Piece::Group(group) => (wire::PieceKind::Group, group),
        Piece::Page(page) => (wire::PieceKind::Page, page),
        Piece::Top => (wire::PieceKind::Top, 0),
    };
    let piece = wire::BulkPiece { request: request.0, kind: kind.into(), index, bytes };
    framed(&wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::Piece(piece)) })
}

/// The message of a request, without its prefix.
pub(crate) fn request_message(
    request: RequestId,
    root: BlobRoot,
    part: Part,
    receipt: Option<wire::SignedReceipt>,
) -> Vec<u8> {
    let part = match part {
        Part::Groups { first, count } => wire::bulk_request::Part::Groups(wire::GroupRange { first, count }),
        Part::Page(page) => wire::bulk_request::Part::Page(page),
        Part::Top => wire::bulk_request::Part::Top(true),
    };
    wire::BulkRequest { request: request.0, root: root.0.to_vec(), part: Some(part), receipt }.encode_to_vec()
}

/// What came on a Fetch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A piece, not yet verified. Whether its request asked for it is for the shell to check, which knows its
    /// requests; where not, that is [`Offence::WrongObject`].
    Piece {
        /// The request it answers.
        request: RequestId,
        /// Which piece it says it is.
        piece: Piece,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// A `BulkEnd`, whole, for `Peer::handle_frame`.
    End {
        /// The request it ends.
        request: RequestId,
        /// The message.
        frame: Vec<u8>,
    },
}

/// Cuts the bytes of a Fetch stream into answers.
#[derive(Debug, Default)]
pub struct AnswerReader {
    pending: Vec<u8>,
    read: usize,
    /// A piece whose payload is on the way: request, piece, length.
    announced: Option<(RequestId, Piece, usize)>,
}

impl AnswerReader {
    /// Takes bytes as they came.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.read);
        self.read = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// Whether the stream may end here. Elsewhere its end is [`Offence::Truncation`], if the link lives on.
    pub fn is_between_answers(&self) -> bool {
        self.announced.is_none() && self.read == self.pending.len()
    }

    /// The next answer, if it is whole.
    ///
    /// # Errors
    /// The offence that the bytes amount to; the stream cannot be read on.
    pub fn poll_answer(&mut self) -> Result<Option<Answer>, Offence> {
        loop {
            if let Some((request, piece, bytes)) = self.announced {
                let Some(payload) = self.pending.get(self.read..self.read + bytes) else { return Ok(None) };
                let payload = payload.to_vec();
                self.read += bytes;
                self.announced = None;
                return Ok(Some(Answer::Piece { request, piece, payload }));
            }
            let Some(frame) = self.poll_frame()? else { return Ok(None) };
            let answer = wire::BulkAnswer::decode(frame.as_slice()).map_err(|_| Offence::Malformed)?;
            match answer.answer {
                Some(wire::bulk_answer::Answer::End(end)) => {
                    return Ok(Some(Answer::End { request: RequestId(end.request), frame }));
                }
                Some(wire::bulk_answer::Answer::Piece(piece)) => self.announced = Some(read_piece(&piece)?),
                None => return Err(Offence::Malformed),
            }
        }
    }

    fn poll_frame(&mut self) -> Result<Option<Vec<u8>>, Offence> {
        match crate::wire::split_frame(&self.pending[self.read..]) {
            Ok(Some((frame, whole))) => {
                let frame = frame.to_vec();
                self.read += whole;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(FrameError::Oversize { .. }) => Err(Offence::Oversize),
            Err(FrameError::Prefix) => Err(Offence::Malformed),
        }
    }
}

fn read_piece(piece: &wire::BulkPiece) -> Result<(RequestId, Piece, usize), Offence> {
    if u64::from(piece.bytes) > Piece::MAX_BYTES {
        return Err(Offence::Oversize);
    }
    let kind = match piece.kind() {
        wire::PieceKind::Group => Piece::Group(piece.index),
        wire::PieceKind::Page => Piece::Page(piece.index),
        wire::PieceKind::Top => Piece::Top,
        wire::PieceKind::Unspecified => return Err(Offence::Malformed),
    };
    Ok((RequestId(piece.request), kind, piece.bytes as usize))
}

fn framed(message: &impl prost::Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    debug_assert!(payload.len() <= MAX_FRAME_BYTES, "our own frames are bounded where they are built");
    let mut out = Vec::with_capacity(payload.len() + 3);
    write_frame(&payload, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = piece_frame(RequestId(7), Piece::Group(3), 5);
        bytes.extend_from_slice(b"hello");
        bytes.extend(piece_frame(RequestId(7), Piece::Top, 0));
        let end = wire::BulkEnd { request: 9, refusal: 1, retry_after_ms: 50 };
        bytes.extend(framed(&wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::End(end)) }));
        bytes
    }

    #[test]
    fn an_open_frame_reads_back() {
        for kind in [StreamKind::Control, StreamKind::Bulk] {
            assert_eq!(read_open(&open_frame(kind)[1..]), Ok(kind));
        }
        assert_eq!(read_open(b""), Err(Offence::Malformed));
    }

    #[test]
    fn an_oversize_piece_is_refused_before_its_payload() {
        let piece = wire::BulkPiece { request: 1, kind: 1, index: 0, bytes: 16_385 };
        let mut reader = AnswerReader::default();
        let answer = wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::Piece(piece)) };
        reader.handle_bytes(&framed(&answer));
        assert_eq!(reader.poll_answer(), Err(Offence::Oversize));
    }

    proptest! {
        #[test]
        fn answers_survive_any_cut(cut in 1usize..40) {
            let mut reader = AnswerReader::default();
            let mut answers = Vec::new();
            for chunk in stream().chunks(cut) {
                reader.handle_bytes(chunk);
                while let Some(answer) = reader.poll_answer().unwrap() {
                    answers.push(answer);
                }
            }
            prop_assert_eq!(answers.len(), 3);
            prop_assert!(reader.is_between_answers());
            prop_assert_eq!(&answers[0], &Answer::Piece { request: RequestId(7), piece: Piece::Group(3), payload: b"hello".to_vec() });
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut reader = AnswerReader::default();
            reader.handle_bytes(&bytes);
            while let Ok(Some(_)) = reader.poll_answer() {}
        }
    }
}
