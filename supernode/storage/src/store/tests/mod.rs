//! The store on a real disk, and in a bucket of a real server.

mod faults;
mod faulty;
mod places;

use std::fs;

use self::places::Place;
use super::*;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use shared::{
    base::blob::GROUP_BYTES,
    storage::proof::{Answer, Challenge, answer, check_answer},
};

fn bytes(length: usize, seed: u64) -> Bytes {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes.into()
}

fn stream(bytes: &Bytes) -> ByteStream {
    let pieces: Vec<_> = bytes.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    futures::stream::iter(pieces).boxed()
}

async fn all(blobs: &BlobStore, root: BlobRoot, range: Range<u64>) -> io::Result<Vec<u8>> {
    let pieces: Vec<Bytes> = blobs.read(root, range).await.map_err(io::Error::other)?.try_collect().await?;
    Ok(pieces.concat())
}

/// What holds wherever the blobs lie.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod on_disk {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Place::disk()).await;
            })*
        }
        mod in_a_bucket {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Place::bucket().await).await;
            })*
        }
    };
}

suite!(
    what_was_taken_in_is_read_back_by_ranges_also_after_a_restart,
    slices_build_a_blob_in_any_order_and_a_forged_one_is_refused,
    slices_are_those_of_bao_tree,
    what_nobody_leases_goes_and_nothing_else,
    more_than_the_quota_is_never_written,
    what_passes_through_counts_until_it_has_passed,
    a_source_that_breaks_off_and_another_blobs_bytes_leave_nothing,
    rot_is_never_read_and_is_found_by_a_scrub,
    what_is_gone_is_never_read_and_is_found_by_a_scrub,
    a_proof_is_made_of_what_is_stored,
);

async fn what_was_taken_in_is_read_back_by_ranges_also_after_a_restart(place: &Place) {
    for length in [0, 1, 1024, 16_384, 16_385, 1_000_000] {
        let data = bytes(length, 1);
        let blobs = place.open(10_000_000).await;
        let held = blobs.put(stream(&data), None, b"mine").await.unwrap();
        assert_eq!(held.root.0, *blake3::hash(&data).as_bytes());
        blobs.shutdown().await;
        drop(blobs);
        let blobs = place.open(10_000_000).await;
        let length = length as u64;
        for range in [0..length, 0..1, 5..40_000, length / 2..length + 7, length..length + 1] {
            let cut = |at: u64| usize::try_from(at.min(length)).unwrap();
            let expected = &data[cut(range.start)..cut(range.end)];
            assert_eq!(all(&blobs, held.root, range.clone()).await.unwrap(), expected, "{length} {range:?}");
        }
        blobs.shutdown().await;
    }
}

async fn slices_build_a_blob_in_any_order_and_a_forged_one_is_refused(place: &Place) {
    let there = Place::disk();
    let (from, to) = (there.open(10_000_000).await, place.open(10_000_000).await);
    for groups in [1_u64, 2, 3, 5, 40] {
        let length = groups * GROUP_BYTES - 100;
        let data = bytes(usize::try_from(length).unwrap(), groups);
        let held = from.put(stream(&data), None, b"a").await.unwrap();
        let half = (groups / 2) * GROUP_BYTES;
        for range in [half..length, 0..half] {
            let slice = from.export(held.root, range.clone()).await.unwrap();
            let mut forged = slice.to_vec();
            if let Some(byte) = forged.last_mut() {
                *byte ^= 1;
                let refused = to.put_slice(held.root, held.shape, range.clone(), forged.into(), b"b").await;
                assert!(matches!(refused, Err(StoreError::Forged { .. })), "{refused:?}");
            }
            let whole = to.put_slice(held.root, held.shape, range.clone(), slice, b"b").await.unwrap();
            assert_eq!(whole, range.start == 0, "{groups} groups");
            if whole {
                break;
            }
        }
        if groups == 1 {
            let slice = from.export(held.root, 0..length).await.unwrap();
            assert!(to.put_slice(held.root, held.shape, 0..length, slice, b"b").await.unwrap());
        }
        assert_eq!(all(&to, held.root, 0..length).await.unwrap(), data);
    }
    assert_eq!(to.usage().incoming_bytes, 0);
}

