use core::time::Duration;

use super::*;
use crate::{
    base::{UnixSeconds, blob::HashTree},
    identity::Keypair,
    storage::{
        erasure::{Profile, SegmentShape},
        holders::vouch,
        placement::{HolderKind, Network},
        proof::{ANSWER_WITHIN, Challenge, Concern, answer},
    },
};

const HOUR: u64 = 3600;
const POLICY: Policy = Policy {
    terms: Terms { price_max: 100, reputation_min: 0 },
    rhythm: Rhythm { audit_every: Duration::from_secs(HOUR), gone_after: Duration::from_secs(3 * HOUR) },
    vetting_audits: 0,
};

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n + 1; 32])
}

fn advert(n: u8) -> HolderAdvert {
    let operator = Keypair::from_secret([n + 101; 32]);
    HolderAdvert {
        node: key(n).public(),
        operator_signature: vouch(&operator, &key(n).public()),
        operator: operator.public(),
        sequence: 1,
        issued: UnixSeconds(1000),
        expires: UnixSeconds(2000),
        free_bytes: 1 << 30,
        price: 1,
        network: Network::V4([10, 0, n]),
        region: n.into(),
        autonomous_system: n.into(),
        kind: HolderKind::Supernode,
        software: String::new(),
        claimed_audits: 0,
        addresses: Vec::new(),
    }
}

fn shard(index: u16) -> Vec<u8> {
    vec![index.to_be_bytes()[1]; 40_000]
}

fn record() -> SegmentRecord {
    let shape = SegmentShape::new(Profile::SMALL, 160_000).unwrap();
    assert_eq!(shape.shard_bytes(), 40_000);
    let roots = (0..12).map(|n| HashTree::of(&shard(n)).unwrap().root()).collect();
    SegmentRecord::new(shape, roots).unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// Holder i of `holders` has shard i of the one segment.
fn custody(holders: u8) -> (Custody, SegmentId) {
    let mut custody = Custody::new(POLICY, [7; 32]);
    (0..holders).for_each(|n| custody.handle_advert(at(0), &advert(n)));
    let shards: Vec<_> = (0..12).map(|n: u8| (n.into(), key(n).public())).collect();
    let segment = custody.watch(at(0), record(), 8, &shards).unwrap();
    (custody, segment)
}

/// Plays holders until `end`: what each answers to a challenge about a shard, if anything.
fn play(custody: &mut Custody, end: u64, respond: impl Fn(u8, &Challenge) -> Option<Vec<u8>>) -> Vec<Event> {
    let (mut now, mut beacon, mut events) = (at(0), 0_u64, Vec::new());
    while let Some(next) = custody.poll_deadline().filter(|next| *next <= at(end)) {
        now = now.max(next);
        custody.handle_time(now);
        loop {
            beacon += 1;
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&beacon.to_le_bytes());
            let Some(question) = custody.poll_question(now, &bytes) else { break };
            let number = (0..40).find(|n| key(*n).public() == question.challenge.holder).unwrap();
            if let Some(answer) = respond(number, &question.challenge) {
                custody.handle_answer(now, question.id, &answer);
            }
        }
        events.extend(core::iter::from_fn(|| custody.poll_event()));
    }
    events
}

fn honest(number: u8, challenge: &Challenge) -> Vec<u8> {
    let bytes =
        (0..12).map(shard).find(|bytes| HashTree::of(bytes).unwrap().root() == challenge.root).unwrap();
    let groups = (0..).zip(bytes.chunks(16384)).collect();
    answer(challenge, &HashTree::of(&bytes).unwrap(), &groups, &key(number))
}

#[test]
fn each_shard_is_asked_about_and_nothing_is_repaired_where_all_is_well() {
    let (mut custody, segment) = custody(12);
    let events = play(&mut custody, 24 * HOUR, |n, challenge| Some(honest(n, challenge)));
    let passed = |event: &&Event| matches!(event, Event::Audited { verdict: Verdict::Passed, .. });
    assert_eq!(events.iter().filter(passed).count(), events.len());
    assert!((200..400).contains(&events.len()), "{} audits of 12 shards in 24 spans", events.len());
    assert_eq!((custody.alive(segment), custody.poll_rebuild(at(24 * HOUR)).is_none()), (Some(12), true));
    assert!(custody.standing(&key(3).public()).held() > 10);
}

