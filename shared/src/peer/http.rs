//! Plain HTTP beside the swarm: at once where no neighbour holds what somebody waits for, and where the
//! neighbours are late.

use core::time::Duration;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{Done, Effect, Event, FallBack, FetchId, HttpSource, Peer, Priority, consumer};
use crate::{
    base::{BlobRoot, EffectId, Instant, LinkId},
    cdn::{
        part::{Part, Piece},
        replica::{Asker, Replica},
    },
};

/// Neighbours that hold what is wanted get this long before HTTP runs too.
const HEDGE: Duration = Duration::from_millis(300);
/// Nobody waits for an idle fetch: neighbours get this long to show up with it.
const IDLE_PATIENCE: Duration = Duration::from_secs(3);
/// Groups of one HTTP request while neighbours deliver too: they may overtake it soon.
const HEDGED_GROUPS: u32 = 16;
/// A source that failed is asked again after this, doubled with each failure in a row.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A source that lied is left alone for as long as a visit lasts.
const LIE_PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Transfer {
    source: HttpSource,
    root: BlobRoot,
    part: Part,
    cancelled: bool,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    not_before: Instant,
}

/// Transfers under way, and how the two sources have done.
#[derive(Debug, Default)]
pub(super) struct Http {
    transfers: BTreeMap<EffectId, Transfer>,
    edge: Health,
    origin: Health,
}

impl Http {
    /// Whether it was under way and had not been cancelled before.
    pub(super) fn cancel(&mut self, effect: EffectId) -> bool {
        let transfer = self.transfers.get_mut(&effect);
        transfer.is_some_and(|transfer| !core::mem::replace(&mut transfer.cancelled, true))
    }

    /// A piece came; tells from where.
    pub(super) fn received(
        &mut self,
        _now: Instant,
        effect: EffectId,
        _: Piece,
        _: u64,
    ) -> Option<HttpSource> {
        let source = self.transfers.get(&effect)?.source;
        self.health(source).failures = 0;
        Some(source)
    }

    pub(super) fn part(&self, effect: EffectId) -> Option<Part> {
        self.transfers.get(&effect).map(|transfer| transfer.part)
    }

    /// The source of this transfer sent what does not verify.
    pub(super) fn lied(&mut self, now: Instant, effect: EffectId) {
        if let Some(source) = self.transfers.get(&effect).map(|transfer| transfer.source) {
            self.health(source).not_before = now + LIE_PAUSE;
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.transfers.is_empty()
    }

    fn failed(&mut self, now: Instant, source: HttpSource) {
        let health = self.health(source);
        health.failures = (health.failures + 1).min(16);
        let pause = FAILURE_PAUSE.saturating_mul(1 << (health.failures - 1)).min(FAILURE_PAUSE_MAX);
        health.not_before = health.not_before.max(now + pause);
    }

    fn health(&mut self, source: HttpSource) -> &mut Health {
        match source {
            HttpSource::Edge => &mut self.edge,
            HttpSource::Origin => &mut self.origin,
        }
    }
}

impl Peer {
    /// Begins the transfers that are due.
    pub(super) fn fill_http(&mut self, now: Instant) {
        let fetches: Vec<FetchId> = self.queue.iter().map(|(_, fetch)| *fetch).collect();
        for fetch in fetches {
            while self.http.transfers.len() < self.config.limits.http_requests_max {
                let Some((source, root, part)) = self.choose_http(now, fetch) else { break };
                self.ask_http(now, source, root, part);
            }
        }
        self.fall_back(now);
    }

    /// What of a fetch is to come by HTTP now.
    fn choose_http(&mut self, now: Instant, id: FetchId) -> Option<(HttpSource, BlobRoot, Part)> {
        let fetch = self.fetches.get(&id)?;
        let replica = self.replicas.get(&fetch.root)?;
        let first = replica.open.iter().find(|group| fetch.range.contains(group))?;
        let patience = match fetch.priority {
            Priority::Idle => IDLE_PATIENCE,
            Priority::Page | Priority::Deadline { .. } => HEDGE,
        };
        let late = now.since(fetch.progress_at) >= patience;
        let held = self.is_held_nearby(now, fetch.root, first);
        if (held || !fetch.is_urgent()) && !late {
            return None;
        }
        let (root, range) = (fetch.root, fetch.range.clone());
        let (edge, origin) = self.sources(now);
        let replica = self.replicas.get(&root)?;
        if let Some(piece) = replica.hash_piece_for(first)
            && !replica.asked.contains_key(&piece)
        {
            let part = if piece == Piece::Top { Part::Top } else { Part::Page(replica.shape.page_of(first)) };
            return edge.then_some((HttpSource::Edge, root, part));
        }
        // Groups are judged by their page, which has to be on its way at least.
        let page = Piece::Page(replica.shape.page_of(first));
        if !replica.can_judge(first) && !replica.asked.contains_key(&page) {
            return None;
        }
        let run = self.run_for_http(now, root, replica, first, &range, held);
        let part = Part::Groups { first: run.start, count: run.end - run.start };
        let source = if edge { HttpSource::Edge } else { HttpSource::Origin };
        (edge || origin).then_some((source, root, part))
    }

