//! What is fuzzed: one function for each parser of untrusted bytes. None may panic, whatever it is fed,
//! and each asserts what must hold of what it accepted.
//!
//! Shared by the fuzzer and by the ordinary test that replays `corpus/`. Where a signature would stop every
//! mutation at the door, the target signs the mutated bytes itself, so that the parser behind it is reached.

#[path = "ipfs.rs"]
mod ipfs;
#[path = "money.rs"]
mod money;
#[path = "swarm.rs"]
mod swarm;
#[path = "websocket.rs"]
mod websocket;

use prost::Message as _;
use shared::{
    base::{BlobRoot, SegmentId, UnixSeconds},
    cdn::{
        blob::{BlobHashes, BlobShape, GROUP_BYTES, HashTree, MAX_BLOB_BYTES, PAGE_BYTES, read_slice},
        bulk::{Answer, AnswerReader, read_open},
        introduction::{MAX_DESCRIPTION_BYTES, MAX_HOPS},
        manifest::{MAX_ASSETS, Manifest, Pin, SitePath},
        messages::{self, Control, MAX_ADDRESSES, MAX_HANDED_IN, MAX_HAVE_BLOBS, MAX_PEERS, MAX_SITES, What},
        part::Piece,
    },
    coordination::{Advert, AdvertRegistry, RegistryLimits},
    identity::{Context, Delegation, Keypair, PublicKey},
    storage::{
        erasure::MAX_SEGMENT_BYTES,
        extras::{MAX_EXTRA_BYTES, SHARDS_OF_A_TAB},
        holders::{
            Directory, FailedAudit, HolderAdvert, HolderVerdict, Lease, MAX_EVIDENCE_BYTES, MAX_LEASE_BYTES,
            MAX_SOFTWARE_BYTES,
        },
        messages::{Ask, MAX_HAND_OUT_BYTES, MAX_PAYLOAD_BYTES, Said, ShardAnswer, ShardRequest},
        proof::{self, Challenge, Fault, MAX_ANSWER_BYTES, check_answer},
        record::{Body, MAX_PARTS, ObjectRecord, ObjectSecret, RecordError, SegmentRecord},
        seal::{MAX_OBJECT_PATH_BYTES, MAX_STREAM_BYTES, ObjectKey, PathKey},
    },
    wire::{self, FrameReader, MAX_FRAME_BYTES},
};

/// A parser, or a few that belong together, fed with one input.
pub(crate) type Target = fn(&[u8]);

/// Name and function of every target; `corpus/<name>/` holds what it starts from.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("frames", frames),
    ("keys", keys),
    ("paths", paths),
    ("delegation", delegation),
    ("delegation_contents", delegation_contents),
    ("manifest", manifest),
    ("manifest_contents", manifest_contents),
    ("hash_pages", hash_pages),
    ("advert", advert),
    ("advert_contents", advert_contents),
    ("cdn_control", cdn_control),
    ("cdn_request", cdn_request),
    ("cdn_answers", cdn_answers),
    ("cdn_peer", swarm::peer),
    ("money_quote", money::quote),
    ("money_voucher", money::voucher),
    ("money_ledger", money::ledger),
    ("identity_statements", money::statements),
    ("identity_texts", money::texts),
    ("storage_object", storage_object),
    ("storage_segment", storage_segment),
    ("storage_path", storage_path),
    ("storage_proof", storage_proof),
    ("storage_slice", storage_slice),
    ("websocket", websocket::websocket),
    ("storage_holder", storage_holder),
    ("storage_lease", storage_lease),
    ("storage_evidence", storage_evidence),
    ("storage_shards", storage_shards),
    ("ipfs_blocks", ipfs::blocks),
    ("ipfs_bitswap", ipfs::exchange),
    ("ipfs_names", ipfs::names),
    ("ipfs_texts", ipfs::texts),
];

const NOW: UnixSeconds = UnixSeconds(1_764_000_000);

fn key() -> Keypair {
    Keypair::from_secret([1; 32])
}

fn pin() -> Pin {
    Pin { publisher: key().public(), site: "example.org".to_owned(), min_delegation: 0 }
}

/// The first byte says how the rest is cut into deliveries.
fn frames(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let mut reader = FrameReader::default();
    for delivery in stream.chunks(usize::from(*cut) + 1) {
        reader.handle_bytes(delivery);
        loop {
            match reader.poll_frame() {
                Ok(Some(frame)) => assert!(frame.len() <= MAX_FRAME_BYTES, "a frame over its bound"),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        // One frame may wait for its end; no more than that is ever kept.
        assert!(reader.buffered_bytes() <= MAX_FRAME_BYTES + 3, "an incomplete frame over its bound");
    }
}

fn keys(data: &[u8]) {
    let _ = PublicKey::from_bytes(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key), "a key reads back from its name");
    }
}

