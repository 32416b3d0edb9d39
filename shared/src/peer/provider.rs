//! Serving: what others ask, within consent, budget and bounds.

use core::time::Duration;
use std::collections::VecDeque;

use super::{
    Done, Effect, Peer, Stream,
    link::{Link, MAX_QUEUED, MAX_SERVING},
};
use crate::{
    base::{EffectId, Instant, LinkId, RequestId, SiteId},
    cdn::{
        choke::{self, Candidate},
        messages::{self, Request},
        offences::Offence,
        part::Part,
        receipts::RECEIPT_EVERY_BYTES,
    },
    wire::Refusal,
};

/// After a full queue: by then some of it has gone out.
const BUSY_MS: u64 = 500;
/// How often it is chosen anew who is served: long enough for a link to show what it gives back.
const CHOICE_EVERY: Duration = Duration::from_secs(10);
/// Who waits is served something within this, however far along it is: its requests would count as lost.
const SERVED_WITHIN: Duration = Duration::from_secs(2);
/// An answer that takes longer is held up by its receiver, and keeps others waiting no more.
const USUAL: Duration = Duration::from_secs(1);
/// A link that asked within this wants to be served.
const WANTS_FOR: Duration = Duration::from_secs(20);
/// What the edge gave is signed for no more often than this, unless it is much: a receipt must not cost more than a
/// two hundredth of what it is for.
const SETTLE_EVERY: Duration = Duration::from_secs(2);

/// An answer under way in the shell.
#[derive(Debug)]
pub(super) struct Serving {
    link: LinkId,
    request: RequestId,
    bytes: u64,
    begun_at: Instant,
}

impl Peer {
    pub(super) fn handle_request(&mut self, now: Instant, id: LinkId, request: Request) {
        let refusal = self.refusal_of(&request);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.requested_at = Some(now);
        if let Some(receipt) = request.receipt.clone() {
            self.take_receipt(now, id, receipt);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let refusal = refusal.or((link.choked || link.queue.len() >= MAX_QUEUED).then_some(Refusal::Busy));
        if let Some(refusal) = refusal {
            self.meters.refused += 1;
            return self.end_request(id, request.request, Some(refusal));
        }
        if link.queue.is_empty() {
            link.waits_since = now;
        }
        link.queue.push_back(request);
        self.serve(now, id);
    }

    fn refusal_of(&self, request: &Request) -> Option<Refusal> {
        if !self.consent.serve {
            return Some(Refusal::Withdrawn);
        }
        let Some(replica) = self.replicas.get(&request.root) else { return Some(Refusal::NotFound) };
        if self.is_withheld(&request.root) {
            return Some(Refusal::Unpaid);
        }
        if !request.part.fits(replica.shape) {
            return Some(Refusal::Malformed);
        }
        if self.budget.upload_bytes < request.part.bytes(replica.shape) {
            return Some(Refusal::OverBudget);
        }
        let held = match request.part {
            Part::Groups { first, count } => (first..first + count).all(|group| replica.held.get(group)),
            // Whoever holds a group also holds the hashes above it.
            Part::Top | Part::Page(_) => !replica.held.is_empty(),
        };
        (!held).then_some(Refusal::NotFound)
    }

    /// Begins what may be begun, where `id` has something to ask or to receive again.
    fn serve(&mut self, now: Instant, id: LinkId) {
        if self.config.limits.serving_max.is_none() {
            while self.serve_next(now, id) {}
        } else {
            self.serve_waiting(now);
        }
    }

    /// Begins answers for whoever is furthest behind: so all of a swarm are done at about the same time, where
    /// equal shares let those with few or slow neighbours fall back (`docs/adr/0009`).
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        let Some(max) = self.config.limits.serving_max else { return };
        let mut held = self.serving.values().filter(|serving| now.since(serving.begun_at) < USUAL).count();
        while held < max {
            let waiting =
                self.links.iter().filter(|(_, link)| !link.queue.is_empty() && link.serving < MAX_SERVING);
            let next = waiting.min_by_key(|(_, link)| {
                let patient = now.since(link.waits_since) < SERVED_WITHIN;
                (patient, link.has.groups(), link.waits_since)
            });
            let Some(id) = next.map(|(id, _)| *id) else { return };
            held += usize::from(self.serve_next(now, id));
        }
    }

    /// Whether somebody waits for a turn, which may come by time alone.
    pub(super) fn keeps_waiting(&self) -> bool {
        self.config.limits.serving_max.is_some() && self.links.values().any(|link| !link.queue.is_empty())
    }

