//! Peers that harm: each announces all of the site to everybody and then breaks its promise in its own way.

use core::{fmt, time::Duration};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use prost::Message as _;
use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, RequestId, SeededRng},
    cdn::{
        bulk::SWARM_VERSION,
        introduction::{Answer, Offer, Reach},
        manifest::Manifest,
        messages::{self, Control},
        offences::Offence,
        part::{MAX_REQUEST_GROUPS, Piece},
    },
    identity::{Keypair, PublicKey},
    peer::{Description, Done, Effect, Event, FetchId, LinkAbout, Received, Stream},
    wire::{Refusal, cdn as wire},
};

use crate::{
    machine::{Act, Command, Forgery, Machine},
    node::{Birth, Make},
};

/// In what way a liar harms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Groups with a wrong bit.
    BadGroup,
    /// A group every few seconds.
    SlowDrip,
    /// Holds nothing of what it announced.
    FalseHave,
    /// Pieces and frames longer than allowed.
    Oversize,
    /// Pieces nobody asked for.
    WrongObject,
    /// Pieces shorter than announced.
    Truncation,
    /// Goes back on the manifest it said it believes.
    OldManifest,
    /// More messages than anyone can want.
    Flooding,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BadGroup,
        Self::SlowDrip,
        Self::FalseHave,
        Self::Oversize,
        Self::WrongObject,
        Self::Truncation,
        Self::OldManifest,
        Self::Flooding,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadGroup => "bad group",
            Self::SlowDrip => "slow drip",
            Self::FalseHave => "false have",
            Self::Oversize => "oversize",
            Self::WrongObject => "wrong object",
            Self::Truncation => "truncation",
            Self::OldManifest => "old manifest",
            Self::Flooding => "flooding",
        })
    }
}

/// Honest answers a liar of the patient kinds gives first, to be trusted.
const HONEST_PIECES: u64 = 20;
/// Between two groups of a slow dripper.
const DRIP_EVERY: Duration = Duration::from_secs(8);
/// Between two bursts of a flooder,
const FLOOD_EVERY: Duration = Duration::from_millis(50);
/// and the frames of each, to each link.
const FLOOD_FRAMES: usize = 50;
/// A liar wants links to everybody, by whoever it is linked to; no more than a site has peers.
const OFFERS_EACH: usize = 12;
const OFFERS_MAX: usize = 48;
/// And no browser has more.
const LINKS_MAX: usize = 64;

/// The machine.
pub struct Liar {
    kind: Kind,
    site: Arc<Manifest>,
    links: BTreeMap<LinkId, Instant>,
    addresses: Vec<Vec<u8>>,
    /// Pieces to drip, oldest first.
    drips: VecDeque<(LinkId, RequestId, BlobRoot, Piece)>,
    next: Option<Instant>,
    acts: VecDeque<Act>,
    served: u64,
    keypair: Keypair,
    /// Descriptions that were asked for: of ours with whom passes them on, of answers with what they answer.
    described: BTreeMap<EffectId, (LinkId, Option<Offer>)>,
    /// Offers made so far.
    offered: usize,
    /// Offers by number.
    offers: BTreeMap<u64, EffectId>,
    rng: SeededRng,
}

/// How a liar about `site` is made.
pub fn make(kind: Kind, site: Arc<Manifest>) -> Make {
    Box::new(move |birth: &Birth| {
        let every = match kind {
            Kind::SlowDrip => Some(DRIP_EVERY),
            Kind::Flooding | Kind::OldManifest => Some(FLOOD_EVERY),
            _ => None,
        };
        Box::new(Liar {
            kind,
            site: site.clone(),
            links: BTreeMap::new(),
            addresses: Vec::new(),
            drips: VecDeque::new(),
            next: every.map(|every| birth.now + every),
            acts: VecDeque::new(),
            served: 0,
            keypair: birth.keypair.clone(),
            described: BTreeMap::new(),
            offered: 0,
            offers: BTreeMap::new(),
            rng: SeededRng::from_number(birth.seed),
        })
    })
}

impl Liar {
    fn say(&mut self, link: LinkId, message: wire::control::Message) {
        let frame = wire::Control { message: Some(message) }.encode_to_vec();
        self.acts.push_back(Act::Lawful(Effect::Transmit { link, stream: Stream::Control, frame }));
    }

    fn hello(&mut self, link: LinkId, sequence: u64) {
        let site = self.site.site_id().0.to_vec();
        self.say(
            link,
            wire::control::Message::Hello(wire::Hello {
                version: SWARM_VERSION,
                role: wire::Role::Tab.into(),
                region: 0,
                sites: vec![wire::SiteState { site, sequence, complete: true, swarm: 0 }],
                session: link.0 + 1,
            }),
        );
    }

    fn describe(&mut self, link: LinkId, offer: Option<Offer>) {
        let effect = EffectId(self.rng.next_u64());
        let answers = offer.as_ref().map(|offer| (offer.from.clone(), offer.description.clone()));
        self.described.insert(effect, (link, offer));
        self.acts.push_back(Act::Lawful(Effect::Describe { effect, offer: answers }));
    }

    fn boast(&mut self, link: LinkId) {
        let have =
            |root: BlobRoot| wire::BlobHave { root: root.0.to_vec(), complete: true, ..Default::default() };
        let blobs = self.site.assets.values().map(|asset| have(asset.root)).take(256).collect();
        self.say(link, wire::control::Message::Have(wire::Have { blobs, receipt: None }));
    }

