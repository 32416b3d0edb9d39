//! Objects over the real store and the real database.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use shared::{
    identity::Keypair,
    storage::{
        record::{Body, ObjectRecord},
        seal::{FRAME_BYTES, Sealing, TAG_BYTES},
    },
};
use tempfile::TempDir;

use super::*;
use crate::{
    meta::{BucketRow, Condition, Meta, PartRow},
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
        Self::sealing(usual_sealing()).await
    }

    async fn sealing(sealing: Sealing) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs: Arc<dyn Blobs> = Arc::new(BlobStore::open(directory.path(), 1 << 30).unwrap());
        let meta = Meta::open(&directory.path().join("meta.redb")).unwrap();
        let segments = Arc::new(LocalSegments::new(Arc::clone(&blobs)));
        let objects = Objects::new(meta, segments, Keys::new(&Keypair::from_secret([5; 32])), sealing);
        let row = BucketRow { account: "owner".into(), ..Default::default() };
        objects.meta().create_bucket("bucket", row).await.unwrap();
        Self { _directory: directory, objects, blobs }
    }

    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) {
        let written = self.objects.write(stream(bytes), self.objects.sealing(false), None).await.unwrap();
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
        let written =
            world.objects.write(stream(&data), world.objects.sealing(true), Some(&own)).await.unwrap();
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

/// What lies in the one blob of a world.
async fn only_blob(world: &World) -> Vec<u8> {
    let meta = world.objects.meta();
    let found = meta.object("bucket", "key", None).await.unwrap();
    let record = ObjectRecord::read(&found.record).unwrap().public;
    let Body::Parts(parts) = record.body else { panic!("it is not in its record") };
    let segments = meta.segments(parts[0].segments.clone()).await.unwrap();
    let root = segments[0].root(0).unwrap();
    all(world.blobs.read(root, 0..parts[0].shape.sealed_bytes()).await.unwrap()).await
}

#[tokio::test]
async fn where_nothing_is_sealed_bytes_lie_as_they_are_unless_somebody_insists() {
    let world = World::sealing(Sealing::Plain).await;
    let data = bytes(300_000);
    world.put("key", &data).await;
    let frame = usize::try_from(FRAME_BYTES - TAG_BYTES).unwrap();
    assert_eq!(only_blob(&world).await[..frame], data[..frame]);
    let opened = world.objects.open("bucket", "key", None).await.unwrap();
    assert_eq!(all(world.objects.read(&opened, 70_000..200_000)).await, data[70_000..200_000]);
    drop(opened);
    let sealing = world.objects.sealing(true);
    let written = world.objects.write(stream(&data), sealing, None).await.unwrap();
    world.objects.put("bucket", "key", written, NewObject::default(), Condition::Whatever).await.unwrap();
    assert_ne!(only_blob(&world).await[..frame], data[..frame]);
    let opened = world.objects.open("bucket", "key", None).await.unwrap();
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, data);
}

#[tokio::test]
async fn of_two_equal_objects_that_are_not_sealed_one_outlives_the_other() {
    let world = World::sealing(Sealing::Plain).await;
    let data = bytes(300_000);
    world.put("one", &data).await;
    world.put("two", &data).await;
    world.delete("one").await;
    world.objects.sweep().await.unwrap();
    assert_eq!(world.blobs.usage().blobs, 1);
    let opened = world.objects.open("bucket", "two", None).await.unwrap();
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, data);
}

#[tokio::test]
async fn an_upload_ends_as_it_was_begun_whatever_the_node_does_by_then() {
    let world = World::sealing(Sealing::Plain).await;
    let data = bytes(300_000);
    let sealing = Sealing::XChaCha20Poly1305;
    let id = world.objects.begin_upload("bucket", "key", sealing, NewObject::default()).await.unwrap();
    let upload = world.objects.upload("bucket", "key", &id).await.unwrap();
    let written = world.objects.write_part(&upload, stream(&data)).await.unwrap();
    let row = PartRow {
        bytes: 0,
        salt: [0; 16],
        segments: Vec::new(),
        md5: [0; 16],
        modified: 0,
        checksums: Default::default(),
    };
    let place = ("bucket", "key", id.as_str());
    world.objects.put_part(place, 1, written, row).await.unwrap();
    let (parts, _) = world.objects.meta().parts(&id, 0, 10).await.unwrap();
    let new = NewObject::default();
    world.objects.complete_upload(place, &upload, &parts, new, Condition::Whatever).await.unwrap();
    let opened = world.objects.open("bucket", "key", None).await.unwrap();
    assert_eq!(opened.sealing(), sealing);
    assert_eq!(all(world.objects.read(&opened, 0..300_000)).await, data);
}

#[tokio::test]
async fn bytes_that_nobody_refers_to_go() {
    let world = World::new().await;
    let sealing = world.objects.sealing(false);
    drop(world.objects.write(stream(&bytes(300_000)), sealing, None).await.unwrap());
    let broken = stream(&bytes(300_000)).chain(futures::stream::iter([Err("cut".into())])).boxed();
    assert!(world.objects.write(broken, sealing, None).await.is_err());
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
    let written =
        world.objects.write(stream(&bytes(200_000)), world.objects.sealing(false), None).await.unwrap();
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
    let sealing = world.objects.sealing(false);
    let upload = world.objects.begin_upload("bucket", "key", sealing, NewObject::default()).await.unwrap();
    world.objects.end_old_uploads(Duration::from_secs(60)).await.unwrap();
    world.objects.upload("bucket", "key", &upload).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.objects.end_old_uploads(Duration::ZERO).await.unwrap();
    assert!(world.objects.upload("bucket", "key", &upload).await.is_err());
}
