//! The hash that spreads a large directory's names over buckets (UnixFS, "HAMT Structure and Parameters").

/// The multihash of murmur3-x64-64.
pub(super) const MURMUR3: u64 = 0x22;
/// Buckets of a shard that we write.
pub(super) const FANOUT: usize = 256;
/// Bits that a name's hash has. What still collides then cannot be told apart.
const HASH_BITS: u32 = 64;

/// A name's hash, as the trie takes it from the top.
pub(super) fn hash(name: &[u8]) -> u64 {
    let mut name = name;
    let both = murmur3::murmur3_x64_128(&mut name, 0).expect("reading from memory does not fail");
    // The first half of the 128 bits; the crate gives it in the low ones.
    u64::try_from(both & u128::from(u64::MAX)).expect("64 bits")
}

/// The bucket at `level` (0 is the root's), where a level takes `bits`. Nothing below the hash's last bit.
pub(super) fn bucket(hash: u64, level: u32, bits: u32) -> Option<u64> {
    let taken = level.checked_add(1)?.checked_mul(bits)?;
    let shift = HASH_BITS.checked_sub(taken)?;
    Some((hash >> shift) & ((1 << bits) - 1))
}

/// Bits a level for a shard of so many buckets: a power of two from 8 to 1,024 (CVE-2023-23625).
pub(super) fn bits_of(fanout: u64) -> Option<u32> {
    ((8..=1024).contains(&fanout) && fanout.is_power_of_two()).then(|| fanout.trailing_zeros())
}

/// How a bucket is written before a name.
pub(super) fn prefix(bucket: u64, bits: u32) -> String {
    let digits = bits.div_ceil(4) as usize;
    format!("{bucket:0digits$X}")
}
