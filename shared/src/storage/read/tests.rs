use proptest::prelude::*;

use super::*;
use crate::{base::SeededRng, identity::Keypair};

fn key(n: u16) -> PublicKey {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&n.to_le_bytes());
    Keypair::from_secret(secret).public()
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

/// Holder i has shard i.
fn read(profile: Profile, wanted: &[u16], held: impl IntoIterator<Item = u16>) -> Read {
    Read::new(at(0), profile, wanted.iter().copied(), held.into_iter().map(|n| (n, key(n))))
}

fn asked(read: &mut Read) -> Vec<u16> {
    let shard = |effect| if let Effect::Fetch { shard, .. } = effect { Some(shard) } else { None };
    core::iter::from_fn(|| read.poll_effect()).filter_map(shard).collect()
}

fn events(read: &mut Read) -> Vec<Event> {
    core::iter::from_fn(|| read.poll_event()).collect()
}

fn done(shards: &[u16]) -> Event {
    Event::Done { shards: shards.iter().copied().collect() }
}

#[test]
fn a_range_asks_for_the_shards_it_touches_and_no_more() {
    let mut read = read(Profile::SMALL, &[1, 2], 0..12);
    assert_eq!(asked(&mut read), [1, 2]);
    read.handle_fetched(at(100), EffectId(0));
    read.handle_fetched(at(120), EffectId(1));
    assert_eq!(events(&mut read), [done(&[1, 2])]);
    assert!(read.is_over() && read.poll_deadline().is_none());
}

#[test]
fn where_one_is_gone_any_k_do_and_the_slowest_is_cancelled() {
    let mut read = read(Profile::SMALL, &[0, 1, 2, 3], 0..12);
    assert_eq!(asked(&mut read), [0, 1, 2, 3]);
    read.handle_failed(at(50), EffectId(2), FetchFailure::Unavailable);
    assert_eq!(asked(&mut read), [4, 5], "four are needed, one more is asked");
    for id in [0, 1, 4, 5] {
        read.handle_fetched(at(100), EffectId(id));
    }
    assert_eq!(events(&mut read), [done(&[0, 1, 4, 5])]);
    assert_eq!(read.poll_effect(), Some(Effect::Cancel { id: EffectId(3) }));
}

#[test]
fn who_is_late_is_not_waited_for() {
    let mut read = read(Profile::SMALL, &[0], 0..12);
    assert_eq!(asked(&mut read), [0]);
    assert_eq!(read.poll_deadline(), Some(at(700)));
    read.handle_time(at(700));
    assert_eq!(asked(&mut read), [1, 2, 3, 4]);
    read.handle_time(at(1400));
    assert_eq!(asked(&mut read), [5], "and one more with each span of patience");
    read.handle_fetched(at(1500), EffectId(0));
    assert_eq!(events(&mut read), [done(&[0])], "late is not never");
}

#[test]
fn liars_and_losers_are_told_and_replaced() {
    let mut read = read(Profile::SMALL, &[0, 1], 0..12);
    asked(&mut read);
    read.handle_failed(at(50), EffectId(0), FetchFailure::Wrong);
    read.handle_failed(at(60), EffectId(1), FetchFailure::Lost);
    let missing = |shard, lied| Event::Missing { shard, holder: key(shard), lied };
    assert_eq!(events(&mut read), [missing(0, true), missing(1, false)]);
    assert_eq!(asked(&mut read), [2, 3, 4, 5, 6]);
}

#[test]
fn copies_are_read_from_one_and_then_another() {
    let mut read = read(Profile::for_network(3), &[0], 0..3);
    assert_eq!(asked(&mut read), [0]);
    read.handle_failed(at(10), EffectId(0), FetchFailure::Unavailable);
    assert_eq!(asked(&mut read), [1, 2]);
    read.handle_fetched(at(20), EffectId(2));
    assert_eq!(events(&mut read), [done(&[2])]);
}

#[test]
fn too_few_is_a_clean_end() {
    let mut read = read(Profile::SMALL, &[0, 1, 2, 3], [0, 5, 7]);
    assert_eq!(asked(&mut read), [0, 5, 7]);
    (0..3).for_each(|id| read.handle_fetched(at(10), EffectId(id)));
    assert_eq!(events(&mut read), [Event::Failed { arrived: 3, needed: 4 }]);
    let mut nobody = self::read(Profile::SMALL, &[0], []);
    assert_eq!(events(&mut nobody), [Event::Failed { arrived: 0, needed: 4 }]);
}

proptest! {
    /// As long as k holders deliver, whatever the others do, the read ends well; and it always ends.
    #[test]
    fn k_good_holders_are_enough(seed: u64, good in 0_usize..=12) {
        let mut rng = SeededRng::from_number(seed);
        let mut order: Vec<u16> = (0..12).collect();
        rng.shuffle(&mut order);
        let good: BTreeSet<u16> = order[..good].iter().copied().collect();
        let mut read = read(Profile::SMALL, &[0, 1, 2, 3], 0..12);
        let (mut waiting, mut millis, mut ends) = (BTreeMap::new(), 0, Vec::new());
        for _ in 0..500 {
            while let Some(effect) = read.poll_effect() {
                match effect {
                    Effect::Fetch { id, shard, .. } => { waiting.insert(id, (shard, millis)); }
                    Effect::Cancel { id } => { prop_assert!(waiting.remove(&id).is_some()); }
                }
            }
            for event in events(&mut read) {
                match event {
                    Event::Missing { shard, .. } => prop_assert!(!good.contains(&shard)),
                    end => ends.push(end),
                }
            }
            if read.is_over() { break; }
            millis += rng.below(400);
            let ids: Vec<_> = waiting.iter().map(|(id, (shard, since))| (*id, *shard, *since)).collect();
            // A good holder takes ten seconds at most.
            let overdue = ids.iter().find(|(_, shard, since)| good.contains(shard) && since + 10_000 < millis);
            match overdue.or_else(|| rng.pick(&ids)) {
                Some((id, shard, _)) if good.contains(shard) => { waiting.remove(id); read.handle_fetched(at(millis), *id); }
                Some((id, ..)) if rng.below(2) == 0 => {
                    waiting.remove(id);
                    let failure = *rng.pick(&[FetchFailure::Unavailable, FetchFailure::Lost, FetchFailure::Wrong]).unwrap();
                    read.handle_failed(at(millis), *id, failure);
                }
                _ => {
                    let deadline = read.poll_deadline().expect("it is under way");
                    millis = millis.max(deadline.as_micros().div_ceil(1000).min(millis + 3000));
                    read.handle_time(at(millis));
                }
            }
        }
        prop_assert_eq!(ends.len(), 1);
        prop_assert!(waiting.is_empty());
        match &ends[0] {
            Event::Done { shards } => prop_assert!(shards.is_subset(&good)),
            Event::Failed { .. } => prop_assert!(good.len() < 4),
            Event::Missing { .. } => unreachable!(),
        }
    }
}
