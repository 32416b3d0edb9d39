//! The checksum of an object that came in parts: over the parts' own, or of the whole, put together from them.
//!
//! Neither needs the bytes again: a CRC of two pieces follows from theirs and the second one's length.

use crc_fast::CrcAlgorithm;
use s3s::{S3Result, crypto::Checksum as _, dto::Checksum, s3_error};

use super::body;
use crate::meta::PartRow;

const COMPOSITE: &str = "COMPOSITE";
const FULL_OBJECT: &str = "FULL_OBJECT";

/// What an upload is begun with: the algorithm, in capitals, and of what its checksum will be.
pub(super) fn asked(algorithm: Option<&str>, kind: Option<&str>) -> S3Result<Option<(String, &'static str)>> {
    let Some(algorithm) = algorithm.map(str::to_uppercase) else {
        return match kind {
            None => Ok(None),
            Some(_) => {
                Err(s3_error!(InvalidRequest, "A checksum type is given, and no algorithm that it is of"))
            }
        };
    };
    let refuse = |kind: &str| {
        s3_error!(InvalidRequest, "The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    };
    let kind = match (algorithm.as_str(), kind) {
        ("CRC64NVME", None | Some(FULL_OBJECT)) | ("CRC32" | "CRC32C", Some(FULL_OBJECT)) => FULL_OBJECT,
        ("CRC32" | "CRC32C" | "SHA1" | "SHA256", None | Some(COMPOSITE)) => COMPOSITE,
        ("CRC64NVME" | "CRC32" | "CRC32C" | "SHA1" | "SHA256", Some(kind)) => return Err(refuse(kind)),
        _ => return Err(s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported.")),
    };
    Ok(Some((algorithm, kind)))
}

/// Which checksum a part gets: of an upload that was begun with one, no other.
pub(super) fn of_part(named: Option<String>, begun: Option<String>) -> S3Result<Option<String>> {
    match (named, begun) {
        (Some(named), Some(begun)) if !named.eq_ignore_ascii_case(&begun) => Err(s3_error!(
            InvalidRequest,
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            begun.to_lowercase(),
            named.to_lowercase()
        )),
        (named, begun) => Ok(named.or(begun)),
    }
}

/// The checksum of the parts in their order; nothing where one of them has none.
pub(super) fn of_parts(algorithm: &str, kind: &str, parts: &[(u16, PartRow)]) -> S3Result<Option<String>> {
    let name = algorithm.to_lowercase();
    let mut checksums = Vec::with_capacity(parts.len());
    for (_, part) in parts {
        let Some(checksum) = part.checksums.get(&name) else { return Ok(None) };
        let checksum = body::base64(checksum).ok_or_else(|| s3_error!(InternalError))?;
        checksums.push((checksum, part.bytes));
    }
    if kind == FULL_OBJECT {
        return Ok(full(&name, &checksums));
    }
    let bytes: Vec<u8> = checksums.iter().flat_map(|(checksum, _)| checksum.iter().copied()).collect();
    let digest = match name.as_str() {
        "crc32" => s3s::crypto::Crc32::checksum(&bytes).to_vec(),
        "crc32c" => s3s::crypto::Crc32c::checksum(&bytes).to_vec(),
        "sha1" => s3s::crypto::Sha1::checksum(&bytes).to_vec(),
        "sha256" => s3s::crypto::Sha256::checksum(&bytes).to_vec(),
        _ => return Ok(None),
    };
    Ok(Some(format!("{}-{}", multibase::Base::Base64Pad.encode(digest), parts.len())))
}

fn full(name: &str, parts: &[(Vec<u8>, u64)]) -> Option<String> {
    let (algorithm, bytes) = match name {
        "crc32" => (CrcAlgorithm::Crc32IsoHdlc, 4),
        "crc32c" => (CrcAlgorithm::Crc32Iscsi, 4),
        "crc64nvme" => (CrcAlgorithm::Crc64Nvme, 8),
        _ => return None,
    };
    let value = |checksum: &[u8]| checksum.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let (first, rest) = parts.split_first()?;
    let whole = rest.iter().fold(value(&first.0), |whole, (checksum, length)| {
        crc_fast::checksum_combine(algorithm, whole, value(checksum), *length)
    });
    Some(multibase::Base::Base64Pad.encode(&whole.to_be_bytes()[8 - bytes..]))
}

/// Whether what the client says of the whole is so.
pub(super) fn agree(said: &mut Checksum, algorithm: &str, computed: &str) -> S3Result<()> {
    for (name, said) in body::fields(said) {
        let Some(said) = said.take() else { continue };
        if !name.eq_ignore_ascii_case(algorithm) {
            return Err(s3_error!(InvalidRequest, "The upload was begun with another checksum algorithm"));
        }
        // Some tools leave the number of parts away.
        let matches = said == computed || computed.split('-').next() == Some(&said);
        if !matches {
            return Err(s3_error!(
                BadDigest,
                "The {algorithm} you specified did not match the calculated checksum."
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..=250).cycle().step_by(31).take(100_000).collect();
        let encode = |digest: &[u8]| multibase::Base::Base64Pad.encode(digest);
        type Digest = fn(&[u8]) -> Vec<u8>;
        let algorithms: [(&str, Digest); 3] = [
            ("CRC32", |bytes| s3s::crypto::Crc32::checksum(bytes).to_vec()),
            ("CRC32C", |bytes| s3s::crypto::Crc32c::checksum(bytes).to_vec()),
            ("CRC64NVME", |bytes| s3s::crypto::Crc64Nvme::checksum(bytes).to_vec()),
        ];
        for (algorithm, digest) in algorithms {
            let parts: Vec<(u16, PartRow)> = [&bytes[..1], &bytes[1..70_001], &[], &bytes[70_001..]]
                .iter()
                .zip(1..)
                .map(|(part, number)| {
                    let checksums = [(algorithm.to_lowercase(), encode(&digest(part)))].into();
                    let row = PartRow {
                        bytes: part.len() as u64,
                        salt: [0; 16],
                        segments: Vec::new(),
                        md5: [0; 16],
                        modified: 0,
                        checksums,
                    };
                    (number, row)
                })
                .collect();
            let whole = of_parts(algorithm, FULL_OBJECT, &parts).unwrap().unwrap();
            assert_eq!(whole, encode(&digest(&bytes)), "{algorithm}");
        }
    }

    #[test]
    fn an_algorithm_has_the_kinds_that_s3_gives_it() {
        let kind = |algorithm, kind| asked(Some(algorithm), kind).ok().flatten().map(|(_, kind)| kind);
        assert_eq!(kind("crc32", None), Some(COMPOSITE));
        assert_eq!(kind("CRC32C", Some(FULL_OBJECT)), Some(FULL_OBJECT));
        assert_eq!(kind("CRC64NVME", None), Some(FULL_OBJECT));
        assert_eq!(kind("CRC64NVME", Some(COMPOSITE)), None);
        assert_eq!(kind("SHA256", Some(FULL_OBJECT)), None);
        assert!(asked(None, Some(COMPOSITE)).is_err());
        assert_eq!(asked(None, None).unwrap(), None);
    }
}
