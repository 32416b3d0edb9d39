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
//!  │ ◄── poll_effect: Transmit, Request, Serve, FetchHttp, Dial, Disconnect …
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

mod config;
mod effect;
mod event;

use std::{collections::VecDeque, ops::Range};

pub use config::{Budget, Config, Consent, HttpSources, Limits, Role};
pub use effect::{DisconnectReason, Done, Effect, HttpSource, Received, Source, Stream, Verdict};
pub use event::{Event, FallBack, FetchId};

pub use crate::economy::meter::{Meters, SourceBytes};
use crate::{
    base::{BlobRoot, EffectId, Instant, LinkId, SeededRng, SiteId},
    cdn::{blob::BlobShape, manifest::Manifest, offences::Offence},
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

/// The machine. See the module's head.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    #[allow(dead_code)]
    rng: SeededRng,
    meters: Meters,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
    next_id: u64,
}

impl Peer {
    /// A peer that knows nobody and holds nothing. Consent is withheld until [`Peer::set_consent`].
    pub fn new(config: Config, seed: [u8; 32], _now: Instant) -> Self {
        Self {
            config,
            rng: SeededRng::new(seed),
            meters: Meters::default(),
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
        std::iter::empty()
    }

    /// Whether group `group` of `root` is held.
    pub fn holds(&self, _root: &BlobRoot, _group: u32) -> bool {
        false
    }

    // ── the world speaks ─────────────────────────────────────────────────────────────────────────────

    /// A link is up and its control stream open.
    pub fn handle_linked(&mut self, _now: Instant, _link: LinkId, _about: LinkAbout) {}

    /// A link is gone, and with it whatever was under way on it.
    pub fn handle_unlinked(&mut self, _now: Instant, _link: LinkId) {}

    /// A `Dial` came to nothing.
    pub fn handle_dial_failed(&mut self, _now: Instant, _peer: &PublicKey) {}

    /// A frame came. Untrusted.
    pub fn handle_frame(&mut self, _now: Instant, _link: LinkId, _stream: Stream, _frame: &[u8]) {}

    /// The shell saw a stream break its framing: [`Offence::Oversize`], [`Offence::Truncation`],
    /// [`Offence::Malformed`], [`Offence::WrongObject`]. Not for streams that merely closed.
    pub fn handle_offence(&mut self, _now: Instant, _link: LinkId, _offence: Offence) {}

    /// A piece came and was judged. Good pieces are stored already.
    pub fn handle_received(&mut self, _now: Instant, _received: Received) {}

    /// An effect is over.
    pub fn handle_done(&mut self, _now: Instant, _effect: EffectId, _done: Done) {}

    /// The moment that [`Peer::poll_timeout`] named has come. Early or late calls do no harm.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    // ── our user speaks ──────────────────────────────────────────────────────────────────────────────

    /// Fetches the groups `groups` of a blob (clipped to its end). Answered once, by an [`Event`] with the id
    /// returned.
    pub fn fetch(
        &mut self,
        _now: Instant,
        root: BlobRoot,
        _shape: BlobShape,
        _priority: Priority,
        _groups: Range<u32>,
    ) -> FetchId {
        let fetch = FetchId(self.next_id);
        self.next_id += 1;
        self.events.push_back(Event::FellBack { fetch, root, reason: FallBack::NoSource });
        fetch
    }

    /// Gives up a fetch. Nothing happens where it was answered already.
    pub fn cancel(&mut self, _now: Instant, _fetch: FetchId) {}

    /// Takes part in a site: says so to every link, and asks supernodes for its other peers. `sequence` is that
    /// of the manifest believed, `complete` whether all of it is held.
    pub fn join(&mut self, _now: Instant, _site: SiteId, _sequence: u64, _complete: bool) {}

    /// No longer takes part in a site.
    pub fn leave(&mut self, _now: Instant, _site: SiteId) {}

    /// A manifest was opened and is believed: joins its site, and remembers who has which of its blobs.
    pub fn adopt_manifest(&mut self, _now: Instant, _manifest: &Manifest) {}

    /// These groups of a blob are in the store, verified, with the hashes above them.
    pub fn add_local(&mut self, _now: Instant, _root: BlobRoot, _shape: BlobShape, _groups: Range<u32>) {}

    /// The store dropped a blob: it is no longer offered.
    pub fn forget(&mut self, _now: Instant, _root: BlobRoot) {}

    /// What the user allows. Taking `serve` back stops serving before this returns: queued requests are refused,
    /// those under way get a `CancelServe`.
    pub fn set_consent(&mut self, _now: Instant, _consent: Consent) {}

    /// What may still flow, from now on.
    pub fn set_budget(&mut self, _now: Instant, _budget: Budget) {}

    /// Where we can be dialled: binary multiaddresses. Told to supernodes that introduce peers.
    pub fn set_addresses(&mut self, _now: Instant, _addresses: Vec<Vec<u8>>) {}

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
        None
    }
}