fn paths(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = text.parse::<SitePath>() {
        assert!(path.as_str().starts_with('/') && !path.as_str().contains("/../"));
        assert_eq!(path.as_str(), text, "a path is never rewritten");
    }
}

fn delegation(data: &[u8]) {
    if let Ok(signed) = wire::cdn::SignedDelegation::decode(data) {
        let _ = Delegation::open(&signed).map(|delegation| delegation.check(NOW, 0));
    }
}

fn delegation_contents(data: &[u8]) {
    let signature = key().sign(Context::Delegation, data).to_vec();
    let signed = wire::cdn::SignedDelegation { delegation: data.to_vec(), signature };
    if let Ok(delegation) = Delegation::open(&signed) {
        assert_eq!(delegation.publisher, key().public(), "only its publisher can have signed it");
        let _ = delegation.check(NOW, 3);
    }
}

fn manifest(data: &[u8]) {
    let _ = Manifest::open(data, &pin(), 0, NOW);
}

fn manifest_contents(data: &[u8]) {
    let signature = key().sign(Context::Manifest, data).to_vec();
    let signed = wire::cdn::SignedManifest { manifest: data.to_vec(), signature, delegation: None };
    let Ok(manifest) = Manifest::open(&signed.encode_to_vec(), &pin(), 0, NOW) else { return };
    assert!(manifest.assets.len() <= MAX_ASSETS);
    assert!(manifest.assets.values().all(|asset| asset.shape.size() <= MAX_BLOB_BYTES));
    let again = manifest.sign(&key(), None).expect("what was read can be signed again");
    assert_eq!(Manifest::open(&again, &pin(), 0, NOW), Ok(manifest), "reading and writing agree");
}

/// The first three bytes choose the blob's size and which part the rest pretends to be.
fn hash_pages(data: &[u8]) {
    let Some(([size, part, index], bytes)) = data.split_first_chunk() else { return };
    let sizes =
        [0, 1, GROUP_BYTES, GROUP_BYTES + 1, PAGE_BYTES, PAGE_BYTES + 1, 3 * PAGE_BYTES, MAX_BLOB_BYTES];
    let size = sizes[usize::from(*size) % sizes.len()];
    let shape = BlobShape::new(size).expect("no size here is over the bound");
    let mut hashes = BlobHashes::new(BlobRoot([3; 32]), shape);
    let index = u32::from(*index) * 1024;
    // Nobody can find bytes for a root that was not made from any.
    match part % 3 {
        0 => assert!(hashes.insert_top(bytes).is_err()),
        1 => assert!(hashes.insert_page(index, bytes).is_err()),
        _ => assert!(hashes.verify_group(index, bytes).is_err()),
    }
    assert!(hashes.top().is_none() && hashes.page(index).is_none(), "nothing unverified is kept");
}

fn advert(data: &[u8]) {
    let mut registry = AdvertRegistry::new(RegistryLimits::default());
    registry.apply(NOW, &key().public().to_peer_id(), data);
    assert!(registry.len() <= 1);
}

fn advert_contents(data: &[u8]) {
    let signature = key().sign(Context::Advert, data).to_vec();
    let signed = wire::coordination::SignedAdvert { advert: data.to_vec(), signature }.encode_to_vec();
    if let Ok(advert) = Advert::open(&signed) {
        assert_eq!(advert.node, key().public(), "only its node can have signed it");
        advert.is_current(NOW);
    }
}

/// Any frame of a control stream, the first included.
fn cdn_control(data: &[u8]) {
    let _ = read_open(data);
    let Ok(Some(control)) = messages::read_control(data) else { return };
    assert!(data.len() <= MAX_FRAME_BYTES, "a frame over its bound was read");
    match control {
        Control::Hello(hello) => assert!(hello.sites.len() <= MAX_SITES),
        Control::Have(blobs, _) => {
            assert!(blobs.len() <= MAX_HAVE_BLOBS);
            for blob in blobs {
                assert!(blob.coming.len() <= messages::MAX_HAVE_RANGES);
                if let What::Added(ranges) = blob.what {
                    assert!(ranges.len() <= messages::MAX_HAVE_RANGES);
                }
            }
        }
        Control::AskPeers(ask) => {
            assert!(ask.count <= MAX_PEERS && ask.receipts.len() <= MAX_HANDED_IN);
            assert!(lawful(&ask.addresses));
        }
        Control::Peers(peers) => {
            assert!(peers.peers.len() <= MAX_PEERS);
            assert!(peers.peers.iter().all(|(_, addresses)| lawful(addresses)));
        }
        Control::Offer(offer) => {
            assert!(offer.hops <= MAX_HOPS && offer.description.len() <= MAX_DESCRIPTION_BYTES);
            let _ = offer.is_signed();
        }
        Control::Answer(answer) => {
            assert!(answer.description.len() <= MAX_DESCRIPTION_BYTES);
            let _ = answer.is_signed(&answer.from);
        }
        Control::Cancel(_)
        | Control::Choke
        | Control::Unchoke
        | Control::Receipt(_)
        | Control::Report(_)
        | Control::Refuse => {}
    }
}

