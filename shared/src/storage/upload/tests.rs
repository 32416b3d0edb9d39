use proptest::prelude::*;

use super::*;
use crate::{
    base::SeededRng,
    identity::Keypair,
    storage::erasure::{Profile, SegmentShape},
};

const UNTIL: UnixSeconds = UnixSeconds(2_000_000);

fn key(n: u16) -> Keypair {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&n.to_le_bytes());
    Keypair::from_secret(secret)
}

fn owner() -> PublicKey {
    Keypair::from_secret([9; 32]).public()
}

fn record() -> SegmentRecord {
    let shape = SegmentShape::new(Profile::SMALL, 1 << 20).unwrap();
    let roots = (0..12).map(|n| BlobRoot([n; 32])).collect();
    SegmentRecord::new(shape, roots).unwrap()
}

fn lease(holder: u16, root: BlobRoot) -> Vec<u8> {
    let bytes = record().shape().shard_bytes();
    let (issued, until) = (UnixSeconds(1_900_000), UNTIL);
    Lease { root, bytes, owner: owner(), holder: key(holder).public(), issued, until }.sign(&key(holder))
}

/// Shard i goes to holder i; spares are from 100 on.
fn upload(spares: u16) -> Upload {
    let chosen = (0..12).map(|n| (n, key(n).public())).collect();
    let spares = (100..100 + spares).map(|n| key(n).public()).collect();
    Upload::new(at(0), Plan { record: record(), owner: owner(), lease_until: UNTIL, chosen, spares })
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn effects(upload: &mut Upload) -> Vec<Effect> {
    core::iter::from_fn(|| upload.poll_effect()).collect()
}

fn events(upload: &mut Upload) -> Vec<Event> {
    core::iter::from_fn(|| upload.poll_event()).collect()
}

fn store(id: u64, shard: u8, holder: u16) -> Effect {
    let holder = key(holder).public();
    Effect::Store { id: EffectId(id), shard: shard.into(), root: BlobRoot([shard; 32]), holder }
}

fn promise(upload: &mut Upload, millis: u64, shard: u8) {
    upload.handle_stored(at(millis), EffectId(shard.into()), &lease(shard.into(), BlobRoot([shard; 32])));
}

#[test]
fn all_are_asked_at_once_and_the_slowest_are_cancelled() {
    let mut upload = upload(0);
    assert_eq!(effects(&mut upload), (0..12).map(|n| store(n.into(), n, n.into())).collect::<Vec<_>>());
    (0..9).for_each(|n| promise(&mut upload, 1000, n));
    assert_eq!(events(&mut upload), [], "below the line and a margin nothing is acknowledged");
    promise(&mut upload, 1100, 9);
    assert_eq!(events(&mut upload), [Event::Acknowledged { held: 10 }]);
    promise(&mut upload, 1500, 10);
    assert_eq!(upload.poll_deadline(), Some(at(2200)), "the last has as long again");
    upload.handle_time(at(2200));
    assert_eq!(effects(&mut upload), [Effect::Cancel { id: EffectId(11) }]);
    assert_eq!(events(&mut upload), [Event::Finished { held: 11 }]);
    assert_eq!((upload.is_over(), upload.held().count()), (true, 11));
    promise(&mut upload, 2300, 11);
    assert_eq!(upload.held().count(), 11, "what comes after it was cancelled is none of ours");
}

#[test]
fn spares_stand_in_for_who_refuses_and_for_who_is_slow() {
    let mut upload = upload(2);
    effects(&mut upload);
    upload.handle_failed(at(10), EffectId(4));
    assert_eq!(effects(&mut upload), [store(12, 4, 100)]);
    (0..4).chain(5..9).for_each(|n| promise(&mut upload, 1000, n));
    assert_eq!(upload.poll_deadline(), Some(at(3000)), "three times the median");
    upload.handle_time(at(3000));
    assert_eq!(effects(&mut upload), [store(13, 9, 101)], "one spare is left, and helps the first");
    upload.handle_stored(at(3100), EffectId(13), &lease(101, BlobRoot([9; 32])));
    assert_eq!(effects(&mut upload), [Effect::Cancel { id: EffectId(9) }], "who comes first has it");
    let held: Vec<_> =
        upload.held().filter(|(shard, ..)| *shard == 9).map(|(_, holder, _)| holder.clone()).collect();
    assert_eq!(held, [key(101).public()]);
}

#[test]
fn a_promise_that_is_not_the_one_asked_for_is_none() {
    let mut upload = upload(1);
    effects(&mut upload);
    upload.handle_stored(at(5), EffectId(3), &lease(3, BlobRoot([4; 32])));
    let holder = key(3).public();
    assert_eq!(events(&mut upload), [Event::BadLease { holder, fault: LeaseError::Other }]);
    assert_eq!(effects(&mut upload), [store(12, 3, 100)]);
    upload.handle_stored(at(5), EffectId(12), b"rubbish");
    let holder = key(100).public();
    assert_eq!(events(&mut upload), [Event::BadLease { holder, fault: LeaseError::Malformed }]);
    assert_eq!(upload.held().count(), 0);
}

#[test]
fn it_fails_as_soon_as_too_few_can_come() {
    let mut upload = upload(0);
    effects(&mut upload);
    promise(&mut upload, 5, 0);
    (1..3).for_each(|n| upload.handle_failed(at(10), EffectId(n)));
    assert_eq!(events(&mut upload), []);
    upload.handle_failed(at(10), EffectId(3));
    assert_eq!(events(&mut upload), [Event::Failed { held: 1, enough: 10 }]);
    assert_eq!(effects(&mut upload).len(), 8, "the others are cancelled");
    assert_eq!(upload.poll_deadline(), None);
}

#[test]
fn silence_ends() {
    let mut upload = upload(0);
    effects(&mut upload);
    assert_eq!(upload.poll_deadline(), Some(at(0) + ATTEMPT_WITHIN));
    upload.handle_time(at(0) + ATTEMPT_WITHIN);
    assert_eq!(events(&mut upload), [Event::Failed { held: 0, enough: 10 }]);
}

#[test]
fn enough_is_between_the_repair_line_and_all() {
    for profile in
        [Profile::WIDE, Profile::MIDDLE, Profile::SMALL, Profile::THREEFOLD, Profile::for_network(3)]
    {
        let shape = SegmentShape::new(profile, 1000).unwrap();
        let root = |n: u16| BlobRoot([if profile.data_shards() == 1 { 0 } else { n.to_be_bytes()[1] }; 32]);
        let roots = (0..profile.total_shards()).map(root).collect();
        let enough = enough(&SegmentRecord::new(shape, roots).unwrap());
        assert!(enough > profile.repair_line() && enough <= profile.total_shards(), "{profile:?}: {enough}");
    }
}

proptest! {
    /// Whatever holders do, the upload ends, once, and counts only what was promised.
    #[test]
    fn whatever_happens_it_ends_once_and_counts_promises(seed: u64, spares in 0_u16..6) {
        let mut rng = SeededRng::from_number(seed);
        let mut upload = upload(spares);
        let mut waiting = BTreeMap::new();
        let (mut ended, mut acknowledged, mut millis) = (0, 0, 0);
        for _ in 0..500 {
            for effect in effects(&mut upload) {
                match effect {
                    Effect::Store { id, root, holder, .. } => prop_assert!(waiting.insert(id, (root, holder)).is_none()),
                    Effect::Cancel { id } => prop_assert!(waiting.remove(&id).is_some()),
                }
            }
            for event in events(&mut upload) {
                match event {
                    Event::Finished { held } => { ended += 1; prop_assert!(held >= 10 && acknowledged == 1); }
                    Event::Failed { held, .. } => { ended += 1; prop_assert!(held < 10 && acknowledged == 0); }
                    Event::Acknowledged { held } => { acknowledged += 1; prop_assert!(held >= 10); }
                    Event::BadLease { .. } => {}
                }
            }
            if upload.is_over() { break; }
            millis += rng.below(800);
            let ids: Vec<_> = waiting.keys().copied().collect();
            match (rng.below(8), rng.pick(&ids)) {
                (0, Some(id)) => { waiting.remove(id); upload.handle_failed(at(millis), *id); }
                (1, Some(id)) => { waiting.remove(id); upload.handle_stored(at(millis), *id, b"no"); }
                (2..5, Some(id)) => {
                    let (root, holder) = waiting.remove(id).unwrap();
                    let number = (0..12).chain(100..106).find(|n| key(*n).public() == holder).unwrap();
                    upload.handle_stored(at(millis), *id, &lease(number, root));
                }
                _ => if let Some(deadline) = upload.poll_deadline() {
                    millis = millis.max(deadline.as_micros().div_ceil(1000));
                    upload.handle_time(at(millis));
                }
            }
        }
        prop_assert_eq!(ended, 1);
        prop_assert!(waiting.is_empty());
    }
}
