use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use shared::{
    base::BlobRoot,
    storage::{
        erasure::{Profile, SegmentEncoder, SegmentShape},
        holders::Lease,
        record::{ObjectSecret, Part, SegmentRecord},
        seal::{ObjectKey, ObjectPath, Sealing, StreamShape},
    },
};

use super::{coding::Coder, segments::Came, *};
use crate::store::{BlobStore, Blobs as _};

/// An owner whose network nobody is in.
async fn own(directory: &Path) -> Arc<Own> {
    let (_, links, _) =
        links::Behaviour::new(links::Config { protocols: Vec::new(), limits: links::Limits::default() });
    let network = Network {
        links,
        dial: Box::new(|_, _| Box::pin(std::future::ready(false))),
        addresses: Box::new(Vec::new),
        publish: Box::new(|_| Box::pin(std::future::ready(false))),
        find: Box::new(|| Box::pin(std::future::ready(()))),
        reached: crate::strangers::Reached::default(),
    };
    let key = Keypair::from_secret([1; 32]);
    Own::open(OwnConfig::default(), directory, key, Arc::new(network), Arc::default()).await.unwrap()
}

/// A segment whose shards twelve holders signed for.
fn stored(number: u8) -> Stored {
    let shape = SegmentShape::new(Profile::SMALL, 300_000).unwrap();
    let root = |shard: u16| BlobRoot([number.wrapping_add(shard.to_be_bytes()[1] * 16); 32]);
    let record = SegmentRecord::new(shape, (0..12).map(root).collect()).unwrap();
    let lease = |shard: u16| {
        let holder = Keypair::from_secret([100 + shard.to_be_bytes()[1]; 32]);
        let lease = Lease {
            root: root(shard),
            bytes: shape.shard_bytes(),
            owner: Keypair::from_secret([1; 32]).public(),
            holder: holder.public(),
            issued: UnixSeconds(10),
            until: UnixSeconds(20_000),
        };
        let signed = lease.sign(&holder);
        (shard, lease, signed)
    };
    Stored { record, leases: (0..12).map(lease).collect(), asked: Vec::new() }
}

async fn commit(own: &Arc<Own>, path: &ObjectPath, stored: &Stored) -> anyhow::Result<()> {
    let secret = ObjectSecret { key: ObjectKey::from_bytes([3; 32]), attributes: Vec::new() };
    let shape = StreamShape::new(Sealing::Aes256Gcm, 299_000).unwrap();
    let body = Body::Parts(vec![Part { shape, salt: [9; 16], segments: vec![stored.record.encode().0] }]);
    own.commit(path, secret, Sealing::Aes256Gcm, body, std::slice::from_ref(stored)).await
}

#[tokio::test]
async fn what_cannot_be_watched_over_is_refused_before_anything_refers_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let own = own(directory.path()).await;
    let path: ObjectPath = "a".parse().unwrap();
    let (first, second) = (stored(1), stored(2));
    commit(&own, &path, &first).await.unwrap();
    // As a full table would, this refuses the second.
    own.watch_over(&second).unwrap();
    assert!(commit(&own, &path, &second).await.is_err());
    let record = own.find(&path).await.unwrap().unwrap();
    let Body::Parts(parts) = record.public.body else { panic!("an object of a segment") };
    assert_eq!(parts[0].segments, [first.record.encode().0], "what was there before still is");
    assert!(own.catalog.segment(first.record.encode().0).unwrap().is_some());
    assert!(own.catalog.given_up(9).unwrap().is_empty(), "and nobody's lease was ended");
}

#[tokio::test]
async fn what_an_object_replaces_is_given_up_with_the_same_write() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (stored(1), stored(2));
    let path: ObjectPath = "a".parse().unwrap();
    {
        let own = own(directory.path()).await;
        commit(&own, &path, &first).await.unwrap();
        // Straight into the catalogue, as if the process ended right behind it.
        let record = own.catalog.object(&own.bucket().seal_path(&path)).unwrap().unwrap();
        own.catalog.commit(&own.bucket().seal_path(&path), &record, &[]).unwrap();
        assert_eq!(own.catalog.given_up(9).unwrap().len(), 1);
    }
    let own = own(directory.path()).await;
    let given_up = own.catalog.given_up(9).unwrap();
    assert_eq!(given_up[0].record, first.record, "the next process lets it go");
    assert_eq!(given_up[0].leases.len(), 12);
    commit(&own, &path, &second).await.unwrap();
}

