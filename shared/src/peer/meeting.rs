//! How a tab comes by neighbours: its offers, those of others that it answers, and those that it passes on.
//!
//! ```text
//!  ours    Describe ─► described ─► Offer ┄┄► … ┄┄► Answer ─► Connect ─► linked, or not
//!  theirs  Offer ─► Describe ─► described ─► Answer ─► linked, or not
//! ```
//! A supernode is asked for a few neighbours; they, and theirs, are the way to the others: what a visitor costs a
//! supernode must not grow with the links it has. An offer that walks over tabs drawn at random ends somewhere else
//! in the swarm; among friends of friends alone a swarm would fall into cliques.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Description, Effect, Peer, Role, link::Link};
use crate::{
    base::{EffectId, Instant, LinkId},
    cdn::{
        introduction::{Answer, Offer, Reach, can_meet},
        messages::{self, Peers},
    },
    identity::PublicKey,
    wire::cdn as wire,
};

/// Offers under way until somebody is linked: each takes the time of this machine and of the line, and the first link
/// is what a fetch waits for.
const OFFERS_FIRST: usize = 2;
/// And after that.
const OFFERS_AT_ONCE: usize = 6;
/// Offers that a supernode passes on for a tab in a crowd: with one, a swarm falls into components.
const ARRANGED: usize = 2;
/// After so many in a row that led to nothing, the next is made only now and then: who can be reached by few must not
/// try for ever.
const FAILURES_MAX: u32 = 8;
/// Links that a tab in a crowd seeks itself; the same number again comes from those who join later.
const LINKS_SOUGHT: usize = 7;
/// Steps of an offer through a crowd, before anybody may answer it.
const WALK: u32 = 2;
/// Steps it may go on, where it meets a tab that cannot take another link.
pub(super) const GRACE: u32 = 1;
/// Answers that the browser is making: each is a connection, and whoever passes offers on decides who sends them.
const ANSWERING_MAX: usize = 4;
/// Offers of others that were passed on and may still be answered.
const CARRIED_MAX: usize = 256;
/// And by a supernode: a thousand who come in a second are answered within a few.
const CARRIED_BY_SUPERNODE_MAX: usize = 16_384;
/// From when an offer is sent until it is given up: two browsers look for their addresses meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// From an answer until both sides have given up; ICE needs half a minute for that.
const LINK_WITHIN: Duration = Duration::from_secs(30);
/// Peers remembered that could not be reached or had no room.
const UNREACHED_MAX: usize = 64;
/// They are not tried again within this: each attempt is a connection that the browser makes in vain.
const UNREACHED_FOR: Duration = Duration::from_secs(60);

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    ours: Vec<Ours>,
    answering: Vec<Answering>,
    /// Connections that are coming about.
    coming: Vec<Coming>,
    carried: VecDeque<Carried>,
    /// Could not be reached, or had no room for us; and when.
    unreached: VecDeque<(PublicKey, Instant)>,
    /// Offers given to supernodes that led to a link, or still may.
    arranged: usize,
    /// Offers since the last link that led to none.
    failures: u32,
    /// We have another address for each whom we call.
    hard: bool,
    /// Whether those who have were reached, once that was tried.
    reaches_hard: Option<bool>,
}

/// An offer of ours.
#[derive(Debug)]
struct Ours {
    effect: EffectId,
    via: LinkId,
    /// Whether a supernode passes it on.
    arranged: bool,
    /// Its number and when it is given up, once it is sent.
    sent: Option<(u64, Instant)>,
}

/// An offer that the browser is answering.
#[derive(Debug)]
struct Answering {
    effect: EffectId,
    id: u64,
    from: PublicKey,
    hard: bool,
    back: LinkId,
}

/// A connection that both sides know how to make.
#[derive(Debug)]
struct Coming {
    peer: PublicKey,
    /// Whether it has another address for each whom it calls.
    hard: bool,
    /// Given up then.
    until: Instant,
    /// Whether the offer was ours.
    ours: bool,
}

/// An offer that was passed on.
#[derive(Debug)]
struct Carried {
    id: u64,
    back: LinkId,
    onward: LinkId,
}

impl Meeting {
    /// All that may become a link.
    fn under_way(&self) -> usize {
        self.ours.len() + self.answering.len() + self.coming.len()
    }

    /// Those of them that we began: what others begin may be many that lead to nothing.
    fn sought(&self) -> usize {
        self.ours.len() + self.coming.iter().filter(|coming| coming.ours).count()
    }

