use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    base::{BlobRoot, SegmentId, UnixSeconds},
    identity::{Context, Keypair},
    storage::{
        erasure::{MAX_SEGMENT_BYTES, Profile, SegmentEncoder, SegmentShape, StripeDecoder},
        seal::{ObjectKey, Opener, PathKey, RecordKey, Sealer, Sealing, StreamShape},
    },
    wire::storage as wire,
};

const CIPHER: Sealing = Sealing::XChaCha20Poly1305;

fn path(text: &str) -> RecordKey {
    PathKey::bucket(&[1; 32], "photos").object(&text.parse().unwrap()).1
}

fn writer() -> Keypair {
    Keypair::from_secret([4; 32])
}

fn secret() -> ObjectSecret {
    ObjectSecret { key: ObjectKey::from_bytes([7; 32]), attributes: b"image/png".to_vec() }
}

fn part(plain_bytes: u64, salt: u8) -> Part {
    let shape = StreamShape::new(CIPHER, plain_bytes).unwrap();
    let segments = shape.sealed_bytes().div_ceil(MAX_SEGMENT_BYTES);
    let segments = (0..segments).map(|n| SegmentId([u8::try_from(n).unwrap(); 32])).collect();
    Part { shape, salt: [salt; 16], segments }
}

fn draft(parts: Vec<Part>) -> ObjectDraft {
    ObjectDraft {
        sequence: 3,
        modified: UnixSeconds(1_764_000_000),
        sealing: CIPHER,
        body: Body::Parts(parts),
    }
}

fn sign(draft: &ObjectDraft) -> Result<Vec<u8>, RecordError> {
    draft.sign(&secret(), &path("a/b.png"), &[9; 24], &writer())
}

/// Signs any public part as it is, to reach what stands behind the signature.
fn force(record: &wire::ObjectRecord) -> Result<ObjectRecord, RecordError> {
    let mut record = record.clone();
    if record.secret.is_empty() {
        record.secret = vec![0; 60];
    }
    let record = record.encode_to_vec();
    let signature = writer().sign(Context::ObjectRecord, &record).to_vec();
    let writer = writer().public().to_bytes().to_vec();
    ObjectRecord::read(&wire::SignedObjectRecord { record, writer, signature }.encode_to_vec())
}

fn public(signed: &[u8]) -> wire::ObjectRecord {
    let signed = wire::SignedObjectRecord::decode(signed).unwrap();
    wire::ObjectRecord::decode(signed.record.as_slice()).unwrap()
}

#[test]
fn a_record_says_who_wrote_it_and_opens_by_its_path_alone() {
    let draft = draft(vec![part(5 << 20, 0), part(100 << 20, 1), part(7, 2)]);
    let record = ObjectRecord::read(&sign(&draft).unwrap()).unwrap();
    assert_eq!((&record.public, &record.writer), (&draft, &writer().public()));
    assert_eq!(record.public.plain_bytes(), (105 << 20) + 7);
    assert_eq!(record.secret(&path("a/b.png")), Ok(secret()));
    assert_eq!(record.secret(&path("a/b.pnG")), Err(RecordError::Secret));
    assert_eq!(record.secret(&path("a")), Err(RecordError::Secret));
}

#[test]
fn a_secret_stays_with_what_it_was_written_for() {
    let mine = public(&sign(&draft(vec![part(5 << 20, 0)])).unwrap());
    let mut other = public(&sign(&draft(vec![part(6 << 20, 0)])).unwrap());
    other.secret = mine.secret;
    // Whoever may write, but does not know the path, can neither move a secret nor replace what it opens.
    assert_eq!(force(&other).unwrap().secret(&path("a/b.png")), Err(RecordError::Secret));
}

#[test]
fn any_changed_byte_of_a_record_is_caught() {
    let signed = sign(&draft(vec![part(100, 0)])).unwrap();
    for at in 0..signed.len() {
        let mut forged = signed.clone();
        forged[at] ^= 1;
        let read = ObjectRecord::read(&forged);
        assert!(read.is_err(), "byte {at}: {read:?}");
    }
}

