//! Offers, answers, and those who pass them on.

use super::*;
use crate::{
    cdn::{
        introduction::{Answer, MAX_HOPS, Offer, Reach},
        messages::Control,
    },
    wire::cdn::{self as wire, control::Message},
};

const SITE: SiteId = SiteId([4; 32]);
const SUPERNODE: LinkId = LinkId(90);

fn key(number: u8) -> PublicKey {
    Keypair::from_secret([number; 32]).public()
}

fn say(peer: &mut Peer, now: Instant, link: LinkId, message: Message) {
    peer.handle_frame(now, link, Stream::Control, &messages::control(message));
}

fn hello(role: wire::Role, swarm: u32) -> Message {
    let site = wire::SiteState { site: SITE.0.to_vec(), sequence: 1, complete: false, swarm };
    Message::Hello(wire::Hello {
        version: 1,
        role: role.into(),
        sites: vec![site],
        session: 1,
        ..Default::default()
    })
}

/// A tab of [`SITE`] whose supernode says that `swarm` others are there.
fn visitor(number: u8, swarm: u32) -> Peer {
    let (now, mut peer) = (Instant::default(), tab(number, false));
    peer.config.supernodes.insert(key(99));
    peer.join(now, SITE, 1, false);
    peer.handle_linked(now, SUPERNODE, LinkAbout { peer: key(99), dialer: true, relayed: false });
    say(&mut peer, now, SUPERNODE, hello(wire::Role::Supernode, swarm));
    peer
}

/// Links the tab `number` to `peer`.
fn befriend(peer: &mut Peer, now: Instant, number: u8) -> LinkId {
    let link = LinkId(u64::from(number));
    peer.handle_linked(now, link, LinkAbout { peer: key(number), dialer: false, relayed: false });
    say(peer, now, link, hello(wire::Role::Tab, 0));
    link
}

fn described_as(sdp: &str) -> Option<Description> {
    Some(Description { sdp: sdp.to_owned(), hard: false })
}

fn effects(peer: &mut Peer) -> Vec<Effect> {
    core::iter::from_fn(|| peer.poll_effect()).collect()
}

/// What is said, and on which link.
fn said(effects: &[Effect]) -> Vec<(LinkId, Control)> {
    let control = |effect: &Effect| match effect {
        Effect::Transmit { link, stream: Stream::Control, frame } => {
            Some((*link, messages::read_control(frame).ok()??))
        }
        _ => None,
    };
    effects.iter().filter_map(control).collect()
}

fn offers(effects: &[Effect]) -> Vec<(LinkId, Offer)> {
    let offer = |(link, control)| match control {
        Control::Offer(offer) => Some((link, offer)),
        _ => None,
    };
    said(effects).into_iter().filter_map(offer).collect()
}

fn answers(effects: &[Effect]) -> Vec<(LinkId, Answer)> {
    let answer = |(link, control)| match control {
        Control::Answer(answer) => Some((link, answer)),
        _ => None,
    };
    said(effects).into_iter().filter_map(answer).collect()
}

/// What the browser is to describe: the effect, and whom it answers.
fn described(effects: &[Effect]) -> Vec<(EffectId, Option<(PublicKey, String)>)> {
    let describe = |effect: &Effect| match effect {
        Effect::Describe { effect, offer } => Some((*effect, offer.clone())),
        _ => None,
    };
    effects.iter().filter_map(describe).collect()
}

/// The first offer of a tab that has just come.
fn first_offer(peer: &mut Peer, now: Instant) -> (EffectId, Offer) {
    let (effect, _) = described(&effects(peer))[0];
    peer.handle_described(now, effect, described_as("ours"));
    (effect, offers(&effects(peer))[0].1.clone())
}

