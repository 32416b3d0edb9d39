//! The DHT: who has what, told and asked, and a gate before what others want stored.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use libp2p::{
    PeerId,
    kad::{self, GetProvidersOk, InboundRequest, QueryId, QueryResult, store::RecordStore as _},
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use shared::coordination::{Rate, RateBySource, ServiceName};
use tokio::{sync::oneshot, time::Instant};

use super::Driver;
use crate::{RecordLimits, clock::unix_now, dht};

/// Questions under way at a time; each may keep three connections busy.
const QUESTIONS: usize = 128;

/// Announcements under way at a time, out of many thousands of keys.
const ANNOUNCEMENTS: usize = 16;

/// Providers handed to a caller. More than anyone connects to.
const PROVIDERS: usize = 64;

/// After the network changed, keys are told again, but not more often than this.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(60);

/// How often other nodes with our services are looked for.
const LOOK_FOR_NODES: Duration = Duration::from_secs(300);

/// Nodes dialled after such a look; gossip finds its own neighbours from there.
const NODES_DIALED: usize = 4;

/// What one remote may have stored: a supernode announces some content at a time, a tab little.
const STORED_BY_SOURCE: Rate = Rate { burst: 512, per_second: 4 };

/// Remotes whose rate is remembered.
const SOURCES: usize = 8192;

pub(super) struct Content {
    services: Vec<Vec<u8>>,
    provided: BTreeSet<Vec<u8>>,
    provided_max: usize,
    to_announce: VecDeque<Vec<u8>>,
    /// Looked up by id only, never walked.
    queries: HashMap<QueryId, Purpose>,
    announcing: usize,
    announced: Option<Instant>,
    looked: Option<Instant>,
    network_grew: bool,
    gate: RateBySource<PeerId>,
}

enum Purpose {
    Announce,
    Answer { reply: oneshot::Sender<Vec<PeerId>>, found: BTreeSet<PeerId> },
    FindNodes { dialed: usize },
}

impl Content {
    pub(super) fn new(services: &[ServiceName], limits: &RecordLimits) -> Self {
        Self {
            services: services.iter().map(ServiceName::key).collect(),
            provided: BTreeSet::new(),
            // Half of the store: the other half is for what others provide.
            provided_max: limits.provided_keys / 2,
            to_announce: VecDeque::new(),
            queries: HashMap::new(),
            announcing: 0,
            announced: None,
            looked: None,
            network_grew: false,
            gate: RateBySource::new(STORED_BY_SOURCE, SOURCES),
        }
    }
}

impl Driver {
    pub(super) fn provide_services(&mut self) {
        for key in self.content.services.clone() {
            self.provide(key);
        }
    }

    pub(super) fn provide(&mut self, key: Vec<u8>) {
        if self.content.provided.contains(&key) {
            return;
        }
        if self.content.provided.len() >= self.content.provided_max {
            tracing::warn!(
                "this node provides more than its `records.provided_keys` allow: some will not be found"
            );
            return;
        }
        self.content.provided.insert(key.clone());
        self.content.to_announce.push_back(key);
        self.announce_keys();
    }

    pub(super) fn withdraw(&mut self, key: &[u8]) {
        if self.content.provided.remove(key) {
            self.parts.swarm.behaviour_mut().dht.stop_providing(&key.to_vec().into());
        }
    }

    pub(super) fn ask_providers(&mut self, key: Vec<u8>, reply: oneshot::Sender<Vec<PeerId>>) {
        if self.content.queries.len() >= QUESTIONS {
            // A caller that left does not need to know.
            let _ = reply.send(Vec::new());
            return;
        }
        let query = self.parts.swarm.behaviour_mut().dht.get_providers(key.into());
        self.content.queries.insert(query, Purpose::Answer { reply, found: BTreeSet::new() });
    }

    pub(super) fn tick_content(&mut self, now: Instant) {
        let due = |last: Option<Instant>, pause| last.is_none_or(|last| now.duration_since(last) >= pause);
        if self.content.network_grew && due(self.content.announced, ANNOUNCE_AGAIN) {
            self.content.network_grew = false;
            self.content.announced = Some(now);
            self.content.to_announce = self.content.provided.iter().cloned().collect();
        }
        let connected = self.parts.swarm.network_info().num_peers() > 0;
        if connected && due(self.content.looked, LOOK_FOR_NODES) {
            self.content.looked = Some(now);
            self.content.gate.forget_idle(unix_now());
            for key in self.content.services.clone() {
                let query = self.parts.swarm.behaviour_mut().dht.get_providers(key.into());
                self.content.queries.insert(query, Purpose::FindNodes { dialed: 0 });
            }
        }
        self.announce_keys();
    }

    fn announce_keys(&mut self) {
        while self.content.announcing < ANNOUNCEMENTS {
            let Some(key) = self.content.to_announce.pop_front() else { return };
            if !self.content.provided.contains(&key) {
                continue;
            }
            match self.parts.swarm.behaviour_mut().dht.start_providing(key.into()) {
                Ok(query) => {
                    self.content.queries.insert(query, Purpose::Announce);
                    self.content.announcing += 1;
                }
                Err(error) => tracing::warn!(%error, "cannot announce what this node provides"),
            }
        }
    }

    pub(super) fn on_dht(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest { request } => self.on_request(request),
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => self.content.network_grew = true,
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.on_progress(id, result, step.last);
            }
            _ => {}
        }
    }

    fn on_request(&mut self, request: InboundRequest) {
        let now = unix_now();
        let local_network = self.parts.config.local_network;
        let store = self.parts.swarm.behaviour_mut().dht.store_mut();
        let stored = match request {
            InboundRequest::PutRecord { source, record: Some(record), .. } => {
                self.content.gate.try_take(now, &source) && store.put(record).is_ok()
            }
            InboundRequest::AddProvider { record: Some(mut record) } => {
                record.addresses = dht::usable(&record.addresses, local_network).cloned().collect();
                self.content.gate.try_take(now, &record.provider) && store.add_provider(record).is_ok()
            }
            _ => return,
        };
        if !stored {
            self.parts.metrics.dht_refused.inc();
        }
    }

    fn on_progress(&mut self, id: QueryId, result: QueryResult, last: bool) {
        let found = match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => providers,
            _ => Default::default(),
        };
        // Sorted, so that what follows does not depend on a hash.
        let found: BTreeSet<PeerId> = found.into_iter().collect();
        let mut to_dial = Vec::new();
        match self.content.queries.get_mut(&id) {
            Some(Purpose::Answer { found: so_far, .. }) => {
                let room = PROVIDERS.saturating_sub(so_far.len());
                so_far.extend(found.into_iter().take(room));
            }
            Some(Purpose::FindNodes { dialed }) => {
                let room = NODES_DIALED.saturating_sub(*dialed);
                to_dial.extend(found.into_iter().take(room));
                *dialed += to_dial.len();
            }
            Some(Purpose::Announce) | None => {}
        }
        for peer in to_dial {
            self.dial_node(peer);
        }
        if !last {
            return;
        }
        match self.content.queries.remove(&id) {
            Some(Purpose::Answer { reply, found }) => drop(reply.send(found.into_iter().collect())),
            Some(Purpose::Announce) => {
                self.content.announcing -= 1;
                self.announce_keys();
            }
            Some(Purpose::FindNodes { .. }) | None => {}
        }
    }

    fn dial_node(&mut self, peer: PeerId) {
        if peer == *self.parts.swarm.local_peer_id() {
            return;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
        if let Err(error) = self.parts.swarm.dial(options) {
            tracing::trace!(%peer, %error, "not dialling a node with our services");
        }
    }
}
