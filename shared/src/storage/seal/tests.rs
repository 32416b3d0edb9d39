use aead_stream::{NewStream as _, StreamBE32, StreamPrimitive as _};
use aes_gcm::Aes256Gcm;
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::base::BlobRoot;

const CIPHER: Sealing = Sealing::XChaCha20Poly1305;
const CIPHERS: [Sealing; 2] = [CIPHER, Sealing::Aes256Gcm];
const FULL: u64 = FRAME_BYTES - TAG_BYTES;

fn key(n: u8) -> StreamKey {
    ObjectKey::from_bytes([n; 32]).stream(&[0; 16])
}

fn bytes(size: u64) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

fn seal(sealing: Sealing, key: &StreamKey, plain: &[u8], cut: usize) -> (StreamShape, Vec<u8>) {
    let (mut sealer, mut sealed) = (Sealer::new(sealing, key), Vec::new());
    for chunk in plain.chunks(cut) {
        sealer.update(chunk, &mut sealed).unwrap();
    }
    (sealer.finish(&mut sealed), sealed)
}

fn open(key: &StreamKey, shape: StreamShape, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (opener, mut plain) = (Opener::new(key, shape), Vec::new());
    for index in 0..shape.frames() {
        let range = shape.frame_sealed(index).unwrap();
        let end = usize::try_from(range.end).unwrap().min(sealed.len());
        let start = usize::try_from(range.start).unwrap().min(end);
        opener.open(index, &sealed[start..end], &mut plain)?;
    }
    Ok(plain)
}

/// Sizes at which the number of frames changes.
const SIZES: [u64; 8] = [0, 1, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 1, 3 * FULL + 77];

#[test]
fn the_cipher_is_that_of_the_draft() {
    // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap());
    let aad = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let sealed = XChaCha20Poly1305::new_from_slice(&key)
        .unwrap()
        .encrypt(&nonce.into(), Payload { msg: plain, aad: &aad })
        .unwrap();
    let expect = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda\
                  7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b23835\
                  65d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
    assert_eq!(hex::encode(&sealed), expect);
    let boxed = keys::seal_box(&key.try_into().unwrap(), &nonce, &aad, plain);
    assert_eq!(boxed, [&nonce[..], &sealed].concat());
}

#[test]
fn the_mac_is_that_of_the_rfc() {
    // RFC 4231, test case 2.
    let mut mac = <Hmac<Sha256>>::new_from_slice(b"Jefe").unwrap();
    mac.update(b"what do ya want for nothing?");
    let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex::encode(mac.finalize().into_bytes()), expect);
    let mut mac = <Hmac<Sha256>>::new_from_slice(&[7; 32]).unwrap();
    mac.update(b"blackhole/storage/folder\0photos");
    let expect: [u8; 32] = mac.finalize().into_bytes().into();
    assert_eq!(PathKey::from_bytes([7; 32]).folder("photos").to_bytes(), expect);
}

#[test]
fn frames_are_what_another_stream_implementation_makes() {
    for size in SIZES {
        let cipher = XChaCha20Poly1305::new((&key(1).0).into());
        let other = StreamBE32::from_aead(cipher, &[0; 19].into());
        check_against(CIPHER, size, |frame, last, plain| other.encrypt(frame, last, plain).unwrap());
        let cipher = Aes256Gcm::new((&key(1).0).into());
        let other = StreamBE32::from_aead(cipher, &[0; 7].into());
        let sealing = Sealing::Aes256Gcm;
        check_against(sealing, size, |frame, last, plain| other.encrypt(frame, last, plain).unwrap());
    }
}

fn check_against(sealing: Sealing, size: u64, other: impl Fn(u32, bool, &[u8]) -> Vec<u8>) {
    let plain = bytes(size);
    let (shape, ours) = seal(sealing, &key(1), &plain, 10_000);
    let mut theirs = Vec::new();
    for index in 0..shape.frames() {
        let range = shape.frame_plain(index).unwrap();
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        theirs.extend(other(index, index + 1 == shape.frames(), &plain[range]));
    }
    assert!(ours == theirs, "{sealing:?} {size}");
    assert_eq!(ours.len() as u64, shape.sealed_bytes());
}

