//! Peers joined by links in memory, driven until nothing more happens.

use std::collections::{BTreeMap, BTreeSet};

mod earning;
mod meeting;

use super::*;
use crate::{
    base::RequestId,
    cdn::{
        blob::VerifyError,
        part::{Part, Piece},
        replica::pieces,
    },
    identity::Keypair,
};

const ROOT: BlobRoot = BlobRoot([3; 32]);
const LINK: LinkId = LinkId(1);

fn shape(groups: u32) -> BlobShape {
    BlobShape::new(u64::from(groups) * 16_384).unwrap()
}

fn tab(number: u8, edge: bool) -> Peer {
    let config = Config {
        keypair: Keypair::from_secret([number; 32]),
        role: Role::Tab,
        region: 0,
        supernodes: BTreeSet::new(),
        http: HttpSources { edge, origin: false },
        limits: Limits::default(),
    };
    let mut peer = Peer::new(config, [number; 32], Instant::default());
    peer.set_consent(Instant::default(), Consent { serve: true, fetch: true });
    peer
}

/// Two peers, one link, a clock; what HTTP is asked for comes, what the second one serves may be lies.
struct Pair {
    peers: [Peer; 2],
    now: Instant,
    second_lies: bool,
    requests: BTreeMap<(usize, RequestId), (BlobRoot, Part)>,
    serves: u64,
    events: Vec<Event>,
    http_bytes: u64,
}

impl Pair {
    fn new(edge: bool) -> Self {
        Self {
            peers: [tab(1, edge), tab(2, false)],
            now: Instant::from_micros(1_000_000),
            second_lies: false,
            requests: BTreeMap::new(),
            serves: 0,
            events: Vec::new(),
            http_bytes: 0,
        }
    }

    fn link(&mut self) {
        for side in 0..2 {
            let peer = self.peers[1 - side].public_key();
            let about = LinkAbout { peer, dialer: side == 0, relayed: false };
            self.peers[side].handle_linked(self.now, LINK, about);
        }
        self.run(1);
    }

    /// The second peer is the supernode of the first, which may ask the origin too.
    fn supernode_second(&mut self) {
        let key = self.peers[1].public_key();
        self.peers[0].config.supernodes.insert(key);
        self.peers[0].config.http.origin = true;
        self.peers[1].config.role = Role::Supernode;
    }

    fn fetch(&mut self, priority: Priority, groups: u32) -> FetchId {
        self.peers[0].fetch(self.now, ROOT, shape(groups), priority, 0..groups)
    }

    /// Lets `seconds` pass.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            for side in 0..2 {
                while let Some(effect) = self.peers[side].poll_effect() {
                    self.obey(side, effect);
                }
            }
            while let Some(event) = self.peers[0].poll_event() {
                self.events.push(event);
            }
            self.now = self.now + Duration::from_millis(10);
            for side in 0..2 {
                if self.peers[side].poll_timeout().is_some_and(|at| at <= self.now) {
                    self.peers[side].handle_timeout(self.now);
                }
            }
        }
    }

    fn obey(&mut self, side: usize, effect: Effect) {
        let (now, other) = (self.now, 1 - side);
        match effect {
            Effect::Transmit { link, stream, frame } => {
                let stream = match stream {
                    Stream::Control => Stream::Control,
                    Stream::Fetch => Stream::Serve,
                    Stream::Serve => Stream::Fetch,
                };
                self.peers[other].handle_frame(now, link, stream, &frame);
            }
            Effect::Request { link, request, root, part, frame, .. } => {
                self.requests.insert((side, request), (root, part));
                self.peers[other].handle_frame(now, link, Stream::Serve, &frame);
            }
            Effect::Serve { effect, link, request, root, shape, part } => {
                self.serves += 1;
                let lies = self.second_lies && side == 1;
                for piece in pieces(part) {
                    let Piece::Group(index) = piece else { continue };
                    let verdict =
                        if lies { Verdict::Bad(VerifyError::Hash { index }) } else { Verdict::Good };
                    let source = Source::Link(link, request);
                    let bytes = piece.bytes(shape);
                    self.peers[other].handle_received(now, Received { source, root, piece, bytes, verdict });
                }
                for piece in pieces(part).filter(|piece| !matches!(piece, Piece::Group(_))) {
                    let (source, bytes) = (Source::Link(link, request), piece.bytes(shape));
                    let verdict = Verdict::Good;
                    self.peers[other].handle_received(now, Received { source, root, piece, bytes, verdict });
                }
                self.peers[side].handle_done(now, effect, Done::Served { bytes: part.bytes(shape) });
            }
            Effect::FetchHttp { effect, root, shape, run, .. } => {
                self.http_bytes += run.bytes(shape);
                for piece in run.parts().flat_map(pieces) {
                    let (source, bytes, verdict) = (Source::Http(effect), piece.bytes(shape), Verdict::Good);
                    self.peers[side].handle_received(now, Received { source, root, piece, bytes, verdict });
                }
                self.peers[side].handle_done(now, effect, Done::HttpFinished);
            }
            Effect::Disconnect { link, .. } => {
                self.peers[0].handle_unlinked(now, link);
                self.peers[1].handle_unlinked(now, link);
            }
            Effect::Describe { .. } | Effect::Connect { .. } | Effect::Forget { .. } => {}
            Effect::CancelServe { .. } | Effect::CancelHttp { .. } => {}
        }
    }

    fn answers(&self, fetch: FetchId) -> usize {
        let is_answer = |event: &&Event| match event {
            Event::Completed { fetch: id, .. }
            | Event::FellBack { fetch: id, .. }
            | Event::Cancelled { fetch: id, .. } => *id == fetch,
            _ => false,
        };
        self.events.iter().filter(is_answer).count()
    }

    fn completed(&self, fetch: FetchId) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Completed { fetch: id, .. } if *id == fetch))
    }
}

