//! Fetching: what is wanted, and what follows from what came. What is asked of whom: [`super::asking`].

use std::ops::Range;

use super::{
    Effect, Event, FallBack, FetchId, Peer, Priority, Received, Source, Stream, Verdict, effect::HttpSource,
    link::Link,
};
use crate::{
    base::{BlobRoot, Instant, LinkId},
    cdn::{
        blob::{BlobShape, GROUP_BYTES, VerifyError},
        messages::{self, End},
        offences::{FALSE_HAVE_REFUSALS, Offence, SLOW_DRIP_OVERDUE, UNJUDGED_PIECES},
        part::{Part, Piece},
        pipeline::Asked,
        replica::{Asker, Replica},
    },
    wire::{Refusal, cdn as wire},
};
use core::time::Duration;

/// Fetches kept at once. A site has at most 20,000 assets; a page waits for far fewer.
pub(super) const MAX_FETCHES: usize = 20_000;
/// Blobs known at once: every asset of a site, and as many of other sites a supernode serves.
pub(super) const MAX_REPLICAS: usize = 200_000;
/// What plays within this is fetched in order; what plays later, rarest first.
const PLAYED_SOON: Duration = Duration::from_secs(4);
/// After a `Busy` without a time.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause a peer can ask for: it is then idle, and may be replaced.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) root: BlobRoot,
    pub(super) range: Range<u32>,
    pub(super) priority: Priority,
    pub(super) missing: u32,
    pub(super) begun_at: Instant,
    pub(super) progress_at: Instant,
    order: (u8, u64),
}

impl Fetch {
    pub(super) fn is_urgent(&self) -> bool {
        self.priority != Priority::Idle
    }

    /// The groups to look for in the first turn, or in the later one.
    pub(super) fn turn(&self, now: Instant, later: bool) -> Range<u32> {
        match (self.priority, later) {
            (Priority::Deadline { .. }, false) => self.played_first(now),
            (Priority::Deadline { .. }, true) | (Priority::Page | Priority::Idle, false) => {
                self.range.clone()
            }
            (Priority::Page | Priority::Idle, true) => self.range.end..self.range.end,
        }
    }

    /// The groups that play so soon that they are fetched in order; none of what is of use only as a whole.
    fn played_first(&self, now: Instant) -> Range<u32> {
        let Priority::Deadline { start, bytes_per_second } = self.priority else { return 0..0 };
        let until = (now + PLAYED_SOON).since(start);
        let micros = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
        let groups = micros.saturating_mul(bytes_per_second / 1_000) / 1_000 / GROUP_BYTES;
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        self.range.start..self.range.start.saturating_add(groups).min(self.range.end)
    }
}

impl Peer {
    pub(super) fn begin_fetch(
        &mut self,
        now: Instant,
        root: BlobRoot,
        shape: BlobShape,
        priority: Priority,
        groups: Range<u32>,
    ) -> FetchId {
        let fetch = FetchId(self.new_id());
        let refuse = |peer: &mut Self, reason| {
            peer.events.push_back(Event::FellBack { fetch, root, reason });
            fetch
        };
        if self.fetches.len() >= MAX_FETCHES {
            return refuse(self, FallBack::TooMany);
        }
        if let Err(reason) = self.ensure_replica(root, shape) {
            return refuse(self, reason);
        }
        let Some(replica) = self.replicas.get_mut(&root) else { return refuse(self, FallBack::TooMany) };
        let range = groups.start.min(shape.groups())..groups.end.min(shape.groups());
        let missing = range.clone().filter(|group| !replica.held.get(*group)).count();
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        if missing == 0 {
            let sources = replica.sources;
            self.events.push_back(Event::Completed { fetch, root, sources });
            return fetch;
        }
        replica.want(range.clone());
        replica.fetches.push(fetch.0);
        let order = match priority {
            Priority::Page | Priority::Deadline { .. } => (0, fetch.0),
            // Simultaneous visitors begin in different places, so that they have something to swap.
            Priority::Idle => (2, self.rng.next_u64()),
        };
        self.queue.insert((order, fetch), ());
        let state = Fetch { root, range, priority, missing, begun_at: now, progress_at: now, order };
        self.fetches.insert(fetch, state);
        self.all_ready();
        self.http_due = true;
        fetch
    }

