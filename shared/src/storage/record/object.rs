//! The record of one object, signed by its writer, with a secret sealed by its path.

use core::ops::Range;
use std::collections::BTreeSet;

use prost::Message as _;

use super::{RecordError, bounded, malformed};
use crate::{
    base::{SegmentId, UnixSeconds},
    identity::{Context, Keypair, PublicKey},
    storage::{
        erasure::MAX_SEGMENT_BYTES,
        seal::{BOX_OVERHEAD_BYTES, MAX_STREAM_BYTES, ObjectKey, RecordKey, Sealing, StreamShape},
    },
    wire::{occurrences, storage as wire},
};

/// The one layout there is so far.
const VERSION: u32 = 1;
/// What a reader will parse: 5 TiB in 10,000 parts are some 92,000 segments of 32 bytes.
pub const MAX_OBJECT_RECORD_BYTES: usize = 4 << 20;
/// What S3 allows a multipart upload.
pub const MAX_PARTS: usize = 10_000;
/// `ObjectRecord.parts` in `storage.proto`. Counted before it is decoded: an empty part takes two bytes of a record and
/// 56 of memory.
const PARTS_FIELD: u32 = 6;
/// An object up to this long, before sealing, is kept in its record: a shard of it would cost more than itself.
pub const MAX_INLINE_BYTES: u64 = 4096;
/// S3's headers, 2 KiB of user metadata and ten tags, twice over.
pub const MAX_ATTRIBUTES_BYTES: usize = 16 * 1024;
/// Attributes, key and the box around them.
const MAX_SECRET_BYTES: usize = 20 * 1024;

/// One sealed stream of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its length, before and after sealing.
    pub shape: StreamShape,
    /// Tells its key from that of the object's other streams.
    pub salt: [u8; 16],
    /// Each of [`MAX_SEGMENT_BYTES`], the last possibly shorter.
    pub segments: Vec<SegmentId>,
}

/// Where an object's sealed bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Here, as a stream with a salt of zeros.
    Inline(Vec<u8>),
    /// In segments. At most [`MAX_PARTS`].
    Parts(Vec<Part>),
}

/// What only readers may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSecret {
    /// Opens the object's streams.
    pub key: ObjectKey,
    /// The door's own, at most [`MAX_ATTRIBUTES_BYTES`].
    pub attributes: Vec<u8>,
}

/// What a writer says of an object, before it is sealed and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDraft {
    /// The highest replaces all others of the path.
    pub sequence: u64,
    /// When it was written.
    pub modified: UnixSeconds,
    /// How its streams are sealed.
    pub sealing: Sealing,
    /// Where they are.
    pub body: Body,
}

/// A record whose signature and bounds were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// What it says to everybody.
    pub public: ObjectDraft,
    /// Who signed it.
    pub writer: PublicKey,
    secret: Vec<u8>,
    /// What the secret is bound to.
    place: [u8; PLACE_BYTES],
}

/// A frame that a range read needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which part; 0 for an inline object.
    pub part: usize,
    /// Which frame of the part's stream.
    pub frame: u32,
    /// Which segment of the part the frame lies in, whole. An inline object has none and says 0.
    pub segment: usize,
    /// Where it begins in that segment (in an inline object: in its bytes), sealed,
    pub start: u64,
    /// and how long it is.
    pub bytes: u64,
    /// Where its plain bytes begin in the object.
    pub plain_start: u64,
}

const PURPOSE: &[u8] = b"blackhole/storage/object/1\0";
const PLACE_BYTES: usize = PURPOSE.len() + 32;

impl ObjectDraft {
    /// Seals `secret` under the key of the object's path and signs all of it. `nonce` is 24 fresh random bytes.
    /// Returns the encoded [`wire::SignedObjectRecord`].
    ///
    /// # Errors
    /// [`RecordError::Malformed`] or [`RecordError::TooLong`] where a bound is broken, so that nothing is ever
    /// stored which readers would refuse.
    pub fn sign(
        &self,
        secret: &ObjectSecret,
        path: &RecordKey,
        nonce: &[u8; 24],
        writer: &Keypair,
    ) -> Result<Vec<u8>, RecordError> {
        if secret.attributes.len() > MAX_ATTRIBUTES_BYTES {
            return Err(malformed(format!("{} bytes of attributes", secret.attributes.len())));
        }
        let mut record = self.to_wire();
        let inner =
            wire::ObjectSecret { key: secret.key.to_bytes().to_vec(), attributes: secret.attributes.clone() };
        record.secret = path.seal(nonce, &place(&record), &inner.encode_to_vec());
        let record = record.encode_to_vec();
        let signature = writer.sign(Context::ObjectRecord, &record).to_vec();
        let writer = writer.public().to_bytes().to_vec();
        let signed = wire::SignedObjectRecord { record, writer, signature }.encode_to_vec();
        ObjectRecord::read(&signed)?;
        Ok(signed)
    }

