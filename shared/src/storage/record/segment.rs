//! The record of one segment.

use prost::Message as _;

use super::{RecordError, bounded, malformed};
use crate::{
    base::{BlobRoot, SegmentId},
    storage::erasure::{Codec, MAX_SHARDS, Profile, SegmentShape},
    wire::storage as wire,
};

/// The one layout there is so far.
const VERSION: u32 = 1;
/// The roots of all shards there may be, and room for the numbers.
pub const MAX_SEGMENT_RECORD_BYTES: usize = MAX_SHARDS as usize * 32 + 64;

/// How one segment became shards, every bound checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    shape: SegmentShape,
    /// One a shard; of copies one for all.
    roots: Vec<BlobRoot>,
}

impl SegmentRecord {
    /// The record of a segment whose shards have these roots, in order. Nothing where their number is wrong, or
    /// where copies differ.
    pub fn new(shape: SegmentShape, mut roots: Vec<BlobRoot>) -> Option<Self> {
        let complete = roots.len() == usize::from(shape.profile().total_shards());
        if shape.profile().codec() == Codec::Copies {
            roots.dedup();
        }
        let lawful = complete && roots.len() == named(shape.profile());
        lawful.then_some(Self { shape, roots })
    }

    /// The segment's geometry.
    pub const fn shape(&self) -> SegmentShape {
        self.shape
    }

    /// The name of shard `index`, or nothing beyond the last.
    pub fn root(&self, index: u16) -> Option<BlobRoot> {
        let exists = index < self.shape.profile().total_shards();
        let place = if self.roots.len() == 1 { 0 } else { usize::from(index) };
        self.roots.get(place).copied().filter(|_| exists)
    }

    /// The record's bytes and the name that follows from them.
    pub fn encode(&self) -> (SegmentId, Vec<u8>) {
        let profile = self.shape.profile();
        let codec = match profile.codec() {
            Codec::Copies => wire::CodecKind::Copies,
            Codec::ReedSolomon => wire::CodecKind::ReedSolomon,
        };
        let bytes = wire::SegmentRecord {
            version: VERSION,
            codec: codec.into(),
            data_shards: profile.data_shards().into(),
            total_shards: profile.total_shards().into(),
            bytes: self.shape.bytes(),
            roots: self.roots.iter().flat_map(|root| root.0).collect(),
        }
        .encode_to_vec();
        (SegmentId(*blake3::hash(&bytes).as_bytes()), bytes)
    }

    /// Reads the record named `id`.
    ///
    /// # Errors
    /// [`RecordError`], never [`RecordError::Signature`] or [`RecordError::Secret`].
    pub fn read(id: SegmentId, bytes: &[u8]) -> Result<Self, RecordError> {
        bounded(bytes, MAX_SEGMENT_RECORD_BYTES)?;
        if *blake3::hash(bytes).as_bytes() != id.0 {
            return Err(RecordError::Name);
        }
        let record = wire::SegmentRecord::decode(bytes).map_err(malformed)?;
        if record.version != VERSION {
            return Err(RecordError::Version { found: record.version, known: VERSION });
        }
        let shards = |count: u32| u16::try_from(count).ok();
        let profile = shards(record.data_shards)
            .zip(shards(record.total_shards))
            .and_then(|(data, total)| Profile::new(data, total))
            .ok_or_else(|| malformed("its number of shards is no code's"))?;
        let codec = match wire::CodecKind::try_from(record.codec) {
            Ok(wire::CodecKind::Copies) => Codec::Copies,
            Ok(wire::CodecKind::ReedSolomon) => Codec::ReedSolomon,
            _ => return Err(malformed("an unknown codec")),
        };
        if codec != profile.codec() {
            return Err(malformed("its codec is not that of its number of shards"));
        }
        let shape = SegmentShape::new(profile, record.bytes)
            .ok_or_else(|| malformed(format!("a segment of {} bytes", record.bytes)))?;
        let (roots, rest) = record.roots.as_chunks::<32>();
        if !rest.is_empty() || roots.len() != named(profile) {
            return Err(malformed(format!("{} bytes of roots", record.roots.len())));
        }
        Ok(Self { shape, roots: roots.iter().map(|root| BlobRoot(*root)).collect() })
    }
}

/// How many roots are written down.
fn named(profile: Profile) -> usize {
    match profile.codec() {
        Codec::Copies => 1,
        Codec::ReedSolomon => usize::from(profile.total_shards()),
    }
}
