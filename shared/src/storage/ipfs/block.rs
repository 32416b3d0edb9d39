//! A block, and the CID that names it.

use multihash::Multihash;
use sha2::{Digest as _, Sha256};

/// The name of a block: version, codec and hash. Hashes longer than 64 bytes are none that we know.
pub type Cid = cid::Cid;

/// Bytes without structure.
pub const RAW: u64 = 0x55;
/// A node with links.
pub const DAG_PB: u64 = 0x70;
/// A public key, as IPNS and peers are named.
pub const LIBP2P_KEY: u64 = 0x72;
/// The multihash of BLAKE3.
pub const BLAKE3: u64 = 0x1e;
const IDENTITY: u64 = 0x00;
const SHA2_256: u64 = 0x12;

/// What every implementation must take (bitswap, "Block Sizes"); larger ones are refused.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;

/// Why bytes are not the block that a CID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Longer than [`MAX_BLOCK_BYTES`].
    #[error("the block is longer than {MAX_BLOCK_BYTES} bytes")]
    TooLong,
    /// A hash function that we do not compute.
    #[error("blocks named by multihash {0:#x} cannot be checked here")]
    UnknownHash(u64),
    /// Other bytes.
    #[error("the bytes are not those that the CID names")]
    Forged,
}

/// The CID (version 1, sha2-256) of a block.
pub fn cid_of(codec: u64, bytes: &[u8]) -> Cid {
    let digest = Sha256::digest(bytes);
    Cid::new_v1(codec, Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit"))
}

/// Whether the bytes are the block that `cid` names.
///
/// # Errors
/// [`BlockError`].
pub fn check(cid: &Cid, bytes: &[u8]) -> Result<(), BlockError> {
    if bytes.len() > MAX_BLOCK_BYTES {
        return Err(BlockError::TooLong);
    }
    let hash = cid.hash();
    let same = match hash.code() {
        SHA2_256 => hash.digest() == Sha256::digest(bytes).as_slice(),
        BLAKE3 => hash.digest() == blake3::hash(bytes).as_bytes(),
        IDENTITY => hash.digest() == bytes,
        unknown => return Err(BlockError::UnknownHash(unknown)),
    };
    if same { Ok(()) } else { Err(BlockError::Forged) }
}

/// The block itself, where the CID carries it instead of a hash.
pub fn inlined(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}

/// The CID of a block of which only the prefix is told: version, codec, hash function and its length in bytes.
pub(super) fn cid_by_prefix(prefix: &[u8], bytes: &[u8]) -> Option<Cid> {
    let mut rest = prefix;
    let mut next = || {
        let (number, after) = unsigned_varint::decode::u64(rest).ok()?;
        rest = after;
        Some(number)
    };
    let (version, codec, code, length) = (next()?, next()?, next()?, next()?);
    if bytes.len() > MAX_BLOCK_BYTES || length != 32 {
        return None;
    }
    let digest: [u8; 32] = match code {
        SHA2_256 => Sha256::digest(bytes).into(),
        BLAKE3 => *blake3::hash(bytes).as_bytes(),
        _ => return None,
    };
    let hash = Multihash::wrap(code, &digest).ok()?;
    match version {
        0 => Cid::new_v0(hash).ok(),
        1 => Some(Cid::new_v1(codec, hash)),
        _ => None,
    }
}

/// The prefix of a CID, as bitswap sends it before a block.
pub(super) fn prefix_of(cid: &Cid) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(8);
    let numbers = [u64::from(cid.version()), cid.codec(), cid.hash().code(), u64::from(cid.hash().size())];
    for number in numbers {
        let mut buffer = unsigned_varint::encode::u64_buffer();
        prefix.extend_from_slice(unsigned_varint::encode::u64(number, &mut buffer));
    }
    prefix
}