fn lawful(addresses: &[Vec<u8>]) -> bool {
    addresses.len() <= MAX_ADDRESSES
        && addresses.iter().all(|address| address.len() <= messages::MAX_ADDRESS_BYTES)
}

/// Any frame of the two bulk streams.
fn cdn_request(data: &[u8]) {
    if let Ok(request) = messages::read_request(data) {
        let shape = BlobShape::new(3 * PAGE_BYTES + 1).expect("a lawful size");
        assert!(!request.part.fits(shape) || request.part.bytes(shape) <= 64 * GROUP_BYTES);
    }
    if let Ok(end) = messages::read_end(data) {
        let again = messages::end(end.request, Some(end.refusal), end.retry_after_ms);
        assert_eq!(messages::read_end(&again), Ok(end), "reading and writing agree");
    }
}

/// The first byte says how the rest is cut into deliveries; a stream reads the same however it is cut.
fn cdn_answers(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let read = |size: usize| {
        let (mut reader, mut answers) = (AnswerReader::default(), Vec::new());
        for delivery in stream.chunks(size) {
            reader.handle_bytes(delivery);
            loop {
                match reader.poll_answer() {
                    Ok(Some(answer)) => {
                        if let Answer::Piece { payload, .. } = &answer {
                            assert!(payload.len() as u64 <= Piece::MAX_BYTES, "a piece over its bound");
                        }
                        answers.push(answer);
                    }
                    Ok(None) => break,
                    Err(offence) => return (answers, Err(offence)),
                }
            }
        }
        (answers, Ok(reader.is_between_answers()))
    };
    assert_eq!(read(usize::from(*cut) + 1), read(stream.len().max(1)), "how it was cut changes nothing");
}

fn storage_object(data: &[u8]) {
    let _ = ObjectRecord::read(data);
    let signature = key().sign(Context::ObjectRecord, data).to_vec();
    let writer = key().public().to_bytes().to_vec();
    let signed = wire::storage::SignedObjectRecord { record: data.to_vec(), writer, signature };
    let Ok(record) = ObjectRecord::read(&signed.encode_to_vec()) else { return };
    let plain_bytes = record.public.plain_bytes();
    assert!(plain_bytes <= MAX_STREAM_BYTES, "an object over its bound");
    if let Body::Parts(parts) = &record.public.body {
        assert!(parts.len() <= MAX_PARTS);
    }
    let last = record.public.places(plain_bytes.saturating_sub(1)..u64::MAX).count();
    assert_eq!(last, usize::from(plain_bytes > 0), "the last byte is in one frame");
    let (_, path) = PathKey::from_bytes([1; 32]).object(&"a".parse().expect("a path"));
    let secret = ObjectSecret { key: ObjectKey::from_bytes([2; 32]), attributes: Vec::new() };
    let again =
        record.public.sign(&secret, &path, &[3; 24], &key()).expect("what was read can be signed again");
    let again = ObjectRecord::read(&again).expect("what was signed is read");
    assert_eq!(again.public, record.public, "reading and writing agree");
    assert_eq!(again.secret(&path), Ok(secret));
}

fn storage_segment(data: &[u8]) {
    let id = SegmentId(HashTree::of(data).expect("an input is small").root().0);
    assert!(!matches!(SegmentRecord::read(id, data), Err(RecordError::Name)));
    let Ok(record) = SegmentRecord::read(id, data) else { return };
    let shards = record.shape().profile().total_shards();
    assert!(record.root(shards - 1).is_some() && record.root(shards).is_none());
    let (id, bytes) = record.encode();
    assert_eq!(SegmentRecord::read(id, &bytes), Ok(record), "reading and writing agree");
}

fn storage_path(data: &[u8]) {
    let bucket = PathKey::from_bytes([1; 32]);
    if let Ok(path) = bucket.open_path(data) {
        assert!(path.as_str().len() <= MAX_OBJECT_PATH_BYTES);
        assert_eq!(bucket.seal_path(&path), data, "a path has one sealed form");
    }
}

/// An answer as it came, and one that the holder signed whatever it says. Nobody has the shard of this root.
fn storage_proof(data: &[u8]) {
    let challenge = Challenge { root: BlobRoot([3; 32]), beacon: [4; 32], holder: key().public() };
    let _ = check_answer(&challenge, data);
    let signature = key().sign(Context::ShardProof, data).to_vec();
    let holder = key().public().to_bytes().to_vec();
    let signed =
        wire::storage::SignedProofAnswer { answer: data.to_vec(), holder, signature }.encode_to_vec();
    match check_answer(&challenge, &signed) {
        Ok(answer) => assert_eq!(answer, proof::Answer::Lost, "nobody can prove what nobody has"),
        Err(fault) => assert!(
            fault != Fault::Signature && (fault == Fault::Malformed || signed.len() <= MAX_ANSWER_BYTES)
        ),
    }
}

