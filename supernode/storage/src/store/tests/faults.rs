//! What becomes of blobs where a bucket fails, is another's, or changes under the store.

use std::{sync::Arc, time::Duration};

use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{
    faulty::{Fault, Faulty},
    places::{Door, Place},
    *,
};
use crate::store::{
    blob_store::parts,
    bucket::{Bucket, GONE_MAX, ScrubBudget},
};

/// Over a store that fails as it is told.
fn over(faulty: &Faulty, place: &Place) -> BlobStore {
    let (layout, index) = parts(place.directory.path()).unwrap();
    let (objects, budget) = (Arc::new(faulty.clone()), ScrubBudget::new(1024));
    let bucket = Bucket::over(objects, "faulty".into(), Path::from("p"), budget, Arc::clone(&index)).unwrap();
    BlobStore::over(layout, index, Some(bucket), 100_000_000).unwrap()
}

async fn objects(faulty: &Faulty) -> usize {
    faulty.memory.list(Some(&Path::from("p/blobs"))).count().await
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test]
async fn nothing_is_acknowledged_that_was_not_confirmed_and_nothing_of_it_stays() {
    let (faulty, place) = (Faulty::new(), Place::disk());
    let blobs = over(&faulty, &place);
    // One in one request, one in parts.
    for (length, seed) in [(100_000, 1), (20_000_000, 2)] {
        let data = bytes(length, seed);
        let root = BlobRoot(*blake3::hash(&data).as_bytes());
        let before = blobs.usage();
        for fault in [Fault::Refused, Fault::Unanswered, Fault::Parts] {
            if fault == Fault::Parts && length == 100_000 {
                continue;
            }
            faulty.set(fault);
            let refused = blobs.put(stream(&data), None, b"a").await;
            let is_clear = matches!(&refused, Err(StoreError::Bucket(BucketError::Unreachable { .. })));
            assert!(is_clear, "{fault:?} {refused:?}");
            assert!(matches!(blobs.shape(root).await, Err(StoreError::Absent { .. })));
            assert_eq!(blobs.usage(), before);
        }
        faulty.set(Fault::None);
        blobs.put(stream(&data), None, b"a").await.unwrap();
        assert_eq!(all(&blobs, root, 0..length as u64).await.unwrap(), data);
        blobs.collect_garbage().await.unwrap();
        assert_eq!(all(&blobs, root, 0..length as u64).await.unwrap(), data);
    }
    assert_eq!(objects(&faulty).await, 2);
}

