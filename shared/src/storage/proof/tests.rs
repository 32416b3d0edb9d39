use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    base::{
        BlobRoot, Instant, SeededRng,
        blob::{BlobShape, HashTree, MAX_BLOB_BYTES, prove_leaves},
    },
    identity::{Context, Keypair},
    wire::storage as wire,
};

const SIZE: usize = 300_000;

fn holder() -> Keypair {
    Keypair::from_secret([3; 32])
}

fn shard() -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

fn challenge(beacon: u8) -> Challenge {
    let root = HashTree::of(&shard()).unwrap().root();
    Challenge { root, beacon: [beacon; 32], holder: holder().public() }
}

/// What a holder answers who has this left of the shard that `tree` was made of.
fn answer_with(challenge: &Challenge, tree: &HashTree, left: &[u8], key: &Keypair) -> Vec<u8> {
    let groups: BTreeMap<u32, &[u8]> = (0..).zip(left.chunks(16384)).collect();
    answer(challenge, tree, &groups, key)
}

fn honest(challenge: &Challenge) -> Vec<u8> {
    let shard = shard();
    answer_with(challenge, &HashTree::of(&shard).unwrap(), &shard, &holder())
}

/// Signs anything.
fn force(found: Option<wire::proof_answer::Found>, bytes: u64, about: &Challenge) -> Vec<u8> {
    let (root, beacon) = (about.root.0.to_vec(), about.beacon.to_vec());
    let answer = wire::ProofAnswer { root, beacon, bytes, found }.encode_to_vec();
    let signature = holder().sign(Context::ShardProof, &answer).to_vec();
    let holder = holder().public().to_bytes().to_vec();
    wire::SignedProofAnswer { answer, holder, signature }.encode_to_vec()
}

#[test]
fn a_holder_that_has_the_shard_proves_it_to_who_knows_the_root_alone() {
    for beacon in 0..20 {
        let challenge = challenge(beacon);
        let answer = honest(&challenge);
        assert_eq!(check_answer(&challenge, &answer), Ok(Answer::Held(BlobShape::new(SIZE as u64).unwrap())));
        assert!(answer.len() < MAX_ANSWER_BYTES);
    }
    let empty = HashTree::of(b"").unwrap();
    let challenge = Challenge { root: empty.root(), ..challenge(1) };
    let answer = answer_with(&challenge, &empty, b"", &holder());
    assert_eq!(
        check_answer(&challenge, &answer),
        Ok(Answer::Lost),
        "no group was read, not even an empty one"
    );
    let answer = super::answer(&challenge, &empty, &[(0, &b""[..])].into(), &holder());
    assert_eq!(check_answer(&challenge, &answer), Ok(Answer::Held(empty.shape())));
}

/// The draw is part of the protocol: whoever draws otherwise asks for other leaves.
#[test]
fn the_draw_keeps_its_leaves() {
    let challenge = Challenge { root: BlobRoot([1; 32]), beacon: [2; 32], holder: holder().public() };
    let leaves = challenge.leaves(BlobShape::new(16 << 20).unwrap());
    assert_eq!(
        leaves.into_iter().collect::<Vec<_>>(),
        [1334, 3702, 8684, 9128, 9602, 9814, 12414, 13304, 16383]
    );
}

/// What an answer looks like on the wire of this version.
#[test]
fn answers_keep_their_bytes() {
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let lost = super::answer(&challenge(1), &HashTree::of(&shard()).unwrap(), &BTreeMap::new(), &holder());
    assert_eq!([hash(&honest(&challenge(1))), hash(&lost)], ["7cc368f59e395477", "becb314df51c9f71"]);
}

#[test]
fn beacon_root_and_holder_each_draw_other_leaves() {
    let shape = BlobShape::new(MAX_BLOB_BYTES).unwrap();
    let one = challenge(1);
    let others = [
        Challenge { beacon: [2; 32], ..one.clone() },
        Challenge { root: BlobRoot([1; 32]), ..one.clone() },
        Challenge { holder: Keypair::from_secret([4; 32]).public(), ..one.clone() },
    ];
    let last: BTreeSet<u32> = [shape.leaves() - 1].into();
    for other in others {
        let (one, other) = (one.leaves(shape), other.leaves(shape));
        assert_eq!(one.intersection(&other).copied().collect::<BTreeSet<_>>(), last);
    }
}