#[test]
fn a_blob_comes_from_the_tab_that_holds_it_and_is_signed_for_to_the_byte() {
    let mut pair = Pair::new(true);
    pair.peers[1].add_local(pair.now, ROOT, shape(200), 0..200);
    pair.link();
    let fetch = pair.fetch(Priority::Page, 200);
    pair.run(5);
    assert!(pair.completed(fetch));
    assert_eq!(pair.answers(fetch), 1);
    let (receiver, provider) = (pair.peers[0].meters(), pair.peers[1].meters());
    assert_eq!(pair.http_bytes, 0, "a neighbour holds everything and delivers");
    assert!(receiver.received.peers >= 200 * 16_384);
    assert_eq!(provider.sent, receiver.received.peers);
    assert_eq!(provider.receipted, receiver.received.peers);
    assert_eq!(receiver.signed_for, receiver.received.peers);
    assert_eq!(pair.peers.each_ref().map(Peer::poll_timeout), [None, None], "a quiet network is quiet");
}

#[test]
fn alone_everything_comes_by_http_once() {
    let mut pair = Pair::new(true);
    let fetch = pair.fetch(Priority::Page, 700);
    pair.run(5);
    assert!(pair.completed(fetch));
    let hashes = (2 + 700) * 32;
    assert_eq!(pair.http_bytes, 700 * 16_384 + hashes, "each group, each page and the top, once");
}

#[test]
fn where_the_edge_cannot_be_had_the_supernode_gives_over_its_link() {
    let mut pair = Pair::new(false);
    let site = SiteId([7; 32]);
    pair.supernode_second();
    pair.peers[1].add_local(pair.now, ROOT, shape(100), 0..100);
    for peer in &mut pair.peers {
        peer.sites.entry(site).or_default().roots.insert(ROOT, ());
    }
    pair.peers[0].join(pair.now, site, 1, false);
    pair.peers[1].join(pair.now, site, 1, true);
    pair.link();
    let fetch = pair.fetch(Priority::Page, 100);
    pair.run(5);
    assert!(pair.completed(fetch));
    assert_eq!(pair.http_bytes, 0, "the origin is spared");
    assert!(pair.peers[0].meters().received.supernodes >= 100 * 16_384);
}

#[test]
fn a_neighbour_that_fetches_nothing_does_not_slow_a_supernodes_link() {
    use crate::wire::cdn::{Hello, SiteState, control::Message};
    const GROUPS: u32 = 8_000;
    const IDLE: LinkId = LinkId(2);
    let mut pair = Pair::new(false);
    let site = SiteId([7; 32]);
    pair.supernode_second();
    pair.peers[1].add_local(pair.now, ROOT, shape(GROUPS), 0..GROUPS);
    for peer in &mut pair.peers {
        peer.sites.entry(site).or_default().roots.insert(ROOT, ());
    }
    pair.peers[0].join(pair.now, site, 1, false);
    pair.peers[1].join(pair.now, site, 1, true);
    pair.link();
    let neighbour = LinkAbout { peer: Keypair::from_secret([3; 32]).public(), dialer: true, relayed: false };
    pair.peers[0].handle_linked(pair.now, IDLE, neighbour);
    let sites = vec![SiteState { site: site.0.to_vec(), sequence: 1, complete: false, swarm: 0 }];
    let hello = Hello { version: 1, role: 1, session: 1, sites, ..Hello::default() };
    pair.peers[0].handle_frame(pair.now, IDLE, Stream::Control, &messages::control(Message::Hello(hello)));
    let fetch = pair.fetch(Priority::Page, GROUPS);
    pair.run(2);
    assert!(pair.completed(fetch), "{:?}", pair.peers[0].meters());
}