    fn refuse(&mut self, link: LinkId, request: u64) {
        let end = wire::BulkEnd { request, refusal: Refusal::NotFound.code(), retry_after_ms: 0 };
        let answer = wire::BulkAnswer { answer: Some(wire::bulk_answer::Answer::End(end)) };
        let frame = answer.encode_to_vec();
        self.acts.push_back(Act::Lawful(Effect::Transmit { link, stream: Stream::Serve, frame }));
    }

    fn answer(&mut self, link: LinkId, ask: &wire::BulkRequest) {
        let Ok(root) = BlobRoot::try_from(ask.root.as_slice()) else { return };
        let request = RequestId(ask.request);
        let pieces: Vec<Piece> = match &ask.part {
            Some(wire::bulk_request::Part::Groups(range)) => (range.first
                ..range.first.saturating_add(range.count.min(MAX_REQUEST_GROUPS)))
                .map(Piece::Group)
                .collect(),
            Some(wire::bulk_request::Part::Page(page)) => vec![Piece::Page(*page)],
            Some(wire::bulk_request::Part::Top(_)) => vec![Piece::Top],
            None => return,
        };
        for piece in pieces {
            self.served += 1;
            let patient = self.served <= HONEST_PIECES || !matches!(piece, Piece::Group(_));
            let forgery = match self.kind {
                Kind::FalseHave => return self.refuse(link, ask.request),
                Kind::SlowDrip => {
                    self.drips.push_back((link, request, root, piece));
                    continue;
                }
                Kind::OldManifest | Kind::Flooding => Forgery::None,
                _ if patient => Forgery::None,
                Kind::BadGroup => Forgery::Flipped,
                Kind::Oversize => Forgery::Oversize,
                Kind::WrongObject => Forgery::Other,
                Kind::Truncation => Forgery::Truncated,
            };
            self.acts.push_back(Act::Lie { link, request, root, piece, forgery });
        }
    }
}

impl Machine for Liar {
    fn handle_linked(&mut self, now: Instant, link: LinkId, _about: LinkAbout) {
        self.links.insert(link, now);
        self.hello(link, self.site.sequence + u64::from(self.kind == Kind::OldManifest));
        self.boast(link);
        let ask = wire::AskPeers {
            earner: None,
            request: link.0 + 1,
            site: self.site.site_id().0.to_vec(),
            count: 0,
            addresses: self.addresses.clone(),
            receipts: Vec::new(),
        };
        self.say(link, wire::control::Message::AskPeers(ask));
        for _ in 0..OFFERS_EACH.min(OFFERS_MAX - self.offered) {
            self.offered += 1;
            self.describe(link, None);
        }
    }

    fn handle_described(&mut self, _now: Instant, effect: EffectId, description: Option<Description>) {
        let (Some((link, offer)), Some(Description { sdp, hard })) =
            (self.described.remove(&effect), description)
        else {
            return;
        };
        let reach = if hard { Reach::Hard } else { Reach::Unspecified };
        if let Some(offer) = offer {
            let answer = Answer::sign(&self.keypair, offer.id, &offer.from, reach, sdp);
            return self.say(link, wire::control::Message::Answer(answer.to_wire()));
        }
        let id = self.rng.next_u64();
        self.offers.insert(id, effect);
        let offer = Offer::sign(&self.keypair, id, self.site.site_id(), reach, sdp, 0);
        self.say(link, wire::control::Message::Offer(offer.to_wire()));
    }

    fn handle_unlinked(&mut self, _now: Instant, link: LinkId) {
        self.links.remove(&link);
        self.drips.retain(|(of, ..)| *of != link);
    }

    fn handle_frame(&mut self, _now: Instant, link: LinkId, stream: Stream, frame: &[u8]) {
        match stream {
            Stream::Serve => {
                if let Ok(ask) = wire::BulkRequest::decode(frame) {
                    self.answer(link, &ask);
                }
            }
            Stream::Control => match messages::read_control(frame) {
                Ok(Some(Control::Offer(offer))) if self.links.len() < LINKS_MAX => {
                    self.describe(link, Some(offer));
                }
                Ok(Some(Control::Answer(answer))) => {
                    let Some(effect) = self.offers.remove(&answer.id) else { return };
                    let Answer { from: peer, description, .. } = answer;
                    self.acts.push_back(Act::Lawful(Effect::Connect { effect, peer, description }));
                }
                _ => {}
            },
            Stream::Fetch => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let links: Vec<_> = self.links.keys().copied().collect();
        match self.kind {
            Kind::SlowDrip => {
                if let Some((link, request, root, piece)) = self.drips.pop_front() {
                    self.acts.push_back(Act::Lie { link, request, root, piece, forgery: Forgery::None });
                }
                self.next = Some(now + DRIP_EVERY);
            }
            Kind::Flooding => {
                for link in links {
                    for _ in 0..FLOOD_FRAMES {
                        self.boast(link);
                    }
                }
                self.next = Some(now + FLOOD_EVERY);
            }
            Kind::OldManifest => {
                for link in links {
                    self.hello(link, self.site.sequence.saturating_sub(1));
                }
                self.next = Some(now + DRIP_EVERY);
            }
            _ => self.next = None,
        }
    }

    fn command(&mut self, _now: Instant, command: Command) -> Option<FetchId> {
        if let Command::Addresses(addresses) = command {
            self.addresses = addresses;
        }
        None
    }

    fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.next
    }

    fn handle_dial_failed(&mut self, _now: Instant, _peer: &PublicKey) {}
    fn handle_offence(&mut self, _now: Instant, _link: LinkId, _offence: Offence) {}
    fn handle_received(&mut self, _now: Instant, _received: Received) {}
    fn handle_done(&mut self, _now: Instant, _effect: EffectId, _done: Done) {}
    fn poll_event(&mut self) -> Option<Event> {
        None
    }
}