#[test]
fn a_lost_shard_and_a_lie_are_found_with_evidence_and_rebuilt() {
    let (mut custody, segment) = custody(20);
    let events = play(&mut custody, 4 * HOUR, |n, challenge| match n {
        0 => Some(answer(challenge, &HashTree::of(&shard(0)).unwrap(), &[].into(), &key(n))),
        // Another shard's bytes.
        1..4 => {
            let other = vec![200; 40_000];
            let groups = (0..).zip(other.chunks(16384)).collect();
            Some(answer(challenge, &HashTree::of(&other).unwrap(), &groups, &key(n)))
        }
        _ => Some(honest(n, challenge)),
    });
    for n in 0..4 {
        let found = events.iter().find_map(|event| match event {
            Event::Audited { holder, transcript: Some(transcript), .. } if *holder == key(n).public() => {
                Some(transcript)
            }
            _ => None,
        });
        let transcript = found.unwrap_or_else(|| panic!("{n} was not found out"));
        assert_eq!((transcript.convicts(), transcript.admits()), (n > 0, n == 0));
    }
    // Nothing is asked of who had one shard and lost it: it is told what it is thought of by itself.
    for n in 0..20 {
        let told = events.iter().filter_map(|event| match event {
            Event::Judged { holder, opinion } if *holder == key(n).public() => Some(*opinion),
            _ => None,
        });
        let expect = (n < 4).then(|| custody.opinion(&key(n).public()));
        assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(expect), "{n}");
    }
    assert_eq!(custody.opinion(&key(0).public()).lost, 1);
    assert_eq!(custody.alive(segment), Some(8));
    let (rebuild, _) = custody.poll_rebuild(at(4 * HOUR)).unwrap();
    assert_eq!(rebuild.targets.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let targets = rebuild.targets.clone();
    custody.handle_rebuilt(at(4 * HOUR), rebuild.id, &targets);
    assert_eq!(custody.alive(segment), Some(12));
    let rebuilt = Event::Repair(repair::Event::Rebuilt { segment, alive: 12 });
    assert_eq!(custody.poll_event(), Some(rebuilt));
    let events = play(&mut custody, 30 * HOUR, |n, challenge| Some(honest(n, challenge)));
    let asked = |holder: &PublicKey| {
        events.iter().any(|event| matches!(event, Event::Audited { holder: other, .. } if other == holder))
    };
    assert!(targets.iter().all(|(_, holder)| asked(holder)), "who took over is asked as the others were");
}

#[test]
fn one_night_of_silence_is_put_up_with_and_not_two() {
    let (mut custody, segment) = custody(20);
    let events = play(&mut custody, 2 * HOUR, |n, challenge| (n > 3).then(|| honest(n, challenge)));
    assert!(!events.iter().any(|event| matches!(event, Event::Gone { .. })));
    assert_eq!(custody.alive(segment), Some(12));
    let events = play(&mut custody, 30 * HOUR, |n, challenge| (n > 3).then(|| honest(n, challenge)));
    let gone = |event: &&Event| matches!(event, Event::Gone { .. } | Event::Dismissed { .. });
    assert_eq!(events.iter().filter(gone).count(), 4, "each once");
    assert_eq!(custody.alive(segment), Some(8));
    assert!(custody.poll_rebuild(at(30 * HOUR)).is_some());
}

#[test]
fn what_a_reader_finds_is_believed_of_who_holds_the_shard_only() {
    let (mut custody, segment) = custody(12);
    custody.handle_missing(segment, 5, &key(6).public(), true);
    assert_eq!(custody.alive(segment), Some(12));
    custody.handle_missing(segment, 5, &key(5).public(), true);
    custody.handle_missing(segment, 5, &key(5).public(), true);
    assert_eq!(custody.alive(segment), Some(11));
    assert_eq!(custody.standing(&key(5).public()).reputation(), 571);
    let told = Event::Judged { holder: key(5).public(), opinion: custody.opinion(&key(5).public()) };
    assert_eq!(core::iter::from_fn(|| custody.poll_event()).filter(|event| *event == told).count(), 1);
}

