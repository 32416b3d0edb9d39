//! ICE-lite: who is asking, and the answer. And for whoever asks just that, what its address looks like from outside.
//!
//! A client of WebRTC Direct makes up one random string and uses it as user name fragment and
//! password of both sides. So the first binding request tells everything needed to answer it, and
//! the fragment names the session whatever address it comes from.

use std::net::{IpAddr, SocketAddr};

use links::webrtc::{LARGE_FRAME_BYTES, LARGE_FRAMES_MARK};
use str0m::crypto::CryptoProvider;
use str0m::ice::{StunMessage, TransId};

use super::framing::MESSAGE_BYTES_MAX;

/// What the specification puts before the client's random string.
const FRAGMENT_PREFIX: &str = "libp2p+webrtc+v1/";

/// RFC 8839 bounds a user name fragment at 256 characters.
const FRAGMENT_BYTES_MAX: usize = 256;

/// A message's kind, length, cookie and transaction (RFC 8489, section 5).
const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0, 0x20];
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Attributes from here on may be ignored by who does not know them (RFC 8489, section 14).
const OPTIONAL_FROM: u16 = 0x8000;

/// The first two bits of STUN are zero, and its first byte is at most 3 (RFC 7983).
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| *byte < 4)
}

/// DTLS records begin with a content type of 20 to 63 (RFC 7983).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| (20..64).contains(byte))
}

/// The longest frame that a client takes, by the name it chose for its session.
pub(super) fn frame_bytes_max(fragment: &str) -> usize {
    let random = fragment.strip_prefix(FRAGMENT_PREFIX).unwrap_or_default();
    if random.starts_with(LARGE_FRAMES_MARK) { LARGE_FRAME_BYTES } else { MESSAGE_BYTES_MAX }
}

/// A binding request that passed its integrity check.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    /// Names the session, and is its password too.
    pub fragment: &'a str,
    /// The client wants data to flow on this path.
    pub nominated: bool,
    transaction: TransId,
}

/// Reads a binding request; `None` for everything else.
pub(super) fn parse<'a>(datagram: &'a [u8], crypto: &CryptoProvider) -> Option<Binding<'a>> {
    let message = StunMessage::parse(datagram).ok()?;
    if !message.is_binding_request() {
        return None;
    }
    // "ours:theirs", and both are the same string.
    let (fragment, remote) = message.username()?.split_once(':')?;
    if fragment != remote || fragment.len() > FRAGMENT_BYTES_MAX || !fragment.starts_with(FRAGMENT_PREFIX) {
        return None;
    }
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    if !message.verify(fragment.as_bytes(), hmac) {
        return None;
    }
    Some(Binding { fragment, nominated: message.use_candidate(), transaction: message.trans_id() })
}

/// Writes the answer to `buffer`: the address we see the client at.
pub(super) fn answer<'b>(
    binding: &Binding<'_>,
    from: SocketAddr,
    crypto: &CryptoProvider,
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let length = StunMessage::binding_reply(binding.transaction, from)
        .to_bytes(Some(binding.fragment.as_bytes()), buffer, hmac)
        .ok()?;
    buffer.get(..length)
}