    /// Makes a blob known by its length, and takes in what peers said of it before.
    pub(super) fn ensure_replica(&mut self, root: BlobRoot, shape: BlobShape) -> Result<(), FallBack> {
        if let Some(replica) = self.replicas.get(&root) {
            return if replica.shape == shape { Ok(()) } else { Err(FallBack::OtherShape) };
        }
        if self.replicas.len() >= MAX_REPLICAS {
            return Err(FallBack::TooMany);
        }
        let mut replica = Replica::new(shape);
        for (_, link) in self.links.iter_mut() {
            let is_tab = link.is_tab();
            for what in link.take_unknown(&root) {
                let count = |group, holds| {
                    if is_tab {
                        replica.count(group, holds);
                    }
                };
                // Nonsense about a blob we did not know the length of may be an honest mistake.
                let _ = link.has.update(root, shape, &what, count);
            }
        }
        self.replicas.insert(root, replica);
        Ok(())
    }

    /// Ends a fetch without answering it; what nobody else wants is no longer asked for.
    pub(super) fn end_fetch(&mut self, fetch: FetchId) -> Option<Fetch> {
        let state = self.fetches.remove(&fetch)?;
        self.queue.remove(&(state.order, fetch));
        let Some(replica) = self.replicas.get_mut(&state.root) else { return Some(state) };
        replica.fetches.retain(|other| *other != fetch.0);
        let still: Vec<_> = replica
            .fetches
            .iter()
            .filter_map(|id| self.fetches.get(&FetchId(*id)).map(|fetch| fetch.range.clone()))
            .collect();
        replica.want_only(&still);
        if still.is_empty() {
            let asked: Vec<Piece> = replica.asked.keys().copied().collect();
            for piece in asked {
                let askers = self
                    .replicas
                    .get(&state.root)
                    .and_then(|replica| replica.asked.get(&piece))
                    .map(|(_, askers)| askers.clone())
                    .unwrap_or_default();
                for asker in askers {
                    self.give_up(state.root, asker);
                }
            }
            if let Some(replica) = self.replicas.get_mut(&state.root) {
                replica.want_only(&[]);
            }
        }
        Some(state)
    }

    /// Tells whoever was asked that the rest of its request is no longer wanted.
    pub(super) fn give_up(&mut self, root: BlobRoot, asker: Asker) {
        match asker {
            Asker::Link(link, request) => {
                let Some(state) = self.links.get_mut(&link) else { return };
                let Some(asked) = state.pipeline.take(request) else { return };
                if let Some(replica) = self.replicas.get_mut(&root) {
                    replica.release(asked.part, asker);
                }
                let cancel = wire::Cancel { request: request.0 };
                self.transmit(link, messages::control(wire::control::Message::Cancel(cancel)));
                self.mark_ready(link);
            }
            Asker::Http(effect) => {
                if self.http.cancel(effect) {
                    self.effects.push_back(Effect::CancelHttp { effect });
                }
            }
        }
    }

    pub(super) fn received(&mut self, now: Instant, received: Received) {
        let Received { source, root, piece, bytes, verdict } = received;
        let Some(shape) = self.replicas.get(&root).map(|replica| replica.shape) else { return };
        let (asker, from_supernode) = match source {
            Source::Http(effect) => (Asker::Http(effect), None),
            Source::Link(id, request) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                match link.pipeline.get(request) {
                    Some(asked) if asked.root == root && asked.part.contains(piece) => {
                        link.pipeline.piece(now, request, piece.bytes(shape));
                    }
                    // What was cancelled may still be on the way.
                    None if link.pipeline.was_made(request) => {}
                    _ => return self.offend(now, id, Offence::WrongObject),
                }
                link.useful_at = now;
                self.budget.download_bytes = self.budget.download_bytes.saturating_sub(bytes);
                let supernode = link.is_supernode();
                self.mark_ready(id);
                (Asker::Link(id, request), Some(supernode))
            }
        };
        match verdict {
            Verdict::Good => self.accept(now, asker, from_supernode, root, piece, bytes),
            Verdict::NotStored => self.store_refused(root),
            Verdict::Bad(error) => self.reject(now, asker, root, piece, bytes, error),
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        asker: Asker,
        from_supernode: Option<bool>,
        root: BlobRoot,
        piece: Piece,
        bytes: u64,
    ) {
        let http = match asker {
            Asker::Http(effect) => {
                let source = self.http.received(now, effect, bytes);
                if source == Some(HttpSource::Edge) {
                    self.unsigned_edge += bytes;
                    self.sign_for_edge();
                }
                source
            }
            Asker::Link(id, _) => {
                // A supernode is infrastructure, and no sign that neighbours deliver.
                if from_supernode == Some(false) {
                    self.swarm_pace.came(now, bytes);
                    self.swarm_came_at = now;
                }
                if let Some(link) = self.links.get_mut(&id) {
                    link.account.verified += bytes;
                    link.given += bytes;
                    link.overdue = 0;
                    link.unsigned += bytes;
                }
                None
            }
        };
        let Some(replica) = self.replicas.get_mut(&root) else { return };
        let (new, askers) = replica.receive(piece);
        let counts = [&mut self.meters.received, &mut replica.sources];
        for count in counts {
            match (from_supernode, http) {
                (Some(true), _) => count.supernodes += bytes,
                (Some(false), _) => count.peers += bytes,
                (None, Some(HttpSource::Origin)) => count.origin += bytes,
                (None, _) => count.edge += bytes,
            }
        }
        if !new {
            self.meters.wasted += bytes;
            return;
        }
        self.drop_duplicates(root, asker, &askers);
        match piece {
            Piece::Group(group) => self.group_held(now, root, group),
            // What waited for these hashes can be asked for now.
            Piece::Top | Piece::Page(_) => {
                self.all_ready();
                self.http_due = true;
            }
        }
    }

