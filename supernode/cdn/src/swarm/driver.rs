//! The one task that owns the core: feeds it what happened, and has done what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    future,
};

use futures::StreamExt as _;
use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, SiteId},
    cdn::{bulk::StreamKind, receipts::Receipt},
    identity::PublicKey,
    peer::{Budget, Config, Consent, Done, Effect, Event, HttpSources, Limits, LinkAbout, Peer, Role},
};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use super::{
    ADDRESSES_EVERY, METERS_EVERY, REPORTS, Served, SwarmParts, edge_shares::EdgeShares, link::Link,
    serve::Job, streams::Report, visitors::Visitors,
};
use crate::service::Held;

/// See the module's head.
pub(super) struct Driver {
    parts: SwarmParts,
    shutdown: CancellationToken,
    peer: Peer,
    started: time::Instant,
    links: BTreeMap<LinkId, Link>,
    /// On which link an answer is under way.
    serving: BTreeMap<EffectId, LinkId>,
    /// What the core was told that we hold.
    told: BTreeSet<BlobRoot>,
    /// And which manifests.
    adopted: BTreeMap<SiteId, u64>,
    /// And which sites are withheld.
    withheld: BTreeSet<SiteId>,
    edge: EdgeShares,
    visitors: Visitors,
    reports: mpsc::Sender<Report>,
    inbox: mpsc::Receiver<Report>,
}

impl Driver {
    pub(super) fn new(parts: SwarmParts, shutdown: CancellationToken) -> Self {
        let config = Config {
            keypair: parts.key.clone(),
            role: Role::Supernode,
            region: 0,
            supernodes: BTreeSet::new(),
            http: HttpSources { edge: false, origin: false },
            limits: Limits::supernode(),
        };
        let started = time::Instant::now();
        let now = Instant::default();
        let mut peer = Peer::new(config, parts.seed, now);
        peer.set_consent(now, Consent { serve: true, fetch: false });
        peer.set_budget(now, Budget::UNLIMITED);
        let (reports, inbox) = mpsc::channel(REPORTS);
        Self {
            parts,
            shutdown,
            peer,
            started,
            links: BTreeMap::new(),
            serving: BTreeMap::new(),
            told: BTreeSet::new(),
            adopted: BTreeMap::new(),
            withheld: BTreeSet::new(),
            edge: EdgeShares::default(),
            visitors: Visitors::default(),
            reports,
            inbox,
        }
    }

