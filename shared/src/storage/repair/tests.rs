use core::net::Ipv4Addr;

use super::*;
use crate::{
    base::SeededRng,
    identity::Keypair,
    storage::{
        erasure::Profile,
        placement::{HolderKind, Network},
    },
};

const TERMS: Terms = Terms { price_max: 100, reputation_min: 0 };

fn key(n: u32) -> PublicKey {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&n.to_le_bytes());
    Keypair::from_secret(secret).public()
}

fn holder(n: u32) -> Holder {
    Holder {
        node: key(n),
        operator: key(n + 1_000_000),
        network: Network::of(Ipv4Addr::from_bits(n << 8).into()),
        region: u16::try_from(n % 20).unwrap(),
        autonomous_system: n % 30,
        free_bytes: 1 << 40,
        price: 50,
        reputation: 900,
        passed_audits: 500,
        kind: HolderKind::Supernode,
    }
}

fn segment(n: u8) -> SegmentId {
    SegmentId([n; 32])
}

fn shape() -> SegmentShape {
    SegmentShape::new(Profile::SMALL, 1 << 20).unwrap()
}

/// Knows holders 0 to `holders`, and watches segments whose shard i is held by holder i.
fn repair(holders: u32, segments: u8) -> Repair {
    let mut repair = Repair::new(TERMS);
    (0..holders).for_each(|n| repair.handle_holder(holder(n)));
    let shards: Vec<(u16, PublicKey)> = (0..12).map(|shard| (shard, key(shard.into()))).collect();
    (0..segments).for_each(|n| repair.watch(segment(n), shape(), 8, &shards).unwrap());
    repair
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn events(repair: &mut Repair) -> Vec<Event> {
    core::iter::from_fn(|| repair.poll_event()).collect()
}

#[test]
fn a_segment_is_rebuilt_once_it_reaches_its_line_and_not_before() {
    let mut repair = repair(40, 1);
    for n in 0..3 {
        repair.handle_holder_gone(&key(n));
        assert_eq!(repair.poll_rebuild(at(0)), None, "{n} gone");
    }
    repair.handle_shard_lost(segment(0), 11, &key(11));
    let rebuild = repair.poll_rebuild(at(0)).unwrap();
    assert_eq!((rebuild.segment, rebuild.sources.len()), (segment(0), 8));
    assert_eq!(rebuild.targets.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [0, 1, 2, 11]);
    assert!(rebuild.sources.iter().all(|(shard, node)| *node == key((*shard).into())));
    assert!(rebuild.targets.iter().all(|(_, node)| !rebuild.sources.iter().any(|(_, other)| other == node)));
    assert_eq!(repair.poll_rebuild(at(0)), None, "once");
    repair.handle_rebuilt(at(1), rebuild.id, &rebuild.targets);
    assert_eq!(events(&mut repair), [Event::Rebuilt { segment: segment(0), alive: 12 }]);
    assert_eq!((repair.alive(segment(0)), repair.poll_rebuild(at(1))), (Some(12), None));
    // The new holders are watched as the old ones were.
    for (_, node) in &rebuild.targets {
        repair.handle_holder_gone(node);
    }
    assert_eq!(repair.poll_rebuild(at(2)).map(|rebuild| rebuild.targets.len()), Some(4));
}

#[test]
fn who_has_least_to_spare_comes_first_and_only_so_many_at_once() {
    let mut repair = repair(100, 20);
    for n in 0..20 {
        let lost = if n == 13 { 7 } else { 4 + u16::from(n % 2) };
        (0..lost).for_each(|shard| repair.handle_shard_lost(segment(n), shard, &key(shard.into())));
    }
    let begun: Vec<Rebuild> = core::iter::from_fn(|| repair.poll_rebuild(at(0))).collect();
    assert_eq!((begun.len(), repair.rebuilds()), (MAX_REBUILDS, MAX_REBUILDS));
    assert_eq!(begun[0].segment, segment(13));
    assert!(begun[1..].iter().all(|rebuild| rebuild.targets.len() == 5), "{begun:?}");
    repair.handle_rebuilt(at(1), begun[0].id, &begun[0].targets);
    assert!(repair.poll_rebuild(at(1)).is_some() && repair.poll_rebuild(at(1)).is_none());
}

#[test]
fn a_rebuild_that_stores_nothing_is_tried_again_later() {
    let mut repair = repair(40, 1);
    (0..4).for_each(|n| repair.handle_holder_gone(&key(n)));
    let rebuild = repair.poll_rebuild(at(0)).unwrap();
    repair.handle_rebuilt(at(5), rebuild.id, &[]);
    repair.handle_rebuilt(at(5), rebuild.id, &rebuild.targets);
    assert_eq!((repair.alive(segment(0)), events(&mut repair).len()), (Some(8), 0), "one report counts");
    assert_eq!((repair.poll_rebuild(at(5)), repair.poll_deadline()), (None, Some(at(65))));
    repair.handle_time(at(64));
    assert_eq!(repair.poll_rebuild(at(64)), None);
    repair.handle_time(at(65));
    let again = repair.poll_rebuild(at(65)).unwrap();
    // A part of it is better than nothing, and is not the end of it.
    repair.handle_rebuilt(at(70), again.id, &again.targets[..1]);
    assert_eq!(repair.alive(segment(0)), Some(9), "above the line");
    assert_eq!((repair.poll_rebuild(at(70)), repair.poll_deadline()), (None, None));
}

#[test]
fn without_anybody_to_rebuild_onto_it_waits_for_a_holder() {
    let mut repair = repair(12, 1);
    (0..5).for_each(|n| repair.handle_holder_gone(&key(n)));
    assert_eq!((repair.poll_rebuild(at(0)), repair.poll_deadline()), (None, Some(at(60))));
    repair.handle_holder(holder(50));
    repair.handle_time(at(60));
    assert_eq!(repair.poll_rebuild(at(60)).unwrap().targets, [(0, key(50))]);
}

#[test]
fn a_lost_segment_is_told_once_and_rests_until_shards_turn_up() {
    let mut repair = repair(40, 1);
    for n in 0..9 {
        repair.handle_holder_gone(&key(n));
    }
    assert_eq!(events(&mut repair), [Event::Lost { segment: segment(0) }]);
    repair.handle_holder_gone(&key(9));
    assert_eq!(
        (events(&mut repair).len(), repair.poll_rebuild(at(0)), repair.poll_deadline()),
        (0, None, None)
    );
    repair.handle_shard_found(segment(0), 0, &key(0));
    assert_eq!(repair.alive(segment(0)), Some(2), "of a holder that is not known");
    repair.handle_holder(holder(0));
    repair.handle_holder(holder(1));
    repair.handle_shard_found(segment(0), 0, &key(0));
    repair.handle_shard_found(segment(0), 1, &key(1));
    repair.handle_shard_found(segment(0), 99, &key(1));
    assert_eq!(events(&mut repair), [Event::Found { segment: segment(0) }]);
    assert_eq!(repair.poll_rebuild(at(0)).unwrap().targets.len(), 8);
}

#[test]
fn what_happens_meanwhile_is_not_forgotten() {
    let mut repair = repair(60, 2);
    (0..4).for_each(|n| repair.handle_holder_gone(&key(n)));
    let begun = [repair.poll_rebuild(at(0)).unwrap(), repair.poll_rebuild(at(0)).unwrap()];
    // A target dies before it is done, and a segment is deleted.
    repair.handle_holder_gone(&begun[0].targets[0].1);
    repair.forget(begun[1].segment);
    for rebuild in &begun {
        repair.handle_rebuilt(at(1), rebuild.id, &rebuild.targets);
    }
    assert_eq!((repair.alive(begun[0].segment), repair.alive(begun[1].segment)), (Some(11), None));
    assert_eq!(events(&mut repair).len(), 1);
    // Watched anew, a segment takes no orders from an old rebuild, but shards are shards.
    repair.watch(begun[1].segment, shape(), 12, &[]).unwrap();
    repair.handle_rebuilt(at(1), begun[1].id, &begun[1].targets);
    assert_eq!(repair.alive(begun[1].segment), Some(0));
    repair.forget(begun[1].segment);
    events(&mut repair);
    repair.set_line(begun[0].segment, 11);
    assert_eq!(repair.poll_rebuild(at(2)).unwrap().targets.len(), 1);
    // Somebody else's word about a shard changes nothing.
    repair.handle_shard_lost(begun[0].segment, 5, &key(6));
    assert_eq!(repair.alive(begun[0].segment), Some(11));
}

#[test]
fn a_segment_is_watched_once() {
    let mut repair = repair(12, 1);
    assert_eq!(repair.watch(segment(0), shape(), 8, &[]), Err(WatchError::Watched));
}

/// Any order of deaths, reports, arrivals and time: rules hold throughout, and once it is quiet everything is whole.
#[test]
fn whatever_happens_all_is_whole_once_it_is_quiet() {
    let mut rested = 0;
    for seed in 0..40 {
        let mut rng = SeededRng::from_number(seed);
        let mut repair = repair(60, 6);
        let (mut now, mut open, mut newest) = (0, Vec::<Rebuild>::new(), 60);
        let draw = |rng: &mut SeededRng, bound: u32| u32::try_from(rng.below(bound.into())).unwrap();
        for _ in 0..400 {
            now += rng.below(20);
            match rng.below(6) {
                0 => repair.handle_holder_gone(&key(draw(&mut rng, newest))),
                1 | 2 => {
                    repair.handle_holder(holder(newest));
                    newest += 1;
                }
                3 => {
                    let id = segment(u8::try_from(draw(&mut rng, 6)).unwrap());
                    let held = repair
                        .shards(id)
                        .map(|(shard, holder)| (shard, holder.node.clone()))
                        .collect::<Vec<_>>();
                    if let Some((shard, node)) = rng.pick(&held).filter(|_| held.len() > 6) {
                        repair.handle_shard_lost(id, *shard, node);
                    }
                }
                4 if !open.is_empty() => {
                    let rebuild = open.swap_remove(usize::try_from(rng.below(open.len() as u64)).unwrap());
                    let stored = usize::try_from(rng.below(rebuild.targets.len() as u64 + 1)).unwrap();
                    repair.handle_rebuilt(at(now), rebuild.id, &rebuild.targets[..stored]);
                }
                _ => repair.handle_time(at(now)),
            }
            open.extend(core::iter::from_fn(|| repair.poll_rebuild(at(now))));
            assert!(open.len() <= MAX_REBUILDS && open.len() == repair.rebuilds(), "seed {seed}");
            for n in 0..6 {
                let holders: Vec<_> =
                    repair.shards(segment(n)).map(|(_, holder)| holder.operator.clone()).collect();
                let distinct: BTreeSet<_> = holders.iter().collect();
                assert_eq!(distinct.len(), holders.len(), "seed {seed}: two shards of one operator");
            }
        }
        (newest..newest + 40).for_each(|n| repair.handle_holder(holder(n)));
        (0..6).for_each(|n| repair.set_line(segment(n), 12));
        for _ in 0..20 {
            now += 61;
            repair.handle_time(at(now));
            open.extend(core::iter::from_fn(|| repair.poll_rebuild(at(now))));
            for rebuild in open.drain(..) {
                repair.handle_rebuilt(at(now), rebuild.id, &rebuild.targets);
            }
        }
        let mut lost = BTreeSet::new();
        for event in events(&mut repair) {
            match event {
                Event::Lost { segment } => assert!(lost.insert(segment), "seed {seed}: lost twice"),
                Event::Found { segment } => assert!(lost.remove(&segment), "seed {seed}: found without loss"),
                Event::Rebuilt { segment, .. } => {
                    assert!(!lost.contains(&segment), "seed {seed}: rebuilt from nothing");
                }
            }
        }
        for n in 0..6 {
            let alive = repair.alive(segment(n)).unwrap();
            let expect = if lost.contains(&segment(n)) { alive < 4 } else { alive == 12 };
            assert!(expect, "seed {seed}: {alive} of segment {n}");
        }
        rested += usize::from(lost.is_empty());
        assert!(repair.rebuilds() == 0 && repair.poll_deadline().is_none(), "seed {seed}");
    }
    assert!(rested > 20, "in most runs nothing is lost, and {rested} were such");
}
