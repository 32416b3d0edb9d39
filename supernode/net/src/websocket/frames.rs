//! WebSocket's frames (RFC 6455) as a server sees them.
//!
//! A libp2p connection is a stream of bytes: where one message ends and the next begins means nothing to it. So
//! no message is ever put together here, and what a client sent is unmasked in the buffer that it came in.

use thiserror::Error;

/// Two bytes, a length of up to eight more, and a mask of four.
const HEADER_BYTES_MAX: usize = 14;

/// What a ping or a close may carry.
const CONTROL_BYTES_MAX: u64 = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The status of a close that nobody complains about.
const NORMAL: u16 = 1000;

/// How a client broke the protocol.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Violation {
    #[error("a frame uses an extension that nobody agreed on")]
    Extension,
    #[error("a frame is not masked")]
    Unmasked,
    #[error("a frame's kind is unknown")]
    Kind,
    #[error("a control frame is large or in pieces")]
    Control,
    #[error("a message starts within another, or goes on without a start")]
    Order,
    #[error("a frame's length has 64 bits")]
    Length,
}

/// What a client sends, and what it is to be answered.
#[derive(Default)]
pub(super) struct Inbound {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    /// Between the first piece of a message and its last.
    in_message: bool,
    /// The latest ping's answer: the protocol lets earlier ones go, and so a client cannot pile them up.
    answer: Option<Vec<u8>>,
    closed: bool,
}

/// A frame whose payload is under way.
struct Frame {
    kind: u8,
    /// Turned with the payload: the first byte is for the next one.
    mask: [u8; 4],
    left: u64,
    /// What a control frame carried so far.
    control: Vec<u8>,
}

impl Inbound {
    /// Whether the client said goodbye. Nothing after that counts.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what came from the socket, and leaves the stream's bytes at the front: returns how many.
    pub(super) fn handle_bytes(&mut self, bytes: &mut [u8]) -> Result<usize, Violation> {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && !self.closed {
            let Some(frame) = &mut self.frame else {
                self.handle_header_byte(bytes[read])?;
                read += 1;
                continue;
            };
            let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - read);
            let payload = read..read + here;
            unmask(&mut bytes[payload.clone()], &mut frame.mask);
            if frame.kind & CLOSE == 0 {
                bytes.copy_within(payload, kept);
                kept += here;
            } else {
                frame.control.extend_from_slice(&bytes[payload]);
            }
            read += here;
            frame.left -= here as u64;
            self.end_frame_at_its_end();
        }
        Ok(kept)
    }

    fn handle_header_byte(&mut self, byte: u8) -> Result<(), Violation> {
        self.header[self.header_bytes] = byte;
        self.header_bytes += 1;
        if self.header_bytes < 2 {
            return Ok(());
        }
        let length_bytes = match self.header[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header[1] & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        if self.header_bytes < 2 + length_bytes + 4 {
            return Ok(());
        }
        let (first, rest) = (self.header[0], &self.header[2..self.header_bytes]);
        let (length, mask) = rest.split_at(length_bytes);
        let left = match length_bytes {
            0 => u64::from(self.header[1] & !MASKED),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mut frame = Frame { kind: first & 0x0f, mask: [0; 4], left, control: Vec::new() };
        frame.mask.copy_from_slice(mask);
        self.header_bytes = 0;
        self.start(first, frame)
    }

    fn start(&mut self, first: u8, frame: Frame) -> Result<(), Violation> {
        if first & RESERVED != 0 {
            return Err(Violation::Extension);
        }
        if frame.left >> 63 != 0 {
            return Err(Violation::Length);
        }
        let is_final = first & FINAL != 0;
        match frame.kind {
            CONTINUATION | TEXT | BINARY if (frame.kind == CONTINUATION) != self.in_message => {
                return Err(Violation::Order);
            }
            CONTINUATION | TEXT | BINARY => self.in_message = !is_final,
            CLOSE | PING | PONG if !is_final || frame.left > CONTROL_BYTES_MAX => {
                return Err(Violation::Control);
            }
            CLOSE | PING | PONG => {}
            _ => return Err(Violation::Kind),
        }
        self.frame = Some(frame);
        self.end_frame_at_its_end();
        Ok(())
    }

    fn end_frame_at_its_end(&mut self) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        match frame.kind {
            PING => self.answer = Some(control(PONG, &frame.control)),
            CLOSE => {
                self.answer = Some(close());
                self.closed = true;
            }
            _ => {}
        }
    }

    /// A whole frame to answer with.
    pub(super) fn poll_answer(&mut self) -> Option<Vec<u8>> {
        self.answer.take()
    }
}

/// What stands before a payload.
#[derive(Default)]
pub(super) struct Header {
    bytes: [u8; HEADER_BYTES_MAX - 4],
    written: usize,
    length: usize,
}