    /// Cancels what others were asked for in vain: only requests all of whose pieces are here.
    fn drop_duplicates(&mut self, root: BlobRoot, from: Asker, askers: &[Asker]) {
        for other in askers.iter().filter(|other| **other != from) {
            let part = match other {
                Asker::Link(link, request) => {
                    self.links.get(link).and_then(|link| link.pipeline.get(*request)).map(|asked| asked.part)
                }
                Asker::Http(effect) => self.http.part(*effect),
            };
            let replica = self.replicas.get(&root);
            if let (Some(part), Some(replica)) = (part, replica)
                && replica.serves(part)
            {
                self.give_up(root, *other);
            }
        }
    }

    fn group_held(&mut self, now: Instant, root: BlobRoot, group: u32) {
        self.events.push_back(Event::Ready { root, group });
        self.news.entry(root).or_default().groups.push(group);
        let Some(replica) = self.replicas.get(&root) else { return };
        let sources = replica.sources;
        let mut over = Vec::new();
        for id in &replica.fetches {
            let Some(fetch) = self.fetches.get_mut(&FetchId(*id)) else { continue };
            if fetch.range.contains(&group) {
                fetch.progress_at = now;
                fetch.missing = fetch.missing.saturating_sub(1);
                if fetch.missing == 0 {
                    over.push(FetchId(*id));
                }
            }
        }
        for fetch in over {
            self.end_fetch(fetch);
            self.events.push_back(Event::Completed { fetch, root, sources });
            self.http_due = true;
        }
    }

    fn reject(
        &mut self,
        now: Instant,
        asker: Asker,
        root: BlobRoot,
        piece: Piece,
        bytes: u64,
        error: VerifyError,
    ) {
        self.meters.wasted += bytes;
        let part = match piece {
            Piece::Top => Part::Top,
            Piece::Page(page) => Part::Page(page),
            Piece::Group(first) => Part::Groups { first, count: 1 },
        };
        if let Some(replica) = self.replicas.get_mut(&root) {
            replica.release(part, asker);
        }
        self.http_due = true;
        let offence = match error {
            VerifyError::Unknown { .. } => match self.jumped(asker, root, piece) {
                Some(offence) => offence,
                None => return,
            },
            VerifyError::Hash { .. } => Offence::BadPiece,
            VerifyError::Absent { .. } => Offence::WrongObject,
            VerifyError::Length { found, expected, .. } if found < expected => Offence::Truncation,
            VerifyError::Length { .. } => Offence::Oversize,
        };
        match asker {
            Asker::Link(link, _) => self.offend(now, link, offence),
            Asker::Http(effect) => {
                self.http.lied(now, effect);
                if self.http.cancel(effect) {
                    self.effects.push_back(Effect::CancelHttp { effect });
                }
            }
        }
    }

