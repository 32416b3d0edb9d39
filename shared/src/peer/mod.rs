//! `Peer`: everything a tab or a supernode decides about content, in one machine without IO.
//!
//! Feed one input (`handle_*` or a command), then drain `poll_effect` and `poll_event`, then sleep until
//! `poll_timeout` or the next input. Every input brings `now`; time never runs backwards.
//!
//! ```text
//! shell                                   Peer
//!  │ link is up, control stream open ──►  handle_linked ─► Hello
//!  │ control frame, BulkRequest, BulkEnd ► handle_frame
//!  │ piece verified and stored ────────►  handle_received
//!  │ effect is over ───────────────────►  handle_done
//!  │ fetch, consent, budget, sites ────►  commands
//!  │ ◄── poll_effect: Transmit, Request, Serve, FetchHttp, Describe, Connect, Disconnect …
//!  │ ◄── poll_event:  Ready, Completed, FellBack, PeerCut …
//! ```
//!
//! # What the shell does on a link
//! - It opens and accepts streams and exchanges the first frame of each ([`crate::cdn::bulk::open_frame`]).
//!   The link's dialer opens the control stream; `handle_linked` is called once that stream is open.
//! - Frames of the control stream, and of the Serve stream, go to `handle_frame` whole, without prefix.
//! - Of the Fetch stream it reads answers ([`crate::cdn::bulk::AnswerReader`]); pieces are verified, stored
//!   and reported by `handle_received`, the frame of a `BulkEnd` goes to `handle_frame`.
//! - What breaks framing is reported by `handle_offence`.
//!
//! # What it promises
//! Every fetch is answered once. No verified group is asked for again. What is urgent is never later than plain
//! HTTP by more than the hedge; what is idle leaves infrastructure about once for a whole neighbourhood. Each
//! queue and map has a bound with a name.

mod asking;
mod config;
mod consumer;
mod control;
mod effect;
mod endgame;
mod event;
mod http;
mod link;
mod meeting;
mod provider;
mod rendezvous;
mod supernode;
mod transfers;

use core::time::Duration;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use litemap::LiteMap;

pub use config::{Budget, Config, Consent, HttpSources, Limits, Role};
pub use effect::{
    Description, DisconnectReason, Done, Effect, HttpSource, Received, Source, Stream, Verdict,
};
pub use event::{Event, FallBack, FetchId};

pub use crate::economy::meter::{AskedBytes, Meters, SourceBytes};
use crate::{
    base::{BlobRoot, EffectId, Instant, LinkId, SeededRng, SiteId},
    cdn::{
        blob::BlobShape,
        manifest::Manifest,
        messages,
        offences::{CutList, Offence},
        pace::Pace,
        replica::Replica,
    },
    identity::PublicKey,
};

/// How soon a fetch is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The page waits: HTTP starts at once, the swarm overtakes it.
    Page,
    /// Media: in order, the first group needed at `start`, then `bytes_per_second`. HTTP where the swarm
    /// would be late.
    Deadline {
        /// When the first group is needed.
        start: Instant,
        /// How fast it plays.
        bytes_per_second: u64,
    },
    /// Nobody waits: from peers where possible, so that each piece leaves infrastructure about once.
    Idle,
}

/// What the shell knows of a link when it comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAbout {
    /// Who is there, as the transport authenticated it.
    pub peer: PublicKey,
    /// Whether we dialled.
    pub dialer: bool,
    /// Whether a relay carries it: good for control messages only.
    pub relayed: bool,
}

/// One link, as a meter shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its number.
    pub link: LinkId,
    /// Who is there.
    pub peer: PublicKey,
    /// What it said it is.
    pub role: Role,
    /// Verified payload bytes received over it.
    pub received: u64,
    /// Payload bytes sent over it.
    pub sent: u64,
    /// Shortest round trip seen, once one was.
    pub rtt_micros: Option<u64>,
    /// What it delivers when kept busy.
    pub bytes_per_second: u64,
    /// Bytes asked of it and not yet here.
    pub in_flight_bytes: u64,
}