#[test]
fn an_answer_is_good_for_its_question_only() {
    let answer = honest(&challenge(1));
    assert_eq!(check_answer(&challenge(2), &answer), Err(Fault::OtherQuestion), "a replay");
    let other = Challenge { holder: Keypair::from_secret([4; 32]).public(), ..challenge(1) };
    assert_eq!(check_answer(&other, &answer), Err(Fault::OtherQuestion), "another's answer");
    let shard = shard();
    let stolen =
        answer_with(&challenge(1), &HashTree::of(&shard).unwrap(), &shard, &Keypair::from_secret([4; 32]));
    assert_eq!(check_answer(&challenge(1), &stolen), Err(Fault::OtherQuestion));
    let other = Challenge { root: BlobRoot([1; 32]), ..challenge(1) };
    assert_eq!(check_answer(&other, &answer), Err(Fault::OtherQuestion), "another shard");
    let mut forged = answer;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(check_answer(&challenge(1), &forged), Err(Fault::Signature));
    assert!(!Fault::Signature.convicts() && !Fault::OtherQuestion.convicts());
}

#[test]
fn what_a_holder_signs_and_does_not_have_convicts_it() {
    use wire::proof_answer::Found;
    let challenge = challenge(1);
    let tree = HashTree::of(&shard()).unwrap();
    let leaves = challenge.leaves(tree.shape());
    let shard = shard();
    let groups: BTreeMap<u32, &[u8]> = (0..).zip(shard.chunks(16384)).collect();
    let slice = prove_leaves(&tree, &leaves, &groups).unwrap();
    let check = |slice: &[u8], bytes: u64, expect: Result<Answer, Fault>| {
        let signed = force(Some(Found::Slice(slice.to_vec())), bytes, &challenge);
        assert_eq!(check_answer(&challenge, &signed), expect);
    };
    let size = SIZE as u64;
    check(&slice, size, Ok(Answer::Held(tree.shape())));
    let mut wrong = slice.clone();
    wrong[900] ^= 1;
    check(&wrong, size, Err(Fault::Proof));
    check(&slice[..slice.len() - 1], size, Err(Fault::Proof));
    check(&[], size, Err(Fault::Proof));
    // A shorter blob would have fewer leaves to keep.
    check(&slice, size - 1, Err(Fault::Proof));
    check(&slice, u64::MAX, Err(Fault::Proof));
    // Leaves other than those drawn.
    let easy = (0..9).collect();
    check(&prove_leaves(&tree, &easy, &groups).unwrap(), size, Err(Fault::Proof));
    assert_eq!(check_answer(&challenge, &force(None, size, &challenge)), Err(Fault::Malformed));
    assert_eq!(check_answer(&challenge, &force(Some(Found::Lost(true)), size, &challenge)), Ok(Answer::Lost));
    assert_eq!(check_answer(&challenge, &vec![0; MAX_ANSWER_BYTES + 1]), Err(Fault::Malformed));
}

#[test]
fn the_longest_answer_fits() {
    // All storeys of the longest blob for each leaf, as if none shared any.
    let storeys = BlobShape::new(MAX_BLOB_BYTES).unwrap().leaves().ilog2() as usize;
    assert!((CHALLENGE_LEAVES + 1) * (1024 + 64 * storeys) + 256 <= MAX_ANSWER_BYTES);
}