    /// Begins the next answer for this link; whether there was one to begin.
    fn serve_next(&mut self, now: Instant, id: LinkId) -> bool {
        loop {
            let effect = EffectId(self.new_id());
            let Some(link) = self.links.get_mut(&id) else { return false };
            if link.serving >= MAX_SERVING {
                return false;
            }
            let Some(Request { request, root, part, .. }) = link.queue.pop_front() else { return false };
            link.waits_since = now;
            let Some(replica) = self.replicas.get(&root) else {
                self.end_request(id, request, Some(Refusal::NotFound));
                continue;
            };
            let (shape, bytes) = (replica.shape, part.bytes(replica.shape));
            if self.is_withheld(&root) {
                self.meters.refused += 1;
                self.end_request(id, request, Some(Refusal::Unpaid));
                continue;
            }
            self.note_stray(id, &root);
            let Some(link) = self.links.get_mut(&id) else { return false };
            // Those queued before it may have used up what was left when this one came.
            if bytes > self.budget.upload_bytes {
                self.meters.refused += 1;
                self.end_request(id, request, Some(Refusal::OverBudget));
                continue;
            }
            link.serving += 1;
            link.account.sent += bytes;
            link.useful_at = link.requested_at.unwrap_or(link.useful_at);
            self.budget.upload_bytes = self.budget.upload_bytes.saturating_sub(bytes);
            self.serving.insert(effect, Serving { link: id, request, bytes, begun_at: now });
            self.effects.push_back(Effect::Serve { effect, link: id, request, root, shape, part });
            return true;
        }
    }

    pub(super) fn serve_done(&mut self, now: Instant, effect: EffectId, done: Done) {
        let Some(Serving { link: id, request, bytes, .. }) = self.serving.remove(&effect) else { return };
        let sent = match done {
            Done::Served { bytes } => bytes,
            Done::HttpFinished | Done::Cancelled | Done::Failed => 0,
        };
        self.meters.sent += sent;
        self.budget.upload_bytes = self.budget.upload_bytes.saturating_add(bytes.saturating_sub(sent));
        let Some(link) = self.links.get_mut(&id) else { return self.serve_waiting(now) };
        link.serving = link.serving.saturating_sub(1);
        link.account.sent -= bytes.saturating_sub(sent);
        if sent < bytes {
            let refusal = (done == Done::Failed).then_some(Refusal::NotFound);
            self.end_request(id, request, refusal);
        }
        self.serve(now, id);
    }

    pub(super) fn cancel_request(&mut self, id: LinkId, request: RequestId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let queued = link.queue.len();
        link.queue.retain(|waiting| waiting.request != request);
        if link.queue.len() < queued {
            return self.end_request(id, request, None);
        }
        let serving =
            self.serving.iter().find(|(_, serving)| serving.link == id && serving.request == request);
        if let Some((effect, _)) = serving {
            self.effects.push_back(Effect::CancelServe { effect: *effect });
        }
    }

    /// Chooses who is served where more ask than there are slots: see [`choke`].
    pub(super) fn choose_served(&mut self, now: Instant) {
        if now < self.choice_at {
            return;
        }
        self.choice_at = now + CHOICE_EVERY;
        // Those who wait do not ask; they are candidates for as long as they wait.
        let wants =
            |link: &Link| link.choked || link.requested_at.is_some_and(|at| now.since(at) < WANTS_FOR);
        let candidates: Vec<Candidate> = self
            .links
            .iter_mut()
            .filter(|(_, link)| wants(link))
            .map(|(id, link)| Candidate { link: *id, given: core::mem::take(&mut link.given) })
            .collect();
        let waiting: Vec<LinkId> = candidates.iter().map(|candidate| candidate.link).collect();
        let served = choke::choose(candidates, self.config.limits.upload_slots, &mut self.rng);
        for id in waiting {
            self.set_served(id, served.contains(&id));
        }
    }

    fn set_served(&mut self, id: LinkId, served: bool) {
        use crate::wire::cdn::{Choke, Unchoke, control::Message};
        let Some(link) = self.links.get_mut(&id) else { return };
        if core::mem::replace(&mut link.choked, !served) != served {
            return;
        }
        let queue = if served { VecDeque::new() } else { core::mem::take(&mut link.queue) };
        for request in queue {
            self.end_request(id, request.request, Some(Refusal::Busy));
        }
        let message = if served { Message::Unchoke(Unchoke {}) } else { Message::Choke(Choke {}) };
        self.transmit(id, messages::control(message));
    }