    /// Whether a piece that cannot be judged came before the hashes that judge it, although they were asked for first
    /// and a link answers in order; or one too many where they were refused.
    fn jumped(&mut self, asker: Asker, root: BlobRoot, piece: Piece) -> Option<Offence> {
        let Asker::Link(id, request) = asker else { return None };
        let page = match piece {
            Piece::Group(group) => Part::Page(self.replicas.get(&root)?.shape.page_of(group)),
            Piece::Top | Piece::Page(_) => Part::Top,
        };
        let link = self.links.get_mut(&id)?;
        link.unjudged += 1;
        let before = |(earlier, asked): (_, &Asked)| {
            earlier < request && asked.root == root && (asked.part == page || asked.part == Part::Top)
        };
        if link.pipeline.iter().any(before) {
            Some(Offence::WrongObject)
        } else {
            (link.unjudged >= UNJUDGED_PIECES).then_some(Offence::SlowDrip)
        }
    }

    fn store_refused(&mut self, root: BlobRoot) {
        let ids: Vec<u64> = self.replicas.get(&root).map(|r| r.fetches.clone()).unwrap_or_default();
        for fetch in ids.into_iter().map(FetchId) {
            self.end_fetch(fetch);
            self.events.push_back(Event::FellBack { fetch, root, reason: FallBack::StoreFull });
        }
    }

    /// A provider ended a request of ours early.
    pub(super) fn request_ended(&mut self, now: Instant, id: LinkId, end: End) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(asked) = link.pipeline.take(end.request) else { return };
        let pause = match end.retry_after_ms {
            0 => BUSY_PAUSE,
            ms => Duration::from_millis(ms).min(BUSY_PAUSE_MAX),
        };
        let mut offence = None;
        match end.refusal {
            Refusal::Busy => link.retry_at = now + pause,
            Refusal::Withdrawn | Refusal::OverBudget | Refusal::Forbidden | Refusal::Unpaid => {
                link.choked_by_remote = true;
            }
            _ => {
                // A promise that was not kept is not believed again; and kept in mind.
                retract(link, &mut self.replicas, &asked);
                link.false_haves += 1;
                offence = (link.false_haves >= FALSE_HAVE_REFUSALS).then_some(Offence::FalseHave);
            }
        }
        self.release(&asked, Asker::Link(id, end.request));
        self.mark_ready(id);
        if let Some(offence) = offence {
            self.offend(now, id, offence);
        }
    }

    pub(super) fn release(&mut self, asked: &Asked, asker: Asker) {
        if let Some(replica) = self.replicas.get_mut(&asked.root) {
            replica.release(asked.part, asker);
            let still: Vec<_> = replica
                .fetches
                .iter()
                .filter_map(|id| self.fetches.get(&FetchId(*id)).map(|fetch| fetch.range.clone()))
                .collect();
            if still.is_empty() {
                replica.want_only(&still);
                return;
            }
        }
        self.all_ready();
        self.http_due = true;
    }

    /// Gives what a silent link was asked for to others.
    pub(super) fn check_stalls(&mut self, now: Instant) {
        let silent = |link: &Link| link.pipeline.is_stalled(now) || link.pipeline.is_overdue(now);
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| silent(link)).map(|(id, _)| *id).collect();
        for id in links {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.overdue += 1;
            link.pipeline.slow_down();
            // Others get the first chance at what is released.
            link.retry_at = now + Duration::from_secs(u64::from(link.overdue));
            let drips = link.overdue >= SLOW_DRIP_OVERDUE;
            let requests: Vec<_> = link.pipeline.iter().map(|(id, asked)| (id, asked.root)).collect();
            for (request, root) in requests {
                self.give_up(root, Asker::Link(id, request));
            }
            self.all_ready();
            self.http_due = true;
            if drips {
                self.offend(now, id, Offence::SlowDrip);
            }
        }
    }

    pub(super) fn transmit(&mut self, link: LinkId, frame: Vec<u8>) {
        self.meters.messages_out += 1;
        self.effects.push_back(Effect::Transmit { link, stream: Stream::Control, frame });
    }

    /// Looks at this link at the end of the turn, in the order of the links.
    pub(super) fn mark_ready(&mut self, link: LinkId) {
        if let Err(place) = self.ready.binary_search(&link) {
            self.ready.insert(place, link);
        }
    }

    pub(super) fn all_ready(&mut self) {
        self.ready = self.links.keys().copied().collect();
    }
}

fn retract(link: &mut Link, replicas: &mut std::collections::BTreeMap<BlobRoot, Replica>, asked: &Asked) {
    let Part::Groups { first, count } = asked.part else { return };
    let is_tab = link.is_tab();
    let Some(replica) = replicas.get_mut(&asked.root) else { return };
    for group in first..first.saturating_add(count) {
        if link.has.retract(&asked.root, replica.shape, group) && is_tab {
            replica.count(group, false);
        }
    }
}