async fn slices_are_those_of_bao_tree(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let data = bytes(300_000, 3);
    let held = blobs.put(stream(&data), None, b"a").await.unwrap();
    let outboard =
        bao_tree::io::outboard::PreOrderMemOutboard::create(&data, bao_tree::BlockSize::from_chunk_log(4));
    let chunks = bao_tree::ChunkRanges::from(bao_tree::ChunkNum(32)..bao_tree::ChunkNum(64));
    let mut expected = Vec::new();
    bao_tree::io::sync::encode_ranges_validated(&data[..], &outboard, &chunks, &mut expected).unwrap();
    assert_eq!(blobs.export(held.root, 40_000..60_000).await.unwrap(), expected);
}

async fn what_nobody_leases_goes_and_nothing_else(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let data = bytes(100_000, 4);
    let held = blobs.put(stream(&data), None, b"a").await.unwrap();
    blobs.put(stream(&data), None, b"b").await.unwrap();
    assert_eq!(blobs.usage().stored_bytes, 100_000);
    blobs.release(held.root, b"a").await.unwrap();
    blobs.release(held.root, b"a").await.unwrap();
    assert_eq!(blobs.collect_garbage().await.unwrap(), 0);
    assert_eq!(place.names(held.root).await.len(), 1);
    assert_eq!(blobs.leases(b"", None, 10).await.unwrap(), [(b"b".to_vec(), held.root)]);
    blobs.release(held.root, b"b").await.unwrap();
    blobs.lease(held.root, b"c").await.unwrap();
    assert_eq!(blobs.collect_garbage().await.unwrap(), 0);
    blobs.release(held.root, b"c").await.unwrap();
    assert_eq!(blobs.collect_garbage().await.unwrap(), 100_000);
    assert!(matches!(blobs.read(held.root, 0..1).await, Err(StoreError::Absent { .. })));
    assert_eq!(place.names(held.root).await, [""; 0]);
    assert_eq!(blobs.usage(), Usage { quota_bytes: 10_000_000, ..Usage::default() });
}

async fn more_than_the_quota_is_never_written(place: &Place) {
    let blobs = place.open(150_000).await;
    blobs.put(stream(&bytes(100_000, 5)), None, b"a").await.unwrap();
    let refused = blobs.put(stream(&bytes(60_000, 6)), None, b"a").await;
    assert!(matches!(refused, Err(StoreError::Quota { quota: 150_000, .. })), "{refused:?}");
    let shape = BlobShape::new(60_000).unwrap();
    let refused = blobs.put_slice(BlobRoot([1; 32]), shape, 0..1, Bytes::new(), b"a").await;
    assert!(matches!(refused, Err(StoreError::Quota { .. })), "{refused:?}");
    blobs.put(stream(&bytes(50_000, 7)), None, b"a").await.unwrap();
    assert_eq!(fs::read_dir(place.directory.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(blobs.usage().incoming_bytes, 0);
}

async fn what_passes_through_counts_until_it_has_passed(place: &Place) {
    let blobs = place.open(3_000_000).await;
    let data = bytes(2_000_000, 1);
    let spool = blobs.spool(stream(&data)).await.unwrap();
    let mut read = vec![0; 1_000_000];
    spool.read(900_000, &mut read).unwrap();
    assert_eq!(read, data[900_000..1_900_000]);
    assert!(spool.read(1_000_001, &mut read).is_err(), "there are not so many");
    let usage = blobs.usage();
    assert!(spool.size() == 2_000_000 && usage.incoming_bytes >= 2_000_000 && usage.blobs == 0);
    assert!(matches!(blobs.spool(stream(&data)).await, Err(StoreError::Quota { .. })));
    let broken = futures::stream::iter([Ok(data.slice(..10_000)), Err(io::ErrorKind::BrokenPipe.into())]);
    assert!(matches!(blobs.spool(broken.boxed()).await, Err(StoreError::Source(_))));
    drop(spool);
    assert_eq!(blobs.usage().incoming_bytes, 0);
    blobs.spool(stream(&data)).await.unwrap();
    let left = fs::read_dir(place.directory.path().join("incoming")).unwrap();
    assert_eq!(left.count(), 0, "nothing of it stays");
    blobs.shutdown().await;
}

async fn a_source_that_breaks_off_and_another_blobs_bytes_leave_nothing(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let broken = futures::stream::iter([Ok(bytes(50_000, 8)), Err(io::ErrorKind::BrokenPipe.into())]).boxed();
    assert!(matches!(blobs.put(broken, None, b"a").await, Err(StoreError::Source(_))));
    let other = blobs.put(stream(&bytes(50_000, 8)), Some(BlobRoot([7; 32])), b"a").await;
    assert!(matches!(other, Err(StoreError::Forged { .. })), "{other:?}");
    let waiting = futures::stream::iter([Ok(bytes(50_000, 8))]).chain(futures::stream::pending()).boxed();
    let put = blobs.put(waiting, None, b"a");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), put).await.is_err());
    blobs.shutdown().await;
    assert_eq!(blobs.usage(), Usage { quota_bytes: 10_000_000, ..Usage::default() });
    assert_eq!(fs::read_dir(place.directory.path().join("incoming")).unwrap().count(), 0);
}