    /// When that is due: never as long as there are slots for all.
    pub(super) fn choice_due(&self) -> Option<Instant> {
        let asked = self.links.values().filter(|link| link.choked || link.requested_at.is_some());
        let crowded = asked.count() > self.config.limits.upload_slots;
        let busy = self.links.values().any(|link| {
            link.choked || link.requested_at.is_some_and(|at| self.choice_at.since(at) < WANTS_FOR)
        });
        (crowded && busy).then_some(self.choice_at)
    }

    /// Stops serving now: what is queued is refused, what is under way ends before its next piece.
    pub(super) fn stop_serving(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for id in links {
            let queue =
                self.links.get_mut(&id).map(|link| core::mem::take(&mut link.queue)).unwrap_or_default();
            for request in queue {
                self.end_request(id, request.request, Some(Refusal::Withdrawn));
            }
        }
        let effects = self.serving.keys().map(|effect| Effect::CancelServe { effect: *effect });
        self.effects.extend(effects);
    }

    /// Serves again what was refused for want of consent or budget: those refused ask no more until told.
    pub(super) fn resume_serving(&mut self) {
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.hello.is_some() && !link.choked)
            .map(|(id, _)| *id)
            .collect();
        for id in links {
            let unchoke = crate::wire::cdn::control::Message::Unchoke(crate::wire::cdn::Unchoke {});
            self.transmit(id, messages::control(unchoke));
        }
    }

    /// Signs for what is not yet signed for, on links where nothing more is under way to ride on.
    pub(super) fn settle_receipts(&mut self, now: Instant) {
        let site = self.only_site();
        let http_rests = !self.http.is_busy();
        let is_due = |link: &Link| {
            // What the edge gives comes in many small requests, which carry no receipts.
            let rests =
                http_rests && link.settled_at.is_none_or(|settled| now.since(settled) >= SETTLE_EVERY);
            link.unsigned > 0
                && link.pipeline.is_empty()
                && (link.account.edge_verified == 0 || rests || link.unsigned >= RECEIPT_EVERY_BYTES)
        };
        let quiet = self.links.iter().filter(|(_, link)| is_due(link));
        let quiet: Vec<LinkId> = quiet.map(|(id, _)| *id).collect();
        for id in quiet {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let session = link.hello.as_ref().map_or(0, |hello| hello.session);
            link.settled_at = Some(now);
            let receipt = link.account.due(true, &self.config.keypair, &link.peer, session, site);
            self.meters.signed_for += core::mem::take(&mut link.unsigned);
            if let Some(receipt) = receipt {
                self.transmit(id, messages::control(crate::wire::cdn::control::Message::Receipt(receipt)));
            }
        }
    }

    /// Counts what the edge gave for the link to its supernode, once that is there.
    pub(super) fn sign_for_edge(&mut self) {
        let link =
            self.links.iter_mut().map(|(_, link)| link).find(|link| link.rendezvous && link.hello.is_some());
        if let Some(link) = link {
            let bytes = core::mem::take(&mut self.unsigned_edge);
            link.account.edge_verified += bytes;
            link.unsigned += bytes;
        }
    }

    /// The site that all we get is of, where it is one.
    pub(super) fn only_site(&self) -> Option<SiteId> {
        let mut sites = self.sites.keys();
        sites.next().copied().filter(|_| sites.next().is_none())
    }

    pub(super) fn take_receipt(
        &mut self,
        now: Instant,
        id: LinkId,
        receipt: crate::wire::cdn::SignedReceipt,
    ) {
        let ourselves = self.config.keypair.public();
        let Some(link) = self.links.get_mut(&id) else { return };
        let (peer, session) = (link.peer.clone(), link.session);
        let by_edge = link.account.edge_receipted;
        match link.account.take_receipt(receipt, &ourselves, &peer, session) {
            Ok(gained) => {
                self.meters.receipted += gained;
                if gained > 0 || link.account.edge_receipted > by_edge {
                    self.tell_of_receipt(id);
                }
            }
            Err(Offence::BadReceipt) => self.offend(now, id, Offence::BadReceipt),
            Err(_) => {}
        }
    }

    fn end_request(&mut self, link: LinkId, request: RequestId, refusal: Option<Refusal>) {
        let retry = if refusal == Some(Refusal::Busy) { BUSY_MS } else { 0 };
        let frame = messages::end(request, refusal, retry);
        self.effects.push_back(Effect::Transmit { link, stream: Stream::Serve, frame });
    }
}