#[test]
fn a_dismissed_holder_does_not_come_back_and_is_told_why() {
    let (mut custody, segment) = custody(12);
    let (mut dismissed, mut told) = (None, Vec::new());
    for _ in 0..3 {
        custody.auditor.judge(&key(5).public(), Verdict::Wrong(Fault::Proof));
    }
    custody.handle_missing(segment, 5, &key(5).public(), true);
    while let Some(event) = custody.poll_event() {
        match event {
            Event::Dismissed { holder, standing } => dismissed = Some((holder, standing.to_string())),
            Event::Judged { holder, opinion } => told.push((holder, opinion)),
            _ => {}
        }
    }
    let (holder, why) = dismissed.unwrap();
    assert_eq!(holder, key(5).public());
    assert!(why.contains("4 were answered with something else") && why.ends_with("dismissed."), "{why}");
    let opinion = custody.opinion(&holder);
    assert_eq!((opinion.concern(), opinion.wrong), (Concern::Dismissed, 4));
    assert_eq!(told, [(holder.clone(), opinion)], "it is asked nothing any more");

    // It may have been away: it is told when it says that it is there, and then as often as it was asked before.
    let told = |custody: &mut Custody, seconds: u64| {
        custody.handle_advert(at(seconds), &advert(5));
        assert!(!custody.holders().any(|other| other.node == holder));
        let events: Vec<_> = core::iter::from_fn(|| custody.poll_event()).collect();
        assert!(events.iter().all(|event| *event == Event::Judged { holder: holder.clone(), opinion }));
        events.len()
    };
    let times = [0, 300, HOUR - 1, HOUR, HOUR + 300, 2 * HOUR];
    assert_eq!(times.map(|seconds| told(&mut custody, seconds)), [1, 0, 0, 1, 0, 1]);
    let standing = custody.standing(&holder);
    let mut next = Custody::new(POLICY, [8; 32]);
    next.restore(holder.clone(), standing);
    assert_eq!([0, 300].map(|seconds| told(&mut next, seconds)), [1, 0], "by the next process too");
}

#[test]
fn a_question_that_got_lost_is_asked_again_about_the_same_leaves() {
    let (mut custody, _) = custody(12);
    let now = custody.poll_deadline().unwrap();
    let first = custody.poll_question(now, &[1; 32]).unwrap();
    let again = custody.poll_question(now + ANSWER_WITHIN, &[2; 32]).unwrap();
    assert_eq!(first, again);
}

#[test]
fn a_question_says_what_is_thought_of_whom_it_asks() {
    let (mut custody, _) = custody(12);
    let (mut now, mut silent, mut passed) = (at(0), 0, 0);
    while let Some(next) = custody.poll_deadline().filter(|next| *next <= at(5 * HOUR)) {
        now = now.max(next);
        custody.handle_time(now);
        while let Some(Question { id, challenge, opinion }) = custody.poll_question(now, &[3; 32]) {
            assert_eq!(opinion, custody.opinion(&challenge.holder));
            match (1..12).find(|n| key(*n).public() == challenge.holder) {
                Some(n) => {
                    passed = passed.max(opinion.passed);
                    assert_eq!(opinion.silent, 0);
                    custody.handle_answer(now, id, &honest(n, &challenge));
                }
                None => {
                    silent = silent.max(opinion.silent);
                    assert_eq!(opinion.passed, 0);
                }
            }
        }
    }
    assert!(silent > 0 && passed > 0, "{silent} {passed}");
    let judged =
        core::iter::from_fn(|| custody.poll_event()).any(|event| matches!(event, Event::Judged { .. }));
    assert!(!judged, "who is asked on hears it so");
}

#[test]
fn who_was_not_vetted_by_us_gets_nothing_that_counts_whatever_it_claims() {
    let mut custody = Custody::new(Policy { vetting_audits: 3, ..POLICY }, [7; 32]);
    custody.handle_advert(at(0), &HolderAdvert { claimed_audits: 1_000_000, ..advert(1) });
    assert!(!custody.holders().any(Holder::counts));
    (0..3).for_each(|_| custody.auditor.judge(&key(1).public(), Verdict::Passed));
    custody.handle_advert(at(0), &advert(1));
    assert!(custody.holders().all(Holder::counts));
    custody.handle_advert_expired(&key(1).public());
    assert!(custody.holders().all(|holder| holder.free_bytes == 0), "and nothing new without an advert");
}

#[test]
fn a_segment_is_watched_once_and_forgotten_whole() {
    let (mut custody, segment) = custody(12);
    assert_eq!(custody.watch(at(1), record(), 8, &[]), Err(WatchError::Watched));
    custody.forget(segment);
    assert_eq!((custody.alive(segment), custody.poll_deadline()), (None, None));
}

/// Holders 0 to 3 say nothing for a night and more, and are given up.
fn after_a_night() -> (Custody, SegmentId) {
    let (mut custody, segment) = custody(20);
    let events = play(&mut custody, 30 * HOUR, |n, challenge| (n > 3).then(|| honest(n, challenge)));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Gone { .. })).count(), 4, "{events:?}");
    assert_eq!(custody.alive(segment), Some(8));
    (custody, segment)
}