    fn reach(&self) -> Reach {
        match self.reaches_hard {
            _ if self.hard => Reach::Hard,
            Some(false) => Reach::Strict,
            _ => Reach::Unspecified,
        }
    }

    /// Whether a link may come about soon.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way() > 0
    }

    /// Whether a link to that peer is coming about.
    fn is_meeting(&self, peer: &PublicKey) -> bool {
        self.coming.iter().any(|coming| coming.peer == *peer)
            || self.answering.iter().any(|one| one.from == *peer)
    }

    /// Remembers which way an answer goes.
    fn carry(&mut self, carried: Carried, most: usize) {
        if self.carried.len() >= most {
            self.carried.pop_front();
        }
        self.carried.push_back(carried);
    }

    fn carries(&self, id: u64) -> bool {
        self.carried.iter().any(|carried| carried.id == id)
    }

    /// A peer did not answer, or had no room.
    pub(super) fn note_unreached(&mut self, now: Instant, peer: PublicKey) {
        if self.unreached.len() >= UNREACHED_MAX {
            self.unreached.pop_front();
        }
        self.unreached.push_back((peer, now));
    }

    /// One more may be sought.
    pub(super) fn retry(&mut self) {
        self.failures = self.failures.min(FAILURES_MAX - 1);
    }

    /// A supernode is there: whoever could not be reached may have been so for want of a way to say so.
    pub(super) fn begin(&mut self) {
        self.unreached.clear();
        (self.arranged, self.failures) = (0, 0);
    }

    /// A link is up.
    pub(super) fn end(&mut self, peer: &PublicKey) {
        if self.coming.iter().any(|coming| coming.peer == *peer && coming.hard) {
            self.reaches_hard = Some(true);
        }
        self.coming.retain(|coming| coming.peer != *peer);
        self.failures = 0;
    }

    /// When the first of what is under way is given up.
    pub(super) fn due(&self) -> Option<Instant> {
        let sent = self.ours.iter().filter_map(|ours| ours.sent).map(|(_, until)| until);
        sent.chain(self.coming.iter().map(|coming| coming.until)).min()
    }
}

impl Peer {
    // ── the world speaks ─────────────────────────────────────────────────────────────────────────────

    /// A `Describe` was done, or could not be.
    pub fn handle_described(&mut self, now: Instant, effect: EffectId, description: Option<Description>) {
        let description = description.map(|Description { sdp, hard }| {
            self.meeting.hard |= hard;
            sdp
        });
        if let Some(place) = self.meeting.ours.iter().position(|ours| ours.effect == effect) {
            match description {
                Some(description) => self.send_offer(now, place, description),
                None => self.fail(place),
            }
        } else if let Some(place) = self.meeting.answering.iter().position(|one| one.effect == effect) {
            let Answering { id, from, hard, back, .. } = self.meeting.answering.swap_remove(place);
            let Some(description) = description else { return };
            self.meeting.coming.push(Coming {
                peer: from.clone(),
                hard,
                until: now + LINK_WITHIN,
                ours: false,
            });
            let answer = Answer::sign(&self.config.keypair, id, &from, self.meeting.reach(), description);
            self.introduce_by(back, wire::control::Message::Answer(answer.to_wire()));
        }
        self.turn(now);
    }

    /// A `Connect` came to nothing, or what answered an offer did.
    pub fn handle_dial_failed(&mut self, now: Instant, peer: &PublicKey) {
        if let Some(place) = self.meeting.coming.iter().position(|coming| coming.peer == *peer) {
            let coming = self.meeting.coming.swap_remove(place);
            self.note_failure(now, coming);
            self.seek();
        }
        self.turn(now);
    }

