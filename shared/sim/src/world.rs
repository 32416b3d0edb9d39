//! The world: nodes, links between them, and one agenda of everything that happens.
//!
//! One seed decides everything: who is where, what is lost, what each machine draws. Every happening is mixed
//! into a checksum, so that two runs of one seed can be compared by a single number.
//!
//! ```text
//! machine ─ acts ─► shell.rs ─ messages ─► uplink ─ path ─► downlink ─► shell.rs ─ inputs ─► machine
//!                      └─ store, HTTP, dials                   facts ─► invariants
//! ```

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, SeededRng, UnixSeconds},
    cdn::{
        blob::BlobShape,
        manifest::{Asset, Manifest},
    },
    identity::{Keypair, PublicKey},
    peer::{Description, LinkAbout, Role},
};

use crate::{
    clock::Agenda,
    content::Blob,
    invariants::{Fact, Invariant, Violation},
    machine::Command,
    net::{FlowId, Parcel, Weather, one_way},
    node::{Birth, Node, NodeId, Plan},
};

/// Virtual time in which a message between linked peers without any traffic shows that the other is gone: ICE
/// consent is lost after some seconds without an answer (RFC 7675).
pub const SILENCE_DETECTED_AFTER: Duration = Duration::from_secs(7);
/// A node that lost its supernode asks for it again after so long.
const SUPERNODE_RETRY: Duration = Duration::from_secs(5);
/// Round trips until a secure WebSocket to a supernode carries streams: TCP, TLS, upgrade, Noise, Yamux.
const SUPERNODE_ROUND_TRIPS: u32 = 4;
/// Happenings in one moment of virtual time before a run is declared a livelock.
const MOMENT_BOUND: u64 = 2_000_000;

/// What a scenario does to its world.
#[derive(Clone, Debug)]
pub enum Deed {
    /// The node starts.
    Join(NodeId),
    /// The node says goodbye.
    Leave(NodeId),
    /// The node stops without a word.
    Kill(NodeId),
    /// The node's user speaks.
    Tell(NodeId, Command),
    /// The node's HTTP server stops or resumes answering.
    Http(NodeId, bool),
    /// The node's translator forgets all mappings: links to other tabs fall silent.
    Rebind(NodeId),
    /// A bit of a held group changes on the node's disk.
    Rot(NodeId, BlobRoot, u32),
    /// The weather changes everywhere.
    Weather(Weather),
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Happening {
    Deed(Deed),
    Wake(NodeId, u32),
    /// The message has left its sender's line.
    Left(Box<Parcel>, u32),
    /// The message is at its receiver's line.
    Arrived(Box<Parcel>),
    /// The message is through.
    Delivered(Box<Parcel>),
    /// A dial came through. The numbers are the lives of both.
    Linked {
        dialer: (NodeId, u32),
        other: (NodeId, u32),
    },
    DialFailed {
        dialer: (NodeId, u32),
        peer: PublicKey,
    },
    /// A node knows how it is reached.
    Described {
        node: (NodeId, u32),
        effect: EffectId,
        description: Option<Description>,
    },
    /// A node notices that its link is gone.
    Unlinked(NodeId, LinkId),
    /// A node looks whether it still has its supernodes.
    Attach(NodeId, u32),
    /// A request reached its HTTP server, and the first byte is ready.
    HttpReady {
        id: u64,
    },
    /// A client notices that its server is gone.
    HttpLost {
        client: (NodeId, u32),
        effect: EffectId,
    },
    /// Pages and groups are looked at each second of virtual time.
    Second,
}

/// A link and its two ends.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [NodeId; 2],
    pub(crate) base: Duration,
    /// Messages arriving later than this find nobody.
    pub(crate) closed_at: Option<Instant>,
    /// When the last message of each end's streams arrives: streams keep their order.
    pub(crate) last: BTreeMap<(NodeId, FlowId), Instant>,
}

/// An HTTP response under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response {
    pub(crate) client: NodeId,
    pub(crate) effect: EffectId,
    /// When its last message arrives: streams keep their order.
    pub(crate) last: Instant,
}

