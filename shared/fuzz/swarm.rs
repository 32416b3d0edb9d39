//! A peer in a hostile neighbourhood: one input is a script of frames, answers, faults and commands, in any order.
//!
//! Whatever the neighbours do, the peer must not panic, must answer each fetch once, must not spin, and must keep
//! its bounds on links, requests, frames, addresses and uploads. Frames are the script's own bytes, or lawful
//! messages with its numbers in them, so that what lies behind the parser is reached.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use prost::Message as _;
use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, RequestId, SiteId, UnixSeconds},
    cdn::{
        blob::{BlobShape, GROUP_BYTES, PAGE_BYTES, VerifyError},
        earner::Earner,
        introduction::{Answer, Offer, Reach},
        manifest::{Asset, Manifest},
        messages::{Control, MAX_HANDED_IN, control, end, read_control},
        offences::Offence,
        part::{Part, Piece, Run},
        receipts::{Receipt, Verified},
        report,
    },
    identity::{Keypair, PublicKey},
    peer::{
        Budget, Config, Consent, Description, Done, Effect, Event, FetchId, HttpSources, Limits, LinkAbout,
        Peer, Priority, Received, Role, Source, Stream, Verdict,
    },
    wire::{MAX_FRAME_BYTES, Refusal, cdn as wire},
};

/// Steps of one script: enough to link, ask, answer and cut everybody, and quick to run.
const STEPS_MAX: usize = 400;
/// What one input may set off: every link's whole window in single groups, and a statement to each.
const EFFECTS_MAX: usize = 20_000;
/// Offers that a tab makes at once, and answers.
const OFFERS_MAX: usize = 10;
const UPLOAD_BYTES: u64 = 40 * GROUP_BYTES;
/// The last is in no manifest.
const SIZES: [u64; 4] = [100, 5 * GROUP_BYTES + 7, PAGE_BYTES + 3 * GROUP_BYTES, 20 * GROUP_BYTES];

pub(crate) fn peer(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(input.byte());
    for _ in 0..STEPS_MAX {
        if input.0.is_empty() {
            break;
        }
        world.step(&mut input);
        world.drain();
    }
    world.finish();
}

/// Reads a script; past its end everything is zero.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u32 {
        let number = u32::from(self.byte());
        // Mostly numbers that mean something, sometimes ones that overflow.
        if number < 250 { number } else { u32::MAX - u32::from(self.byte()) }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()) | usize::from(self.byte() & 0x3) << 8;
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn range(&mut self) -> wire::GroupRange {
        wire::GroupRange { first: self.number(), count: self.number() }
    }

    fn ranges(&mut self) -> Vec<wire::GroupRange> {
        (0..self.byte() % 5).map(|_| self.range()).collect()
    }
}

/// Who there is: ourselves, a supernode, and strangers.
fn keys() -> &'static [Keypair] {
    static KEYS: OnceLock<Vec<Keypair>> = OnceLock::new();
    KEYS.get_or_init(|| (1..=18).map(|number| Keypair::from_secret([number; 32])).collect())
}

fn root(number: u8) -> BlobRoot {
    BlobRoot([number % 5; 32])
}

fn shape(root: BlobRoot) -> BlobShape {
    BlobShape::new(SIZES[usize::from(root.0[0]) % SIZES.len()]).expect("all sizes are lawful")
}

fn manifest() -> Manifest {
    let asset = |number| Asset {
        root: root(number),
        shape: shape(root(number)),
        content_type: "text/plain".to_owned(),
    };
    Manifest {
        publisher: keys()[17].public(),
        site: "example.org".to_owned(),
        sequence: 5,
        issued: UnixSeconds(1_764_000_000),
        expires: UnixSeconds(1_764_086_400),
        assets: (0..3).map(|number| (format!("/{number}").parse().expect("a path"), asset(number))).collect(),
    }
}