impl Header {
    /// For so many bytes of the stream.
    pub(super) fn data(payload_bytes: usize) -> Self {
        Self::new(BINARY, payload_bytes)
    }

    fn new(kind: u8, payload_bytes: usize) -> Self {
        let mut header = Self { length: 2, ..Self::default() };
        header.bytes[0] = FINAL | kind;
        if let Ok(short @ 0..=125) = u8::try_from(payload_bytes) {
            header.bytes[1] = short;
        } else if let Ok(medium) = u16::try_from(payload_bytes) {
            header.bytes[1] = 126;
            header.bytes[2..4].copy_from_slice(&medium.to_be_bytes());
            header.length = 4;
        } else {
            header.bytes[1] = 127;
            header.bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            header.length = 10;
        }
        header
    }

    /// What is still to be written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..self.length]
    }

    /// Whether none of it was written.
    pub(super) const fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// So much of it was written.
    pub(super) fn handle_written(&mut self, bytes: usize) {
        self.written += bytes;
        assert!(self.written <= self.length, "no more is written of a header than there is");
    }
}

/// A whole frame that says goodbye.
pub(super) fn close() -> Vec<u8> {
    control(CLOSE, &NORMAL.to_be_bytes())
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    [Header::new(kind, payload.len()).rest(), payload].concat()
}

/// Takes the mask off and turns it to where the next bytes go on.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let four = u32::from_ne_bytes(*mask);
    let eight = u64::from(four) << 32 | u64::from(four);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ eight).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(bytes.len() % 4);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a client sends it.
    fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = Header::new(first & 0x0f, payload.len()).rest().to_vec();
        frame[0] = first;
        frame[1] |= MASKED;
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn check_refused(mut bytes: Vec<u8>, expected: Violation) {
        assert_eq!(Inbound::default().handle_bytes(&mut bytes), Err(expected));
    }

    proptest! {
        #[test]
        fn frames_in_any_pieces_are_the_bytes_that_were_framed(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            mask: [u8; 4],
            piece in 1_usize..400,
        ) {
            let mut wire = Vec::new();
            for (number, payload) in payloads.iter().enumerate() {
                let kind = if number == 0 { BINARY } else { CONTINUATION };
                let last = if number + 1 == payloads.len() { FINAL } else { 0 };
                wire.extend(masked(last | kind, payload, mask));
                wire.extend(masked(FINAL | PING, b"between", mask));
            }
            let (mut inbound, mut out) = (Inbound::default(), Vec::new());
            for bytes in wire.chunks_mut(piece) {
                let kept = inbound.handle_bytes(bytes).unwrap();
                out.extend_from_slice(&bytes[..kept]);
            }
            prop_assert_eq!(out, payloads.concat());
            prop_assert_eq!(inbound.poll_answer(), Some(control(PONG, b"between")));
            prop_assert_eq!(inbound.poll_answer(), None);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            if let Ok(kept) = Inbound::default().handle_bytes(&mut bytes) {
                prop_assert!(kept <= length);
            }
        }
    }

    #[test]
    fn lengths_of_all_three_forms_are_read_as_they_are_written() {
        for length in [0, 125, 126, 65_535, 65_536, 100_000] {
            let mut bytes = masked(FINAL | BINARY, &vec![7; length], [1, 2, 3, 4]);
            let kept = Inbound::default().handle_bytes(&mut bytes).unwrap();
            assert_eq!(kept, length);
            assert!(bytes[..kept].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn nothing_after_a_goodbye_counts() {
        let mut bytes = masked(FINAL | CLOSE, &NORMAL.to_be_bytes(), [9; 4]);
        bytes.extend(masked(FINAL | BINARY, b"late", [9; 4]));
        let mut inbound = Inbound::default();
        assert_eq!(inbound.handle_bytes(&mut bytes), Ok(0));
        assert!(inbound.is_closed());
        assert_eq!(inbound.poll_answer(), Some(close()));
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let mask = [1, 2, 3, 4];
        check_refused(vec![FINAL | BINARY, 1], Violation::Unmasked);
        check_refused(masked(FINAL | 0x40 | BINARY, b"", mask), Violation::Extension);
        check_refused(masked(FINAL | 3, b"", mask), Violation::Kind);
        check_refused(masked(PING, b"", mask), Violation::Control);
        check_refused(masked(FINAL | PING, &[0; 126], mask), Violation::Control);
        check_refused(masked(FINAL | CONTINUATION, b"", mask), Violation::Order);
        check_refused(
            [masked(BINARY, b"", mask), masked(FINAL | BINARY, b"", mask)].concat(),
            Violation::Order,
        );
        let mut long = vec![FINAL | BINARY, MASKED | 127];
        long.extend([0xff; 12]);
        check_refused(long, Violation::Length);
    }
}