    /// Somebody wants a neighbour.
    pub(super) fn handle_offer(&mut self, now: Instant, id: LinkId, offer: Offer) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.may_offer(now)
            || self.meeting.carries(offer.id)
            || offer.from == self.config.keypair.public()
        {
            return;
        }
        let (rendezvous, tab) = (link.rendezvous, link.is_tab());
        if self.config.role == Role::Supernode {
            return self.arrange(now, id, offer);
        }
        if !(rendezvous || tab) || !self.sites.contains_key(&offer.site) {
            return;
        }
        let walks = offer.hops > GRACE && self.pass_on(id, &offer);
        if walks || self.answer(now, id, &offer) || offer.hops == 0 {
            return;
        }
        self.pass_on(id, &offer);
    }

    /// Somebody wants to be one, or our neighbour's.
    pub(super) fn handle_answer(&mut self, now: Instant, id: LinkId, answer: Answer) {
        let ours = self.meeting.ours.iter().position(|ours| ours.sent.is_some_and(|(id, _)| id == answer.id));
        let Some(place) = ours else {
            let known = |carried: &Carried| carried.id == answer.id && carried.onward == id;
            let Some(place) = self.meeting.carried.iter().position(known) else { return };
            let Some(carried) = self.meeting.carried.remove(place) else { return };
            return self.introduce_by(carried.back, wire::control::Message::Answer(answer.to_wire()));
        };
        if !answer.is_signed(&self.config.keypair.public()) {
            return;
        }
        // Where each answered the other's offer, both sides go on with the one of the lower key.
        let crossed = self.meeting.is_meeting(&answer.from) && self.config.keypair.public() < answer.from;
        if !crossed && !self.may_meet(now, &answer.from) {
            return self.fail(place);
        }
        let Ours { effect, .. } = self.meeting.ours.swap_remove(place);
        self.meeting.coming.push(Coming {
            peer: answer.from.clone(),
            hard: answer.reach == Reach::Hard,
            until: now + LINK_WITHIN,
            ours: true,
        });
        let Answer { from: peer, description, .. } = answer;
        self.effects.push_back(Effect::Connect { effect, peer, description });
    }

    /// A supernode says how many take part.
    pub(super) fn take_peers(&mut self, id: LinkId, named: &Peers) {
        // Anybody may call itself a supernode; only those we were configured with are believed.
        if self.links.get(&id).is_none_or(|link| !link.rendezvous) {
            return;
        }
        self.meters.signalling += 1;
        if let Some(site) = self.sites.get_mut(&named.site) {
            site.swarm = named.swarm;
        }
        self.seek();
    }

    // ── we speak ─────────────────────────────────────────────────────────────────────────────────────

    /// Makes offers while neighbours are wanted and there is a way to some.
    pub(super) fn seek(&mut self) {
        let at_once = if self.tabs() > 0 { OFFERS_AT_ONCE } else { OFFERS_FIRST };
        let patient = self.meeting.failures < FAILURES_MAX;
        while patient && self.meeting.sought() < at_once && self.wants_peers() {
            let Some((via, arranged)) = self.carrier() else { return };
            let effect = EffectId(self.new_id());
            self.meeting.arranged += usize::from(arranged);
            self.meeting.ours.push(Ours { effect, via, arranged, sent: None });
            self.effects.push_back(Effect::Describe { effect, offer: None });
        }
    }

    /// Gives up what came to nothing in time, and looks for others.
    pub(super) fn expire_meetings(&mut self, now: Instant) {
        if self.meeting.due().is_none_or(|due| now < due) {
            return;
        }
        let late = |ours: &Ours| ours.sent.is_some_and(|(_, until)| now >= until);
        while let Some(place) = self.meeting.ours.iter().position(late) {
            self.fail(place);
        }
        while let Some(place) = self.meeting.coming.iter().position(|coming| now >= coming.until) {
            let coming = self.meeting.coming.swap_remove(place);
            self.note_failure(now, coming);
        }
        self.seek();
    }

    /// Links to tabs.
    pub(super) fn tabs(&self) -> usize {
        self.links.values().filter(|link| !link.is_supernode()).count()
    }

    pub(super) fn wants_peers(&self) -> bool {
        let wanted = self.config.limits.links_wanted;
        let wanted = if self.is_in_crowd() { wanted.min(LINKS_SOUGHT) } else { wanted };
        self.config.role == Role::Tab
            && self.consent.fetch
            && self.tabs() + self.meeting.sought() < wanted
            && self.links.values().any(|link| link.hello.is_some() && link.is_supernode())
    }

    /// Whether there are far more others than links: small swarms link everybody to everybody.
    pub(super) fn is_in_crowd(&self) -> bool {
        self.others() > self.config.limits.links_max
    }

    /// How many others take part, as far as we know.
    pub fn others(&self) -> usize {
        self.sites.values().map(|site| site.swarm.saturating_sub(1)).max().unwrap_or(0) as usize
    }

    /// Who passes the next offer on, and whether that is a supernode.
    fn carrier(&mut self) -> Option<(LinkId, bool)> {
        let crowd = self.is_in_crowd();
        let known = self.tabs() + self.meeting.sought();
        let arranged = self.others() > known && !(crowd && self.meeting.arranged >= ARRANGED);
        let carries = |link: &Link| if arranged { link.rendezvous } else { crowd && link.is_tab() };
        let carriers = self.links.iter().filter(|(_, link)| link.hello.is_some() && carries(link));
        let carriers: Vec<LinkId> = carriers.map(|(id, _)| *id).collect();
        self.rng.pick(&carriers).map(|id| (*id, arranged))
    }

    fn send_offer(&mut self, now: Instant, place: usize, description: String) {
        let id = self.rng.next_u64();
        let site = self.sites.keys().next().copied();
        let ours = self.meeting.ours.get_mut(place).filter(|ours| self.links.contains_key(&ours.via));
        let (Some(ours), Some(site)) = (ours, site) else { return self.fail(place) };
        ours.sent = Some((id, now + ANSWER_WITHIN));
        let via = ours.via;
        let offer =
            Offer::sign(&self.config.keypair, id, site, self.meeting.reach(), description, WALK + GRACE);
        self.introduce_by(via, wire::control::Message::Offer(offer.to_wire()));
    }

    /// Begins to answer an offer, if we want to.
    fn answer(&mut self, now: Instant, back: LinkId, offer: &Offer) -> bool {
        // The last places are for those who find nobody with more room.
        let limits = self.config.limits;
        let most = if offer.hops > 0 { limits.links_wanted } else { limits.links_max };
        let room = self.links.len() + self.meeting.under_way() < most
            && self.meeting.answering.len() < ANSWERING_MAX
            && self.consent.fetch;
        let hopeful = can_meet(self.meeting.reach(), offer.reach);
        if !room || !hopeful || !self.may_meet(now, &offer.from) || !offer.is_signed() {
            return false;
        }
        let effect = EffectId(self.new_id());
        let (id, from, hard) = (offer.id, offer.from.clone(), offer.reach == Reach::Hard);
        self.meeting.answering.push(Answering { effect, id, from, hard, back });
        self.effects.push_back(Effect::Describe {
            effect,
            offer: Some((offer.from.clone(), offer.description.clone())),
        });
        true
    }

    /// Whether a link to this peer would be a new one and may come about.
    fn may_meet(&self, now: Instant, peer: &PublicKey) -> bool {
        let lately = |(other, at): &(PublicKey, Instant)| other == peer && now.since(*at) < UNREACHED_FOR;
        *peer != self.config.keypair.public()
            && !self.links.values().any(|link| link.peer == *peer)
            && !self.meeting.is_meeting(peer)
            && !self.meeting.unreached.iter().any(lately)
            && !self.cut.holds(now, peer)
    }

    /// Passes an offer on to some other neighbour.
    fn pass_on(&mut self, back: LinkId, offer: &Offer) -> bool {
        let others =
            self.links.iter().filter(|(id, link)| **id != back && link.is_tab() && link.peer != offer.from);
        let tabs: Vec<LinkId> = others.map(|(id, _)| *id).collect();
        let Some(onward) = self.rng.pick(&tabs).copied() else { return false };
        self.carry(back, onward, offer.clone(), offer.hops.saturating_sub(1));
        true
    }

    pub(super) fn carry(&mut self, back: LinkId, onward: LinkId, mut offer: Offer, hops: u32) {
        offer.hops = hops;
        let most = if self.config.role == Role::Tab { CARRIED_MAX } else { CARRIED_BY_SUPERNODE_MAX };
        self.meeting.carry(Carried { id: offer.id, back, onward }, most);
        self.introduce_by(onward, wire::control::Message::Offer(offer.to_wire()));
    }

    fn introduce_by(&mut self, link: LinkId, message: wire::control::Message) {
        self.meters.signalling += 1;
        self.transmit(link, messages::control(message));
    }

    /// An offer of ours leads nowhere.
    fn fail(&mut self, place: usize) {
        let Ours { effect, arranged, .. } = self.meeting.ours.swap_remove(place);
        self.note_vain(arranged);
        self.effects.push_back(Effect::Forget { effect });
    }

    fn note_failure(&mut self, now: Instant, Coming { peer, hard, ours, .. }: Coming) {
        if hard {
            self.meeting.reaches_hard.get_or_insert(false);
        }
        if ours {
            self.note_vain(true);
        }
        self.meeting.note_unreached(now, peer);
    }

    /// Who has no neighbour asks a supernode once more.
    fn note_vain(&mut self, arranged: bool) {
        self.meeting.failures = self.meeting.failures.saturating_add(1);
        if arranged && self.tabs() == 0 {
            self.meeting.arranged = self.meeting.arranged.saturating_sub(1);
        }
    }
}