async fn rot_is_never_read_and_is_found_by_a_scrub(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let sound = blobs.put(stream(&bytes(100_000, 9)), None, b"a").await.unwrap();
    let held = blobs.put(stream(&bytes(100_000, 10)), None, b"a").await.unwrap();
    place.rewrite(held.root, |bytes| bytes[70_000] ^= 4).await;
    assert_eq!(all(&blobs, held.root, 0..65_536).await.unwrap(), bytes(100_000, 10)[..65_536]);
    assert!(all(&blobs, held.root, 65_536..70_001).await.is_err());
    assert!(matches!(blobs.export(held.root, 0..100_000).await, Err(StoreError::Rotten { .. })));
    let report = blobs.scrub(None, 10).await.unwrap();
    assert_eq!((report.checked, report.rotten), (2, vec![held.root]));
    assert!(place.has_aside(held.root).await);
    assert!(matches!(blobs.read(held.root, 0..1).await, Err(StoreError::Absent { .. })));
    // Brought back by a repair, it serves as before, under the lease that it had.
    blobs.put(stream(&bytes(100_000, 10)), Some(held.root), b"a").await.unwrap();
    assert_eq!(blobs.scrub(None, 10).await.unwrap().rotten, []);
    for length in [0, 50_000, 100_001] {
        place.rewrite(sound.root, |bytes| bytes.resize(length, 0)).await;
        assert!(all(&blobs, sound.root, 0..100_000).await.is_err());
    }
    // Rot among the hashes, which were read before.
    let held = blobs.put(stream(&bytes(100_000, 12)), None, b"a").await.unwrap();
    assert_eq!(all(&blobs, held.root, 0..100_000).await.unwrap(), bytes(100_000, 12));
    place.rewrite(held.root, |bytes| bytes[100_001] ^= 4).await;
    assert_eq!(blobs.scrub(None, 10).await.unwrap().rotten, sorted([held.root, sound.root]));
}

fn sorted<const N: usize>(mut roots: [BlobRoot; N]) -> [BlobRoot; N] {
    roots.sort();
    roots
}

async fn what_is_gone_is_never_read_and_is_found_by_a_scrub(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let held = blobs.put(stream(&bytes(1_000_000, 13)), None, b"a").await.unwrap();
    let other = blobs.put(stream(&bytes(50_000, 14)), None, b"a").await.unwrap();
    place.lose(held.root).await;
    assert!(all(&blobs, held.root, 0..1_000_000).await.is_err());
    assert!(matches!(blobs.export(held.root, 0..1).await, Err(StoreError::Missing { .. })));
    let report = blobs.scrub(None, 10).await.unwrap();
    assert_eq!((report.rotten, report.missing), (vec![], vec![held.root]));
    assert!(matches!(blobs.shape(held.root).await, Err(StoreError::Absent { .. })));
    blobs.collect_garbage().await.unwrap();
    assert_eq!((blobs.usage().blobs, blobs.usage().stored_bytes), (1, 50_000));
    blobs.put(stream(&bytes(1_000_000, 13)), Some(held.root), b"a").await.unwrap();
    assert_eq!(all(&blobs, held.root, 0..1_000_000).await.unwrap(), bytes(1_000_000, 13));
    assert_eq!(all(&blobs, other.root, 0..50_000).await.unwrap(), bytes(50_000, 14));
}

async fn a_proof_is_made_of_what_is_stored(place: &Place) {
    let blobs = place.open(10_000_000).await;
    let held = blobs.put(stream(&bytes(700_000, 11)), None, b"a").await.unwrap();
    let holder = shared::identity::Keypair::from_secret([3; 32]);
    let challenge = Challenge { root: held.root, beacon: [9; 32], holder: holder.public() };
    let leaves = challenge.leaves(held.shape);
    let groups = leaves.iter().map(|leaf| held.shape.group_of_leaf(*leaf)).collect();
    let (tree, groups) = blobs.proof_material(held.root, &groups).await.unwrap();
    let groups = groups.iter().map(|(group, bytes)| (*group, &bytes[..])).collect();
    let said = answer(&challenge, &tree, &groups, &holder);
    assert_eq!(check_answer(&challenge, &said), Ok(Answer::Held(held.shape)));
}
