use proptest::prelude::*;

use super::*;
use crate::{base::SeededRng, identity::Keypair};

fn key(n: u64) -> PublicKey {
    let mut secret = [1; 32];
    secret[..8].copy_from_slice(&n.to_le_bytes());
    Keypair::from_secret(secret).public()
}

fn segment(n: u64) -> SegmentId {
    SegmentId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// Vetted, and of its own in every respect but region and system, of which there are ten.
fn holder(n: u64) -> Holder {
    let network = u32::try_from(n).unwrap().to_be_bytes();
    Holder {
        node: key(n),
        operator: key(n + 1_000_000),
        network: Network::V4([network[1], network[2], network[3]]),
        region: u16::try_from(n % 10).unwrap(),
        autonomous_system: u32::try_from(n % 10).unwrap(),
        free_bytes: 100 << 30,
        price: 50,
        reputation: 900,
        passed_audits: 500,
        kind: HolderKind::Supernode,
    }
}

fn need(profile: Profile) -> Need {
    let shards = profile.total_shards();
    Need { profile, shards, spares: 0, shard_bytes: 1 << 20, price_max: 100, reputation_min: 500 }
}

fn nodes(holders: &[&Holder]) -> Vec<PublicKey> {
    holders.iter().map(|holder| holder.node.clone()).collect()
}

#[test]
fn a_network_as_wide_as_the_profile_is_filled_to_the_last() {
    for profile in [Profile::WIDE, Profile::MIDDLE, Profile::THREEFOLD] {
        let holders: Vec<Holder> = (0..u64::from(profile.total_shards())).map(holder).collect();
        let placement = place(segment(1), &need(profile), &[], &holders);
        assert_eq!((placement.missing, placement.chosen.len()), (0, holders.len()), "{profile:?}");
    }
}

#[test]
fn what_shares_an_operator_or_a_network_gets_one_shard() {
    let check = |change: &dyn Fn(&mut Holder), expect: PassedOver| {
        let mut holders: Vec<Holder> = (0..12).map(holder).collect();
        holders[3..6].iter_mut().for_each(change);
        let placement = place(segment(1), &need(Profile::SMALL), &[], &holders);
        assert_eq!(placement.passed_over, [(expect, 2)].into(), "{expect:?}");
        assert_eq!((placement.missing, placement.chosen.len()), (2, 10));
    };
    check(&|holder| holder.operator = key(77), PassedOver::Operator);
    check(&|holder| holder.network = Network::of([10, 0, 0, 9].into()), PassedOver::Network);
    assert_eq!(Network::of([10, 0, 0, 9].into()), Network::of("::ffff:10.0.0.200".parse().unwrap()));
    assert_ne!(Network::of([10, 0, 0, 9].into()), Network::of([10, 0, 1, 9].into()));
    let v6 = |text: &str| Network::of(text.parse().unwrap());
    assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::"));
    assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
}

#[test]
fn a_region_or_a_system_holds_a_fifth_at_most() {
    let check = |change: &dyn Fn(&mut Holder), obstacle: PassedOver| {
        let mut holders: Vec<Holder> = (0..200).map(holder).collect();
        holders.iter_mut().take(150).for_each(change);
        let placement = place(segment(1), &need(Profile::MIDDLE), &[], &holders);
        assert_eq!((placement.chosen.len(), placement.missing), (40, 0), "{obstacle:?}");
        let crowded =
            placement.chosen.iter().filter(|holder| holder.region == 99 || holder.autonomous_system == 99);
        assert_eq!(
            crowded.count(),
            8,
            "{obstacle:?}: a fifth of 40, which three quarters of the network would exceed"
        );
        assert!(placement.passed_over[&obstacle] >= 142);
    };
    check(&|holder| holder.region = 99, PassedOver::Region);
    check(&|holder| holder.autonomous_system = 99, PassedOver::AutonomousSystem);
}

#[test]
fn who_does_not_count_gets_extras_alone() {
    let mut holders: Vec<Holder> = (0..60).map(holder).collect();
    holders[..10].iter_mut().for_each(|holder| holder.passed_audits = VETTING_AUDITS - 1);
    holders[10..20].iter_mut().for_each(|holder| holder.kind = HolderKind::Tab);
    let placement = place(segment(1), &need(Profile::MIDDLE), &[], &holders);
    assert_eq!((placement.chosen.len(), placement.missing), (40, 0));
    assert!(placement.chosen.iter().all(|holder| holder.counts()));
    assert!(placement.extras.iter().all(|holder| !holder.counts()));
    assert!(placement.extras.len() <= MAX_EXTRAS);
    let few = place(segment(1), &need(Profile::MIDDLE), &[], &holders[..20]);
    assert_eq!((few.chosen.len(), few.missing, few.extras.len()), (0, 40, MAX_EXTRAS));
    assert_eq!(few.passed_over, [(PassedOver::Uncounted, 12)].into());
}

#[test]
fn who_is_full_or_dear_or_unreliable_is_passed_over_and_told() {
    let mut holders: Vec<Holder> = (0..20).map(holder).collect();
    holders[0].free_bytes = (1 << 20) - 1;
    holders[1].price = 101;
    holders[2].reputation = 499;
    let placement = place(segment(1), &need(Profile::SMALL), &[], &holders);
    let told = [(PassedOver::Full, 1), (PassedOver::Expensive, 1), (PassedOver::Unreliable, 1)].into();
    assert_eq!(placement.passed_over, told);
    assert_eq!(placement.missing, 0);
}

#[test]
fn more_room_and_more_reputation_attract_more_shards() {
    let mut holders: Vec<Holder> = (0..60).map(holder).collect();
    holders[0].free_bytes *= 4;
    holders[1].reputation = 450;
    holders[2].price = 100;
    let mut shards = BTreeMap::<PublicKey, u32>::new();
    let need = Need { shards: 1, reputation_min: 0, ..need(Profile::SMALL) };
    for n in 0..6000 {
        for holder in place(segment(n), &need, &[], &holders).chosen {
            *shards.entry(holder.node.clone()).or_default() += 1;
        }
    }
    // By weight: 6,000 × (4, ½, ⅔, 1) / 62.2 or so, each within five standard deviations.
    let check = |n: u64, low: u32, high: u32| {
        let found = shards[&key(n)];
        assert!((low..=high).contains(&found), "holder {n} has {found}");
    };
    check(0, 290, 490);
    check(1, 20, 80);
    check(2, 30, 105);
    check(3, 50, 150);
}

#[test]
fn what_is_kept_binds_what_is_added() {
    let holders: Vec<Holder> = (0..100).map(holder).collect();
    let whole = place(segment(5), &need(Profile::MIDDLE), &[], &holders);
    let kept: Vec<Holder> = whole.chosen[..30].iter().map(|holder| (*holder).clone()).collect();
    let lost: Vec<PublicKey> = nodes(&whole.chosen[30..]);
    let alive: Vec<Holder> = holders.iter().filter(|holder| !lost.contains(&holder.node)).cloned().collect();
    let repair = place(segment(5), &Need { shards: 10, ..need(Profile::MIDDLE) }, &kept, &alive);
    assert_eq!((repair.chosen.len(), repair.missing), (10, 0));
    let mut regions = BTreeMap::<u16, u32>::new();
    for holder in kept.iter().chain(repair.chosen.iter().copied()) {
        *regions.entry(holder.region).or_default() += 1;
    }
    assert!(regions.values().all(|held| *held <= 8), "{regions:?}");
    assert!(repair.chosen.iter().all(|holder| !kept.contains(holder)));
}

proptest! {
    // Each case makes a network's worth of keys.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_rule_is_ever_broken_and_order_says_nothing(seed in any::<u64>(), count in 0u64..150, spares in 0u16..20) {
        let mut rng = SeededRng::from_number(seed);
        let mut holders: Vec<Holder> = (0..count)
            .map(|n| {
                let mut holder = holder(n);
                let draw = |rng: &mut SeededRng, bound| u16::try_from(rng.below(bound)).unwrap();
                holder.operator = key(2_000_000 + rng.below(60));
                holder.network = Network::V4([0, 0, u8::try_from(rng.below(70)).unwrap()]);
                holder.region = draw(&mut rng, 7);
                holder.autonomous_system = draw(&mut rng, 9).into();
                holder.free_bytes = rng.below(4 << 20);
                holder.price = rng.below(120);
                holder.reputation = draw(&mut rng, 1001);
                holder.passed_audits = rng.below(400);
                holder.kind = if rng.chance(0.2) { HolderKind::Tab } else { HolderKind::Supernode };
                holder
            })
            .collect();
        let need = Need { spares, ..need(Profile::MIDDLE) };
        let ordered = holders.clone();
        let placement = place(segment(seed), &need, &[], &ordered);
        let all: Vec<&Holder> = [&placement.chosen[..], &placement.spares, &placement.extras].concat();
        let distinct = |of: &dyn Fn(&Holder) -> Vec<u8>| {
            all.iter().map(|holder| of(holder)).collect::<BTreeSet<_>>().len() == all.len()
        };
        let operators = distinct(&|holder| holder.operator.to_bytes().to_vec());
        let networks = distinct(&|holder| format!("{:?}", holder.network).into_bytes());
        prop_assert!(operators && networks);
        for region in 0..9 {
            prop_assert!(all.iter().filter(|holder| holder.region == region).count() <= 8);
            prop_assert!(all.iter().filter(|holder| holder.autonomous_system == u32::from(region)).count() <= 8);
        }
        for holder in &all {
            prop_assert!(holder.free_bytes >= 1 << 20 && holder.price <= 100 && holder.reputation >= 500);
        }
        prop_assert!(placement.chosen.iter().chain(&placement.spares).all(|holder| holder.counts()));
        prop_assert_eq!(placement.chosen.len() + usize::from(placement.missing), 40);
        prop_assert!(placement.spares.is_empty() || placement.missing == 0);

        rng.shuffle(&mut holders);
        prop_assert_eq!(&place(segment(seed), &need, &[], &holders), &placement);
    }

    #[test]
    fn who_was_not_chosen_may_leave_unnoticed_and_who_was_is_replaced_alone(seed in 0u64..10_000) {
        // Regions and systems wide enough to bind nobody.
        let holders: Vec<Holder> = (0..120)
            .map(|n| Holder { region: u16::try_from(n).unwrap(), autonomous_system: u32::try_from(n).unwrap(), ..holder(n) })
            .collect();
        let need = need(Profile::MIDDLE);
        let before = nodes(&place(segment(seed), &need, &[], &holders).chosen);
        let leave = |gone: &PublicKey| {
            let rest: Vec<Holder> = holders.iter().filter(|holder| holder.node != *gone).cloned().collect();
            nodes(&place(segment(seed), &need, &[], &rest).chosen)
        };
        let outsider = holders.iter().find(|holder| !before.contains(&holder.node)).unwrap();
        prop_assert_eq!(&leave(&outsider.node), &before);
        let after = leave(&before[7]);
        let moved: Vec<_> = after.iter().filter(|node| !before.contains(node)).collect();
        prop_assert_eq!(moved.len(), 1);
    }
}