    fn to_wire(&self) -> wire::ObjectRecord {
        let sealing = match self.sealing {
            Sealing::XChaCha20Poly1305 => wire::SealingKind::Xchacha20Poly1305,
            Sealing::Aes256Gcm => wire::SealingKind::Aes256Gcm,
            Sealing::Plain => wire::SealingKind::Plain,
        };
        let (inline, parts) = match &self.body {
            Body::Inline(bytes) => (bytes.clone(), &[][..]),
            Body::Parts(parts) => (Vec::new(), &parts[..]),
        };
        let part = |part: &Part| wire::Part {
            bytes: part.shape.sealed_bytes(),
            salt: part.salt.to_vec(),
            segments: part.segments.iter().flat_map(|id| id.0).collect(),
        };
        wire::ObjectRecord {
            version: VERSION,
            sequence: self.sequence,
            modified_unix: self.modified.0,
            sealing: sealing.into(),
            inline,
            parts: parts.iter().map(part).collect(),
            secret: Vec::new(),
        }
    }

    fn read(record: wire::ObjectRecord) -> Result<Self, RecordError> {
        if record.version != VERSION {
            return Err(RecordError::Version { found: record.version, known: VERSION });
        }
        let sealing = match wire::SealingKind::try_from(record.sealing) {
            Ok(wire::SealingKind::Xchacha20Poly1305) => Sealing::XChaCha20Poly1305,
            Ok(wire::SealingKind::Aes256Gcm) => Sealing::Aes256Gcm,
            Ok(wire::SealingKind::Plain) => Sealing::Plain,
            _ => return Err(malformed("an unknown way of sealing")),
        };
        let body = if record.parts.is_empty() {
            let shape = StreamShape::from_sealed(sealing, record.inline.len() as u64);
            if shape.is_none_or(|shape| shape.plain_bytes() > MAX_INLINE_BYTES) {
                return Err(malformed(format!("{} bytes inline", record.inline.len())));
            }
            Body::Inline(record.inline)
        } else if record.inline.is_empty() {
            Body::Parts(Part::read_all(sealing, &record.parts)?)
        } else {
            return Err(malformed("both inline bytes and parts"));
        };
        let (sequence, modified) = (record.sequence, UnixSeconds(record.modified_unix));
        Ok(Self { sequence, modified, sealing, body })
    }

    /// Length of the object before sealing.
    pub fn plain_bytes(&self) -> u64 {
        self.streams().map(StreamShape::plain_bytes).sum()
    }

    /// The shape of each stream, in order.
    pub fn streams(&self) -> impl Iterator<Item = StreamShape> {
        let (inline, parts) = match &self.body {
            Body::Inline(bytes) => (StreamShape::from_sealed(self.sealing, bytes.len() as u64), &[][..]),
            Body::Parts(parts) => (None, &parts[..]),
        };
        inline.into_iter().chain(parts.iter().map(|part| part.shape))
    }

    /// The frames that hold the object's plain bytes `range`, in order; none for what is empty or beyond the end.
    pub fn places(&self, range: Range<u64>) -> impl Iterator<Item = Place> {
        let mut stream_start = 0;
        self.streams().enumerate().flat_map(move |(part, shape)| {
            let start = stream_start;
            stream_start += shape.plain_bytes();
            let touched =
                shape.frames_touched(&(range.start.saturating_sub(start)..range.end.saturating_sub(start)));
            touched.filter_map(move |frame| {
                let (plain, sealed) = (shape.frame_plain(frame)?, shape.frame_sealed(frame)?);
                Some(Place {
                    part,
                    frame,
                    segment: usize::try_from(sealed.start / MAX_SEGMENT_BYTES).ok()?,
                    start: sealed.start % MAX_SEGMENT_BYTES,
                    bytes: sealed.end - sealed.start,
                    plain_start: start + plain.start,
                })
            })
        })
    }
}