#[test]
fn a_supernode_that_holds_nothing_keeps_no_fetch_from_plain_http() {
    let mut pair = Pair::new(false);
    pair.supernode_second();
    pair.link();
    let fetch = pair.fetch(Priority::Page, 100);
    pair.run(5);
    assert!(
        pair.events.iter().any(|event| matches!(event, Event::FellBack { fetch: id, .. } if *id == fetch))
    );
}

#[test]
fn a_liar_is_cut_after_one_bad_group_and_http_finishes() {
    let mut pair = Pair::new(true);
    pair.second_lies = true;
    pair.peers[1].add_local(pair.now, ROOT, shape(100), 0..100);
    pair.link();
    let fetch = pair.fetch(Priority::Page, 100);
    pair.run(5);
    assert!(pair.completed(fetch));
    assert_eq!(pair.peers[0].meters().wasted, 16_384);
    let liar = pair.peers[1].public_key();
    assert!(pair.events.contains(&Event::PeerCut { peer: liar, offence: Offence::BadPiece }));
    assert_eq!(pair.peers[0].links().count(), 0);
}

/// What the first peer asks of the second now, without an answer.
fn asked(pair: &mut Pair) -> Vec<(RequestId, Part)> {
    let effects = core::iter::from_fn(|| pair.peers[0].poll_effect());
    let request = |effect| match effect {
        Effect::Request { request, part, .. } => Some((request, part)),
        _ => None,
    };
    effects.filter_map(request).collect()
}

/// The second peer sends the first a group whose hashes are not here.
fn unjudged(pair: &mut Pair, request: RequestId, group: u32) {
    let (source, verdict) =
        (Source::Link(LINK, request), Verdict::Bad(VerifyError::Unknown { index: group }));
    let received = Received { source, root: ROOT, piece: Piece::Group(group), bytes: 16_384, verdict };
    pair.peers[0].handle_received(pair.now, received);
}

#[test]
fn groups_ahead_of_their_hashes_are_the_last_of_a_link() {
    let mut pair = Pair::new(false);
    pair.peers[1].add_local(pair.now, ROOT, shape(100), 0..100);
    pair.link();
    pair.fetch(Priority::Page, 100);
    let asked = asked(&mut pair);
    let (Some((_, Part::Page(0))), Some((behind, Part::Groups { first, .. }))) =
        (asked.first(), asked.get(1))
    else {
        panic!("a page, and groups behind it: {asked:?}");
    };
    unjudged(&mut pair, *behind, *first);
    let (liar, events) = (pair.peers[1].public_key(), core::iter::from_fn(|| pair.peers[0].poll_event()));
    let cut = Event::PeerCut { peer: liar, offence: Offence::WrongObject };
    assert!(events.collect::<Vec<_>>().contains(&cut));
    assert_eq!((pair.peers[0].links().count(), pair.peers[0].meters().wasted), (0, 16_384));
}

#[test]
fn who_refused_the_hashes_may_answer_what_was_asked_behind_them_but_not_for_ever() {
    use crate::cdn::offences::UNJUDGED_PIECES;
    let mut pair = Pair::new(false);
    pair.peers[1].add_local(pair.now, ROOT, shape(100), 0..100);
    pair.link();
    pair.fetch(Priority::Page, 100);
    let asked = asked(&mut pair);
    let ((page, _), (behind, _)) = (asked[0], asked[1]);
    let end = messages::end(page, Some(crate::wire::Refusal::Busy), 0);
    pair.peers[0].handle_frame(pair.now, LINK, Stream::Fetch, &end);
    for _ in 1..UNJUDGED_PIECES {
        unjudged(&mut pair, behind, 0);
        assert_eq!(pair.peers[0].links().count(), 1);
    }
    unjudged(&mut pair, behind, 0);
    assert_eq!(pair.peers[0].links().count(), 0);
}

#[test]
fn consent_taken_back_stops_serving_and_given_again_resumes_it() {
    let mut pair = Pair::new(false);
    pair.peers[1].add_local(pair.now, ROOT, shape(100), 0..100);
    pair.link();
    pair.peers[1].set_consent(pair.now, Consent { serve: false, fetch: true });
    let fetch = pair.fetch(Priority::Idle, 100);
    pair.run(2);
    assert_eq!((pair.serves, pair.answers(fetch)), (0, 0));
    pair.peers[1].set_consent(pair.now, Consent { serve: true, fetch: true });
    pair.run(5);
    assert!(pair.completed(fetch));
}

