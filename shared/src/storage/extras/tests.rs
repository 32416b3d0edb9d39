use super::*;
use crate::{
    base::blob::HashTree,
    identity::{Keypair, PublicKey},
    storage::{
        custody::{self, Custody},
        erasure::{Profile, SegmentShape},
        holders::{HolderAdvert, vouch},
        placement::{HolderKind, Network},
        proof::answer,
        repair::Terms,
    },
};

const POLICY: Policy = Policy { of_a_segment: 2, audit_every: Duration::from_secs(60) };
const UNIX: UnixSeconds = UnixSeconds(1_000_000);

fn key(number: u8) -> Keypair {
    Keypair::from_secret([number + 1; 32])
}

fn tab(number: u8) -> Tab {
    Tab(key(number).public())
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn bytes(segment: u8, shard: u16) -> Vec<u8> {
    let [_, shard] = shard.to_be_bytes();
    (0..40_000_u32).map(|at| at.to_be_bytes()[3] ^ segment ^ shard.wrapping_mul(37)).collect()
}

fn record(segment: u8) -> SegmentRecord {
    let shape = SegmentShape::new(Profile::SMALL, 160_000).unwrap();
    let roots = (0..12).map(|shard| HashTree::of(&bytes(segment, shard)).unwrap().root());
    SegmentRecord::new(shape, roots.collect()).unwrap()
}

/// What an owner watches over.
struct Segments(BTreeMap<SegmentId, SegmentRecord>);

impl Segments {
    fn of(count: u8) -> Self {
        Self((0..count).map(record).map(|record| (record.encode().0, record)).collect())
    }

    fn from(&self, segment: SegmentId) -> impl Iterator<Item = (SegmentId, &SegmentRecord)> {
        self.0.range(segment..).map(|(segment, record)| (*segment, record))
    }
}

fn room(bytes: u64) -> Room {
    Room { bytes, kept: Vec::new() }
}

/// What a tab says that keeps all that `extras` gave it.
fn room_with(extras: &Extras, of: &Tab, bytes: u64) -> Room {
    let kept = extras.shards().filter(|extra| extra.tab == of);
    let kept = kept.map(|extra| Kept {
        root: extra.root,
        segment: extra.place.segment,
        until: UNIX.plus(LEASE_SECONDS),
    });
    Room { bytes, kept: kept.collect() }
}

fn welcome(
    extras: &mut Extras,
    now: Instant,
    segments: &Segments,
    of: &Tab,
    room: &Room,
) -> Result<(), Refusal> {
    extras.handle_room(now, of, room, |segment| segments.0.get(&segment))
}

/// It says again what it has.
fn say_again(extras: &mut Extras, now: Instant, segments: &Segments, of: &Tab) {
    let room = room_with(extras, of, 1 << 20);
    welcome(extras, now, segments, of, &room).unwrap();
}

fn give(extras: &mut Extras, now: Instant, segments: &Segments) -> Option<Offer> {
    let offer = extras.poll_offer(now, UNIX, |from| segments.from(from))?;
    extras.handle_offered(now, offer.id, Offered::Kept(UNIX.plus(LEASE_SECONDS)));
    Some(offer)
}

/// An answer as a tab gives it that has these bytes of the shard that is asked about.
fn answered(challenge: &Challenge, by: &Keypair, tree: &HashTree, has: &[u8]) -> Vec<u8> {
    let groups: BTreeMap<u32, &[u8]> = (0..).zip(has.chunks(16_384)).collect();
    answer(challenge, tree, &groups, by)
}

/// Plays time until a question comes, and answers it, or until the audit ends without.
fn audit(extras: &mut Extras, mut now: Instant, respond: impl Fn(&Challenge) -> Option<Vec<u8>>) -> Instant {
    for beacon in 0..=u8::MAX {
        if let Some(Question { id, challenge }) = extras.poll_question(now, &[beacon; 32]) {
            if let Some(answer) = respond(&challenge) {
                extras.handle_answer(now, id, &answer);
                return now;
            }
            continue;
        }
        if extras.events.iter().any(|event| matches!(event, Event::Audited { .. })) {
            return now;
        }
        now = now + Duration::from_secs(1);
    }
    panic!("no audit ended");
}

fn verdicts(extras: &mut Extras) -> Vec<Verdict> {
    let events = core::iter::from_fn(|| extras.poll_event());
    events
        .filter_map(|event| if let Event::Audited { verdict, .. } = event { Some(verdict) } else { None })
        .collect()
}

#[test]
fn a_tab_with_room_gets_one_shard_of_each_segment_up_to_its_room_and_rate() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(3));
    welcome(&mut extras, at(0), &segments, &tab(0), &room(100_000)).unwrap();
    let first = give(&mut extras, at(0), &segments).unwrap();
    assert!(first.place.shard < 4, "the segment's own bytes first");
    assert_eq!(segments.0[&first.place.segment].root(first.place.shard), Some(first.root));
    assert_eq!(give(&mut extras, at(4), &segments), None, "not at once again");
    let second = give(&mut extras, at(5), &segments).unwrap();
    assert_ne!(second.place.segment, first.place.segment);
    assert_eq!(give(&mut extras, at(500), &segments), None, "two shards of 40,000 fit into 100,000");
}