#[test]
fn a_stream_reads_back_and_every_changed_frame_is_noticed() {
    for (size, sealing) in SIZES.into_iter().flat_map(|size| CIPHERS.map(|sealing| (size, sealing))) {
        let plain = bytes(size);
        let (shape, mut sealed) = seal(sealing, &key(1), &plain, 7_000);
        assert!(open(&key(1), shape, &sealed).unwrap() == plain, "{size}");
        for index in 0..shape.frames() {
            let at = usize::try_from(shape.frame_sealed(index).unwrap().start).unwrap();
            sealed[at] ^= 1;
            assert_eq!(open(&key(1), shape, &sealed), Err(OpenError::Forged { index }), "{size}");
            sealed[at] ^= 1;
        }
    }
}

#[test]
fn what_was_cut_off_is_missed() {
    let plain = bytes(3 * FULL);
    let (shape, sealed) = seal(CIPHER, &key(1), &plain, 70_000);
    // On a frame's border, with a size that fits: only the last frame's flag tells.
    let shorter = StreamShape::new(CIPHER, 2 * FULL).unwrap();
    let kept = usize::try_from(shorter.sealed_bytes()).unwrap();
    assert_eq!(open(&key(1), shorter, &sealed[..kept]), Err(OpenError::Forged { index: 1 }));
    let length = OpenError::Length { index: 2, found: 0, expected: FRAME_BYTES };
    assert_eq!(open(&key(1), shape, &sealed[..kept]), Err(length));
    // And what was made longer by a frame of its own.
    let longer = StreamShape::new(CIPHER, 4 * FULL).unwrap();
    let doubled = [&sealed[..], &sealed[kept..]].concat();
    assert_eq!(open(&key(1), longer, &doubled), Err(OpenError::Forged { index: 2 }));
}

#[test]
fn frames_open_in_their_place_in_their_stream_only() {
    let plain = bytes(4 * FULL);
    let (shape, mine) = seal(CIPHER, &key(1), &plain, 70_000);
    let frame = usize::try_from(FRAME_BYTES).unwrap();
    let opener = Opener::new(&key(1), shape);
    let mut out = vec![1, 2, 3];
    assert_eq!(opener.open(2, &mine[frame..2 * frame], &mut out), Err(OpenError::Forged { index: 2 }));
    assert_eq!(opener.open(4, &mine[..frame], &mut out), Err(OpenError::Absent { index: 4 }));
    // Another object of equal contents, and another stream of the same object.
    let salted = ObjectKey::from_bytes([1; 32]).stream(&[1; 16]);
    for other in [key(2), salted] {
        let (_, theirs) = seal(CIPHER, &other, &plain, 70_000);
        assert_eq!(opener.open(0, &theirs[..frame], &mut out), Err(OpenError::Forged { index: 0 }));
    }
    assert_eq!(out, [1, 2, 3], "nothing unopened comes out");
    // A range costs the frames it touches.
    let touched = shape.frames_touched(&(FULL + 5..2 * FULL));
    assert_eq!(touched, 1..2);
    opener.open(1, &mine[frame..2 * frame], &mut out).unwrap();
    assert!(out[3..] == plain[usize::try_from(FULL).unwrap()..usize::try_from(2 * FULL).unwrap()]);
}