#[test]
fn an_upload_budget_is_never_exceeded() {
    let mut pair = Pair::new(true);
    let budget = Budget { upload_bytes: 10 * 16_384, download_bytes: u64::MAX };
    pair.peers[1].set_budget(pair.now, budget);
    pair.peers[1].add_local(pair.now, ROOT, shape(200), 0..200);
    pair.link();
    let fetch = pair.fetch(Priority::Page, 200);
    pair.run(20);
    assert!(pair.completed(fetch), "HTTP delivers the rest");
    assert!(pair.peers[1].meters().sent <= budget.upload_bytes);
}

#[test]
fn where_more_ask_than_there_are_slots_one_more_than_the_slots_is_served() {
    use crate::wire::cdn::control::Message;
    let keypair = Keypair::from_secret([1; 32]);
    let limits = Limits { upload_slots: 2, ..Limits::default() };
    let http = HttpSources { edge: false, origin: false };
    let supernodes = BTreeSet::new();
    let config = Config { keypair, role: Role::Tab, region: 0, supernodes, http, limits };
    let mut now = Instant::from_micros(1_000_000);
    let mut provider = Peer::new(config, [1; 32], now);
    provider.set_consent(now, Consent { serve: true, fetch: true });
    provider.add_local(now, ROOT, shape(8), 0..8);
    let hello = crate::wire::cdn::Hello { version: 1, role: 1, ..Default::default() };
    let hello = messages::control(Message::Hello(hello));
    let ask = |provider: &mut Peer, now, number: u64| {
        let request = RequestId(now_millis(now) * 10 + number);
        let frame =
            crate::cdn::bulk::request_message(request, ROOT, Part::Groups { first: 0, count: 1 }, None);
        provider.handle_frame(now, LinkId(number), Stream::Serve, &frame);
    };
    for number in 1..=6 {
        let peer = Keypair::from_secret([10 + u8::try_from(number).unwrap(); 32]).public();
        provider.handle_linked(now, LinkId(number), LinkAbout { peer, dialer: false, relayed: false });
        provider.handle_frame(now, LinkId(number), Stream::Control, &hello);
        ask(&mut provider, now, number);
    }
    let mut choked = BTreeSet::new();
    for _ in 0..3 {
        now = provider.poll_timeout().expect("more ask than there are slots").max(now);
        provider.handle_timeout(now);
        while let Some(effect) = provider.poll_effect() {
            if let Effect::Transmit { link, stream: Stream::Control, frame } = effect {
                match messages::read_control(&frame) {
                    Ok(Some(messages::Control::Choke)) => assert!(choked.insert(link), "choked twice"),
                    Ok(Some(messages::Control::Unchoke)) => assert!(choked.remove(&link), "was not choked"),
                    _ => {}
                }
            }
        }
        assert_eq!(choked.len(), 3, "two slots and an optimistic one for six");
        let refused = provider.meters().refused;
        (1..=6).for_each(|number| ask(&mut provider, now, number));
        assert_eq!(provider.meters().refused, refused + 3);
    }
}

fn now_millis(now: Instant) -> u64 {
    now.as_micros() / 1000
}

#[test]
fn who_dials_again_after_a_reload_is_linked_by_the_new_link() {
    let (now, mut peer) = (Instant::default(), tab(1, false));
    let about = LinkAbout { peer: tab(2, false).public_key(), dialer: false, relayed: false };
    peer.handle_linked(now, LinkId(1), about.clone());
    peer.handle_linked(now, LinkId(2), about);
    let kept: Vec<LinkId> = peer.links().map(|link| link.link).collect();
    assert_eq!(kept, [LinkId(2)]);
    let closed: Vec<LinkId> = core::iter::from_fn(|| peer.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Disconnect { link, reason: DisconnectReason::Duplicate } => Some(link),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [LinkId(1)]);
}