#[test]
fn an_offer_to_a_supernode_becomes_a_connection() {
    let now = Instant::default();
    let mut peer = visitor(1, 1);
    let (effect, offer) = first_offer(&mut peer, now);
    assert!(offer.is_signed());
    let answer = Answer::sign(
        &Keypair::from_secret([2; 32]),
        offer.id,
        &key(1),
        Reach::Unspecified,
        "theirs".to_owned(),
    );
    say(&mut peer, now, SUPERNODE, Message::Answer(answer.clone().to_wire()));
    let connect = Effect::Connect { effect, peer: key(2), description: "theirs".to_owned() };
    assert!(effects(&mut peer).contains(&connect));
    say(&mut peer, now, SUPERNODE, Message::Answer(answer.to_wire()));
    assert_eq!(effects(&mut peer), [], "an answer counts once");
}

#[test]
fn of_two_offers_that_cross_one_becomes_a_connection() {
    let now = Instant::default();
    let mut peers = [visitor(1, 1), visitor(2, 1)];
    let offers = peers.each_mut().map(|peer| first_offer(peer, now));
    let answered = [0, 1].map(|side: usize| {
        say(&mut peers[side], now, SUPERNODE, Message::Offer(offers[1 - side].1.clone().to_wire()));
        let (effect, _) = described(&effects(&mut peers[side]))[0].clone();
        peers[side].handle_described(now, effect, described_as("answer"));
        answers(&effects(&mut peers[side]))[0].1.clone()
    });
    let mut connects = 0;
    for side in 0..2 {
        say(&mut peers[side], now, SUPERNODE, Message::Answer(answered[1 - side].clone().to_wire()));
        let did = effects(&mut peers[side]);
        let connect = did.iter().filter(|effect| matches!(effect, Effect::Connect { .. })).count();
        let forget = did.iter().filter(|effect| matches!(effect, Effect::Forget { .. })).count();
        assert_eq!(connect + forget, 1, "each offer is used or let go");
        connects += connect;
    }
    assert_eq!(connects, 1);
}

#[test]
fn an_answer_that_its_sender_did_not_sign_connects_nobody() {
    let now = Instant::default();
    let mut peer = visitor(1, 1);
    let (_, offer) = first_offer(&mut peer, now);
    let theirs = Keypair::from_secret([2; 32]);
    let of_another = Answer::sign(&theirs, offer.id, &key(3), Reach::Unspecified, "theirs".to_owned());
    let changed = wire::Answer {
        description: "another".to_owned(),
        ..Answer::sign(&theirs, offer.id, &key(1), Reach::Unspecified, "theirs".to_owned()).to_wire()
    };
    for answer in [of_another.to_wire(), changed] {
        say(&mut peer, now, SUPERNODE, Message::Answer(answer));
        assert_eq!(effects(&mut peer), []);
    }
}

#[test]
fn an_offer_walks_and_its_answer_comes_back_the_same_way() {
    let now = Instant::default();
    let mut between = visitor(1, 50);
    let (from, onward) = (befriend(&mut between, now, 2), befriend(&mut between, now, 3));
    effects(&mut between);
    let offer = Offer::sign(&Keypair::from_secret([2; 32]), 7, SITE, Reach::Unspecified, "v=0".to_owned(), 3);
    say(&mut between, now, from, Message::Offer(offer.clone().to_wire()));
    let passed = effects(&mut between);
    assert_eq!(described(&passed), [], "it walks on before anybody answers it");
    let [(link, walked)] = &offers(&passed)[..] else { panic!("{passed:?}") };
    assert_eq!((*link, walked.hops, walked.is_signed()), (onward, 2, true));
    say(&mut between, now, from, Message::Offer(offer.to_wire()));
    assert_eq!(effects(&mut between), [], "an offer is passed on once");

    let answer =
        Answer::sign(&Keypair::from_secret([9; 32]), 7, &key(2), Reach::Unspecified, "v=0".to_owned());
    say(&mut between, now, from, Message::Answer(answer.clone().to_wire()));
    assert_eq!(effects(&mut between), [], "answers come from where the offer went");
    say(&mut between, now, onward, Message::Answer(answer.clone().to_wire()));
    assert_eq!(answers(&effects(&mut between)), [(from, answer)]);
}