#[test]
fn rot_is_admitted_and_not_signed_away() {
    let (mut left, tree) = (shard(), HashTree::of(&shard()).unwrap());
    left.iter_mut().for_each(|byte| *byte ^= 1);
    let answer = answer_with(&challenge(1), &tree, &left, &holder());
    assert_eq!(check_answer(&challenge(1), &answer), Ok(Answer::Lost));
    let answer = answer_with(&challenge(1), &tree, &left[..16384], &holder());
    assert_eq!(check_answer(&challenge(1), &answer), Ok(Answer::Lost));
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn asked(challenge: Challenge) -> Audit {
    let mut audit = Audit::new(challenge);
    assert_eq!(audit.poll_step(at(1000)), Step::Ask);
    assert_eq!(audit.poll_step(at(1001)), Step::Wait(at(3000)));
    audit
}

#[test]
fn a_proof_counts_as_passed_within_its_deadline_and_as_late_after() {
    let check = |millis: u64, expect: Verdict| {
        let mut audit = asked(challenge(1));
        audit.handle_answer(at(millis), &honest(&challenge(1)));
        assert_eq!(audit.poll_step(at(millis)), Step::Done(expect));
        assert_eq!(audit.transcript(), None);
    };
    check(1000, Verdict::Passed);
    check(3000, Verdict::Passed);
    check(3001, Verdict::Late(Duration::from_millis(1)));
    // A clock that was set back makes nobody late.
    check(0, Verdict::Passed);
}

#[test]
fn silence_is_asked_about_three_times_and_the_same() {
    let mut audit = asked(challenge(1));
    assert_eq!(audit.poll_step(at(3000)), Step::Ask);
    assert_eq!(audit.poll_step(at(5000)), Step::Ask);
    assert_eq!(audit.poll_step(at(6999)), Step::Wait(at(7000)));
    assert_eq!(audit.challenge(), &challenge(1));
    let mut answered = audit.clone();
    assert_eq!(audit.poll_step(at(7000)), Step::Done(Verdict::Silent));
    audit.handle_answer(at(7001), &honest(&challenge(1)));
    assert_eq!(audit.verdict(), Some(Verdict::Silent), "a verdict stands");
    assert!(!audit.transcript().unwrap().convicts(), "nobody can prove a silence");
    answered.handle_answer(at(6999), &honest(&challenge(1)));
    assert_eq!(answered.verdict(), Some(Verdict::Late(Duration::from_millis(3999))));
}

#[test]
fn nobody_else_can_spoil_an_audit_and_a_liar_leaves_evidence() {
    let mut audit = Audit::new(challenge(1));
    audit.handle_answer(at(0), &honest(&challenge(1)));
    assert_eq!(audit.verdict(), None, "nothing was asked yet");
    let mut audit = asked(challenge(1));
    audit.handle_answer(at(1500), b"noise");
    audit.handle_answer(at(1500), &honest(&challenge(2)));
    assert_eq!((audit.verdict(), audit.ignored()), (None, 2));
    let lie = force(Some(wire::proof_answer::Found::Slice(vec![0; 1024])), SIZE as u64, &challenge(1));
    audit.handle_answer(at(1600), &lie);
    assert_eq!(audit.verdict(), Some(Verdict::Wrong(Fault::Proof)));
    let transcript = audit.transcript().unwrap();
    assert!(transcript.convicts());
    // An auditor cannot make one up.
    let honest = Transcript { answer: Some(honest(&challenge(1))), ..transcript.clone() };
    let unsigned = Transcript { answer: Some(b"noise".to_vec()), ..transcript.clone() };
    let moved = Transcript { challenge: challenge(2), ..transcript };
    assert!(!honest.convicts() && !unsigned.convicts() && !moved.convicts());
}

/// An audit's verdict where each message gets lost with this probability, and the holder has the leaves or not.
fn simulate(rng: &mut SeededRng, loss: f64, has: bool) -> Verdict {
    for ask in 0..ASKS {
        let lost = rng.chance(loss) || rng.chance(loss);
        if !lost && has {
            return if ask == 0 { Verdict::Passed } else { Verdict::Late(Duration::from_secs(2)) };
        }
    }
    Verdict::Silent
}

#[test]
fn an_honest_holder_on_a_bad_line_is_never_dismissed() {
    for seed in 0..30 {
        let (mut rng, mut standing) = (SeededRng::from_number(seed), Standing::default());
        for _ in 0..10_000 {
            standing.handle_verdict(simulate(&mut rng, 0.05, true));
            assert!(!standing.is_dismissed(), "seed {seed}: {standing}");
        }
        assert!(standing.is_vetted() && standing.reputation() > 0);
    }
}

#[test]
fn a_holder_that_dropped_a_tenth_is_dismissed_within_a_day() {
    // 500 audits a day: one of each shard an hour for twenty shards. Silence is the cleverest a liar can do.
    let dismissed = |probability: f64| {
        let caught = |seed: &u64| {
            let (mut rng, mut standing) = (SeededRng::from_number(*seed), Standing::default());
            (0..500).for_each(|_| {
                let has = !rng.chance(probability);
                standing.handle_verdict(simulate(&mut rng, 0.0, has));
            });
            standing.is_dismissed()
        };
        (0..2000).filter(caught).count()
    };
    // A tenth of its shards, whole.
    let whole = dismissed(0.1);
    assert!(whole >= 1998, "{whole} of 2000");
    // A tenth of each shard: 1 - 0.9^8 of its audits.
    assert_eq!(dismissed(0.57), 2000);
}

#[test]
fn who_drops_a_tenth_of_a_shard_fails_more_than_half_its_challenges() {
    let shape = BlobShape::new(SIZE as u64).unwrap();
    let kept = shape.leaves() * 9 / 10;
    let failed = (0..=255)
        .filter(|beacon| {
            let leaves = challenge(*beacon).leaves(shape);
            // The last leaf is always asked for: a clever liar keeps it.
            leaves.iter().any(|leaf| *leaf >= kept && *leaf + 1 < shape.leaves())
        })
        .count();
    assert!((115..175).contains(&failed), "{failed} of 256");
}

#[test]
fn who_always_needs_longer_is_dismissed_and_who_signs_lies_at_once() {
    let after = |verdict: Verdict| {
        let mut standing = Standing::default();
        (0..200).for_each(|_| standing.handle_verdict(Verdict::Passed));
        (1..).find(|_| {
            standing.handle_verdict(verdict);
            standing.is_dismissed()
        })
    };
    assert_eq!(after(Verdict::Late(Duration::ZERO)), Some(15));
    assert_eq!(after(Verdict::Silent), Some(8));
    assert_eq!(after(Verdict::Lost), Some(8));
    assert_eq!(after(Verdict::Wrong(Fault::Proof)), Some(3));
}

#[test]
fn a_standing_explains_itself() {
    let mut standing = Standing::default();
    (0..98).for_each(|_| standing.handle_verdict(Verdict::Passed));
    standing.handle_verdict(Verdict::Late(Duration::ZERO));
    standing.handle_verdict(Verdict::Silent);
    assert!(!standing.is_vetted());
    let expect = "99 of 100 audits showed the shard, 1 of them late; 1 were not answered. Absence stands at 2302 and \
                  lateness at 1098 of the 16118 points that dismiss; 1 more to be vetted.";
    assert_eq!(standing.to_string(), expect);
    assert_eq!(standing.reputation(), 857);
    standing.handle_verdict(Verdict::Passed);
    assert!(standing.is_vetted() && standing.to_string().ends_with(": vetted."));
    (0..3).for_each(|_| standing.handle_verdict(Verdict::Wrong(Fault::Proof)));
    assert!(!standing.is_vetted() && standing.to_string().ends_with(": dismissed."));
    assert_eq!(standing.reputation(), 0);
    (0..10_000).for_each(|_| standing.handle_verdict(Verdict::Passed));
    assert!(standing.is_dismissed(), "a dismissal stays");
}

#[test]
fn an_opinion_says_what_failed_how_far_it_is_from_dismissal_and_what_to_do() {
    let mut standing = Standing::default();
    let opinion = Opinion::new(&standing, 1);
    let expect = "0 of 0 audits showed the shard, 0 of them late. Reputation 1000 of 1000: as few as 8 missed or 15 late in \
                  a row would dismiss; not vetted yet.";
    assert_eq!((opinion.to_string().as_str(), opinion.advice().count()), (expect, 0));
    for verdict in
        [Verdict::Passed, Verdict::Late(Duration::ZERO), Verdict::Lost, Verdict::Lost, Verdict::Silent]
    {
        standing.handle_verdict(verdict);
    }
    let opinion = Opinion::new(&standing, 1);
    let expect = "2 of 5 audits showed the shard, 1 of them late; 2 were answered as lost; 1 were not answered. \
                  Reputation 571 of 1000: as few as 4 missed or 9 late in a row would dismiss; vetted.";
    assert_eq!(opinion.to_string(), expect);
    assert_eq!((opinion.audits(), opinion.failed(), opinion.concern()), (5, 3, Concern::Nothing));
    let advice: Vec<&str> = opinion.advice().collect();
    assert_eq!(advice.len(), 3);
    for (advice, about) in advice.iter().zip(["the disk", "its line", "the processors"]) {
        assert!(advice.contains(about), "{advice}");
    }
    standing.handle_verdict(Verdict::Lost);
    assert_eq!(Opinion::new(&standing, 1).concern(), Concern::Doubted);
    // As few as it said, and not fewer.
    let before_last =
        |opinion: &Opinion| !opinion.is_dismissed() && opinion.to_string().contains("as few as 1 missed");
    (0..3).for_each(|_| standing.handle_verdict(Verdict::Lost));
    assert!(before_last(&Opinion::new(&standing, 1)));
    standing.handle_verdict(Verdict::Wrong(Fault::Proof));
    let opinion = Opinion::new(&standing, 1);
    assert_eq!((opinion.concern(), opinion.reputation()), (Concern::Dismissed, 0));
    assert!(!opinion.is_vetted() && opinion.to_string().contains("Dismissed"), "{opinion}");
    assert_eq!(opinion.advice().count(), 4);
}

#[test]
fn numbers_that_no_auditor_counts_are_read_as_what_can_be() {
    let check = |said: wire::AuditorOpinion, reputation: u16, concern: Concern| {
        let opinion = Opinion::from_wire(&said);
        assert_eq!((opinion.reputation(), opinion.concern()), (reputation, concern), "{said:?}");
        assert!(!(opinion.is_vetted() && opinion.is_dismissed()));
        assert_eq!(Opinion::from_wire(&opinion.to_wire()), opinion);
        assert!(!opinion.to_string().is_empty() && opinion.advice().count() <= 4);
        opinion
    };
    let nothing = wire::AuditorOpinion::default();
    check(nothing, 0, Concern::Doubted);
    check(wire::AuditorOpinion { reputation: 499, ..nothing }, 499, Concern::Doubted);
    check(wire::AuditorOpinion { reputation: 500, ..nothing }, 500, Concern::Nothing);
    for reputation in [1001, 65_536 + 3, u32::MAX] {
        check(wire::AuditorOpinion { reputation, ..nothing }, 1000, Concern::Nothing);
        let both = wire::AuditorOpinion { reputation, vetted: true, dismissed: true, ..nothing };
        check(both, 0, Concern::Dismissed);
    }
    let most = u64::MAX;
    let said =
        wire::AuditorOpinion { passed: most, late: most, lost: most, silent: most, wrong: most, ..nothing };
    let opinion = check(said, 0, Concern::Doubted);
    assert_eq!((opinion.audits(), opinion.failed()), (most, most));
}

proptest! {
    #[test]
    fn garbage_is_no_answer(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(check_answer(&challenge(1), &garbage).is_err());
        let signed = force(Some(wire::proof_answer::Found::Slice(garbage)), SIZE as u64, &challenge(1));
        prop_assert_eq!(check_answer(&challenge(1), &signed), Err(Fault::Proof));
    }

    #[test]
    fn leaves_are_in_the_shard(beacon in any::<[u8; 32]>(), size in 0..=MAX_BLOB_BYTES) {
        let shape = BlobShape::new(size).unwrap();
        let leaves = Challenge { beacon, ..challenge(0) }.leaves(shape);
        prop_assert_eq!(leaves.last(), Some(&(shape.leaves() - 1)));
        prop_assert!(leaves.len() <= CHALLENGE_LEAVES + 1);
    }
}