/// What a record looks like on a disk of this version; a change here loses what was stored.
#[test]
fn records_keep_their_bytes() {
    let inline = ObjectDraft { body: Body::Inline(vec![5; 20]), ..draft(Vec::new()) };
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let shape = SegmentShape::new(Profile::SMALL, 70_000).unwrap();
    let (id, bytes) =
        SegmentRecord::new(shape, (0..12).map(|n| BlobRoot([n; 32])).collect()).unwrap().encode();
    let found =
        [hash(&sign(&inline).unwrap()), hash(&sign(&draft(vec![part(1 << 27, 6)])).unwrap()), hash(&bytes)];
    assert_eq!(found, ["4abaf07637321bbf", "eccdfeec359d2787", "6e3a00f5fc43e3dd"]);
    assert_eq!(hex::encode(&bytes[..16]), "080110021804200c28f0a20432800300");
    assert_eq!(id.0, *blake3::hash(&bytes).as_bytes());
}

#[test]
fn what_breaks_a_bound_is_neither_made_nor_read() {
    let good = public(&sign(&draft(vec![part(100, 0)])).unwrap());
    assert!(force(&good).is_ok());
    let check = |change: &dyn Fn(&mut wire::ObjectRecord), expect: &str| {
        let mut record = good.clone();
        change(&mut record);
        let error = force(&record).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}, expected {expect}");
    };
    check(&|record| record.version = 2, "layout 2");
    check(&|record| record.sealing = 9, "way of sealing");
    check(&|record| record.sealing = 0, "way of sealing");
    check(&|record| record.inline = vec![0; 20], "both inline");
    check(&|record| record.parts = vec![], "0 bytes inline");
    check(&|record| (record.parts, record.inline) = (vec![], vec![0; 4096 + 17]), "4113 bytes inline");
    check(&|record| record.secret = vec![0; 39], "secret of 39");
    check(&|record| record.secret = vec![0; 20 * 1024 + 1], "secret of 20481");
    check(&|record| record.parts[0].bytes = 15, "part of 15");
    check(&|record| record.parts[0].bytes = u64::MAX, "part of 1844");
    check(&|record| record.parts[0].bytes = MAX_SEGMENT_BYTES + 17, "segments");
    check(&|record| record.parts[0].segments = vec![], "segments");
    check(&|record| record.parts[0].segments.push(1), "segments");
    check(&|record| record.parts[0].salt = vec![0; 15], "salt");
    check(&|record| record.parts.push(record.parts[0].clone()), "one salt");
    check(&|record| record.parts = vec![record.parts[0].clone(); MAX_PARTS + 1], "10001 parts");
    let long = vec![0; MAX_OBJECT_RECORD_BYTES + 1];
    assert!(matches!(ObjectRecord::read(&long), Err(RecordError::TooLong { .. })));
    let attributes = ObjectSecret { attributes: vec![0; MAX_ATTRIBUTES_BYTES + 1], ..secret() };
    assert!(draft(vec![part(1, 0)]).sign(&attributes, &path("a"), &[0; 24], &writer()).is_err());
    assert!(sign(&draft(vec![part(1, 0), part(1, 0)])).is_err());
    let largest = ObjectSecret { attributes: vec![0; MAX_ATTRIBUTES_BYTES], ..secret() };
    assert!(draft(vec![part(1, 0)]).sign(&largest, &path("a"), &[0; 24], &writer()).is_ok());
}

#[test]
fn the_longest_object_has_a_record_that_is_read() {
    let terabytes = 5_u64 << 40;
    let parts: Vec<Part> = (0..MAX_PARTS as u64)
        .map(|n| {
            let shape = StreamShape::new(CIPHER, terabytes / MAX_PARTS as u64).unwrap();
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&n.to_be_bytes());
            let segments = vec![
                SegmentId([1; 32]);
                usize::try_from(shape.sealed_bytes().div_ceil(MAX_SEGMENT_BYTES)).unwrap()
            ];
            Part { shape, salt, segments }
        })
        .collect();
    let signed = sign(&draft(parts)).unwrap();
    assert!(ObjectRecord::read(&signed).is_ok(), "{} bytes", signed.len());
}