#[test]
fn who_has_room_answers_and_who_has_not_passes_on() {
    let now = Instant::default();
    let theirs = Keypair::from_secret([60; 32]);
    let offer = |hops| {
        Message::Offer(Offer::sign(&theirs, 7, SITE, Reach::Unspecified, "v=0".to_owned(), hops).to_wire())
    };
    let mut peer = visitor(1, 50);
    let back = befriend(&mut peer, now, 2);
    effects(&mut peer);
    say(&mut peer, now, back, offer(0));
    let (effect, of) = described(&effects(&mut peer))[0].clone();
    assert_eq!(of, Some((theirs.public(), "v=0".to_owned())));
    peer.handle_described(now, effect, described_as("ours"));
    let answer = answers(&effects(&mut peer));
    assert!(matches!(&answer[..], [(link, answer)] if *link == back && answer.is_signed(&theirs.public())));

    let mut full = visitor(1, 50);
    for number in 2..13 {
        befriend(&mut full, now, number);
    }
    effects(&mut full);
    say(&mut full, now, LinkId(2), offer(1));
    let passed = effects(&mut full);
    assert_eq!((described(&passed).len(), offers(&passed).len()), (0, 1));
}

#[test]
fn what_is_not_signed_or_comes_too_often_is_not_answered() {
    let now = Instant::default();
    let mut peer = visitor(1, 50);
    let back = befriend(&mut peer, now, 2);
    effects(&mut peer);
    let offer = |id: u64, description: &str| {
        let offer = Offer::sign(
            &Keypair::from_secret([60; 32]),
            id,
            SITE,
            Reach::Unspecified,
            description.to_owned(),
            0,
        );
        wire::Offer { description: "v=0".to_owned(), ..offer.to_wire() }
    };
    say(&mut peer, now, back, Message::Offer(offer(1, "v=1")));
    assert_eq!(effects(&mut peer), [], "its description was changed on the way");
    for id in 2..40 {
        let unknown = wire::Offer { site: vec![5; 32], ..offer(id, "v=0") };
        say(&mut peer, now, back, Message::Offer(unknown));
    }
    say(&mut peer, now, back, Message::Offer(offer(50, "v=0")));
    assert_eq!(effects(&mut peer), [], "one link does not bring so many at once");
    let later = now + Duration::from_secs(20);
    say(&mut peer, later, back, Message::Offer(offer(51, "v=0")));
    assert_eq!(described(&effects(&mut peer)).len(), 1);
}

#[test]
fn in_a_crowd_a_supernode_arranges_two_links_and_neighbours_the_others() {
    let now = Instant::default();
    let mut peer = visitor(1, 500);
    let mut first = described(&effects(&mut peer));
    assert_eq!(first.len(), 2, "more only once somebody is linked");
    for number in 2..4 {
        befriend(&mut peer, now, number);
    }
    for _ in 0..MAX_HOPS {
        for (effect, _) in core::mem::take(&mut first) {
            peer.handle_described(now, effect, described_as("ours"));
        }
        let done = effects(&mut peer);
        first = described(&done);
        for (link, offer) in offers(&done) {
            let arranged = link == SUPERNODE;
            assert!(arranged || offer.hops > 1, "what neighbours pass on walks");
            peer.meters.refused += u64::from(arranged);
        }
    }
    assert_eq!(peer.meters.refused, 2);
}

#[test]
fn only_a_configured_supernode_says_how_many_there_are() {
    let now = Instant::default();
    let mut peer = tab(1, false);
    peer.join(now, SITE, 1, false);
    peer.handle_linked(now, LINK, LinkAbout { peer: key(2), dialer: true, relayed: false });
    let peers = wire::Peers { site: SITE.0.to_vec(), swarm: 50, ..Default::default() };
    for message in [hello(wire::Role::Supernode, 50), Message::Peers(peers)] {
        say(&mut peer, now, LINK, message);
    }
    assert_eq!(described(&effects(&mut peer)), []);
}

