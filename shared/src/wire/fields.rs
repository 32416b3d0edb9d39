//! How often a field occurs in a protobuf message, told before the message is decoded.
//!
//! A decoder makes room for each element of a repeated field, however small it was on the wire: two bytes of an empty
//! submessage become a hundred of memory. Whoever reads a message of megabytes counts first.

use prost::{
    DecodeError,
    encoding::{DecodeContext, decode_key, skip_field},
};

/// How often `field` occurs on the top level of `message`. Walks the message once and allocates nothing.
///
/// # Errors
/// [`DecodeError`] where it is no message.
pub fn occurrences(mut message: &[u8], field: u32) -> Result<usize, DecodeError> {
    let mut count = 0;
    while !message.is_empty() {
        let (found, kind) = decode_key(&mut message)?;
        skip_field(kind, found, &mut message, DecodeContext::default())?;
        count += usize::from(found == field);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::wire::cdn;

    #[test]
    fn fields_are_counted_and_garbage_is_refused() {
        let peers = vec![cdn::PeerEntry::default(); 7];
        let message = cdn::Peers { request: 1, site: vec![2; 32], peers, ..Default::default() };
        let bytes = message.encode_to_vec();
        let counts = [1, 2, 3, 4].map(|field| occurrences(&bytes, field));
        assert_eq!(counts, [Ok(1), Ok(1), Ok(7), Ok(0)]);
        assert!(occurrences(&bytes[..bytes.len() - 1], 3).is_err());
        assert!(occurrences(&[0xff; 12], 3).is_err());
    }
}