/// A site taken part in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    sequence: u64,
    complete: bool,
    roots: LiteMap<BlobRoot, ()>,
    /// Members, ourselves included, as a supernode last said; 0 where none did.
    swarm: u32,
    #[cfg(feature = "rendezvous")]
    /// What tabs delivered to each other, by the receipts that were handed in to us.
    delivered: u64,
}

pub(crate) type Sites = LiteMap<SiteId, Site>;

/// How often the machine looks at what is under way: a hedge must not be late by much more than this.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The machine. See the module's head.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    rng: SeededRng,
    consent: Consent,
    budget: Budget,
    meters: Meters,
    sites: Sites,
    links: LiteMap<LinkId, Box<link::Link>>,
    replicas: BTreeMap<BlobRoot, Replica>,
    fetches: LiteMap<FetchId, consumer::Fetch>,
    /// Verified of what the edge sent, while no link was there to sign for it on.
    unsigned_edge: u64,
    /// Fetches by urgency.
    queue: LiteMap<((u8, u64), FetchId), ()>,
    /// Links that may have room for requests.
    ready: Vec<LinkId>,
    http: transfers::Http,
    http_due: bool,
    serving: LiteMap<EffectId, provider::Serving>,
    /// What neighbours were not told yet.
    news: LiteMap<BlobRoot, control::News>,
    /// What all neighbours together deliver.
    swarm_pace: Pace,
    /// When a neighbour delivered something last.
    swarm_came_at: Instant,
    have_at: Instant,
    /// When supernodes were asked for peers last.
    asked_at: Instant,
    look_at: Instant,
    choice_at: Instant,
    /// Which visitor we are, by the supernode's count; until it says so, a random one.
    visitor: u32,
    addresses: Vec<Vec<u8>>,
    /// Who is paid for what we give, if our visitor named somebody.
    earn_to: Option<[u8; 20]>,
    /// What was signed for us on links that are gone, and not handed in yet.
    unhanded: Vec<crate::wire::cdn::SignedReceipt>,
    meeting: meeting::Meeting,
    /// How often that was in vain since a neighbour was lost.
    asked: u32,
    cut: CutList,
    #[cfg(feature = "rendezvous")]
    tracker: crate::cdn::tracker::Tracker,
    /// Sites of which nothing is served until it is paid for.
    #[cfg(feature = "rendezvous")]
    withheld: std::collections::BTreeSet<SiteId>,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
    next_id: u64,
}

impl Peer {
    /// A peer that knows nobody and holds nothing. Consent is withheld until [`Peer::set_consent`].
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        Self {
            consent: Consent { serve: config.role == Role::Supernode, fetch: config.role == Role::Supernode },
            visitor: u32::try_from(crate::cdn::spread::draw(&config.keypair.public()) >> 32).unwrap_or(0),
            config,
            rng: SeededRng::new(seed),
            budget: Budget::UNLIMITED,
            meters: Meters::default(),
            sites: Sites::new(),
            links: LiteMap::new(),
            replicas: BTreeMap::new(),
            fetches: LiteMap::new(),
            unsigned_edge: 0,
            queue: LiteMap::new(),
            ready: Vec::new(),
            http: transfers::Http::default(),
            http_due: false,
            serving: LiteMap::new(),
            news: LiteMap::new(),
            swarm_pace: Pace::default(),
            swarm_came_at: now,
            have_at: now,
            asked_at: now,
            look_at: now,
            choice_at: now,
            addresses: Vec::new(),
            earn_to: None,
            unhanded: Vec::new(),
            meeting: meeting::Meeting::default(),
            asked: 0,
            cut: CutList::default(),
            #[cfg(feature = "rendezvous")]
            tracker: crate::cdn::tracker::Tracker::default(),
            #[cfg(feature = "rendezvous")]
            withheld: std::collections::BTreeSet::new(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            next_id: 0,
        }
    }