#[test]
fn who_comes_back_counts_again_once_it_proved_its_shards_and_nothing_is_rebuilt() {
    let (mut custody, segment) = after_a_night();
    (0..4).for_each(|n| custody.handle_advert(at(30 * HOUR), &advert(n)));
    assert_eq!(custody.alive(segment), Some(8), "an advert proves nothing");
    let events = play(&mut custody, 30 * HOUR + 60, |n, challenge| Some(honest(n, challenge)));
    let returned = |event: &&Event| matches!(event, Event::Returned { .. });
    assert_eq!(events.iter().filter(returned).count(), 4, "{events:?}");
    assert_eq!(custody.alive(segment), Some(12));
    assert!(custody.poll_rebuild(at(30 * HOUR + 60)).is_none());
    // And they are watched as before.
    play(&mut custody, 70 * HOUR, |n, challenge| (n > 3).then(|| honest(n, challenge)));
    assert_eq!(custody.alive(segment), Some(8));
}

#[test]
fn who_comes_back_without_its_shard_counts_nothing() {
    let (mut custody, segment) = after_a_night();
    custody.handle_advert(at(30 * HOUR), &advert(0));
    let lost = |n: u8, challenge: &Challenge| {
        Some(answer(challenge, &HashTree::of(&shard(0)).unwrap(), &[].into(), &key(n)))
    };
    let events = play(&mut custody, 30 * HOUR + 60, |n, challenge| {
        if n == 0 { lost(n, challenge) } else { Some(honest(n, challenge)) }
    });
    assert!(!events.iter().any(|event| matches!(event, Event::Returned { .. })));
    assert_eq!(custody.alive(segment), Some(8));
}

#[test]
fn what_was_rebuilt_meanwhile_is_taken_back_from_who_returns() {
    let (mut custody, segment) = after_a_night();
    // One is back and about to prove its shard when the rebuild ends.
    let (rebuild, _) = custody.poll_rebuild(at(30 * HOUR)).unwrap();
    custody.handle_advert(at(30 * HOUR), &advert(0));
    let (id, targets) = (rebuild.id, rebuild.targets.clone());
    custody.handle_rebuilt(at(30 * HOUR), id, &targets);
    custody.handle_advert(at(30 * HOUR), &advert(1));
    let superfluous = core::iter::from_fn(|| custody.poll_event()).filter_map(|event| match event {
        Event::Superfluous { shard, holder, .. } => Some((shard, holder)),
        _ => None,
    });
    assert_eq!(superfluous.collect::<Vec<_>>(), [(0, key(0).public()), (1, key(1).public())]);
    assert_eq!(custody.alive(segment), Some(12));
    custody.forget(segment);
    assert_eq!(custody.poll_deadline(), None);
}

#[test]
fn what_a_holder_signed_convicts_it_whoever_tells_and_once() {
    let account = |n: u8, beacon: u8, auditor: u8| {
        let other = vec![200; 40_000];
        let root = HashTree::of(&shard(0)).unwrap().root();
        let challenge = Challenge { root, beacon: [beacon; 32], holder: key(n).public() };
        let groups = (0..).zip(other.chunks(16384)).collect();
        let said = answer(&challenge, &HashTree::of(&other).unwrap(), &groups, &key(n));
        let verdict = Verdict::Wrong(Fault::Proof);
        let transcript = Transcript { challenge, verdict, answer: Some(said) };
        FailedAudit { auditor: key(auditor).public(), transcript, observed: UnixSeconds(5) }
    };
    let (mut custody, segment) = custody(12);
    assert!(custody.handle_evidence(&account(5, 1, 30)));
    assert!(!custody.handle_evidence(&account(5, 1, 31)), "the same answer, told by another");
    assert!(!custody.handle_evidence(&account(77, 1, 30)), "of somebody whom we do not know");
    let mut word = account(6, 1, 30);
    word.transcript.answer = None;
    assert!(!custody.handle_evidence(&word), "a word is no proof");
    assert_eq!(custody.alive(segment), Some(12));
    assert!(custody.handle_evidence(&account(5, 2, 30)) && custody.handle_evidence(&account(5, 3, 30)));
    assert_eq!(custody.alive(segment), Some(11), "three dismiss");
    let dismissed = core::iter::from_fn(|| custody.poll_event())
        .any(|event| matches!(event, Event::Dismissed { holder, .. } if holder == key(5).public()));
    assert!(dismissed);
}