#[test]
fn who_could_not_be_reached_is_left_alone_for_a_minute_and_asking_becomes_rare() {
    let mut now = Instant::default();
    let mut peer = visitor(1, 1);
    let peers = wire::Peers { site: SITE.0.to_vec(), swarm: 2, ..Default::default() };
    let (mut tries, mut asks) = (Vec::new(), 0);
    while now < Instant::from_micros(120_000_000) {
        while let Some(effect) = peer.poll_effect() {
            match effect {
                Effect::Describe { effect, .. } => peer.handle_described(now, effect, described_as("ours")),
                Effect::Connect { peer: other, .. } => {
                    tries.push(now.as_micros() / 1_000_000);
                    peer.handle_dial_failed(now, &other);
                }
                Effect::Transmit { frame, .. } => match messages::read_control(&frame) {
                    Ok(Some(Control::AskPeers(ask))) => {
                        asks += 1;
                        if ask.count > 0 {
                            say(&mut peer, now, SUPERNODE, Message::Peers(peers.clone()));
                        }
                    }
                    Ok(Some(Control::Offer(offer))) => {
                        let theirs = Keypair::from_secret([9; 32]);
                        let answer =
                            Answer::sign(&theirs, offer.id, &key(1), Reach::Unspecified, "theirs".to_owned());
                        say(&mut peer, now, SUPERNODE, Message::Answer(answer.to_wire()));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        now = now + Duration::from_secs(1);
        peer.handle_timeout(now);
    }
    assert!(matches!(tries[..], [0, 60..120]), "{tries:?}");
    assert!((4..=6).contains(&asks), "{asks}");
}

#[test]
fn an_offer_that_nobody_answers_is_given_up() {
    let now = Instant::default();
    let mut peer = visitor(1, 1);
    let (effect, _) = first_offer(&mut peer, now);
    let due = peer.poll_timeout().expect("it waits for an answer");
    peer.handle_timeout(due.max(now + Duration::from_secs(8)));
    assert!(effects(&mut peer).contains(&Effect::Forget { effect }));
}

#[test]
fn who_cannot_hope_to_reach_each_other_do_not_try() {
    let now = Instant::default();
    let theirs = |number| Keypair::from_secret([number; 32]);
    let offer = |number: u8, reach| {
        let offer = Offer::sign(&theirs(number), u64::from(number), SITE, reach, "v=0".to_owned(), 0);
        Message::Offer(offer.to_wire())
    };
    let mut peer = visitor(1, 50);
    let back = befriend(&mut peer, now, 2);
    effects(&mut peer);
    say(&mut peer, now, back, offer(60, Reach::Hard));
    let (effect, _) = described(&effects(&mut peer))[0].clone();
    peer.handle_described(now, effect, described_as("ours"));
    effects(&mut peer);
    peer.handle_dial_failed(now, &key(60));
    say(&mut peer, now, back, offer(61, Reach::Hard));
    assert_eq!(described(&effects(&mut peer)), [], "its translator lets in nobody like that");
    say(&mut peer, now, back, offer(62, Reach::Strict));
    assert_eq!(described(&effects(&mut peer)).len(), 1);

    let mut hard = visitor(1, 50);
    let back = befriend(&mut hard, now, 2);
    let (effect, _) = described(&effects(&mut hard))[0].clone();
    hard.handle_described(now, effect, Some(Description { sdp: "ours".to_owned(), hard: true }));
    assert!(offers(&effects(&mut hard)).iter().all(|(_, offer)| offer.reach == Reach::Hard));
    say(&mut hard, now, back, offer(63, Reach::Strict));
    say(&mut hard, now, back, offer(64, Reach::Hard));
    assert_eq!(described(&effects(&mut hard)), []);
    say(&mut hard, now, back, offer(65, Reach::Unspecified));
    assert_eq!(described(&effects(&mut hard)).len(), 1);
}