#[tokio::test]
async fn what_is_deleted_goes_with_one_write_and_takes_nothing_else_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (deleted, kept): (ObjectPath, ObjectPath) = ("a".parse().unwrap(), "b".parse().unwrap());
    let (first, second) = (stored(1), stored(2));
    let [gone, there] = [&first, &second].map(|stored| stored.record.encode().0);
    let check = async |own: &Arc<Own>| {
        assert!(own.find(&deleted).await.unwrap().is_none());
        assert!(own.catalog.segment(gone).unwrap().is_none());
        assert!(own.state().custody.alive(gone).is_none(), "nobody watches over it");
        let given_up = own.catalog.given_up(9).unwrap();
        assert_eq!(given_up.iter().map(|stored| stored.leases.len()).collect::<Vec<_>>(), [12]);
        assert_eq!(given_up[0].record, first.record);
        let listed: Vec<_> = own.list().await.unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(listed, ["b"]);
        assert!(own.state().custody.alive(there).is_some());
    };
    {
        let own = own(directory.path()).await;
        commit(&own, &deleted, &first).await.unwrap();
        commit(&own, &kept, &second).await.unwrap();
        assert!(!own.delete(&"c".parse().unwrap()).await.unwrap(), "there is none of that name");
        assert!(own.delete(&deleted).await.unwrap());
        check(&own).await;
        assert!(
            own.catalog.note_leases(gone, &[]).unwrap().is_none(),
            "a rebuild that ends now comes too late"
        );
        assert!(!own.delete(&deleted).await.unwrap(), "there is none any more");
        check(&own).await;
    }
    let second_process = own(directory.path()).await;
    check(&second_process).await;
    // Straight from the catalogue, as if the process ended right behind it.
    second_process.catalog.delete(&second_process.bucket().seal_path(&kept)).unwrap();
    drop(second_process);
    let third_process = own(directory.path()).await;
    assert!(third_process.list().await.unwrap().is_empty());
    assert!(third_process.state().custody.alive(there).is_none());
    assert_eq!(third_process.catalog.given_up(9).unwrap().len(), 2, "the next process lets both go");
}

#[tokio::test]
async fn an_object_without_segments_is_deleted_too() {
    let directory = tempfile::tempdir().unwrap();
    let own = own(directory.path()).await;
    let path: ObjectPath = "note".parse().unwrap();
    own.put(&path, &b"some words"[..], None, Arc::new(|_| {})).await.unwrap();
    assert!(own.delete(&path).await.unwrap());
    assert!(own.find(&path).await.unwrap().is_none());
    assert!(own.catalog.given_up(9).unwrap().is_empty());
}

#[tokio::test]
async fn who_was_asked_and_never_answered_is_remembered_until_the_segment_goes() {
    let directory = tempfile::tempdir().unwrap();
    let asked: Vec<(u16, PublicKey)> = (0..12)
        .map(|shard: u16| (shard, Keypair::from_secret([100 + shard.to_be_bytes()[1]; 32]).public()))
        .collect();
    let segment = {
        let own = own(directory.path()).await;
        let intent = Stored { leases: Vec::new(), asked: asked.clone(), ..stored(1) };
        own.catalog.put_intent(&intent).unwrap();
        intent.record.encode().0
    };
    let own = own(directory.path()).await;
    let given_up = own.catalog.given_up(9).unwrap();
    assert_eq!((given_up[0].record.encode().0, &given_up[0].asked), (segment, &asked));
    // Of a rebuild they are noted beside the leases, and forgotten with each lease that comes.
    let path: ObjectPath = "a".parse().unwrap();
    let second = stored(2);
    let segment = second.record.encode().0;
    commit(&own, &path, &second).await.unwrap();
    let strangers: BTreeMap<u16, PublicKey> = (0..2)
        .map(|shard: u16| (shard, Keypair::from_secret([50 + shard.to_be_bytes()[1]; 32]).public()))
        .collect();
    let places: Vec<_> = strangers.into_iter().collect();
    assert!(own.catalog.note_asked(segment, &places).unwrap().is_some());
    assert!(own.catalog.note_asked(segment, &places).unwrap().is_some());
    assert_eq!(own.catalog.segment(segment).unwrap().unwrap().asked, places);
    let holder = Keypair::from_secret([50; 32]);
    let lease = Lease { holder: holder.public(), ..second.leases[0].1.clone() };
    let signed = lease.sign(&holder);
    assert!(own.catalog.note_leases(segment, &[(0, lease, signed)]).unwrap().is_some());
    let now = own.catalog.segment(segment).unwrap().unwrap();
    assert_eq!((now.asked, now.leases.len()), (places[1..].to_vec(), 12));
    own.give_up(segment).await.unwrap();
    assert!(own.catalog.note_leases(segment, &[]).unwrap().is_none(), "what was given up stays so");
    assert!(own.catalog.segment(segment).unwrap().is_none());
}