#[test]
fn plain_streams_are_their_own_bytes_and_frames_know_their_place() {
    let plain = bytes(2 * FULL + 9);
    let (shape, stored) = seal(Sealing::Plain, &key(1), &plain, 1000);
    assert_eq!(shape.frames(), 3);
    let frame = usize::try_from(FRAME_BYTES).unwrap();
    let full = usize::try_from(FULL).unwrap();
    assert!(stored[..full] == plain[..full] && stored[frame..frame + full] == plain[full..2 * full]);
    assert!(open(&key(1), shape, &stored).unwrap() == plain);
    // Equal contents of another object are no equal bytes: each is deleted by itself.
    let (_, others) = seal(Sealing::Plain, &key(2), &plain, 1000);
    assert!(others != stored);
    assert_eq!(open(&key(2), shape, &stored), Err(OpenError::Forged { index: 0 }));
    let swapped = [&stored[frame..2 * frame], &stored[..frame], &stored[2 * frame..]].concat();
    assert_eq!(open(&key(1), shape, &swapped), Err(OpenError::Forged { index: 0 }));
    let shorter = StreamShape::new(Sealing::Plain, 2 * FULL).unwrap();
    assert_eq!(open(&key(1), shorter, &stored[..2 * frame]), Err(OpenError::Forged { index: 1 }));
}

#[test]
fn contents_converge_only_where_that_was_asked_for() {
    let (a, b) = (BlobRoot([1; 32]), BlobRoot([2; 32]));
    let convergent = |secret: u8, contents| ObjectKey::convergent(&[secret; 32], contents);
    assert_eq!(convergent(1, &a), convergent(1, &a));
    assert_ne!(convergent(1, &a), convergent(1, &b));
    assert_ne!(convergent(1, &a), convergent(2, &a));
    // Equal contents in other parts: no two streams of other bytes have one key.
    let key = convergent(1, &a);
    assert_eq!(key.convergent_salt(1, &a), convergent(1, &a).convergent_salt(1, &a));
    assert_ne!(key.convergent_salt(1, &a), key.convergent_salt(1, &b));
    assert_ne!(key.convergent_salt(1, &a), key.convergent_salt(0, &a), "equal parts of one object");
    assert_ne!(key.convergent_salt(1, &a), convergent(2, &a).convergent_salt(1, &a));
}

#[test]
fn no_key_prints() {
    let printed =
        format!("{:?} {:?} {:?}", ObjectKey::from_bytes([165; 32]), key(165), PathKey::from_bytes([165; 32]));
    assert_eq!(printed, "ObjectKey(…) StreamKey(…) PathKey(…)");
}

#[test]
fn a_folders_key_opens_that_folder_and_nothing_else() {
    let bucket = PathKey::bucket(&[1; 32], "photos");
    let path = |text: &str| text.parse::<ObjectPath>().unwrap();
    let (granted, record) = bucket.object(&path("2026/summer/beach.jpg"));
    assert_eq!(granted, bucket.folder("2026").folder("summer"));
    // From below, by the granted key alone.
    assert_eq!(granted.object(&path("beach.jpg")).1, record);
    let sealed = bucket.seal_path(&path("2026/summer/beach.jpg"));
    let prefix = bucket.seal_path(&path("2026/summer"));
    let below = sealed.strip_prefix(prefix.as_slice()).unwrap();
    assert_eq!(granted.open_path(below), Ok(path("beach.jpg")));
    assert_eq!(granted.open_path(&sealed), Err(NameError::Forged));
    // Beside it: another folder, the object that has the folder's name, the same path in another bucket.
    let beside = bucket.seal_path(&path("2026/winter/beach.jpg"));
    assert_eq!(granted.open_path(&beside[prefix.len()..]), Err(NameError::Forged));
    assert_ne!(bucket.object(&path("2026/summer")).1, RecordKey(granted.to_bytes()));
    assert_ne!(PathKey::bucket(&[1; 32], "photo").object(&path("2026/summer/beach.jpg")).1, record);
    assert_ne!(PathKey::bucket(&[2; 32], "photos").object(&path("2026/summer/beach.jpg")).1, record);
}

#[test]
fn paths_have_the_length_that_s3_allows() {
    assert_eq!("".parse::<ObjectPath>(), Err(ObjectPathError { found: 0 }));
    assert_eq!("ü".repeat(513).parse::<ObjectPath>(), Err(ObjectPathError { found: 1026 }));
    let slashes: ObjectPath = "/".repeat(1024).parse().unwrap();
    let bucket = PathKey::bucket(&[1; 32], "b");
    let sealed = bucket.seal_path(&slashes);
    assert_eq!(bucket.open_path(&sealed), Ok(slashes));
    assert!(sealed.len() <= 64 * 1024, "{}", sealed.len());
}