struct World {
    peer: Peer,
    now: Instant,
    role: Role,
    site: [u8; 32],
    links_max: usize,
    consent: Consent,
    next_link: u64,
    /// Links that the shell has, those that the peer no longer wants included.
    links: Vec<(LinkId, usize)>,
    requests: Vec<(LinkId, RequestId, BlobRoot, Part)>,
    serves: Vec<(EffectId, u64)>,
    transfers: Vec<(EffectId, BlobRoot, Run)>,
    described: Vec<EffectId>,
    offers: BTreeSet<EffectId>,
    /// Numbers of the offers that the peer sent of late.
    offered: Vec<u64>,
    dials: Vec<PublicKey>,
    fetches: BTreeMap<FetchId, usize>,
    ready: BTreeSet<(BlobRoot, u32)>,
    sent: u64,
}

impl World {
    fn new(choice: u8) -> Self {
        let role = if choice & 1 == 0 { Role::Tab } else { Role::Supernode };
        let links_max = 3 + usize::from(choice >> 4);
        let config = Config {
            keypair: keys()[0].clone(),
            role,
            region: 0,
            supernodes: [keys()[1].public()].into(),
            http: HttpSources { edge: choice & 2 != 0, origin: choice & 4 != 0 },
            limits: Limits { links_max, ..Limits::default() },
        };
        let now = Instant::from_micros(1_000_000);
        let mut peer = Peer::new(config, [choice; 32], now);
        let consent = Consent { serve: true, fetch: true };
        peer.set_consent(now, consent);
        peer.set_budget(now, Budget { upload_bytes: UPLOAD_BYTES, download_bytes: u64::MAX });
        let manifest = manifest();
        peer.adopt_manifest(now, &manifest);
        Self {
            peer,
            now,
            role,
            site: manifest.site_id().0,
            links_max,
            consent,
            next_link: 0,
            links: Vec::new(),
            requests: Vec::new(),
            serves: Vec::new(),
            transfers: Vec::new(),
            described: Vec::new(),
            offers: BTreeSet::new(),
            offered: Vec::new(),
            dials: Vec::new(),
            fetches: BTreeMap::new(),
            ready: BTreeSet::new(),
            sent: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        self.now = self.now + Duration::from_micros(u64::from(input.byte()) * 97);
        let now = self.now;
        match input.byte() % 16 {
            0 => {
                let who = usize::from(input.byte()) % keys().len();
                self.next_link += 1;
                let id = LinkId(self.next_link);
                self.links.push((id, who));
                let about =
                    LinkAbout { peer: keys()[who].public(), dialer: input.byte() & 1 == 0, relayed: false };
                self.peer.handle_linked(now, id, about);
            }
            1 => {
                if let Some((link, _)) = pick(&self.links, input.byte()) {
                    self.links.retain(|(id, _)| *id != link);
                    self.peer.handle_unlinked(now, link);
                }
            }
            2 => {
                let Some((link, _)) = pick(&self.links, input.byte()) else { return };
                let stream = [Stream::Control, Stream::Serve, Stream::Fetch][usize::from(input.byte() % 3)];
                self.peer.handle_frame(now, link, stream, &input.bytes());
            }
            3..=6 => {
                let Some((link, who)) = pick(&self.links, input.byte()) else { return };
                let frame = self.control_frame(who, input);
                self.peer.handle_frame(now, link, Stream::Control, &frame);
            }
            7 => {
                let Some((link, who)) = pick(&self.links, input.byte()) else { return };
                let frame = self.request_frame(who, input);
                self.peer.handle_frame(now, link, Stream::Serve, &frame);
            }
            8 => {
                let Some((link, _)) = pick(&self.links, input.byte()) else { return };
                let code = u32::from(input.byte());
                let refusal = (code > 0).then(|| Refusal::from_code(code));
                let retry = u64::from(input.number()) << (input.byte() % 33);
                let frame = end(RequestId(u64::from(input.number())), refusal, retry);
                self.peer.handle_frame(now, link, Stream::Fetch, &frame);
            }
            9 => self.answer(input),
            10 => self.http(input),
            11 => {
                let at = usize::from(input.byte());
                if self.serves.is_empty() {
                    return;
                }
                let (effect, bytes) = self.serves.swap_remove(at % self.serves.len());
                let done = match input.byte() % 3 {
                    0 => Done::Failed,
                    1 => Done::Served { bytes: bytes / 2 },
                    _ => Done::Served { bytes },
                };
                self.peer.handle_done(now, effect, done);
            }
            12 => {
                let groups = input.range();
                let root = root(input.byte());
                let priority = match input.byte() % 3 {
                    0 => Priority::Page,
                    1 => Priority::Deadline {
                        start: now,
                        bytes_per_second: u64::from(input.number()) << (input.byte() % 33),
                    },
                    _ => Priority::Idle,
                };
                let end = groups.first.saturating_add(groups.count);
                let fetch = self.peer.fetch(now, root, shape(root), priority, groups.first..end);
                assert!(self.fetches.insert(fetch, 0).is_none(), "no two fetches have one name");
            }
            13 => {
                if let Some((fetch, _)) =
                    self.fetches.iter().nth(usize::from(input.byte()) % self.fetches.len().max(1))
                {
                    self.peer.cancel(now, *fetch);
                }
            }
            14 => self.command(input),
            _ => {
                self.now = self.now + Duration::from_millis(u64::from(input.byte()) * 40);
                self.peer.handle_timeout(self.now);
                if let Some(at) = self.peer.poll_timeout() {
                    assert!(at > self.now, "a peer that was just woken wants to be woken at once: it spins");
                }
            }
        }
    }

    fn control_frame(&self, who: usize, input: &mut Input<'_>) -> Vec<u8> {
        use wire::control::Message;
        let other = usize::from(input.byte()) % keys().len();
        control(match input.byte() % 12 {
            0 => Message::Hello(wire::Hello {
                version: 1,
                role: i32::from(input.byte() % 4),
                region: input.number(),
                sites: (0..input.byte() % 3)
                    .map(|number| wire::SiteState {
                        site: if number == 0 { self.site.to_vec() } else { vec![number; 32] },
                        sequence: u64::from(input.number()),
                        complete: input.byte() & 1 == 0,
                        swarm: input.number(),
                    })
                    .collect(),
                session: u64::from(input.number()),
            }),
            1 | 2 => Message::Have(wire::Have {
                blobs: (0..input.byte() % 4)
                    .map(|_| wire::BlobHave {
                        root: root(input.byte()).0.to_vec(),
                        complete: input.byte() & 3 == 0,
                        bitfield: if input.byte() & 1 == 0 { Vec::new() } else { input.bytes() },
                        added: input.ranges(),
                        gone: input.byte() & 7 == 0,
                        coming: input.ranges(),
                    })
                    .collect(),
                receipt: None,
            }),
            3 => Message::Cancel(wire::Cancel { request: u64::from(input.number()) }),
            4 => Message::Choke(wire::Choke {}),
            5 => Message::Unchoke(wire::Unchoke {}),
            6 => Message::Receipt(self.receipt(who, input)),
            7 => {
                let kind = wire::OffenceKind::try_from(i32::from(input.byte() % 11)).unwrap_or_default();
                let session = u64::from(input.number());
                Message::Report(report::sign(&keys()[who], &keys()[other].public(), kind, session))
            }
            8 => Message::AskPeers(wire::AskPeers {
                earner: Some(Earner::sign(
                    &keys()[who],
                    &keys()[other].public(),
                    SiteId(self.site),
                    [input.byte(); 20],
                )),
                request: u64::from(input.number()),
                site: self.site.to_vec(),
                count: input.number(),
                addresses: vec![input.bytes()],
                receipts: vec![self.receipt(other, input)],
            }),
            9 => Message::Offer(self.offer(other, input)),
            10 => {
                let id = self.offered.get(usize::from(input.byte() % 8)).copied().unwrap_or(7);
                let ours = keys()[usize::from(input.byte() % 8 == 7)].public();
                Message::Answer(
                    Answer::sign(&keys()[other], id, &ours, reach(input.byte()), "v=0".to_owned()).to_wire(),
                )
            }
            _ => Message::Peers(wire::Peers {
                request: u64::from(input.number()),
                site: self.site.to_vec(),
                peers: (0..input.byte() % 4)
                    .map(|_| wire::PeerEntry {
                        peer: keys()[usize::from(input.byte()) % keys().len()].public().to_bytes().to_vec(),
                        addresses: vec![input.bytes()],
                        region: 0,
                        role: 1,
                    })
                    .collect(),
                retry_after_ms: u64::from(input.number()),
                swarm: input.number(),
            }),
        })
    }

    fn offer(&self, who: usize, input: &mut Input<'_>) -> wire::Offer {
        let (id, hops) = (u64::from(input.number()), u32::from(input.byte() % 8));
        let offer =
            Offer::sign(&keys()[who], id, SiteId(self.site), reach(input.byte()), "v=0".to_owned(), hops)
                .to_wire();
        // Sometimes what was signed is something else.
        if input.byte() & 7 == 0 { wire::Offer { id: id + 1, ..offer } } else { offer }
    }

    /// Signed by `who`, mostly to us.
    fn receipt(&self, who: usize, input: &mut Input<'_>) -> wire::SignedReceipt {
        let provider = keys()[usize::from(input.byte() % 8)].public();
        let bytes = u64::from(input.number()) << (input.byte() % 33);
        Receipt::sign(&keys()[who], &provider, u64::from(input.number()), Verified::of(bytes))
    }

    fn request_frame(&self, who: usize, input: &mut Input<'_>) -> Vec<u8> {
        use wire::bulk_request::Part as Wire;
        let part = match input.byte() % 4 {
            0 => Wire::Top(true),
            1 => Wire::Page(input.number()),
            _ => Wire::Groups(input.range()),
        };
        let receipt = (input.byte() & 7 == 0).then(|| self.receipt(who, input));
        let request = u64::from(input.number());
        wire::BulkRequest { request, root: root(input.byte()).0.to_vec(), part: Some(part), receipt }
            .encode_to_vec()
    }

    /// A piece from a neighbour: what was asked for, or anything else.
    fn answer(&mut self, input: &mut Input<'_>) {
        let known = pick(&self.requests, input.byte());
        let (link, request, root, part) = known.unwrap_or_else(|| {
            let link = pick(&self.links, 0).map_or(LinkId(0), |(link, _)| link);
            (link, RequestId(u64::from(input.number())), root(input.byte()), Part::Top)
        });
        let piece = match (part, input.byte() % 8) {
            (_, 0) => Piece::Group(input.number()),
            (_, 1) => Piece::Page(input.number()),
            (Part::Groups { first, count }, _) => {
                Piece::Group(first.saturating_add(u32::from(input.byte()) % count.max(1)))
            }
            (Part::Page(page), _) => Piece::Page(page),
            (Part::Top, _) => Piece::Top,
        };
        self.piece(Source::Link(link, request), root, piece, input);
    }

    fn piece(&mut self, source: Source, root: BlobRoot, piece: Piece, input: &mut Input<'_>) {
        let bytes = piece.bytes(shape(root));
        let index = u32::from(input.byte());
        let verdict = match input.byte() % 16 {
            0 => Verdict::Bad(VerifyError::Hash { index }),
            1 => Verdict::Bad(VerifyError::Unknown { index }),
            2 => Verdict::NotStored,
            // Nobody verifies a piece that the blob does not have.
            _ if bytes == 0 => Verdict::Bad(VerifyError::Absent { index }),
            _ => Verdict::Good,
        };
        self.peer.handle_received(self.now, Received { source, root, piece, bytes, verdict });
    }

    /// A transfer from the edge or the origin delivers, lies, or ends.
    fn http(&mut self, input: &mut Input<'_>) {
        if self.transfers.is_empty() {
            return;
        }
        let at = usize::from(input.byte()) % self.transfers.len();
        let (effect, root, run) = self.transfers[at];
        match input.byte() % 8 {
            0 => {
                self.transfers.swap_remove(at);
                self.peer.handle_done(self.now, effect, Done::Failed);
            }
            1 => {
                self.transfers.swap_remove(at);
                self.peer.handle_done(self.now, effect, Done::Cancelled);
            }
            2 => {
                self.transfers.swap_remove(at);
                self.peer.handle_done(self.now, effect, Done::HttpFinished);
            }
            _ => {
                let parts: Vec<Part> = run.parts().collect();
                let piece = match parts[usize::from(input.byte()) % parts.len()] {
                    Part::Top => Piece::Top,
                    Part::Page(page) => Piece::Page(page),
                    Part::Groups { first, count } => Piece::Group(first + input.number() % count.max(1)),
                };
                self.piece(Source::Http(effect), root, piece, input);
            }
        }
    }

    fn command(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.byte() % 8 {
            0 => {
                let choice = input.byte();
                self.consent = Consent { serve: choice & 1 == 0, fetch: choice & 2 == 0 };
                self.peer.set_consent(now, self.consent);
            }
            1 => {
                let (root, groups) = (root(input.byte()), input.range());
                let end = groups.first.saturating_add(groups.count).min(2_000);
                self.peer.add_local(now, root, shape(root), groups.first..end);
            }
            2 => {
                let root = root(input.byte());
                self.ready.retain(|(ready, _)| *ready != root);
                self.peer.forget(now, root);
            }
            3 => self.peer.set_addresses(now, vec![input.bytes(), input.bytes()]),
            4 => {
                if !self.dials.is_empty() && input.byte() & 1 == 0 {
                    let at = usize::from(input.byte()) % self.dials.len();
                    self.peer.handle_dial_failed(now, &self.dials.swap_remove(at));
                } else if !self.described.is_empty() {
                    let at = usize::from(input.byte()) % self.described.len();
                    let choice = input.byte();
                    let described = || Description { sdp: "v=0".to_owned(), hard: choice & 4 != 0 };
                    let description = (choice & 3 != 0).then(described);
                    self.peer.handle_described(now, self.described.swap_remove(at), description);
                }
            }
            5 => {
                let Some((link, _)) = pick(&self.links, input.byte()) else { return };
                let kinds =
                    [Offence::Oversize, Offence::Truncation, Offence::Malformed, Offence::WrongObject];
                self.peer.handle_offence(now, link, kinds[usize::from(input.byte() % 4)]);
            }
            6 => self.peer.leave(now, manifest().site_id()),
            _ => self.peer.adopt_manifest(now, &manifest()),
        }
    }

    /// Does what the peer asks for, and holds it to its word.
    fn drain(&mut self) {
        let mut effects = 0;
        while let Some(effect) = self.peer.poll_effect() {
            effects += 1;
            assert!(effects <= EFFECTS_MAX, "one input set off more than {EFFECTS_MAX} effects");
            self.obey(effect);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Completed { fetch, .. }
                | Event::FellBack { fetch, .. }
                | Event::Cancelled { fetch, .. } => {
                    let answers = self.fetches.get_mut(&fetch).expect("only what was asked is answered");
                    *answers += 1;
                    assert_eq!(*answers, 1, "a fetch is answered once");
                }
                Event::Ready { root, group } => {
                    assert!(self.peer.holds(&root, group), "what is ready is held");
                    assert!(self.ready.insert((root, group)), "a group is ready once");
                }
                Event::Receipted { session, sent, receipt, .. } => {
                    let receipt = Receipt::open(&receipt).expect("what is handed on is verified");
                    assert_eq!(receipt.session, session, "a receipt is of its session");
                    assert!(receipt.bytes <= sent, "nobody signs for more than was sent");
                }
                Event::HandedIn { earner, signed, receipts } => {
                    assert_eq!(Earner::open(&signed), Some(*earner), "who is paid is verified");
                    assert!(receipts.len() <= MAX_HANDED_IN, "no more is handed in at once than may be");
                }
                Event::PeerCut { .. }
                | Event::ManifestNewer { .. }
                | Event::UploadBudgetSpent
                | Event::SessionEnded { .. } => {}
            }
        }
        assert!(self.peer.links().count() <= self.links_max, "more links than allowed");
        for link in self.peer.links() {
            let most = Limits::default().pipeline_bytes_max;
            assert!(link.in_flight_bytes <= most, "more asked of one link than its window");
        }
        assert!(self.sent <= UPLOAD_BYTES, "more was served than the visitor allows");
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Transmit { frame, .. } => {
                assert!(frame.len() <= MAX_FRAME_BYTES, "a frame over its bound");
                if let Ok(Some(Control::Offer(offer))) = read_control(&frame) {
                    self.offered.insert(0, offer.id);
                    self.offered.truncate(8);
                }
            }
            Effect::Request { link, request, root, part, frame, .. } => {
                assert!(frame.len() <= MAX_FRAME_BYTES, "a frame over its bound");
                assert!(part.fits(shape(root)), "what is asked for exists");
                assert!(self.consent.fetch, "neighbours are asked only with consent");
                self.requests.push((link, request, root, part));
            }
            Effect::Serve { effect, root, part, .. } => {
                assert!(part.fits(shape(root)), "what is served exists");
                assert!(self.consent.serve, "nothing is served without consent");
                // What a link's end or a fault leaves unsent is given back; here everything counts.
                let bytes = part.bytes(shape(root));
                self.serves.push((effect, bytes));
                let under_way: u64 = self.serves.iter().map(|(_, bytes)| bytes).sum();
                self.sent = self.peer.meters().sent + under_way;
            }
            Effect::FetchHttp { effect, root, run, .. } => {
                assert!(run.parts().all(|part| part.bytes(shape(root)) > 0), "a transfer of nothing");
                self.transfers.push((effect, root, run));
            }
            Effect::Describe { effect, offer } => {
                assert_eq!(self.role, Role::Tab, "a supernode has no browser");
                assert!(self.consent.fetch, "nobody is met without consent");
                if offer.is_none() {
                    self.offers.insert(effect);
                }
                self.described.push(effect);
                assert!(self.described.len() <= self.links_max + OFFERS_MAX, "more connections than links");
            }
            Effect::Connect { effect, peer, .. } => {
                assert!(self.offers.remove(&effect), "only an offer is answered, and once");
                self.dials.push(peer);
            }
            Effect::Forget { effect } => {
                assert!(self.offers.remove(&effect), "only an offer is forgotten, and once");
            }
            Effect::CancelServe { .. } | Effect::CancelHttp { .. } | Effect::Disconnect { .. } => {}
        }
    }

    /// The visitor leaves: every fetch was answered, or is now.
    fn finish(mut self) {
        let fetches: Vec<FetchId> = self.fetches.keys().copied().collect();
        for fetch in fetches {
            self.peer.cancel(self.now, fetch);
        }
        self.drain();
        assert!(self.fetches.values().all(|answers| *answers == 1), "a fetch was never answered");
    }
}

fn reach(number: u8) -> Reach {
    [Reach::Unspecified, Reach::Strict, Reach::Hard][usize::from(number % 3)]
}

fn pick<T: Copy>(list: &[T], choice: u8) -> Option<T> {
    list.get(usize::from(choice) % list.len().max(1)).copied()
}