/// Bytes that arrived in one second, all nodes together.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondOfTraffic {
    /// Payload from tabs.
    pub peers: u64,
    /// Payload from supernodes over links.
    pub supernodes: u64,
    /// Payload by HTTP.
    pub http: u64,
    /// Control frames sent.
    pub frames: u64,
}

/// The world.
pub struct World {
    /// The number that everything follows from.
    pub seed: u64,
    pub(crate) agenda: Agenda<Happening>,
    /// All nodes; a node's number is its place here.
    pub nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) by_key: BTreeMap<PublicKey, NodeId>,
    pub(crate) blobs: BTreeMap<BlobRoot, Arc<Blob>>,
    pub(crate) rng: SeededRng,
    pub(crate) weather: Weather,
    /// HTTP responses under way.
    pub(crate) responses: BTreeMap<u64, Response>,
    pub(crate) next_response: u64,
    births: u32,
    /// Servers that do not answer at present.
    pub(crate) http_down: BTreeSet<NodeId>,
    invariants: Vec<Box<dyn Invariant>>,
    /// What was violated, in order. A run ends at the first.
    pub violations: Vec<Violation>,
    checksum: u64,
    happenings: u64,
    /// Traffic by second of virtual time.
    pub seconds: Vec<SecondOfTraffic>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, weather: Weather, invariants: Vec<Box<dyn Invariant>>) -> Self {
        let mut world = Self {
            seed,
            agenda: Agenda::default(),
            nodes: Vec::new(),
            links: Vec::new(),
            by_key: BTreeMap::new(),
            blobs: BTreeMap::new(),
            rng: SeededRng::from_number(seed),
            weather,
            responses: BTreeMap::new(),
            next_response: 0,
            births: 0,
            http_down: BTreeSet::new(),
            invariants,
            violations: Vec::new(),
            checksum: 0xcbf2_9ce4_8422_2325,
            happenings: 0,
            seconds: Vec::new(),
        };
        world.agenda.note(Instant::from_micros(1_000_000), Happening::Second);
        world
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.agenda.now()
    }

    /// A draw from the world's randomness.
    pub fn rng(&mut self) -> &mut SeededRng {
        &mut self.rng
    }

    /// A number that two equal runs share.
    pub const fn checksum(&self) -> u64 {
        self.checksum
    }

    /// How much happened so far.
    pub const fn happenings(&self) -> u64 {
        self.happenings
    }

    /// Adds a node that has not joined.
    ///
    /// # Panics
    /// Over 2³² nodes.
    pub fn add(&mut self, plan: Plan) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        let mut secret = [0; 32];
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&self.rng.next_u64().to_le_bytes());
        }
        let keypair = Keypair::from_secret(secret);
        self.by_key.insert(keypair.public(), id);
        self.nodes.push(Node::new(id, keypair, plan));
        id
    }

    /// Makes a blob known, so that nodes may hold it.
    pub fn publish(&mut self, blob: Blob) -> Arc<Blob> {
        let blob = Arc::new(blob);
        self.blobs.insert(blob.root(), blob.clone());
        blob
    }

    /// A site of these blobs.
    ///
    /// # Panics
    /// If there are more blobs than a site may have.
    pub fn site(&mut self, blobs: &[Arc<Blob>]) -> Arc<Manifest> {
        let publisher = Keypair::from_secret([7; 32]);
        let asset = |(index, blob): (usize, &Arc<Blob>)| {
            let path = format!("/{index:05}.bin").parse().expect("a plain path");
            let content_type = "application/octet-stream".to_owned();
            (path, Asset { root: blob.root(), shape: blob.shape(), content_type })
        };
        Arc::new(Manifest {
            publisher: publisher.public(),
            site: "sim.example".to_owned(),
            sequence: 1,
            issued: UnixSeconds(1_700_000_000),
            expires: UnixSeconds(1_900_000_000),
            assets: blobs.iter().enumerate().map(asset).collect(),
        })
    }

    /// Puts a whole blob on a node's disk.
    pub fn import(&mut self, node: NodeId, blob: &Arc<Blob>) {
        let now = self.now();
        self.node_mut(node).disk.import(now, blob);
    }

    /// Plans a deed.
    pub fn plan(&mut self, when: Instant, deed: Deed) {
        self.agenda.note(when, Happening::Deed(deed));
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Lets everything happen until `end`, or until `enough` says so (asked each second of virtual time), or
    /// an invariant is violated. Tells whether `enough` did.
    pub fn run(&mut self, end: Instant, mut enough: impl FnMut(&Self) -> bool) -> bool {
        let (mut moment, mut in_moment) = (self.now(), 0_u64);
        while self.violations.is_empty() {
            let Some(happening) = self.agenda.next_until(end) else { return false };
            if self.now() == moment {
                in_moment += 1;
            } else {
                (moment, in_moment) = (self.now(), 0);
            }
            if in_moment > MOMENT_BOUND {
                self.violate(None, "livelock", format!("{MOMENT_BOUND} happenings in one moment"));
                return false;
            }
            self.happenings += 1;
            let second = matches!(happening, Happening::Second);
            self.happen(happening);
            if second && enough(self) {
                return true;
            }
        }
        false
    }

    /// The last word of every invariant, once the network is healed and should be quiet.
    pub fn conclude(&mut self) {
        let mut invariants = core::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err((node, what)) = invariant.conclude(self) {
                self.violate(node, invariant.name(), what);
            }
        }
        self.invariants = invariants;
    }

    /// Shows a fact to every invariant.
    pub(crate) fn state(&mut self, node: NodeId, fact: &Fact<'_>) {
        if self.node(node).plan.malicious {
            return;
        }
        let now = self.now();
        let mut invariants = core::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err(what) = invariant.observe(now, node, fact) {
                self.violate(Some(node), invariant.name(), what);
            }
        }
        self.invariants = invariants;
    }

    pub(crate) fn violate(&mut self, node: Option<NodeId>, invariant: &'static str, what: String) {
        self.violations.push(Violation { seed: self.seed, when: self.now(), node, invariant, what });
    }

    /// Mixes a happening into the checksum (FNV-1a over words).
    pub(crate) fn trace(&mut self, node: NodeId, tag: u64, detail: u64) {
        for word in [self.agenda.now().as_micros(), u64::from(node.0), tag, detail] {
            self.checksum = (self.checksum ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn one_way(&self, a: NodeId, b: NodeId) -> Duration {
        let end = |id: NodeId| (self.node(id).plan.region, self.node(id).plan.access);
        one_way(end(a), end(b))
    }

    /// The current second's traffic.
    pub(crate) fn second(&mut self) -> &mut SecondOfTraffic {
        let index = usize::try_from(self.now().as_micros() / 1_000_000).unwrap_or(usize::MAX);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, SecondOfTraffic::default());
        }
        &mut self.seconds[index]
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deed(deed) => self.perform(deed),
            Happening::Wake(node, life) => self.wake(node, life),
            Happening::Left(parcel, life) => self.left(*parcel, life),
            Happening::Arrived(parcel) => {
                let now = self.now();
                let through = self.node_mut(parcel.to).downlink.accept(now, parcel.bytes);
                self.agenda.note(through, Happening::Delivered(parcel));
            }
            Happening::Delivered(parcel) => self.delivered(*parcel),
            Happening::Linked { dialer, other } => self.linked(dialer, other),
            Happening::DialFailed { dialer: (dialer, life), peer } => {
                if self.is_living(dialer, life) {
                    self.node_mut(dialer).tally.dials_failed += 1;
                    self.with_machine(dialer, |machine, now| machine.handle_dial_failed(now, &peer));
                }
            }
            Happening::Described { node: (node, life), effect, description } => {
                if self.is_living(node, life) {
                    self.with_machine(node, |machine, now| {
                        machine.handle_described(now, effect, description);
                    });
                }
            }
            Happening::Unlinked(node, link) => self.unlinked(node, link),
            Happening::Attach(node, life) => self.attach(node, life),
            Happening::HttpReady { id } => self.http_ready(id),
            Happening::HttpLost { client: (client, life), effect } => {
                if self.is_living(client, life) {
                    self.http_failed(client, effect);
                }
            }
            Happening::Second => {
                self.look();
                let next = self.now() + Duration::from_secs(1);
                self.agenda.note(next, Happening::Second);
            }
        }
    }

    /// What is looked at each second: queues.
    fn look(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if node.alive {
                let (id, backlog, links) = (node.id, node.backlog(), node.links.len());
                let (serving, fetching) = (node.serving.len(), node.fetches.len());
                let is_tab = node.plan.role == Role::Tab;
                self.state(id, &Fact::Looked { is_tab, backlog, links, serving, fetching });
            }
        }
    }

    pub(crate) fn is_living(&self, node: NodeId, life: u32) -> bool {
        let node = self.node(node);
        node.alive && node.lives == life
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Join(node) => self.join(node),
            Deed::Leave(node) => self.stop(node, None),
            Deed::Kill(node) => {
                let now = self.now();
                self.node_mut(node).disk.crash(now);
                self.stop(node, Some(SILENCE_DETECTED_AFTER));
            }
            Deed::Tell(node, command) => self.tell(node, command),
            Deed::Http(node, up) => {
                if up {
                    self.http_down.remove(&node);
                } else {
                    self.http_down.insert(node);
                    self.lose_responses(node);
                }
            }
            Deed::Rebind(node) => {
                let links: Vec<_> = self.node(node).links.clone().into_iter().collect();
                for (link, other) in links {
                    if self.node(other).plan.role == Role::Tab {
                        self.close(link, node, SILENCE_DETECTED_AFTER, SILENCE_DETECTED_AFTER);
                    }
                }
            }
            Deed::Rot(node, root, group) => {
                self.node_mut(node).disk.rot(root, group);
            }
            Deed::Weather(weather) => self.weather = weather,
        }
    }

    fn join(&mut self, id: NodeId) {
        if self.node(id).alive {
            return;
        }
        let (now, seed) = (self.now(), self.rng.next_u64());
        let supernodes = self.node(id).plan.supernodes.clone();
        let supernodes = supernodes.into_iter().map(|id| self.node(id).keypair.public()).collect();
        let visitor = self.births;
        self.births += 1;
        let node = self.node_mut(id);
        node.alive = true;
        node.lives += 1;
        node.tally.joined.get_or_insert(now);
        let life = node.lives;
        let birth = Birth {
            keypair: node.keypair.clone(),
            seed,
            now,
            visitor,
            region: node.plan.region,
            supernodes,
            http: (node.plan.edge.is_some(), node.plan.origin.is_some()),
        };
        node.machine = node.plan.make.as_ref().map(|make| make(&birth));
        let held: Vec<Command> = node
            .disk
            .blobs()
            .map(|(blob, groups)| (blob.root(), blob.shape(), groups.ranges()))
            .map(|(root, shape, groups)| Command::Add { root, shape, groups })
            .collect();
        let commands = node.plan.commands.clone();
        self.state(id, &Fact::Started);
        self.tell(id, Command::Addresses(vec![address(id)]));
        for command in held.into_iter().chain(commands) {
            self.tell(id, command);
        }
        self.attach(id, life);
    }

    /// The node's user speaks. What is here already is not fetched.
    fn tell(&mut self, id: NodeId, command: Command) {
        if !self.node(id).alive || self.node(id).machine.is_none() {
            return;
        }
        self.trace(id, 1, 0);
        let wanted = match &command {
            Command::Fetch { root, .. } => self.blobs.get(root).cloned(),
            _ => None,
        };
        if let Command::Budget(budget) = &command {
            self.state(id, &Fact::Budgeted(budget.upload_bytes));
        }
        let now = self.now();
        let fetch = self.node_mut(id).machine.as_mut().and_then(|machine| machine.command(now, command));
        if let (Some(fetch), Some(blob)) = (fetch, wanted) {
            self.state(id, &Fact::Commanded(fetch));
            self.node_mut(id).wanted.insert(fetch, blob);
        }
        self.drain(id);
    }

    /// Links to the supernodes that a node lost or never had.
    fn attach(&mut self, id: NodeId, life: u32) {
        if !self.is_living(id, life) {
            return;
        }
        for supernode in self.node(id).plan.supernodes.clone() {
            if self.node(id).links.values().any(|other| *other == supernode) {
                continue;
            }
            let (now, way) = (self.now(), self.one_way(id, supernode));
            if self.node(supernode).alive {
                let other = (supernode, self.node(supernode).lives);
                let when = now + 2 * SUPERNODE_ROUND_TRIPS * way;
                self.agenda.note(when, Happening::Linked { dialer: (id, life), other });
            } else {
                self.agenda.note(now + SUPERNODE_RETRY, Happening::Attach(id, life));
            }
        }
    }

    fn linked(&mut self, dialer: (NodeId, u32), other: (NodeId, u32)) {
        if !self.is_living(dialer.0, dialer.1) {
            return;
        }
        let (a, b) = (dialer.0, other.0);
        if !self.is_living(b, other.1) {
            let peer = self.node(b).keypair.public();
            self.agenda.note(self.now(), Happening::DialFailed { dialer, peer });
            return;
        }
        let link = LinkId(self.links.len() as u64);
        let base = self.one_way(a, b);
        self.links.push(Link { ends: [a, b], base, closed_at: None, last: BTreeMap::new() });
        self.trace(a, 2, u64::from(b.0));
        for (me, them, is_dialer) in [(a, b, true), (b, a, false)] {
            let peer = self.node(them).keypair.public();
            let node = self.node_mut(me);
            node.links.insert(link, them);
            node.tally.links_max = node.tally.links_max.max(node.links.len());
            let about = LinkAbout { peer, dialer: is_dialer, relayed: false };
            self.with_machine(me, |machine, now| machine.handle_linked(now, link, about));
        }
    }

    /// Ends a link. Each side notices after its time; messages under way get through within the shorter one.
    pub(crate) fn close(&mut self, link: LinkId, by: NodeId, ours: Duration, theirs: Duration) {
        let now = self.now();
        let index = usize::try_from(link.0).unwrap_or(usize::MAX);
        let Some(state) = self.links.get_mut(index).filter(|state| state.closed_at.is_none()) else { return };
        state.closed_at = Some(now + ours.max(theirs).min(2 * state.base));
        let [a, b] = state.ends;
        let other = if a == by { b } else { a };
        self.agenda.note(now + ours, Happening::Unlinked(by, link));
        self.agenda.note(now + theirs, Happening::Unlinked(other, link));
    }

    fn stop(&mut self, id: NodeId, noticed: Option<Duration>) {
        if !self.node(id).alive {
            return;
        }
        self.trace(id, 3, 0);
        let links: Vec<_> = self.node(id).links.keys().copied().collect();
        for link in links {
            let base = self.links[usize::try_from(link.0).unwrap_or(usize::MAX)].base;
            self.close(link, id, Duration::ZERO, noticed.unwrap_or(2 * base));
        }
        self.state(id, &Fact::Stopped);
        self.node_mut(id).stop();
        self.lose_responses(id);
    }
}

/// Where a node can be dialled: the multiaddress `/memory/<number>` (code 777).
pub(crate) fn address(id: NodeId) -> Vec<u8> {
    let mut bytes = vec![0x89, 0x06];
    bytes.extend_from_slice(&u64::from(id.0).to_be_bytes());
    bytes
}

/// A fetch command of a whole blob.
pub fn fetch(blob: &Blob, priority: shared::peer::Priority) -> Command {
    let (root, shape): (BlobRoot, BlobShape) = (blob.root(), blob.shape());
    Command::Fetch { root, shape, priority }
}
