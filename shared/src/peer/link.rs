//! One link as the core sees it: what the remote said, what we asked of it, what it asked of us.

use core::time::Duration;
use std::collections::VecDeque;

use super::{LinkAbout, LinkStatus, Role};
use crate::{
    base::{BlobRoot, Instant, LinkId},
    cdn::{
        availability::Availability,
        claims::Claims,
        flood::FloodGate,
        messages::{Hello, Request, What},
        pipeline::Pipeline,
        receipts::Account,
    },
    identity::PublicKey,
};

/// Requests one link may have waiting: the longest lawful pipeline in single groups, and as much again for those
/// that cross a choke.
pub(super) const MAX_QUEUED: usize = 256;
/// Serves of one link under way in the shell: one being written, one being read from the store.
pub(super) const MAX_SERVING: usize = 2;
/// Statements kept about blobs that no manifest or fetch has named yet.
const MAX_UNKNOWN: usize = 1024;
/// What such statements may weigh: the bit fields of two of the longest blobs. A site's own blobs are known before their
/// holders speak, so what is kept here is of little use.
const MAX_UNKNOWN_BYTES: usize = 64 * 1024;

/// Offers that one link may bring at once, its own or others', and how soon another: a tab makes a handful when it comes.
const OFFERS_BURST: u32 = 16;
const OFFER_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PublicKey,
    pub(super) dialer: bool,
    pub(super) rendezvous: bool,
    pub(super) hello: Option<Hello>,
    /// Ours, that receipts to us name.
    pub(super) session: u64,
    pub(super) gate: FloodGate,
    /// How many it brought of late, and when that was.
    offers: (u32, Instant),
    pub(super) account: Account,
    /// Last payload in either direction, or the start.
    pub(super) useful_at: Instant,
    // ── as consumer ──
    pub(super) has: Availability,
    pub(super) claims: Claims,
    unknown: Vec<(BlobRoot, What)>,
    pub(super) pipeline: Pipeline,
    pub(super) choked_by_remote: bool,
    pub(super) retry_at: Instant,
    pub(super) false_haves: u32,
    /// Pieces it sent without the hashes that judge them.
    pub(super) unjudged: u32,
    pub(super) overdue: u32,
    /// Bytes for which no receipt was signed yet.
    pub(super) unsigned: u64,
    /// When a receipt was signed last without a request to ride on.
    pub(super) settled_at: Option<Instant>,
    /// Bytes it gave since the last choice of whom to serve.
    pub(super) given: u64,
    // ── as provider ──
    pub(super) queue: VecDeque<Request>,
    pub(super) serving: usize,
    /// Since when nothing of its queue was begun.
    pub(super) waits_since: Instant,
    pub(super) requested_at: Option<Instant>,
    /// Whether it was told that others are served.
    pub(super) choked: bool,
    /// Whether something was sent that is of no site which the remote said it takes part in, but of another.
    #[cfg(feature = "rendezvous")]
    pub(super) strayed: bool,
}

impl Link {
    pub(super) fn new(now: Instant, about: LinkAbout, rendezvous: bool, session: u64) -> Self {
        Self {
            peer: about.peer,
            dialer: about.dialer,
            rendezvous,
            hello: None,
            session,
            gate: FloodGate::new(now),
            offers: (0, now),
            account: Account::default(),
            useful_at: now,
            has: Availability::default(),
            claims: Claims::default(),
            unknown: Vec::new(),
            pipeline: Pipeline::default(),
            choked_by_remote: false,
            retry_at: now,
            false_haves: 0,
            unjudged: 0,
            overdue: 0,
            unsigned: 0,
            settled_at: None,
            given: 0,
            queue: VecDeque::new(),
            serving: 0,
            waits_since: now,
            requested_at: None,
            choked: false,
            #[cfg(feature = "rendezvous")]
            strayed: false,
        }
    }

    pub(super) fn is_supernode(&self) -> bool {
        self.rendezvous || self.hello.as_ref().is_some_and(|hello| hello.supernode)
    }

    pub(super) fn is_tab(&self) -> bool {
        !self.rendezvous && self.hello.as_ref().is_some_and(|hello| !hello.supernode)
    }

    /// Whether one more offer is taken of it.
    pub(super) fn may_offer(&mut self, now: Instant) -> bool {
        let passed = now.since(self.offers.1).as_secs() / OFFER_EVERY.as_secs();
        let of_late = self.offers.0.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        if of_late >= OFFERS_BURST {
            return false;
        }
        self.offers = (of_late + 1, now);
        true
    }

    /// Keeps a statement about a blob whose length is not known yet.
    pub(super) fn keep_unknown(&mut self, root: BlobRoot, what: What) {
        let bytes: usize = self.unknown.iter().map(|(_, what)| what.bytes()).sum();
        if self.unknown.len() < MAX_UNKNOWN && bytes + what.bytes() <= MAX_UNKNOWN_BYTES {
            self.unknown.push((root, what));
        }
    }

    pub(super) fn take_unknown(&mut self, root: &BlobRoot) -> Vec<What> {
        self.unknown.extract_if(.., |(of, _)| of == root).map(|(_, what)| what).collect()
    }

    pub(super) fn status(&self, link: LinkId) -> LinkStatus {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is for show"
        )]
        let bytes_per_second = self.pipeline.bytes_per_second() as u64;
        LinkStatus {
            link,
            peer: self.peer.clone(),
            role: if self.is_supernode() { Role::Supernode } else { Role::Tab },
            received: self.account.verified,
            sent: self.account.sent,
            rtt_micros: self.pipeline.rtt().map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            bytes_per_second,
            in_flight_bytes: self.pipeline.in_flight_bytes(),
        }
    }
}