#[tokio::test]
async fn a_bucket_that_is_away_for_long_fills_no_disk() {
    let (faulty, place) = (Faulty::new(), Place::disk());
    let blobs = over(&faulty, &place);
    let put = async || blobs.put(stream(&bytes(100_000, 1)), None, b"a").await;
    put().await.unwrap();
    faulty.set(Fault::Refused);
    for _ in 0..GONE_MAX {
        let refused = put().await;
        assert!(matches!(refused, Err(StoreError::Bucket(_))), "{refused:?}");
    }
    assert!(matches!(put().await, Err(StoreError::Busy)));
    faulty.set(Fault::None);
    blobs.collect_garbage().await.unwrap();
    put().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_deleted_is_counted_until_it_is() {
    let (faulty, place) = (Faulty::new(), Place::disk());
    let blobs = over(&faulty, &place);
    let held = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    blobs.release(held.root, b"a").await.unwrap();
    faulty.set(Fault::Undeleted);
    assert_eq!(blobs.collect_garbage().await.unwrap(), 0);
    assert_eq!((blobs.usage().blobs, blobs.usage().stored_bytes), (0, 100_000));
    // The same again, while the first still lies there, is another object.
    blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    assert_eq!((objects(&faulty).await, blobs.usage().stored_bytes), (2, 200_000));
    blobs.shutdown().await;
    drop(blobs);
    faulty.set(Fault::None);
    let blobs = over(&faulty, &place);
    until("the first object is deleted", async || objects(&faulty).await == 1).await;
    blobs.collect_garbage().await.unwrap();
    assert_eq!((blobs.usage().blobs, blobs.usage().stored_bytes), (1, 100_000));
    assert_eq!(all(&blobs, held.root, 0..100_000).await.unwrap(), bytes(100_000, 1));
}

#[tokio::test]
async fn a_bucket_that_is_not_the_one_it_was_makes_no_blob_missing() {
    let (faulty, place) = (Faulty::new(), Place::disk());
    let blobs = over(&faulty, &place);
    let held = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    let other = Faulty::new();
    blobs.shutdown().await;
    drop(blobs);
    let blobs = over(&other, &place);
    assert!(matches!(blobs.export(held.root, 0..1).await, Err(StoreError::Missing { .. })));
    let refused = blobs.scrub(None, 10).await;
    assert!(matches!(&refused, Err(StoreError::Bucket(BucketError::Unmarked { .. }))), "{refused:?}");
    let refused = blobs.put(stream(&bytes(100_000, 2)), None, b"a").await;
    assert!(matches!(&refused, Err(StoreError::Bucket(BucketError::Unmarked { .. }))), "{refused:?}");
    other.memory.put(&Path::from("p/store"), "blackhole-store-1:0".into()).await.unwrap();
    let refused = blobs.scrub(None, 10).await;
    assert!(matches!(&refused, Err(StoreError::Bucket(BucketError::Foreign { .. }))), "{refused:?}");
    assert!(blobs.shape(held.root).await.is_ok());
    assert_eq!(objects(&other).await, 0);
}

#[tokio::test]
async fn what_a_killed_process_left_goes_at_the_next_start_and_nothing_else() {
    let place = Place::bucket().await;
    let door = place.door.as_ref().unwrap();
    let blobs = place.open(10_000_000).await;
    let held = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    blobs.shutdown().await;
    drop(blobs);
    // Uploaded, and not entered: of a blob that is held, and of one that is not.
    let (other, kept) = (BlobRoot([7; 32]), place.names(held.root).await);
    let blobs_at = "nodes/one/part/blobs";
    for root in [held.root, other] {
        door.put(&format!("{blobs_at}/{root}.{:032x}", 77_u128 << 64 | 1), vec![1; 100]).await;
    }
    for foreign in ["a-note", "a.b", "README.md"] {
        door.put(&format!("{blobs_at}/{foreign}"), vec![2]).await;
    }
    door.put("nodes/one/part2/blobs/x", vec![3]).await;
    let blobs = place.open(10_000_000).await;
    until("strays are gone", async || {
        place.names(other).await.is_empty() && place.names(held.root).await == kept
    })
    .await;
    assert_eq!(door.list(blobs_at).await.len(), 4);
    assert_eq!(door.list("nodes/one/part2").await.len(), 1);
    assert_eq!(all(&blobs, held.root, 0..100_000).await.unwrap(), bytes(100_000, 1));
}

#[tokio::test]
async fn a_prefix_is_one_stores_alone() {
    let place = Place::bucket().await;
    let blobs = place.open(10_000_000).await;
    let held = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let opened = BlobStore::open_at(other.path().to_owned(), 1 << 20, place.config(), "part").await;
    let said = opened.map(drop).unwrap_err().to_string();
    assert!(said.contains("another store") && said.contains("nodes/one/part"), "{said}");
    let beside =
        BlobStore::open_at(other.path().to_owned(), 1 << 20, place.config(), "elsewhere").await.unwrap();
    beside.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    assert_eq!(place.names(held.root).await.len(), 1);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_with_a_reason() {
    let door = Door::open().await;
    let check = async |config: &BucketConfig, expect: &str| {
        let directory = tempfile::tempdir().unwrap();
        let opened = BlobStore::open_at(directory.path().to_owned(), 1 << 20, Some(config), "part").await;
        let said = format!("{:#}", opened.map(drop).unwrap_err());
        assert!(said.contains(expect), "{said}");
    };
    check(&BucketConfig { name: "absent".into(), ..door.config.clone() }, "storage.bucket.name").await;
    check(&BucketConfig { key_file: Some(door.wrong_key()), ..door.config.clone() }, "access key").await;
    check(&BucketConfig { key_file: Some("/nowhere".into()), ..door.config.clone() }, "key_file").await;
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be_and_is_used_once_it_is_there() {
    let door = Door::open().await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = BucketConfig { endpoint: Some(format!("http://{address}")), ..door.config.clone() };
    let directory = tempfile::tempdir().unwrap();
    let blobs =
        BlobStore::open_at(directory.path().to_owned(), 10_000_000, Some(&config), "part").await.unwrap();
    let refused = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await;
    assert!(matches!(&refused, Err(StoreError::Bucket(BucketError::Unreachable { .. }))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("storage.bucket.endpoint"));
    // The server, behind that address.
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let behind = door.config.endpoint.clone().unwrap().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let behind = behind.clone();
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let held = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    assert_eq!(all(&blobs, held.root, 5..100_000).await.unwrap(), bytes(100_000, 1)[5..]);
}

#[tokio::test]
async fn what_lay_on_the_disk_before_is_read_there_and_goes_there() {
    let mut place = Place::bucket().await;
    let door = place.door.take();
    let blobs = place.open(10_000_000).await;
    let old = blobs.put(stream(&bytes(100_000, 1)), None, b"a").await.unwrap();
    let twice = blobs.put(stream(&bytes(100_000, 2)), None, b"a").await.unwrap();
    blobs.shutdown().await;
    drop(blobs);
    place.door = door;
    let blobs = place.open(10_000_000).await;
    let new = blobs.put(stream(&bytes(100_000, 3)), None, b"a").await.unwrap();
    blobs.put(stream(&bytes(100_000, 2)), None, b"b").await.unwrap();
    assert_eq!((blobs.usage().blobs, blobs.usage().stored_bytes), (3, 300_000));
    for (held, seed) in [(old, 1), (twice, 2), (new, 3)] {
        assert_eq!(all(&blobs, held.root, 0..100_000).await.unwrap(), bytes(100_000, seed));
    }
    assert_eq!(blobs.scrub(None, 10).await.unwrap().checked, 3);
    blobs.shutdown().await;
    drop(blobs);
    let door = place.door.take();
    assert_eq!((place.names(old.root).await.len(), place.names(twice.root).await.len()), (1, 0));
    let refused = BlobStore::open(place.directory.path(), 10_000_000).map(drop);
    assert!(matches!(refused, Err(StoreError::NoBucket)), "{refused:?}");
    place.door = door;
    let blobs = place.open(10_000_000).await;
    for held in [old, twice, new] {
        blobs.release(held.root, b"a").await.unwrap();
        blobs.release(held.root, b"b").await.unwrap();
    }
    assert_eq!(blobs.collect_garbage().await.unwrap(), 300_000);
    assert!(place.door.as_ref().unwrap().list("nodes/one/part/blobs").await.is_empty());
}

#[tokio::test]
async fn a_long_blob_goes_in_parts_and_is_read_from_anywhere() {
    let place = Place::bucket().await;
    let blobs = place.open(100_000_000).await;
    let data = bytes(21_000_001, 1);
    let held = blobs.put(stream(&data), None, b"a").await.unwrap();
    for range in [0..21_000_001, 8_388_600..8_388_620, 20_999_990..30_000_000, 3..1_000_003] {
        let cut = |at: u64| usize::try_from(at.min(21_000_001)).unwrap();
        let expected = &data[cut(range.start)..cut(range.end)];
        assert!(all(&blobs, held.root, range.clone()).await.unwrap() == expected, "{range:?}");
    }
    assert_eq!(blobs.scrub(None, 1).await.unwrap().checked, 1);
}

#[tokio::test]
async fn a_scrub_reads_back_what_it_may() {
    let mut place = Place::bucket().await;
    place.door.as_mut().unwrap().config.scrub_mib_per_hour = 1;
    let blobs = place.open(10_000_000).await;
    for seed in 0..4 {
        blobs.put(stream(&bytes(600_000, seed)), None, b"a").await.unwrap();
    }
    let first = blobs.scrub(None, 10).await.unwrap();
    assert_eq!(first.checked, 2);
    let second = blobs.scrub(first.next, 10).await.unwrap();
    assert_eq!((second.checked, second.next), (0, first.next));
}