#[test]
fn what_was_signed_for_reaches_a_supernode_though_no_peers_are_wanted() {
    use crate::wire::cdn::control::Message;
    const TO_SUPERNODE: LinkId = LinkId(9);
    let mut pair = Pair::new(false);
    let provider = &mut pair.peers[1];
    let supernode = Keypair::from_secret([5; 32]).public();
    provider.config.limits.links_wanted = 0;
    provider.config.supernodes.insert(supernode.clone());
    provider.join(pair.now, SiteId([4; 32]), 1, true);
    provider.handle_linked(
        pair.now,
        TO_SUPERNODE,
        LinkAbout { peer: supernode, dialer: true, relayed: false },
    );
    let hello = crate::wire::cdn::Hello { version: 1, role: 2, session: 1, ..Default::default() };
    provider.handle_frame(pair.now, TO_SUPERNODE, Stream::Control, &messages::control(Message::Hello(hello)));
    provider.add_local(pair.now, ROOT, shape(8), 0..8);
    pair.link();
    let fetch = pair.fetch(Priority::Page, 8);
    pair.run(5);
    assert!(pair.completed(fetch));
    let waiting = |pair: &Pair| pair.peers[1].links.values().any(|link| link.account.newest.is_some());
    assert!(waiting(&pair));
    pair.run(120);
    assert!(!waiting(&pair));
    assert_eq!(pair.peers[1].poll_timeout(), None, "a quiet network is quiet");
}

#[test]
fn whoever_is_furthest_behind_is_served_first_and_nobody_waits_for_ever() {
    use crate::wire::cdn::{BlobHave, GroupRange, Have, control::Message};
    const AHEAD: LinkId = LinkId(1);
    const BEHIND: LinkId = LinkId(2);
    let (mut now, mut provider) = (Instant::from_micros(1_000_000), tab(1, false));
    provider.config.limits.serving_max = Some(1);
    provider.add_local(now, ROOT, shape(64), 0..64);
    let hello = crate::wire::cdn::Hello { version: 1, role: 1, ..Default::default() };
    let hello = messages::control(Message::Hello(hello));
    for link in [AHEAD, BEHIND] {
        let peer = Keypair::from_secret([10 + u8::try_from(link.0).unwrap(); 32]).public();
        provider.handle_linked(now, link, LinkAbout { peer, dialer: false, relayed: false });
        provider.handle_frame(now, link, Stream::Control, &hello);
    }
    let blob = BlobHave {
        root: ROOT.0.to_vec(),
        added: vec![GroupRange { first: 0, count: 8 }],
        ..Default::default()
    };
    let have = messages::control(Message::Have(Have { blobs: vec![blob], receipt: None }));
    provider.handle_frame(now, AHEAD, Stream::Control, &have);
    for request in 0..8 {
        for link in [AHEAD, BEHIND] {
            let part = Part::Groups { first: 8, count: 8 };
            let frame = crate::cdn::bulk::request_message(RequestId(request), ROOT, part, None);
            provider.handle_frame(now, link, Stream::Serve, &frame);
        }
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        while let Some(effect) = provider.poll_effect() {
            if let Effect::Serve { effect, link, .. } = effect {
                served.push(link);
                now = now + Duration::from_millis(600);
                provider.handle_done(now, effect, Done::Served { bytes: 8 * 16_384 });
            }
        }
    }
    // The first was alone when it asked; each later answer took 600 ms.
    assert_eq!(served[..6], [AHEAD, BEHIND, BEHIND, BEHIND, AHEAD, BEHIND], "{served:?}");
}

#[test]
fn who_loses_a_neighbour_asks_soon_however_rarely_it_asked_before() {
    use crate::wire::cdn::control::Message;
    const NEIGHBOUR: LinkId = LinkId(2);
    let (mut now, mut peer) = (Instant::default(), tab(1, false));
    let supernode = Keypair::from_secret([2; 32]).public();
    peer.config.supernodes.insert(supernode.clone());
    peer.join(now, SiteId([4; 32]), 1, false);
    for (link, key, role) in [(LINK, supernode, 2), (NEIGHBOUR, Keypair::from_secret([3; 32]).public(), 1)] {
        peer.handle_linked(now, link, LinkAbout { peer: key, dialer: true, relayed: false });
        let hello = crate::wire::cdn::Hello { version: 1, role, session: 1, ..Default::default() };
        peer.handle_frame(now, link, Stream::Control, &messages::control(Message::Hello(hello)));
    }
    while now < Instant::from_micros(90_000_000) {
        now = now + Duration::from_secs(1);
        peer.handle_timeout(now);
    }
    let rare = peer.poll_timeout().expect("it wants more than one neighbour");
    assert!(rare.since(now) > Duration::from_secs(30), "asking has become rare");
    while peer.poll_effect().is_some() {}
    peer.handle_unlinked(now, NEIGHBOUR);
    let asked = core::iter::from_fn(|| peer.poll_effect()).any(|effect| {
        let Effect::Transmit { frame, .. } = effect else { return false };
        matches!(messages::read_control(&frame), Ok(Some(messages::Control::AskPeers(_))))
    });
    assert!(asked);
}