#[test]
fn segment_records_are_read_by_their_name_only() {
    let shape = SegmentShape::new(Profile::MIDDLE, 70_000).unwrap();
    let roots: Vec<BlobRoot> = (0..40).map(|n| BlobRoot([n; 32])).collect();
    let record = SegmentRecord::new(shape, roots.clone()).unwrap();
    let (id, bytes) = record.encode();
    assert_eq!(SegmentRecord::read(id, &bytes), Ok(record.clone()));
    assert_eq!((record.root(39), record.root(40)), (Some(roots[39]), None));
    assert_eq!(SegmentRecord::read(SegmentId([0; 32]), &bytes), Err(RecordError::Name));
    assert_eq!(SegmentRecord::new(shape, roots[1..].to_vec()), None);
    let check = |change: &dyn Fn(&mut wire::SegmentRecord)| {
        let mut record = wire::SegmentRecord::decode(bytes.as_slice()).unwrap();
        change(&mut record);
        let bytes = record.encode_to_vec();
        SegmentRecord::read(SegmentId(*blake3::hash(&bytes).as_bytes()), &bytes).unwrap_err()
    };
    assert_eq!(check(&|record| record.version = 0), RecordError::Version { found: 0, known: 1 });
    let changes: [&dyn Fn(&mut wire::SegmentRecord); 9] = [
        &|record| record.codec = 1,
        &|record| record.codec = 7,
        &|record| record.data_shards = 0,
        &|record| record.data_shards = 41,
        &|record| record.total_shards = 65_536 + 40,
        &|record| record.bytes = 0,
        &|record| record.bytes = MAX_SEGMENT_BYTES + 1,
        &|record| record.roots.truncate(32),
        &|record| record.roots.push(0),
    ];
    for change in changes {
        assert!(matches!(check(change), RecordError::Malformed(_)));
    }
}

#[test]
fn copies_have_one_name() {
    let shape = SegmentShape::new(Profile::for_network(3), 10).unwrap();
    let record = SegmentRecord::new(shape, vec![BlobRoot([1; 32]); 3]).unwrap();
    assert_eq!((record.root(2), record.root(3)), (Some(BlobRoot([1; 32])), None));
    let (id, bytes) = record.encode();
    assert_eq!(SegmentRecord::read(id, &bytes), Ok(record));
    assert_eq!(
        SegmentRecord::new(shape, vec![BlobRoot([1; 32]), BlobRoot([1; 32]), BlobRoot([2; 32])]),
        None
    );
    assert_eq!(SegmentRecord::new(shape, vec![BlobRoot([1; 32])]), None);
}

