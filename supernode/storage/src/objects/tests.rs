//! Objects over the real store and the real database.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use shared::identity::Keypair;
use tempfile::TempDir;

use super::*;
use crate::{
    meta::{BucketRow, Condition, Meta},
    store::{BlobStore, Blobs},
};
use std::sync::Arc;

pub(crate) struct World {
    _directory: TempDir,
    pub(crate) objects: Objects,
    pub(crate) blobs: Arc<dyn Blobs>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs: Arc<dyn Blobs> = Arc::new(BlobStore::open(directory.path(), 1 << 30).unwrap());
        let meta = Meta::open(&directory.path().join("meta.redb")).unwrap();
        let segments = Arc::new(LocalSegments::new(Arc::clone(&blobs)));
        let objects = Objects::new(meta, segments, Keys::new(&Keypair::from_secret([5; 32])));
        let row = BucketRow { account: "owner".into(), ..Default::default() };
        objects.meta().create_bucket("bucket", row).await.unwrap();
        Self { _directory: directory, objects, blobs }
    }

    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) {
        let written = self.objects.write(stream(bytes), None).await.unwrap();
        let new = NewObject::default();
        self.objects.put("bucket", key, written, new, Condition::Whatever).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        let meta = self.objects.meta();
        meta.delete_object("bucket", key, None, Condition::Whatever, false, 0).await.unwrap();
    }
}

fn bytes(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn stream(bytes: &Bytes) -> PlainStream {
    let pieces: Vec<_> = bytes.chunks(30_011).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    futures::stream::iter(pieces).boxed()
}

async fn all(stream: crate::store::ByteStream) -> Vec<u8> {
    stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn what_is_written_is_read_by_ranges() {
    let world = World::new().await;
    for length in [0, 4096, 4097, 65_520, 500_000] {
        let data = bytes(length);
        world.put("key", &data).await;
        let opened = world.objects.open("bucket", "key", None).await.unwrap();
        for (start, end) in [(0, length), (length / 3, length / 2), (length.saturating_sub(1), length)] {
            let read = world.objects.read(&opened, start as u64..end as u64);
            assert_eq!(all(read).await, &data[start..end], "{length}: {start}..{end}");
        }
    }
}

#[tokio::test]
async fn what_is_deleted_stays_for_who_reads_it_and_goes_then() {
    let world = World::new().await;
    let data = bytes(300_000);
    world.put("key", &data).await;
    let opened = world.objects.open("bucket", "key", None).await.unwrap();
    world.delete("key").await;
    assert_eq!(world.objects.sweep().await.unwrap(), 0);
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, data);
    drop(opened);
    // The reading task may take a moment to end.
    for _ in 0..200 {
        world.objects.sweep().await.unwrap();
        if world.blobs.usage().blobs == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", world.blobs.usage());
}

#[tokio::test]
async fn a_copy_shares_its_bytes_and_outlives_the_first() {
    let world = World::new().await;
    let data = bytes(300_000);
    world.put("one", &data).await;
    let opened = world.objects.open("bucket", "one", None).await.unwrap();
    let new = NewObject::default();
    world.objects.copy(&opened, "bucket", "folder/two", new, Condition::Whatever).await.unwrap();
    drop(opened);
    world.delete("one").await;
    world.objects.sweep().await.unwrap();
    assert_eq!(world.blobs.usage().blobs, 1);
    let opened = world.objects.open("bucket", "folder/two", None).await.unwrap();
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, data);
}

#[tokio::test]
async fn a_clients_own_key_opens_what_it_sealed_and_no_other_does() {
    let world = World::new().await;
    let (own, other) = (CustomerKey::new([1; 32]), CustomerKey::new([2; 32]));
    for length in [100, 300_000] {
        let data = bytes(length);
        let written = world.objects.write(stream(&data), Some(&own)).await.unwrap();
        let new = NewObject::default();
        world.objects.put("bucket", "key", written, new, Condition::Whatever).await.unwrap();
        let mut opened = world.objects.open("bucket", "key", None).await.unwrap();
        let read = |opened: &Opened| world.objects.read(opened, 0..length as u64);
        assert!(read(&opened).try_collect::<Vec<_>>().await.is_err(), "without a key");
        opened.unlock(&other);
        assert!(read(&opened).try_collect::<Vec<_>>().await.is_err(), "with another key");
        opened.unlock(&own);
        assert_eq!(all(read(&opened)).await, data);
        let copied = world.objects.copy(&opened, "bucket", "copy", NewObject::default(), Condition::Whatever);
        copied.await.unwrap();
        let mut copy = world.objects.open("bucket", "copy", None).await.unwrap();
        copy.unlock(&own);
        assert_eq!(all(read(&copy)).await, data, "a copy keeps the key");
    }
}

#[tokio::test]
async fn bytes_that_nobody_refers_to_go() {
    let world = World::new().await;
    drop(world.objects.write(stream(&bytes(300_000)), None).await.unwrap());
    let broken = stream(&bytes(300_000)).chain(futures::stream::iter([Err("cut".into())])).boxed();
    assert!(world.objects.write(broken, None).await.is_err());
    for _ in 0..200 {
        world.objects.sweep().await.unwrap();
        if world.blobs.usage().blobs == 0 && world.blobs.usage().incoming_bytes == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", world.blobs.usage());
}

#[tokio::test]
async fn a_start_settles_what_the_last_run_left() {
    let world = World::new().await;
    world.put("key", &bytes(300_000)).await;
    let written = world.objects.write(stream(&bytes(200_000)), None).await.unwrap();
    // As if the process had ended here.
    std::mem::forget(written);
    assert_eq!(world.blobs.usage().blobs, 2);
    world.objects.recover().await.unwrap();
    assert_eq!(world.blobs.usage().blobs, 1);
    let opened = world.objects.open("bucket", "key", None).await.unwrap();
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, bytes(300_000));
}

#[tokio::test]
async fn an_upload_that_nobody_ends_is_ended() {
    let world = World::new().await;
    let upload = world.objects.begin_upload("bucket", "key", NewObject::default()).await.unwrap();
    world.objects.end_old_uploads(Duration::from_secs(60)).await.unwrap();
    world.objects.upload("bucket", "key", &upload).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.objects.end_old_uploads(Duration::ZERO).await.unwrap();
    assert!(world.objects.upload("bucket", "key", &upload).await.is_err());
}
