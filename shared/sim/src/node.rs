//! A node: a machine's decisions, a store, and an access line to the network.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use shared::{
    base::{BlobRoot, EffectId, Instant, LinkId, RequestId},
    cdn::part::{Piece, Run},
    identity::{Keypair, PublicKey},
    peer::{FetchId, HttpSource, Meters, Role, SourceBytes},
};

use crate::{
    content::{Blob, Payload},
    disk::Disk,
    machine::{Command, Machine},
    net::{Downlink, Nat, Region, Uplink},
};

/// A node's number in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Makes a node's machine, at its birth and again after each crash. The number seeds it.
pub type Make = Box<dyn Fn(&Birth) -> Box<dyn Machine>>;

/// What a machine knows when it is made.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Who it is.
    pub keypair: Keypair,
    /// Another one for each life.
    pub seed: u64,
    /// The present.
    pub now: Instant,
    /// How many were born before.
    pub visitor: u32,
    /// Where it is.
    pub region: Region,
    /// Its supernodes.
    pub supernodes: BTreeSet<PublicKey>,
    /// Whether it has an edge and an origin.
    pub http: (bool, bool),
}

/// A node as a scenario describes it.
pub struct Plan {
    /// What it is to others.
    pub role: Role,
    /// Bytes a second up,
    pub up: u64,
    /// and down.
    pub down: u64,
    /// Where it is.
    pub region: Region,
    /// One-way time of its access network.
    pub access: Duration,
    /// What stands between it and the internet.
    pub nat: Option<Nat>,
    /// The supernodes it attaches to.
    pub supernodes: Vec<NodeId>,
    /// Whose edge it uses.
    pub edge: Option<NodeId>,
    /// Which origin it uses.
    pub origin: Option<NodeId>,
    /// What it says to its machine at the start of each life.
    pub commands: Vec<Command>,
    /// What it is.
    pub make: Option<Make>,
    /// Whether it is out to harm: its own state is nobody's concern.
    pub malicious: bool,
}

/// A request that this node made to a peer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) root: BlobRoot,
    pub(crate) pieces: VecDeque<Piece>,
}

/// A request that this node serves.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) link: LinkId,
    pub(crate) request: RequestId,
    pub(crate) sent: u64,
}

/// A plain HTTP request under way.
#[derive(Debug)]
pub(crate) struct HttpFetch {
    pub(crate) id: u64,
    pub(crate) source: HttpSource,
    pub(crate) server: NodeId,
    pub(crate) root: BlobRoot,
    pub(crate) run: Run,
    /// Pieces that came before the page that judges them.
    pub(crate) held: Vec<Payload>,
    /// Whether the last piece came.
    pub(crate) ended: bool,
}

/// What is counted of a node.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// When it joined first.
    pub joined: Option<Instant>,
    /// When each blob was complete.
    pub completed: BTreeMap<BlobRoot, Instant>,
    /// Payload that verified and was new, by source.
    pub received: SourceBytes,
    /// Payload that was here already.
    pub again: u64,
    /// Payload that did not verify.
    pub bad: u64,
    /// Payload pieces that did not verify.
    pub bad_pieces: u64,
    /// Payload sent to peers.
    pub sent: u64,
    /// Payload sent by its HTTP server.
    pub http_sent: u64,
    /// Control frames sent,
    pub frames: u64,
    /// and their bytes.
    pub frame_bytes: u64,
    /// Messages through a supernode on behalf of this node: asking for peers, offers and answers.
    pub signals: u64,
    /// And through other tabs.
    pub neighbour_signals: u64,
    /// Dials made, and those that failed.
    pub dials: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Links it had at most.
    pub links_max: usize,
    /// Peers it cut, by the number of the node.
    pub cut: Vec<NodeId>,
    /// Fetches that were handed back to the plain network.
    pub fell_back: u64,
}

/// A node.
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its key.
    pub keypair: Keypair,
    /// As its scenario described it.
    pub plan: Plan,
    /// Whether it runs.
    pub alive: bool,
    /// How often it was started.
    pub lives: u32,
    /// Its store; survives crashes, but for what was not flushed.
    pub disk: Disk,
    /// What is counted.
    pub tally: Tally,
    /// Links that the machine knows, and whom they lead to.
    pub links: BTreeMap<LinkId, NodeId>,
    pub(crate) machine: Option<Box<dyn Machine>>,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    pub(crate) asked: BTreeMap<(LinkId, RequestId), Asked>,
    pub(crate) serving: BTreeMap<EffectId, Serving>,
    pub(crate) fetches: BTreeMap<EffectId, HttpFetch>,
    /// Fetch commands not answered yet.
    pub(crate) wanted: BTreeMap<FetchId, Arc<Blob>>,
    /// Servers to which a connection is open.
    pub(crate) warm: BTreeSet<NodeId>,
    pub(crate) wake: Option<Instant>,
}

impl Node {
    /// A node that has not joined yet.
    pub(crate) fn new(id: NodeId, keypair: Keypair, plan: Plan) -> Self {
        Self {
            id,
            keypair,
            uplink: Uplink::new(plan.up),
            downlink: Downlink::new(plan.down),
            plan,
            alive: false,
            lives: 0,
            disk: Disk::default(),
            tally: Tally::default(),
            links: BTreeMap::new(),
            machine: None,
            asked: BTreeMap::new(),
            serving: BTreeMap::new(),
            fetches: BTreeMap::new(),
            wanted: BTreeMap::new(),
            warm: BTreeSet::new(),
            wake: None,
        }
    }

    /// Fetch commands that were not answered yet.
    pub fn unanswered(&self) -> usize {
        self.wanted.len()
    }

    /// Whether it was told to take the plain network instead, which a page does at once.
    pub fn fell_back(&self) -> bool {
        self.wanted.is_empty() && self.tally.fell_back > 0
    }

    /// What its machine counted itself, where it counts.
    pub fn meters(&self) -> Option<Meters> {
        self.machine.as_ref().and_then(|machine| machine.meters())
    }

    /// Messages that wait to be sent.
    pub fn backlog(&self) -> usize {
        self.uplink.waiting()
    }

    /// Forgets what a process holds in memory.
    pub(crate) fn stop(&mut self) {
        self.alive = false;
        self.machine = None;
        self.uplink = Uplink::new(self.plan.up);
        self.asked.clear();
        self.serving.clear();
        self.fetches.clear();
        self.wanted.clear();
        self.warm.clear();
        self.links.clear();
        self.wake = None;
    }
}