    pub(super) async fn run(mut self) {
        let mut addresses_due = time::interval(ADDRESSES_EVERY);
        let mut meters_due = time::interval(METERS_EVERY);
        let changed = self.parts.cdn.changed();
        let mut withheld = self.parts.cdn.withheld();
        withheld.mark_changed();
        self.look_at_content().await;
        loop {
            self.drain();
            let wake = self
                .peer
                .poll_timeout()
                .map(|at| self.started + core::time::Duration::from_micros(at.as_micros()));
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                event = self.parts.events.next() => match event {
                    Some(event) => self.on_link_event(event),
                    None => return,
                },
                Some(report) = self.inbox.recv() => self.on_report(report),
                () = changed.notified() => self.look_at_content().await,
                Ok(()) = withheld.changed() => {
                    let now_withheld = withheld.borrow_and_update().keys().copied().collect();
                    self.on_withheld(now_withheld);
                }
                _ = addresses_due.tick() => {
                    let (now, addresses) = (self.now(), (self.parts.addresses)());
                    self.peer.set_addresses(now, addresses);
                }
                _ = meters_due.tick() => self.observe(),
                () = sleep_until(wake) => {
                    let now = self.now();
                    self.peer.handle_timeout(now);
                }
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }

    fn on_link_event(&mut self, event: links::Event) {
        let id = LinkId(event.link().as_u64());
        match event {
            links::Event::Linked { peer, kind, direction, .. } => {
                // The links only carry Ed25519 peers that can be named by their key.
                let Ok(peer) = PublicKey::from_peer_id(&peer) else {
                    return self.parts.links.close(links::LinkId::from_u64(id.0));
                };
                let known = self.parts.links.link(links::LinkId::from_u64(id.0));
                if let Some(ip) = known.and_then(|link| link.ip()) {
                    let now = self.now();
                    self.visitors.arrived(now, &peer, ip);
                }
                let dialer = direction == links::Direction::Dialed;
                let mut link = Link::new(id, LinkAbout { peer, dialer, relayed: !kind.is_direct() });
                if dialer {
                    link.open_control(&self.parts.links, &self.reports);
                }
                self.links.insert(id, link);
            }
            links::Event::Incoming { stream, .. } => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.accept(stream, &self.reports);
                }
            }
            links::Event::Unlinked { .. } => {
                let Some(link) = self.links.remove(&id) else { return };
                let now = self.now();
                if link.has_control() {
                    self.peer.handle_unlinked(now, id);
                }
                let lost: Vec<_> =
                    self.serving.iter().filter(|(_, on)| **on == id).map(|(e, _)| *e).collect();
                for effect in lost {
                    self.done(effect, Done::Failed);
                }
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Opened(id, kind, opened) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                if kind == StreamKind::Bulk && !link.has_control() {
                    // Requests before a Hello are from nobody.
                    return;
                }
                if link.start(kind, opened, &self.parts.cdn, &self.reports) && kind == StreamKind::Control {
                    let about = link.about.clone();
                    self.peer.handle_linked(now, id, about);
                }
            }
            Report::Frame(id, stream, frame) if self.links.contains_key(&id) => {
                self.peer.handle_frame(now, id, stream, &frame);
            }
            Report::Offence(id, offence) => match self.links.get(&id).map(Link::has_control) {
                Some(true) => self.peer.handle_offence(now, id, offence),
                // The core does not know the link yet.
                Some(false) => self.parts.links.close(links::LinkId::from_u64(id.0)),
                None => {}
            },
            Report::ControlEnded(id) => self.close(id),
            Report::Done(effect, done) => self.done(effect, done),
            Report::Frame(..) => {}
        }
    }

    /// Reports the end of an answer, once.
    fn done(&mut self, effect: EffectId, done: Done) {
        if self.serving.remove(&effect).is_some() {
            let now = self.now();
            self.peer.handle_done(now, effect, done);
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.peer.poll_effect() {
            self.perform(effect);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::PeerCut { peer, offence } => {
                    self.parts.cdn.meters().refused("offence");
                    tracing::debug!(%peer, ?offence, "a peer was cut");
                }
                Event::ManifestNewer { site, sequence } => {
                    tracing::debug!(%site, sequence, "a peer says there is a newer manifest");
                    self.parts.cdn.heard_of_newer(site, sequence);
                }
                Event::Receipted { session, sent, edge, site, receipt } => {
                    let name = site.and_then(|site| Some((site, self.parts.cdn.pin(site)?.site)));
                    let sent_by_edge =
                        name.as_ref().map(|(site, name)| (*site, self.parts.cdn.meters().edge_bytes(name)));
                    let edge = self.edge.take(session, sent_by_edge, edge);
                    (self.parts.tell)(Served::Receipt { session, sent, edge, site, receipt });
                }
                Event::HandedIn { earner, signed, receipts } => {
                    // From behind a relay nothing counts: where its tab is cannot be known.
                    let Some(network) = self.visitors.network_of(&earner.tab) else { continue };
                    let known = receipts.into_iter().filter_map(|receipt| {
                        let receiver = Receipt::receiver_of(&receipt)?;
                        let network = self.visitors.network_of(&receiver)?;
                        Some((receipt, network))
                    });
                    let receipts = known.collect();
                    (self.parts.tell)(Served::HandedIn { earner, signed, network, receipts });
                }
                Event::SessionEnded { receiver, session, sent } => {
                    let edge = self.edge.end(session);
                    (self.parts.tell)(Served::Ended { receiver, session, sent: sent.saturating_add(edge) });
                }
                // Answers to fetches, of which a supernode makes none, and news of budgets without limit.
                _ => {}
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Transmit { link, stream, frame } => {
                if self.links.get(&link).is_some_and(|link| !link.transmit(stream, frame)) {
                    self.close(link);
                }
            }
            Effect::Serve { effect, link, request, root, part, .. } => {
                self.serving.insert(effect, link);
                let queued = self
                    .links
                    .get(&link)
                    .is_some_and(|link| link.serve(Job::Serve { effect, request, root, part }));
                if !queued {
                    self.done(effect, Done::Failed);
                }
            }
            Effect::CancelServe { effect } => {
                if let Some(link) = self.serving.get(&effect).and_then(|link| self.links.get(link)) {
                    link.cancel(effect);
                }
            }
            Effect::Disconnect { link, reason } => {
                tracing::debug!(%link, ?reason, "closing a link");
                self.close(link);
            }
            // A supernode fetches nothing by the core; were it asked to, the answer is that it could not.
            Effect::FetchHttp { effect, .. } => self.peer.handle_done(now, effect, Done::Failed),
            // It has no browser, and meets nobody.
            Effect::Describe { effect, .. } => self.peer.handle_described(now, effect, None),
            Effect::Connect { .. } | Effect::Forget { .. } => {}
            Effect::Request { .. } | Effect::CancelHttp { .. } => {}
        }
    }

    /// Copies what the core counts to the meters.
    fn observe(&self) {
        for site in self.parts.cdn.sites() {
            let (tabs, delivered) = self.peer.swarm(&site.id);
            self.parts.cdn.meters().observe_swarm(&site.pin.site, tabs, delivered);
        }
    }

    fn close(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            let had_control = link.has_control();
            link.close(&self.parts.links);
            if had_control {
                let (id, now) = (link.id(), self.now());
                self.peer.handle_unlinked(now, id);
            }
        }
    }

    /// Tells the core what is to be paid for before it is served, and what is served again.
    fn on_withheld(&mut self, withheld: BTreeSet<SiteId>) {
        for site in self.withheld.symmetric_difference(&withheld) {
            self.peer.withhold(*site, withheld.contains(site));
        }
        self.withheld = withheld;
    }

    /// Tells the core what has changed in what we hold.
    async fn look_at_content(&mut self) {
        let Some(Held { manifests, blobs }) = self.parts.cdn.held().await else { return };
        let now = self.now();
        for (root, shape) in &blobs {
            if self.told.insert(*root) {
                self.peer.add_local(now, *root, *shape, 0..shape.groups());
            }
        }
        let gone: Vec<_> = self.told.iter().filter(|root| !blobs.contains_key(root)).copied().collect();
        for root in gone {
            self.told.remove(&root);
            self.peer.forget(now, root);
        }
        for manifest in manifests {
            let (site, sequence) = (manifest.site_id(), manifest.sequence);
            let complete = manifest.assets.values().all(|asset| blobs.contains_key(&asset.root));
            if self.adopted.insert(site, sequence) != Some(sequence) {
                self.peer.adopt_manifest(now, &manifest);
            }
            self.peer.join(now, site, sequence, complete);
        }
    }
}

async fn sleep_until(at: Option<time::Instant>) {
    match at {
        Some(at) => time::sleep_until(at).await,
        None => future::pending().await,
    }
}