#[test]
fn a_segment_has_no_more_extras_than_the_owner_wants_and_each_is_another_shard() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(1));
    let mut given = BTreeSet::new();
    for number in 0..5 {
        welcome(&mut extras, at(0), &segments, &tab(number), &room(1 << 20)).unwrap();
        given.extend(give(&mut extras, at(0), &segments).map(|offer| offer.place.shard));
    }
    assert_eq!(given.len(), 2);
    let mut off = Extras::new(Policy { of_a_segment: 0, ..POLICY }, [1; 32]);
    assert_eq!(welcome(&mut off, at(0), &segments, &tab(0), &room(1)), Err(Refusal::Forbidden));
}

#[test]
fn offers_under_way_are_bounded_and_a_refusal_is_heeded() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(9));
    for number in 0..5 {
        welcome(&mut extras, at(0), &segments, &tab(number), &room(1 << 20)).unwrap();
    }
    let offers: Vec<_> =
        core::iter::from_fn(|| extras.poll_offer(at(0), UNIX, |from| segments.from(from))).collect();
    assert_eq!(offers.len(), MAX_OFFERS);
    extras.handle_offered(at(1), offers[0].id, Offered::Refused(Refusal::OverBudget));
    extras.handle_offered(at(1), offers[1].id, Offered::Failed);
    let again: BTreeSet<Tab> =
        core::iter::from_fn(|| give(&mut extras, at(1), &segments)).map(|offer| offer.tab).collect();
    assert!(!again.contains(&offers[0].tab) && !again.contains(&offers[1].tab));
    let later: BTreeSet<Tab> =
        core::iter::from_fn(|| give(&mut extras, at(62), &segments)).map(|offer| offer.tab).collect();
    assert!(!later.contains(&offers[0].tab), "it said that it has no room");
    assert!(later.contains(&offers[1].tab));
}

#[test]
fn what_is_proved_stays_and_what_is_lost_is_forgotten_until_too_much_is() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(4));
    let mut now = at(0);
    for lost in 1..=LOST_MAX {
        say_again(&mut extras, now, &segments, &tab(0));
        let offer = give(&mut extras, now, &segments).unwrap();
        let (_, number) =
            (0..4).map(|n| (record(n).encode().0, n)).find(|(id, _)| *id == offer.place.segment).unwrap();
        let whole = bytes(number, offer.place.shard);
        let tree = HashTree::of(&whole).unwrap();
        now = audit(&mut extras, now, |challenge| Some(answered(challenge, &key(0), &tree, &whole)));
        assert_eq!(verdicts(&mut extras), [Verdict::Passed]);
        assert_eq!(extras.of_segment(offer.place.segment), [(offer.place.shard, tab(0))]);
        // A bit of it flips: whoever checks its own bytes says that they are lost.
        let rotten: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
        say_again(&mut extras, now, &segments, &tab(0));
        now = audit(&mut extras, now, |challenge| Some(answered(challenge, &key(0), &tree, &rotten)));
        let events: Vec<_> = core::iter::from_fn(|| extras.poll_event()).collect();
        assert!(events.contains(&Event::Audited { tab: tab(0), root: offer.root, verdict: Verdict::Lost }));
        assert_eq!(events.contains(&Event::Dismissed { tab: tab(0) }), lost == LOST_MAX);
        assert_eq!(extras.of_segment(offer.place.segment), []);
        now = now + RETRY_AFTER;
    }
    assert_eq!(welcome(&mut extras, now, &segments, &tab(0), &room(1 << 20)), Err(Refusal::Forbidden));
    assert_eq!(extras.tabs().count(), 0);
}