proptest! {
    #[test]
    fn any_text_is_a_path_and_reads_back(text in "\\PC{1,200}|[a/]{1,40}") {
        let path: ObjectPath = text.parse().unwrap();
        let bucket = PathKey::bucket(&[3; 32], "b");
        let sealed = bucket.seal_path(&path);
        prop_assert_eq!(bucket.open_path(&sealed), Ok(path.clone()));
        prop_assert_eq!(bucket.seal_path(&path), sealed);
    }

    #[test]
    fn a_changed_sealed_path_never_opens(text in "[a-c/]{1,12}", at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let path: ObjectPath = text.parse().unwrap();
        let bucket = PathKey::bucket(&[3; 32], "b");
        let mut sealed = bucket.seal_path(&path);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(bucket.open_path(&sealed).is_err());
    }

    #[test]
    fn garbage_opens_nothing(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(PathKey::from_bytes([1; 32]).open_path(&garbage).is_err());
        prop_assert!(PathKey::from_bytes([1; 32]).object(&"a".parse().unwrap()).1.open(b"", &garbage).is_err());
    }

    #[test]
    fn a_box_is_bound_to_its_place_and_every_bit(plain in prop::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>()) {
        let (_, key) = PathKey::from_bytes([1; 32]).object(&"a".parse().unwrap());
        let mut sealed = key.seal(&[5; 24], b"here", &plain);
        prop_assert_eq!(sealed.len(), plain.len() + BOX_OVERHEAD_BYTES);
        prop_assert_eq!(key.open(b"here", &sealed), Ok(plain));
        prop_assert_eq!(key.open(b"there", &sealed), Err(BoxError));
        let at = at.index(sealed.len());
        sealed[at] ^= 0x10;
        prop_assert_eq!(key.open(b"here", &sealed), Err(BoxError));
    }

    #[test]
    fn frames_tile_the_stream(plain in 0..=MAX_STREAM_BYTES, cipher in any::<bool>()) {
        let sealing = if cipher { CIPHER } else { Sealing::Plain };
        let shape = StreamShape::new(sealing, plain).unwrap();
        prop_assert_eq!(StreamShape::from_sealed(sealing, shape.sealed_bytes()), Some(shape));
        let last = shape.frames() - 1;
        prop_assert_eq!(shape.frame_plain(last).unwrap().end, plain);
        prop_assert_eq!(shape.frame_sealed(last).unwrap().end, shape.sealed_bytes());
        prop_assert_eq!(shape.frame_sealed(last + 1), None);
        prop_assert_eq!(shape.frames_touched(&(0..u64::MAX)).end, if plain == 0 { 0 } else { last + 1 });
    }

    #[test]
    fn sealing_does_not_care_how_the_bytes_arrive(size in 0u64..200_000, cut in 1usize..90_000) {
        let plain = bytes(size);
        prop_assert!(seal(CIPHER, &key(1), &plain, cut) == seal(CIPHER, &key(1), &plain, usize::MAX));
    }
}

#[test]
fn lengths_that_no_stream_has_are_refused() {
    for sealed in [0, 15, FRAME_BYTES + 1, FRAME_BYTES + 16, u64::MAX] {
        assert_eq!(StreamShape::from_sealed(CIPHER, sealed), None, "{sealed}");
    }
    assert!(StreamShape::from_sealed(CIPHER, 16).is_some_and(|shape| shape.plain_bytes() == 0));
    assert!(
        StreamShape::from_sealed(CIPHER, FRAME_BYTES + 17)
            .is_some_and(|shape| shape.plain_bytes() == FULL + 1)
    );
    assert_eq!(StreamShape::new(CIPHER, MAX_STREAM_BYTES + 1), None);
}