/// The whole way: seal, cut, spread, lose, read a range by the records alone.
#[test]
fn a_range_is_read_back_from_any_k_shards_by_the_records_alone() {
    let plain: Vec<u8> =
        (0..900_000_u32).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect();
    let (mut segments, mut parts, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for (salt, bytes) in [(1, &plain[..700_000]), (2, &plain[700_000..])] {
        let mut sealer = Sealer::new(CIPHER, &secret().key.stream(&[salt; 16]));
        let mut sealed = Vec::new();
        sealer.update(bytes, &mut sealed).unwrap();
        let stream = sealer.finish(&mut sealed);
        let (mut encoder, mut shards) = (SegmentEncoder::new(Profile::SMALL), vec![Vec::new(); 12]);
        for stripe in sealed.chunks(256 * 1024) {
            encoder
                .stripe(stripe, |shard, block| shards[usize::from(shard)].extend_from_slice(block))
                .unwrap();
        }
        let (shape, trees) = encoder.finish().unwrap();
        let roots = trees.iter().map(|tree| tree.root()).collect();
        let (id, record) = SegmentRecord::new(shape, roots).unwrap().encode();
        segments.push((id, record));
        stored.push(shards);
        parts.push(Part { shape: stream, salt: [salt; 16], segments: vec![id] });
    }
    let signed = sign(&draft(parts)).unwrap();

    let record = ObjectRecord::read(&signed).unwrap();
    let key = record.secret(&path("a/b.png")).unwrap().key;
    let Body::Parts(parts) = &record.public.body else { panic!("parts were stored") };
    for range in [0..900_000_u64, 650_000..720_000, 699_999..700_001, 899_999..1_000_000] {
        let mut read = Vec::new();
        let mut first = None;
        for place in record.public.places(range.clone()) {
            let part = &parts[place.part];
            let (id, bytes) = &segments[place.part];
            assert_eq!(part.segments[place.segment], *id);
            let segment = SegmentRecord::read(*id, bytes).unwrap();
            let mut decoder = StripeDecoder::new(segment.shape());
            let mut sealed = Vec::new();
            for stripe in 0..segment.shape().stripes() {
                let range = segment.shape().block_range(stripe).unwrap();
                let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                let kept = [2_u16, 5, 7, 11]
                    .map(|shard| (shard, &stored[place.part][usize::from(shard)][range.clone()]));
                decoder.decode(stripe, &kept.into(), &mut sealed).unwrap();
            }
            let frame =
                usize::try_from(place.start).unwrap()..usize::try_from(place.start + place.bytes).unwrap();
            first.get_or_insert(place.plain_start);
            Opener::new(&key.stream(&part.salt), part.shape)
                .open(place.frame, &sealed[frame], &mut read)
                .unwrap();
        }
        let skip = usize::try_from(range.start - first.unwrap()).unwrap();
        let length = usize::try_from(range.end.min(900_000) - range.start).unwrap();
        let expect = &plain[usize::try_from(range.start).unwrap()..][..length];
        assert!(read[skip..skip + length] == *expect, "{range:?}");
    }
    assert_eq!(record.public.places(900_000..900_001).count(), 0);
    assert_eq!(record.public.places(5..5).count(), 0);
}

/// Decoded, these four megabytes would be a hundred.
#[test]
fn parts_are_counted_before_they_are_decoded() {
    let record = [0x32, 0].repeat(MAX_OBJECT_RECORD_BYTES / 2 - 100);
    let writer = Keypair::from_secret([1; 32]);
    let signature = writer.sign(Context::ObjectRecord, &record).to_vec();
    let writer = writer.public().to_bytes().to_vec();
    let signed = wire::SignedObjectRecord { record, writer, signature }.encode_to_vec();
    assert_eq!(ObjectRecord::read(&signed), Err(malformed("2097052 parts, where at most 10000 fit")));
}

proptest! {
    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(ObjectRecord::read(&garbage).is_err());
        let id = SegmentId(*blake3::hash(&garbage).as_bytes());
        prop_assert!(SegmentRecord::read(id, &garbage).is_err());
    }

    #[test]
    fn places_tile_any_range(sizes in prop::collection::vec(1u64..200_000_000, 1..5), from in 0u64..400_000_000, length in 0u64..300_000_000) {
        let parts = sizes.iter().zip(0..).map(|(size, salt)| part(*size, salt)).collect();
        let draft = draft(parts);
        let end = (from + length).min(draft.plain_bytes());
        let mut at = None;
        for place in draft.places(from..from + length) {
            prop_assert!(at.is_none_or(|at| at == place.plain_start));
            prop_assert!(place.start + place.bytes <= MAX_SEGMENT_BYTES);
            let shape = draft.streams().nth(place.part).unwrap();
            let plain = shape.frame_plain(place.frame).unwrap();
            prop_assert!(at.is_some() || (place.plain_start..place.plain_start + plain.end - plain.start).contains(&from));
            at = Some(place.plain_start + plain.end - plain.start);
        }
        match at {
            Some(at) => prop_assert!(at >= end && from < end),
            None => prop_assert!(from >= end),
        }
    }
}