    // ── getters ──────────────────────────────────────────────────────────────────────────────────────

    /// Who we are.
    pub fn public_key(&self) -> PublicKey {
        self.config.keypair.public()
    }

    /// What was moved so far.
    pub fn meters(&self) -> Meters {
        self.meters
    }

    /// The links, for a meter.
    pub fn links(&self) -> impl Iterator<Item = LinkStatus> + '_ {
        self.links.iter().map(|(id, link)| link.status(*id))
    }

    /// Whether group `group` of `root` is held.
    pub fn holds(&self, root: &BlobRoot, group: u32) -> bool {
        self.replicas.get(root).is_some_and(|replica| replica.held.get(group))
    }

    // ── the world speaks ─────────────────────────────────────────────────────────────────────────────

    /// A link is up and its control stream open.
    pub fn handle_linked(&mut self, now: Instant, link: LinkId, about: LinkAbout) {
        self.meeting.end(&about.peer);
        if let Some(reason) = self.objection(now, &about) {
            self.effects.push_back(Effect::Disconnect { link, reason });
            return;
        }
        let rendezvous = self.config.supernodes.contains(&about.peer);
        let session = self.rng.next_u64();
        self.links.insert(link, Box::new(link::Link::new(now, about, rendezvous, session)));
        self.send_hello(link);
        self.seek();
        self.turn(now);
    }

    /// A link is gone, and with it whatever was under way on it.
    pub fn handle_unlinked(&mut self, now: Instant, link: LinkId) {
        match self.links.get(&link) {
            // Dialled, and not a word: it had no room for us.
            Some(gone) if gone.dialer && gone.hello.is_none() => {
                self.meeting.note_unreached(now, gone.peer.clone());
            }
            Some(gone) if gone.is_tab() => self.asked = 0,
            _ => {}
        }
        self.unlink(link);
        self.turn(now);
    }

    /// A frame came. Untrusted.
    pub fn handle_frame(&mut self, now: Instant, id: LinkId, stream: Stream, frame: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.meters.messages_in += 1;
        let offence = if !link.gate.pass(now) {
            Some(Offence::Flooding)
        } else {
            match stream {
                Stream::Control => match messages::read_control(frame) {
                    Ok(control) => {
                        if let Some(control) = control {
                            self.handle_control(now, id, control);
                        }
                        None
                    }
                    Err(offence) => Some(offence),
                },
                Stream::Serve => match messages::read_request(frame) {
                    Ok(request) => {
                        self.handle_request(now, id, request);
                        None
                    }
                    Err(offence) => Some(offence),
                },
                Stream::Fetch => match messages::read_end(frame) {
                    Ok(end) => {
                        self.request_ended(now, id, end);
                        None
                    }
                    Err(offence) => Some(offence),
                },
            }
        };
        if let Some(offence) = offence {
            self.offend(now, id, offence);
        }
        self.turn(now);
    }

    /// The shell saw a stream break its framing: [`Offence::Oversize`], [`Offence::Truncation`],
    /// [`Offence::Malformed`], [`Offence::WrongObject`]. Not for streams that merely closed.
    pub fn handle_offence(&mut self, now: Instant, link: LinkId, offence: Offence) {
        self.offend(now, link, offence);
        self.turn(now);
    }

    /// A piece came and was judged. Good pieces are stored already.
    pub fn handle_received(&mut self, now: Instant, received: Received) {
        self.received(now, received);
        self.turn(now);
    }

    /// An effect is over.
    pub fn handle_done(&mut self, now: Instant, effect: EffectId, done: Done) {
        self.http_done(now, effect, done);
        self.serve_done(now, effect, done);
        self.turn(now);
    }

    /// The moment that [`Peer::poll_timeout`] named has come. Early or late calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.check_stalls(now);
            self.check_http(now);
            self.settle_receipts(now);
            self.serve_waiting(now);
            self.all_ready();
            self.http_due = true;
        }
        if self.choice_due().is_some() {
            self.choose_served(now);
        }
        self.turn(now);
    }

    // ── our user speaks ──────────────────────────────────────────────────────────────────────────────

    /// Fetches the groups `groups` of a blob (clipped to its end). Answered once, by an [`Event`] with the id
    /// returned.
    pub fn fetch(
        &mut self,
        now: Instant,
        root: BlobRoot,
        shape: BlobShape,
        priority: Priority,
        groups: Range<u32>,
    ) -> FetchId {
        let fetch = self.begin_fetch(now, root, shape, priority, groups);
        self.turn(now);
        fetch
    }

    /// Gives up a fetch. Nothing happens where it was answered already.
    pub fn cancel(&mut self, now: Instant, fetch: FetchId) {
        if let Some(state) = self.end_fetch(fetch) {
            self.events.push_back(Event::Cancelled { fetch, root: state.root });
        }
        self.turn(now);
    }

    /// Takes part in a site: says so to every link, and at first has supernodes list us for it. `sequence` is that
    /// of the manifest believed, `complete` whether all of it is held.
    pub fn join(&mut self, now: Instant, site: SiteId, sequence: u64, complete: bool) {
        let state = self.sites.entry(site).or_default();
        let known = state.sequence > 0;
        (state.sequence, state.complete) = (sequence, complete);
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for id in links {
            self.send_hello(id);
        }
        if !known {
            self.count_others();
            self.ask_all(now, false);
            self.seek();
        }
        self.turn(now);
    }

    /// No longer takes part in a site.
    pub fn leave(&mut self, _now: Instant, site: SiteId) {
        self.sites.remove(&site);
    }

    /// A manifest was opened and is believed: joins its site, and remembers who has which of its blobs.
    pub fn adopt_manifest(&mut self, now: Instant, manifest: &Manifest) {
        for asset in manifest.assets.values() {
            // A blob beyond the bound is fetched by plain HTTP.
            let _ = self.ensure_replica(asset.root, asset.shape);
        }
        let roots: LiteMap<_, _> = manifest.assets.values().map(|asset| (asset.root, ())).collect();
        let complete = roots.keys().all(|root| self.replicas.get(root).is_some_and(|r| r.held.is_full()));
        self.sites.entry(manifest.site_id()).or_default().roots = roots;
        self.join(now, manifest.site_id(), manifest.sequence, complete);
    }

    /// These groups of a blob are in the store, verified, with the hashes above them.
    pub fn add_local(&mut self, now: Instant, root: BlobRoot, shape: BlobShape, groups: Range<u32>) {
        if self.ensure_replica(root, shape).is_err() {
            return;
        }
        let Some(replica) = self.replicas.get_mut(&root) else { return };
        for group in groups.start..groups.end.min(shape.groups()) {
            if replica.held.set(group) {
                replica.open.clear(group);
                self.news.entry(root).or_default().groups.push(group);
            }
        }
        self.turn(now);
    }

    /// The store dropped a blob: it is no longer offered.
    pub fn forget(&mut self, now: Instant, root: BlobRoot) {
        let Some(shape) = self.replicas.remove(&root).map(|replica| replica.shape) else { return };
        self.news.remove(&root);
        let _ = self.ensure_replica(root, shape);
        let gone = crate::wire::cdn::BlobHave { root: root.0.to_vec(), gone: true, ..Default::default() };
        let have = crate::wire::cdn::Have { blobs: vec![gone], receipt: None };
        let frame = messages::control(crate::wire::cdn::control::Message::Have(have));
        let tabs: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.is_tab()).map(|(id, _)| *id).collect();
        for id in tabs {
            self.transmit(id, frame.clone());
        }
        self.turn(now);
    }

    /// What the user allows. Taking `serve` back stops serving before this returns: queued requests are refused,
    /// those under way get a `CancelServe`.
    pub fn set_consent(&mut self, now: Instant, consent: Consent) {
        let before = core::mem::replace(&mut self.consent, consent);
        if !consent.serve {
            self.stop_serving();
        } else if !before.serve {
            self.resume_serving();
        }
        self.turn(now);
    }

    /// What may still flow, from now on.
    pub fn set_budget(&mut self, _now: Instant, budget: Budget) {
        let before = core::mem::replace(&mut self.budget, budget);
        if self.consent.serve && budget.upload_bytes > before.upload_bytes {
            self.resume_serving();
        }
    }

    /// Which visitor we are, by the supernode's count. Those who come together begin in different places by it, and
    /// so have something to swap.
    pub fn set_visitor(&mut self, visitor: u32) {
        self.visitor = visitor;
    }

    /// Who is paid for what we give from now on: an account of a chain. Told to supernodes with what others signed for us.
    pub fn set_earn_to(&mut self, account: Option<[u8; 20]>) {
        self.earn_to = account;
        if account.is_none() {
            self.unhanded.clear();
        }
    }

    /// Where we can be dialled: binary multiaddresses. Told to supernodes that introduce peers.
    pub fn set_addresses(&mut self, now: Instant, addresses: Vec<Vec<u8>>) {
        let bounded = addresses.into_iter().filter(|address| address.len() <= messages::MAX_ADDRESS_BYTES);
        let addresses: Vec<_> = bounded.take(messages::MAX_ADDRESSES).collect();
        if addresses != self.addresses {
            self.addresses = addresses;
            if self.config.role == Role::Tab {
                self.ask_all(now, false);
            }
        }
    }

    // ── we speak ─────────────────────────────────────────────────────────────────────────────────────

    /// The next thing for the shell to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next thing for our user to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Peer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let busy = !self.fetches.is_empty()
            || self.http.is_busy()
            || self.links.values().any(|link| link.unsigned > 0 || !link.pipeline.is_empty())
            || self.keeps_waiting();
        let look = busy.then_some(self.look_at);
        let have = (!self.news.is_empty()).then_some(self.have_at);
        [look, have, self.ask_due(), self.hand_in_due(), self.choice_due(), self.meeting.due()]
            .into_iter()
            .flatten()
            .min()
    }

    // ── one turn ─────────────────────────────────────────────────────────────────────────────────────

    /// After every input: neighbours first, then HTTP, then what others should know.
    fn turn(&mut self, now: Instant) {
        while !self.ready.is_empty() {
            for id in core::mem::take(&mut self.ready) {
                self.fill_link(now, id);
            }
        }
        if core::mem::take(&mut self.http_due) {
            self.fill_http(now);
        }
        self.announce_fresh(now);
        self.expire_meetings(now);
        self.ask_peers_where_due(now);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Why a link is not wanted.
    fn objection(&mut self, now: Instant, about: &LinkAbout) -> Option<DisconnectReason> {
        let ourselves = self.config.keypair.public();
        if about.peer == ourselves {
            return Some(DisconnectReason::Ourselves);
        }
        if self.cut.holds(now, &about.peer) {
            return Some(DisconnectReason::CutBefore);
        }
        if self.links.len() >= self.config.limits.links_max {
            return Some(DisconnectReason::TooMany);
        }
        // Where both dialled at once, both sides keep the link that the lower key dialled.
        let other = self
            .links
            .iter()
            .find(|(_, other)| other.peer == about.peer)
            .map(|(id, other)| (*id, other.dialer));
        let (other, other_dialer) = other?;
        let ours_is_lower = ourselves < about.peer;
        // Who dials again has lost the link it dialled before: its page was loaded anew.
        if about.dialer == other_dialer || about.dialer == ours_is_lower {
            self.unlink(other);
            self.effects.push_back(Effect::Disconnect { link: other, reason: DisconnectReason::Duplicate });
            return None;
        }
        Some(DisconnectReason::Duplicate)
    }
}

#[cfg(test)]
mod tests;