#[test]
fn a_tab_that_lies_is_told_nothing_more_and_silence_is_no_offence() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(2));
    welcome(&mut extras, at(0), &segments, &tab(0), &room(1 << 20)).unwrap();
    give(&mut extras, at(0), &segments).unwrap();
    let now = audit(&mut extras, at(0), |_| None);
    assert_eq!(verdicts(&mut extras), [Verdict::Silent]);
    assert_eq!(extras.shards().count(), 1);
    // Other bytes, signed as if they were the shard's.
    let other = vec![9; 40_000];
    let tree = HashTree::of(&other).unwrap();
    say_again(&mut extras, now, &segments, &tab(0));
    audit(&mut extras, now, |challenge| Some(answered(challenge, &key(0), &tree, &other)));
    let events: Vec<_> = core::iter::from_fn(|| extras.poll_event()).collect();
    assert!(events.contains(&Event::Dismissed { tab: tab(0) }));
    assert_eq!(extras.poll_question(at(100_000), &[0; 32]), None);
    assert_eq!(give(&mut extras, at(100_000), &segments), None);
    assert_eq!(welcome(&mut extras, at(100_000), &segments, &tab(0), &room(9)), Err(Refusal::Forbidden));
    // What another signed says nothing of a tab.
    welcome(&mut extras, at(0), &segments, &tab(1), &room(1 << 20)).unwrap();
    give(&mut extras, at(0), &segments).unwrap();
    let now = at(200);
    let question = extras.poll_question(now, &[3; 32]).unwrap();
    extras.handle_answer(now, question.id, &answered(&question.challenge, &key(2), &tree, &other));
    assert_eq!(extras.shards().count(), 1);
}

#[test]
fn a_tab_that_comes_back_says_what_it_has_and_the_owner_need_remember_nothing() {
    let segments = Segments::of(2);
    let mut before = Extras::new(POLICY, [1; 32]);
    welcome(&mut before, at(0), &segments, &tab(0), &room(1 << 20)).unwrap();
    let offer = give(&mut before, at(0), &segments).unwrap();
    let mut said = room_with(&before, &tab(0), 1000);
    let stranger = Kept { root: BlobRoot([7; 32]), segment: offer.place.segment, until: UNIX };
    let deleted = Kept { root: BlobRoot([8; 32]), segment: SegmentId([9; 32]), until: UNIX };
    said.kept.extend([stranger, deleted]);
    let mut after = Extras::new(POLICY, [2; 32]);
    welcome(&mut after, at(0), &segments, &tab(0), &said).unwrap();
    assert_eq!(after.of_segment(offer.place.segment), [(offer.place.shard, tab(0))]);
    let dropped: BTreeSet<_> = core::iter::from_fn(|| after.poll_drop()).map(|(_, root)| root).collect();
    assert_eq!(dropped, [BlobRoot([7; 32]), BlobRoot([8; 32])].into(), "what nobody wants may go");
    let asked = after.poll_question(at(31), &[1; 32]);
    assert_eq!(asked.unwrap().challenge.root, offer.root, "it shows soon that it has it");
}

#[test]
fn leases_are_renewed_without_the_bytes() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(1));
    welcome(&mut extras, at(0), &segments, &tab(0), &room(1 << 20)).unwrap();
    let offer = give(&mut extras, at(0), &segments).unwrap();
    assert!(!offer.renewal);
    let later = UNIX.plus(LEASE_SECONDS / 2 + 1);
    let renewal = extras.poll_offer(at(100), later, |from| segments.from(from)).unwrap();
    assert!(renewal.renewal && renewal.root == offer.root);
    extras.handle_offered(at(100), renewal.id, Offered::Kept(later.plus(LEASE_SECONDS)));
    assert_eq!(extras.poll_offer(at(300), later, |from| segments.from(from)), None);
    assert_eq!(extras.shards().count(), 1);
}

#[test]
fn who_is_not_heard_of_is_gone_and_what_is_deleted_is_dropped() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(2));
    welcome(&mut extras, at(0), &segments, &tab(0), &room(1 << 20)).unwrap();
    let first = give(&mut extras, at(0), &segments).unwrap();
    let second = give(&mut extras, at(5), &segments).unwrap();
    extras.forget(first.place.segment);
    assert_eq!(extras.poll_drop(), Some((tab(0), first.root)));
    assert_eq!(extras.of_segment(first.place.segment), []);
    extras.handle_time(at(179));
    assert_eq!(extras.of_segment(second.place.segment).len(), 1);
    extras.handle_time(at(180));
    assert_eq!(extras.of_segment(second.place.segment), []);
    assert!(
        core::iter::from_fn(|| extras.poll_event())
            .any(|event| event == Event::Gone { tab: tab(0), shards: 1 })
    );
    assert!(extras.copies.is_empty() && extras.poll_deadline().is_none());
}

#[test]
fn a_segment_that_is_deleted_while_a_shard_is_on_its_way_leaves_nothing_behind() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(1));
    welcome(&mut extras, at(0), &segments, &tab(0), &room(1 << 20)).unwrap();
    let offer = extras.poll_offer(at(0), UNIX, |from| segments.from(from)).unwrap();
    extras.forget(offer.place.segment);
    extras.handle_offered(at(1), offer.id, Offered::Kept(UNIX.plus(LEASE_SECONDS)));
    assert!(extras.copies.is_empty() && extras.shards().next().is_none());
    let kept = Kept { root: offer.root, segment: offer.place.segment, until: UNIX.plus(LEASE_SECONDS) };
    welcome(&mut extras, at(60), &Segments::of(0), &tab(0), &Room { bytes: 9, kept: vec![kept] }).unwrap();
    assert_eq!(extras.poll_drop(), Some((tab(0), offer.root)));
}