/// Which groups, and a slice of them. Whatever is verified is the blob's.
fn storage_slice(data: &[u8]) {
    let Some(([first, count], slice)) = data.split_first_chunk() else { return };
    let groups = u32::from(*first)..u32::from(*first) + u32::from(*count);
    let blob = [7; 40_000];
    let tree = HashTree::of(&blob).expect("a blob is longer");
    let mut next = groups.start;
    let read = read_slice(tree.root(), tree.shape(), &groups, slice, |group, place| {
        assert_eq!(group, next, "groups come in order");
        next += 1;
        let bytes = tree.shape().group_bytes(group).expect("it is in the blob");
        assert_eq!(place.len() as u64, bytes.end - bytes.start);
        assert!(slice[place].iter().all(|byte| *byte == 7), "what was verified is the blob's");
    });
    assert!(read.is_err() || next >= groups.end.min(tree.shape().groups()), "all of them, or an error");
}

/// An advert as it came, and one that its node signed whatever it says.
fn storage_holder(data: &[u8]) {
    let mut directory = Directory::default();
    let verdict = directory.handle_advert(NOW, data);
    assert_eq!(directory.current(NOW).count(), usize::from(matches!(verdict, HolderVerdict::Fresh(_))));
    let signature = key().sign(Context::HolderAdvert, data).to_vec();
    let signed = wire::storage::SignedHolderAdvert { advert: data.to_vec(), signature }.encode_to_vec();
    let Ok(advert) = HolderAdvert::open(&signed) else { return };
    assert_eq!(advert.node, key().public(), "only its node can have signed it");
    assert!(advert.software.len() <= MAX_SOFTWARE_BYTES && advert.addresses.len() <= 8);
    assert_eq!(HolderAdvert::open(&advert.clone().sign(&key())), Ok(advert), "reading and writing agree");
}

fn storage_lease(data: &[u8]) {
    let _ = Lease::open(data);
    let signature = key().sign(Context::Lease, data).to_vec();
    let holder = key().public().to_bytes().to_vec();
    let signed = wire::storage::SignedLease { lease: data.to_vec(), holder, signature }.encode_to_vec();
    let Ok(lease) = Lease::open(&signed) else { return };
    assert!(
        lease.bytes <= MAX_SEGMENT_BYTES && lease.issued < lease.until && signed.len() <= MAX_LEASE_BYTES
    );
    assert_eq!(Lease::open(&lease.sign(&key())), Ok(lease), "reading and writing agree");
}

fn storage_evidence(data: &[u8]) {
    let _ = FailedAudit::open(data);
    let signature = key().sign(Context::FailedAudit, data).to_vec();
    let auditor = key().public().to_bytes().to_vec();
    let signed =
        wire::storage::SignedFailedAudit { audit: data.to_vec(), auditor, signature }.encode_to_vec();
    let Ok(audit) = FailedAudit::open(&signed) else { return };
    assert!(signed.len() <= MAX_EVIDENCE_BYTES && audit.auditor == key().public());
    assert_eq!(FailedAudit::open(&audit.sign(&key())), Ok(audit), "reading and writing agree");
}

/// Both frames of a stream.
fn storage_shards(data: &[u8]) {
    if let Ok(request) = ShardRequest::read(data) {
        match &request.ask {
            Ask::Store { bytes, .. } => assert!((1..=MAX_SEGMENT_BYTES).contains(bytes)),
            Ask::HandOut { range, .. } => {
                assert!(!range.is_empty() && range.end - range.start <= MAX_HAND_OUT_BYTES);
            }
            Ask::Keep { bytes, .. } => assert!((1..=MAX_EXTRA_BYTES).contains(bytes)),
            Ask::OfferRoom(room) => assert!(room.kept.len() <= SHARDS_OF_A_TAB),
            Ask::Drop { .. }
            | Ask::Challenge { .. }
            | Ask::Opinion(_)
            | Ask::Evidence { .. }
            | Ask::ListHolders { .. }
            | Ask::ListEvidence { .. } => {}
        }
        if let Some(again) = request.encode() {
            assert_eq!(ShardRequest::read(&again), Ok(request), "reading and writing agree");
        }
    }
    if let Ok(answer) = ShardAnswer::read(data) {
        if let Said::Payload { payload_bytes, .. } = answer.said {
            assert!(payload_bytes <= MAX_PAYLOAD_BYTES);
        }
        assert_eq!(ShardAnswer::read(&answer.encode()), Ok(answer), "reading and writing agree");
    }
}
