//! The core, driven: every input is followed by draining what it wants done and what it has to say.
//!
//! ```text
//!   links ── frames, pieces ──┐                      ┌──► links   transmit, request, serve, close
//!   http ─── pieces, done ────┼──► Peer ── effects ──┼──► http    fetch, abort
//!   page ─── fetch, cancel ───┘      └──── events    └──► reach   dial
//! ```

mod fetch;
mod link;
mod reach;
mod serve;
mod streams;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use futures::future::AbortHandle;
use futures_timer::Delay;
use litemap::LiteMap;
use shared::base::{BlobRoot, EffectId, Instant, LinkId};
use shared::cdn::blob::BlobShape;
use shared::cdn::manifest::Manifest;
use shared::identity::{Keypair, PublicKey};
use shared::peer::{
    Budget, Config, Consent, Done, Effect, Event, FetchId, HttpSources, Limits, Peer, Priority, Role,
};

use super::Tab;
use super::obtain::Job;
use crate::net::{Network, rtc::Offered};
use link::Link;
use reach::Supernode;
pub(super) use reach::find_supernode;

/// The core and what its shell has to remember. No borrow is held while the core's wishes are carried out.
pub(super) struct Swarm {
    peer: RefCell<Peer>,
    network: RefCell<Option<Network>>,
    supernode: Option<PublicKey>,
    links: RefCell<LiteMap<LinkId, Link>>,
    /// HTTP fetches under way.
    http: RefCell<Vec<(EffectId, AbortHandle)>>,
    /// Requests of the page that the core has not answered yet.
    jobs: RefCell<Vec<(FetchId, Job)>>,
    /// Offers that nobody has answered yet.
    offered: RefCell<Vec<(EffectId, Offered)>>,
    /// Serves under way that are to stop before their next pieces; each goes when it is reported.
    cancelled: RefCell<Vec<EffectId>>,
    reachable: Cell<bool>,
    started: web_time::Instant,
    /// When the earliest timer fires that is running.
    armed: Cell<Option<Instant>>,
}

impl Swarm {
    pub(super) fn new(
        keypair: &Keypair,
        seed: [u8; 32],
        supernode: Option<&Supernode>,
        upload_bytes: u64,
    ) -> Self {
        let visitor = supernode.map(|supernode| supernode.visitor);
        let supernode = supernode.map(|supernode| supernode.key.clone());
        let config = Config {
            keypair: keypair.clone(),
            role: Role::Tab,
            region: 0,
            supernodes: supernode.iter().cloned().collect(),
            http: HttpSources { edge: true, origin: true },
            limits: Limits::default(),
        };
        let now = Instant::from_micros(0);
        let mut peer = Peer::new(config, seed, now);
        // The worker is started only with the visitor's consent, and ended with it.
        peer.set_consent(now, Consent { serve: true, fetch: true });
        peer.set_budget(now, Budget { upload_bytes, ..Budget::UNLIMITED });
        if let Some(visitor) = visitor {
            peer.set_visitor(visitor);
        }
        Self {
            peer: RefCell::new(peer),
            network: RefCell::default(),
            supernode,
            links: RefCell::default(),
            http: RefCell::default(),
            jobs: RefCell::default(),
            offered: RefCell::default(),
            cancelled: RefCell::default(),
            reachable: Cell::new(false),
            started: web_time::Instant::now(),
            armed: Cell::new(None),
        }
    }

    /// The way to the supernode that the tab comes by, once the network is joined.
    pub(super) fn to_supernode(&self) -> Option<(links::Control, libp2p_identity::PeerId)> {
        let control = self.network.borrow().as_ref()?.links().clone();
        Some((control, self.supernode.as_ref()?.to_peer_id()))
    }

    /// The supernode that the tab comes by, where this is a link to it.
    pub(super) fn supernode_of(&self, link: LinkId) -> Option<&PublicKey> {
        let links = self.links.borrow();
        self.supernode.as_ref().filter(|supernode| links.get(&link).is_some_and(|link| link.is_to(supernode)))
    }

    /// Who is paid for what is given from now on.
    pub(super) fn earn_to(&self, account: Option<[u8; 20]>) {
        self.peer.borrow_mut().set_earn_to(account);
    }

    fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }

    pub(super) fn meters(&self) -> shared::peer::Meters {
        self.peer.borrow().meters()
    }

    /// Other tabs heard of so far.
    pub(super) fn known(&self) -> usize {
        self.peer.borrow().others().max(self.tabs())
    }

    /// Whether others can dial us.
    pub(super) fn is_reachable(&self) -> bool {
        self.reachable.get()
    }

    /// The request of the page that this fetch is for; it is answered now.
    fn take_job(&self, fetch: FetchId) -> Option<Job> {
        let mut jobs = self.jobs.borrow_mut();
        let place = jobs.iter().position(|(of, _)| *of == fetch)?;
        Some(jobs.swap_remove(place).1)
    }

    fn take_offered(&self, effect: EffectId) -> Option<Offered> {
        let mut offered = self.offered.borrow_mut();
        let place = offered.iter().position(|(of, _)| *of == effect)?;
        Some(offered.swap_remove(place).1)
    }

    /// Other tabs that we are linked to.
    pub(super) fn tabs(&self) -> usize {
        self.peer.borrow().links().filter(|link| link.role == Role::Tab).count()
    }

    /// Supernodes that we are linked to.
    pub(super) fn supernodes(&self) -> usize {
        self.peer.borrow().links().filter(|link| link.role == Role::Supernode).count()
    }
}

impl Tab {
    /// Gives the core one input, then carries out what it wants.
    pub(super) fn drive<T>(self: &Rc<Self>, input: impl FnOnce(&mut Peer, Instant) -> T) -> T {
        let now = self.swarm.now();
        let output = input(&mut self.swarm.peer.borrow_mut(), now);
        loop {
            let effect = self.swarm.peer.borrow_mut().poll_effect();
            let Some(effect) = effect else { break };
            self.perform(effect);
        }
        loop {
            let event = self.swarm.peer.borrow_mut().poll_event();
            let Some(event) = event else { break };
            self.heed(event);
        }
        self.arm_timer();
        output
    }

    /// Asks the core for what `range` lacks.
    pub(super) fn obtain(
        self: &Rc<Self>,
        root: BlobRoot,
        shape: BlobShape,
        range: &Range<u64>,
        plays: bool,
    ) -> Job {
        let groups = if shape.size() == 0 { 0..1 } else { shape.groups_touched(range) };
        let job = Job::default();
        let missing = groups.clone().any(|group| !self.blobs.borrow().has_group(root, group));
        if !missing {
            return job;
        }
        // The answer may be among the events that follow at once, so the job is known before.
        let fetch = {
            let now = self.swarm.now();
            let priority = priority(plays, now);
            let mut peer = self.swarm.peer.borrow_mut();
            peer.fetch(now, root, shape, priority, groups)
        };
        job.set_fetch(fetch);
        self.swarm.jobs.borrow_mut().push((fetch, job.clone()));
        self.drive(|_, _| ());
        job
    }

    /// Nobody waits for this any more.
    pub(super) fn give_up(self: &Rc<Self>, job: &Job) {
        if let Some(fetch) = job.fetch() {
            self.drive(|peer, now| peer.cancel(now, fetch));
        }
    }

    /// Tells the core what is in the store and what the site consists of.
    pub(super) fn introduce(self: &Rc<Self>, manifest: &Manifest) {
        let held = self.held_runs(manifest);
        let complete = manifest.assets.values().all(|asset| self.blobs.borrow().is_complete(asset.root));
        self.drive(|peer, now| {
            for (root, shape, run) in held {
                peer.add_local(now, root, shape, run);
            }
            peer.adopt_manifest(now, manifest);
            peer.join(now, manifest.site_id(), manifest.sequence, complete);
        });
    }

    /// Tells the core that a blob is here as a whole.
    pub(super) fn introduce_blob(self: &Rc<Self>, root: BlobRoot, shape: BlobShape) {
        self.drive(|peer, now| peer.add_local(now, root, shape, 0..shape.groups()));
    }