    /// Neighbouring groups that nobody was asked for, within one hash page.
    fn run_for_http(
        &self,
        now: Instant,
        root: BlobRoot,
        replica: &Replica,
        first: u32,
        range: &Range<u32>,
        held: bool,
    ) -> Range<u32> {
        let page_end =
            replica.shape.page_groups(replica.shape.page_of(first)).map_or(first + 1, |page| page.end);
        let limit = if held { first + HEDGED_GROUPS } else { u32::MAX };
        let end = page_end.min(range.end).min(limit);
        let mut last = first + 1;
        while last < end && replica.open.get(last) && (held || !self.is_held_nearby(now, root, last)) {
            last += 1;
        }
        first..last
    }

    fn is_held_nearby(&self, now: Instant, root: BlobRoot, group: u32) -> bool {
        let Some(replica) = self.replicas.get(&root) else { return false };
        self.consent.fetch
            && self.links.values().any(|link| {
                !link.is_supernode()
                    && consumer::is_askable(link, now)
                    && consumer::holding(link, &self.sites, replica, &root)
                        .is_some_and(|has| has.group(group))
            })
    }

    /// Which sources may be asked now: edge, origin.
    fn sources(&self, now: Instant) -> (bool, bool) {
        let sources = self.config.http;
        (
            sources.edge && self.http.edge.not_before <= now,
            sources.origin && self.http.origin.not_before <= now,
        )
    }

    fn ask_http(&mut self, now: Instant, source: HttpSource, root: BlobRoot, part: Part) {
        let effect = EffectId(self.new_id());
        let Some(replica) = self.replicas.get_mut(&root) else { return };
        let shape = replica.shape;
        replica.ask(now, part, Asker::Http(effect));
        self.http.transfers.insert(effect, Transfer { source, root, part, cancelled: false });
        self.effects.push_back(Effect::FetchHttp { effect, source, root, shape, part });
    }

    /// A transfer is over.
    pub(super) fn http_done(&mut self, now: Instant, effect: EffectId, done: Done) {
        let Some(transfer) = self.http.transfers.remove(&effect) else { return };
        if done == Done::Failed {
            self.http.failed(now, transfer.source);
        }
        if let Some(replica) = self.replicas.get_mut(&transfer.root) {
            replica.release(transfer.part, Asker::Http(effect));
        }
        self.all_ready();
        self.http_due = true;
    }

    /// Answers the fetches for which nobody is left to ask.
    fn fall_back(&mut self, now: Instant) {
        let (edge, origin) = self.sources(now);
        let stuck = |fetch: &consumer::Fetch| {
            let Some(replica) = self.replicas.get(&fetch.root) else { return true };
            let Some(first) = replica.open.iter().find(|group| fetch.range.contains(group)) else {
                return false;
            };
            let reachable = edge || (origin && replica.can_judge(first));
            fetch.is_urgent() && !reachable && !self.is_held_nearby(now, fetch.root, first)
        };
        let stuck: Vec<(FetchId, BlobRoot)> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| stuck(fetch))
            .map(|(id, fetch)| (*id, fetch.root))
            .collect();
        for (fetch, root) in stuck {
            self.end_fetch(fetch);
            self.events.push_back(Event::FellBack { fetch, root, reason: FallBack::NoSource });
        }
    }

    /// Whoever was asked over a link that is gone was asked in vain.
    pub(super) fn release_link(&mut self, id: LinkId, link: &mut super::link::Link) {
        for (request, asked) in link.pipeline.take_all() {
            self.release(&asked, Asker::Link(id, request));
        }
    }
}