#[tokio::test]
async fn a_segment_encoded_side_by_side_has_the_same_shards() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(directory.path(), 1 << 30).unwrap();
    let check = async |profile: Profile, bytes: u64| {
        let sealed: Vec<u8> =
            (0..bytes).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect();
        let shape = SegmentShape::new(profile, bytes).unwrap();
        let (mut encoder, mut shards) =
            (SegmentEncoder::new(profile), vec![Vec::new(); usize::from(profile.total_shards())]);
        for stripe in 0..shape.stripes() {
            let range = shape.stripe_range(stripe).unwrap();
            let data = &sealed[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            let fed =
                encoder.stripe(data, |shard, block| shards[usize::from(shard)].extend_from_slice(block));
            fed.unwrap();
        }
        let (_, trees) = encoder.finish().unwrap();
        let expected = SegmentRecord::new(shape, trees.iter().map(|tree| tree.root()).collect()).unwrap();
        let pieces: Vec<_> = sealed.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let spool = blobs.spool(futures::stream::iter(pieces).boxed()).await.unwrap();
        let check = |coded: &Coded| {
            assert_eq!(*coded.record(), expected, "{profile:?} {bytes}");
            assert!(coded.shards().into_values().eq(shards.iter().cloned()), "{profile:?} {bytes}");
        };
        let memory = Memory::default();
        for piece_bytes in [10_007, 65_536, 5_000_001] {
            let code = || {
                let mut coder = Coder::new(profile);
                sealed.chunks(piece_bytes).for_each(|piece| coder.take(piece, &memory).unwrap());
                coder
            };
            let coded = code().finish().unwrap();
            check(&coded);
            memory.give_back(coded.into_memory());
            assert!(code().into_bytes().unwrap().concat() == sealed, "{profile:?} {bytes}");
        }
        for sealed in [Sealed::Memory(sealed.into()), Sealed::Spool(spool)] {
            // What was in it before does not matter.
            check(&encode(shape, &sealed, vec![7; shards_bytes(shape).unwrap()]).unwrap());
        }
    };
    let copies = Profile::new(1, 3).unwrap();
    for profile in [copies, Profile::SMALL, Profile::MIDDLE] {
        for bytes in [1, 5000, 65_536, 300_000, 1_048_576, 5_000_001] {
            check(profile, bytes).await;
        }
    }
}

#[tokio::test]
async fn a_segment_that_comes_too_slowly_is_handed_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let own = own(directory.path()).await;
    let sealed: Vec<u8> =
        (0..3_000_000_u32).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect();
    let pieces = |pause: Duration| {
        let pieces: Vec<_> = sealed.chunks(100_003).map(Bytes::copy_from_slice).collect();
        futures::stream::iter(pieces)
            .then(move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok(piece)
            })
            .boxed()
    };
    for profile in [Profile::SMALL, Profile::new(1, 3).unwrap()] {
        // However early it is cut off, nothing is lost between what came and what is still to come.
        for within in [0, 3, 10, 25] {
            let mut stream = pieces(Duration::from_millis(2));
            let came = own.code(&mut stream, profile, Duration::from_millis(within)).await.unwrap();
            let Came::Slowly(before) = came else { panic!("it takes 60 ms at least") };
            let behind: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
            assert!([before, behind].concat().concat() == sealed, "{profile:?} {within}");
        }
        let mut stream = pieces(Duration::ZERO);
        let came = own.code(&mut stream, profile, Duration::from_secs(60)).await.unwrap();
        let Came::Whole(coded) = came else { panic!("it is quick") };
        assert_eq!(coded.record().shape().bytes(), 3_000_000);
        let broken = futures::stream::once(async { Err(std::io::ErrorKind::UnexpectedEof.into()) });
        let mut stream = pieces(Duration::ZERO).take(20).chain(broken).boxed();
        let came = own.code(&mut stream, profile, Duration::from_secs(60)).await;
        assert!(matches!(came, Err(crate::store::StoreError::Source(_))), "its client went away");
    }
}