    fn held_runs(&self, manifest: &Manifest) -> Vec<(BlobRoot, BlobShape, Range<u32>)> {
        let blobs = self.blobs.borrow();
        let mut held = Vec::new();
        for asset in manifest.assets.values() {
            let mut run: Option<Range<u32>> = None;
            for group in blobs.groups(asset.root) {
                match &mut run {
                    Some(run) if run.end == group => run.end += 1,
                    _ => {
                        let finished = run.replace(group..group + 1);
                        held.extend(finished.map(|run| (asset.root, asset.shape, run)));
                    }
                }
            }
            held.extend(run.map(|run| (asset.root, asset.shape, run)));
        }
        held
    }

    /// The store made room: what went is no longer offered.
    pub(super) fn forget_evicted(self: &Rc<Self>) {
        let evicted = self.blobs.borrow_mut().take_evicted();
        if !evicted.is_empty() {
            self.drive(|peer, now| {
                for root in evicted {
                    peer.forget(now, root);
                }
            });
        }
    }

    fn perform(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Transmit { link, stream, frame } => self.transmit(link, stream, frame),
            Effect::Request { link, request, root, shape, part, frame } => {
                self.request(link, request, (root, shape, part), frame);
            }
            Effect::Serve { effect, link, request, root, shape, part } => {
                self.serve(link, serve::Job { effect, request, root, shape, part });
            }
            Effect::CancelServe { effect } => self.cancel_serve(effect),
            Effect::FetchHttp { effect, source, root, shape, run } => {
                self.fetch_http(effect, source, root, shape, run);
            }
            Effect::CancelHttp { effect } => {
                if let Some((_, fetch)) = self.swarm.http.borrow().iter().find(|(of, _)| *of == effect) {
                    fetch.abort();
                }
            }
            Effect::Describe { effect, offer } => self.describe(effect, offer),
            Effect::Connect { effect, peer, description } => self.connect(effect, peer, &description),
            Effect::Forget { effect } => drop(self.swarm.take_offered(effect)),
            Effect::Disconnect { link, reason } => {
                tracing::debug!(%link, ?reason, "closing a link");
                self.close_link(link);
            }
        }
    }

    fn heed(self: &Rc<Self>, event: Event) {
        match event {
            Event::Ready { root, .. } => self.wake(root),
            Event::Completed { fetch, root, .. } | Event::Cancelled { fetch, root } => {
                self.swarm.take_job(fetch);
                self.wake(root);
            }
            Event::FellBack { fetch, root, reason } => {
                if let Some(job) = self.swarm.take_job(fetch) {
                    job.fail(reason.to_string());
                }
                self.wake(root);
            }
            Event::PeerCut { offence, .. } => self.note(&format!("peer-cut: {}", offence.name())),
            Event::ManifestNewer { .. } => {
                let tab = self.clone();
                wasm_bindgen_futures::spawn_local(async move {
                    if let Err(reason) = tab.refresh_manifest().await {
                        tab.note(&reason);
                    }
                });
            }
            Event::UploadBudgetSpent => self.note("upload-budget-spent"),
        }
    }

    /// Sees to it that a timer fires at the core's deadline. One that fires early does no harm, so a later
    /// deadline leaves the running one alone.
    fn arm_timer(self: &Rc<Self>) {
        let Some(due) = self.swarm.peer.borrow().poll_timeout() else { return };
        if self.swarm.armed.get().is_some_and(|armed| armed <= due) {
            return;
        }
        self.swarm.armed.set(Some(due));
        let wait = due.since(self.swarm.now());
        let tab = self.clone();
        wasm_bindgen_futures::spawn_local(async move {
            Delay::new(wait).await;
            if tab.swarm.armed.get() == Some(due) {
                tab.swarm.armed.set(None);
            }
            tab.drive(shared::peer::Peer::handle_timeout);
        });
    }

    /// Reports the end of an effect.
    fn done(self: &Rc<Self>, effect: EffectId, done: Done) {
        self.drive(|peer, now| peer.handle_done(now, effect, done));
    }
}

/// What plays is fetched in order and in time; everything else is waited for as a whole.
fn priority(plays: bool, now: Instant) -> Priority {
    /// Eight Mbit/s: a film in good quality. A faster one asks for the next part sooner.
    const MEDIA_BYTES_PER_SECOND: u64 = 1_000_000;
    if plays {
        Priority::Deadline { start: now, bytes_per_second: MEDIA_BYTES_PER_SECOND }
    } else {
        Priority::Page
    }
}