impl Part {
    fn read_all(sealing: Sealing, parts: &[wire::Part]) -> Result<Vec<Self>, RecordError> {
        let parts = parts.iter().map(|part| Self::read(sealing, part)).collect::<Result<Vec<_>, _>>()?;
        let plain_bytes = parts.iter().map(|part| part.shape.plain_bytes()).sum::<u64>();
        if plain_bytes > MAX_STREAM_BYTES {
            return Err(malformed(format!("an object of {plain_bytes} bytes")));
        }
        let salts = parts.iter().map(|part| part.salt).collect::<BTreeSet<_>>();
        if salts.len() < parts.len() {
            return Err(malformed("two parts of one salt"));
        }
        Ok(parts)
    }

    fn read(sealing: Sealing, part: &wire::Part) -> Result<Self, RecordError> {
        let shape = StreamShape::from_sealed(sealing, part.bytes)
            .filter(|shape| shape.sealed_bytes() > 0)
            .ok_or_else(|| malformed(format!("a part of {} bytes", part.bytes)))?;
        let salt = part.salt.as_slice().try_into().map_err(|_| malformed("a salt that has not 16 bytes"))?;
        let (segments, rest) = part.segments.as_chunks::<32>();
        if !rest.is_empty() || segments.len() as u64 != part.bytes.div_ceil(MAX_SEGMENT_BYTES) {
            return Err(malformed("a part whose segments are not as many as its length needs"));
        }
        Ok(Self { shape, salt, segments: segments.iter().map(|id| SegmentId(*id)).collect() })
    }
}

impl ObjectRecord {
    /// Reads what [`ObjectDraft::sign`] made, if its writer's signature holds. Whether that writer may write here
    /// is the caller's question.
    ///
    /// # Errors
    /// [`RecordError`], never [`RecordError::Name`] or [`RecordError::Secret`].
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        bounded(bytes, MAX_OBJECT_RECORD_BYTES)?;
        let signed = wire::SignedObjectRecord::decode(bytes).map_err(malformed)?;
        let writer = PublicKey::from_bytes(&signed.writer).map_err(malformed)?;
        if !writer.verify(Context::ObjectRecord, &signed.record, &signed.signature) {
            return Err(RecordError::Signature);
        }
        let parts = occurrences(&signed.record, PARTS_FIELD).map_err(malformed)?;
        if parts > MAX_PARTS {
            return Err(malformed(format!("{parts} parts, where at most {MAX_PARTS} fit")));
        }
        let mut record = wire::ObjectRecord::decode(signed.record.as_slice()).map_err(malformed)?;
        let secret = core::mem::take(&mut record.secret);
        if !(BOX_OVERHEAD_BYTES..=MAX_SECRET_BYTES).contains(&secret.len()) {
            return Err(malformed(format!("a secret of {} bytes", secret.len())));
        }
        let place = place(&record);
        Ok(Self { public: ObjectDraft::read(record)?, writer, secret, place })
    }

    /// Opens the secret by the key of the object's path.
    ///
    /// # Errors
    /// [`RecordError::Secret`], or [`RecordError::Malformed`] where its writer sealed something else.
    pub fn secret(&self, path: &RecordKey) -> Result<ObjectSecret, RecordError> {
        let inner = path.open(&self.place, &self.secret).map_err(|_| RecordError::Secret)?;
        let inner = wire::ObjectSecret::decode(inner.as_slice()).map_err(malformed)?;
        let key = inner.key.as_slice().try_into().map_err(|_| malformed("a key that has not 32 bytes"))?;
        Ok(ObjectSecret { key: ObjectKey::from_bytes(key), attributes: inner.attributes })
    }
}

/// What a record's secret is bound to. `record` has none yet, or has none any more.
fn place(record: &wire::ObjectRecord) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    place[..PURPOSE.len()].copy_from_slice(PURPOSE);
    place[PURPOSE.len()..].copy_from_slice(blake3::hash(&record.encode_to_vec()).as_bytes());
    place
}
