//! Opening a data channel in band (RFC 8832), as far as WebRTC Direct needs it.

/// Our acknowledgement of an `OPEN`.
pub(super) const ACK: [u8; 1] = [0x02];

/// Our `OPEN`: ordered, reliable, no label, no protocol, as the specification asks.
pub(super) const OPEN: [u8; 12] = [0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A control message of the remote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// An ordered, reliable channel is wanted.
    Open,
    /// Our own `OPEN` was understood.
    Ack,
}

/// Reads a control message. `None`: malformed, or a kind of channel libp2p does not have.
pub(super) fn parse(bytes: &[u8]) -> Option<Control> {
    match *bytes {
        [0x02, ..] => Some(Control::Ack),
        [0x03, 0x00, _, _, _, _, _, _, label_high, label_low, protocol_high, protocol_low, ..] => {
            let label = usize::from(u16::from_be_bytes([label_high, label_low]));
            let protocol = usize::from(u16::from_be_bytes([protocol_high, protocol_low]));
            (bytes.len() >= OPEN.len() + label + protocol).then_some(Control::Open)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_ack_are_understood() {
        assert_eq!(parse(&OPEN), Some(Control::Open));
        assert_eq!(parse(&ACK), Some(Control::Ack));
        assert_eq!(parse(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'l', b'p']), Some(Control::Open));
    }

    #[test]
    fn broken_or_unreliable_opens_are_refused() {
        for bytes in [
            &[][..],
            &[9],
            &OPEN[..11],
            &[3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0],
        ] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