#[test]
fn tabs_and_what_is_remembered_of_them_are_bounded() {
    let (mut extras, segments) = (Extras::new(POLICY, [1; 32]), Segments::of(0));
    let some = |number: usize| {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        Tab(Keypair::from_secret(secret).public())
    };
    for number in 0..MAX_TABS {
        welcome(&mut extras, at(0), &segments, &some(number), &room(9)).unwrap();
    }
    assert_eq!(welcome(&mut extras, at(0), &segments, &some(MAX_TABS), &room(9)), Err(Refusal::Busy));
    assert_eq!(welcome(&mut extras, at(0), &segments, &some(0), &room(0)), Ok(()), "it goes");
    assert_eq!(welcome(&mut extras, at(0), &segments, &some(MAX_TABS), &room(9)), Ok(()));
    assert_eq!(extras.tabs().count(), MAX_TABS);
}

/// What an owner tells of a segment's safety: shards alive, who holds them, and when it would be rebuilt.
fn safety(
    custody: &mut Custody,
    now: Instant,
    segment: SegmentId,
) -> (Option<u16>, Vec<(u16, PublicKey)>, bool) {
    let holders = custody.shards(segment).map(|(shard, holder)| (shard, holder.clone())).collect();
    (custody.alive(segment), holders, custody.poll_rebuild(now).is_some())
}

/// The same holders with one, and all, of a segment's shards also in tabs: no figure knows of it.
#[test]
fn the_loss_of_every_tab_changes_no_figure() {
    let holder = |number: u8| Keypair::from_secret([number + 101; 32]);
    let policy = custody::Policy {
        terms: Terms { price_max: 100, reputation_min: 0 },
        rhythm: custody::Rhythm {
            audit_every: Duration::from_secs(1 << 30),
            gone_after: Duration::from_secs(3600),
        },
        vetting_audits: 0,
    };
    let mut custody = Custody::new(policy, [7; 32]);
    for number in 0..12 {
        custody.handle_advert(
            at(0),
            &HolderAdvert {
                node: holder(number).public(),
                operator: holder(number).public(),
                operator_signature: vouch(&holder(number), &holder(number).public()),
                sequence: 1,
                issued: UNIX,
                expires: UNIX.plus(1000),
                free_bytes: 1 << 30,
                price: 1,
                network: Network::V4([10, 0, number]),
                region: number.into(),
                autonomous_system: number.into(),
                kind: HolderKind::Supernode,
                software: String::new(),
                claimed_audits: 0,
                addresses: Vec::new(),
            },
        );
    }
    let shards: Vec<_> = (0..12).map(|number: u8| (number.into(), holder(number).public())).collect();
    let segment = custody.watch(at(0), record(0), 8, &shards).unwrap();
    let mut extras = Extras::new(Policy { of_a_segment: 8, ..POLICY }, [1; 32]);

    let before = safety(&mut custody, at(1), segment);
    assert_eq!(before.0, Some(12));
    for number in 0..8 {
        extras.handle_room(at(1), &tab(number), &room(1 << 20), |segment| custody.record(segment)).unwrap();
        let offer = extras.poll_offer(at(1), UNIX, |from| custody.records_from(from)).unwrap();
        extras.handle_offered(at(1), offer.id, Offered::Kept(UNIX.plus(LEASE_SECONDS)));
    }
    assert_eq!(extras.of_segment(segment).len(), 8);
    assert_eq!(safety(&mut custody, at(1), segment), before, "with eight tabs");
    (0..8).for_each(|number| extras.handle_gone(&tab(number)));
    assert_eq!(extras.of_segment(segment), []);
    assert_eq!(safety(&mut custody, at(1), segment), before, "without them again");

    // And a tab that keeps the shard of a lost holder does not stand in for it.
    extras.handle_room(at(2), &tab(0), &room(1 << 20), |segment| custody.record(segment)).unwrap();
    let offer = extras.poll_offer(at(2), UNIX, |from| custody.records_from(from)).unwrap();
    extras.handle_offered(at(2), offer.id, Offered::Kept(UNIX.plus(LEASE_SECONDS)));
    let holder = custody.shards(segment).find(|(shard, _)| *shard == offer.place.shard).unwrap().1.clone();
    custody.handle_missing(segment, offer.place.shard, &holder, false);
    assert_eq!(custody.alive(segment), Some(11));
}