/// Answers who only asks for its own address (RFC 8489), as a tab does to learn where others reach it. `None` for
/// everything else: such a request proves nothing, so it names no session. str0m takes no message without a proof.
pub(super) fn answer_stranger(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let (header, mut attributes) = datagram.split_first_chunk::<HEADER_BYTES>()?;
    let length = u16::try_from(attributes.len()).ok()?.to_be_bytes();
    if header[..2] != BINDING_REQUEST || header[2..4] != length || header[4..8] != MAGIC {
        return None;
    }
    while let Some((attribute, rest)) = attributes.split_first_chunk::<4>() {
        let [t1, t0, l1, l0] = *attribute;
        // Others are part of the question, and we answer only the shortest.
        if u16::from_be_bytes([t1, t0]) < OPTIONAL_FROM {
            return None;
        }
        attributes = rest.get(usize::from(u16::from_be_bytes([l1, l0])).next_multiple_of(4)..)?;
    }
    let (family, ip) = match from.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    // Section 14.2: each is masked, so that no translator on the way takes it for an address and changes it.
    let masked =
        |bytes: &[u8]| bytes.iter().zip(&header[4..]).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>();
    let value = [&[0, family][..], &masked(&from.port().to_be_bytes()), &masked(&ip)].concat();
    let length = u8::try_from(value.len()).ok()?;
    let attribute = [&XOR_MAPPED_ADDRESS[..], &[0, length]].concat();
    Some([&BINDING_SUCCESS[..], &[0, length + 4], &header[4..], &attribute, &value].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAGMENT: &str = "libp2p+webrtc+v1/abcdefghijklmnop";

    fn request(username: &str, password: &str) -> Vec<u8> {
        let crypto = str0m::crypto::from_feature_flags();
        let mut buffer = vec![0; 1200];
        let length = StunMessage::binding_request(username, TransId::new(), true, 1, 1, true)
            .to_bytes(Some(password.as_bytes()), &mut buffer, |key, parts| {
                crypto.sha1_hmac_provider.sha1_hmac(key, parts)
            })
            .unwrap();
        buffer.truncate(length);
        buffer
    }

    fn check(username: &str, password: &str, expect: Option<&str>) {
        let crypto = str0m::crypto::from_feature_flags();
        let datagram = request(username, password);
        assert!(is_stun(&datagram));
        assert_eq!(parse(&datagram, &crypto).map(|binding| binding.fragment), expect, "{username}");
    }

    #[test]
    fn only_requests_of_webrtc_direct_are_taken() {
        check(&format!("{FRAGMENT}:{FRAGMENT}"), FRAGMENT, Some(FRAGMENT));
        check(&format!("{FRAGMENT}:{FRAGMENT}"), "another password", None);
        check(&format!("{FRAGMENT}:other"), FRAGMENT, None);
        check("somebody:somebody", "somebody", None);
    }

    #[test]
    fn only_who_says_so_gets_large_frames() {
        assert_eq!(frame_bytes_max(FRAGMENT), MESSAGE_BYTES_MAX);
        assert_eq!(frame_bytes_max("libp2p+webrtc+v1/frames65abc"), LARGE_FRAME_BYTES);
        assert_eq!(frame_bytes_max("frames65"), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn answer_tells_the_client_its_address() {
        let crypto = str0m::crypto::from_feature_flags();
        let datagram = request(&format!("{FRAGMENT}:{FRAGMENT}"), FRAGMENT);
        let binding = parse(&datagram, &crypto).unwrap();
        let from = "192.0.2.7:4711".parse().unwrap();
        let mut buffer = [0; 512];
        let answer = answer(&binding, from, &crypto, &mut buffer).unwrap();
        let message = StunMessage::parse(answer).unwrap();
        assert!(message.is_successful_binding_response());
        assert_eq!(message.mapped_address(), Some(from));
    }

    #[test]
    fn a_stranger_hears_its_address_and_no_more() {
        let crypto = str0m::crypto::from_feature_flags();
        // A request without attributes.
        let plain = [&[0, 1, 0, 0][..], &MAGIC, &[7; 12]].concat();
        let answer = answer_stranger(&plain, "[2001:db8::7]:4711".parse().unwrap()).unwrap();
        assert_eq!(
            (&answer[..8], &answer[8..20]),
            (&[1, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12][..])
        );
        assert_eq!(answer[20..28], [0, 0x20, 0, 20, 0, 2, 0x12 ^ 0x21, 0x67 ^ 0x12]);
        let address: Vec<u8> = answer[28..].iter().zip(&plain[4..]).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(address, "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());

        // RFC 5769, section 2.2: 192.0.2.1, port 32853, as seen on the wire.
        let from = "192.0.2.1:32853".parse().unwrap();
        let answer = answer_stranger(&plain, from).unwrap();
        assert_eq!(answer[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert!(parse(&plain, &crypto).is_none(), "it begins no session");

        let mut software = plain.clone();
        software[3] = 8;
        software.extend([0x80, 0x22, 0, 3, b'w', b'w', b'w', 0]);
        assert!(answer_stranger(&software, from).is_some());
        software[20] = 0;
        assert!(answer_stranger(&software, from).is_none(), "it asks for more");
        let named = request(&format!("{FRAGMENT}:{FRAGMENT}"), "another password");
        assert!(answer_stranger(&named, from).is_none());
        // Two nodes must not answer each other for ever.
        assert!(answer_stranger(&answer, from).is_none());
    }

    proptest! {
        #[test]
        fn hostile_datagrams_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let crypto = str0m::crypto::from_feature_flags();
            let from = "192.0.2.7:4711".parse().unwrap();
            let _ = parse(&bytes, &crypto);
            // Past the first checks too: a right length and cookie.
            if bytes.len() >= 20 {
                let length = u16::try_from(bytes.len() - 20).unwrap();
                bytes[0] = 0;
                bytes[1] = 1;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                let _ = parse(&bytes, &crypto);
                let _ = answer_stranger(&bytes, from);
            }
        }

        #[test]
        fn a_flipped_byte_is_never_accepted_as_another_session(index in 0usize..100, bit in 0u8..8) {
            let crypto = str0m::crypto::from_feature_flags();
            let mut datagram = request(&format!("{FRAGMENT}:{FRAGMENT}"), FRAGMENT);
            let index = index % datagram.len();
            datagram[index] ^= 1 << bit;
            if let Some(binding) = parse(&datagram, &crypto) {
                prop_assert_eq!(binding.fragment, FRAGMENT);
            }
        }
    }
}
