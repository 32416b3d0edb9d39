//! Fetching all that hangs on a root from peers that may have it.
//!
//! ```text
//!  to look at ──► held here? ── yes ──► its links ──► to look at
//!                     └─ no ──► wanted ──► asked of a peer ──► block ──► its links
//!                                  ▲            └─ not there, or silent: asked of the next
//!                                  └────────────┘
//! ```
//! Depth first, so that what waits is bounded by the tree's depth and width and not by its size.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Want;
use crate::{
    base::Instant,
    storage::ipfs::{Cid, DAG_PB, MAX_DEPTH, Node, RAW},
};

/// Blocks asked of one peer at a time: with chunks of 1 MiB, 16 MiB on the way.
const ASKED_OF_A_PEER: usize = 16;
/// A peer that has sent nothing that it was asked for, for so long, is asked no more for what it owes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Blocks that wait to be looked at.
const MAX_WAITING: usize = 256 * 1024;
/// Peers of one fetch; more would only be told what the others are asked.
const MAX_PEERS: usize = 16;

/// Why a fetch ended without all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Every peer says it has not got this block, or says nothing.
    #[error("no peer has {0}")]
    Missing(Cid),
    /// A block that cannot be followed.
    #[error("{0} cannot be followed: {1}")]
    Unreadable(Cid, String),
    /// More blocks, or deeper, than are followed.
    #[error("too many blocks, or too deep")]
    TooLarge,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// See whether this block is here, and say so by [`Fetch::handle_look`].
    Look(Cid),
    /// Tell a peer what is wanted of it, and what no longer is: peers remember wants until they hear so.
    Ask {
        /// Which.
        peer: u64,
        /// Wanted from now on.
        wants: Vec<Want>,
        /// Not wanted any more.
        cancels: Vec<Cid>,
    },
    /// Nothing, until a message comes or this time is reached.
    Wait(Instant),
    /// All is here.
    Done,
}

#[derive(Debug, Default)]
struct Peer {
    asked: BTreeSet<Cid>,
    lacking: BTreeSet<Cid>,
    /// Came since it was asked last; at most as many as are asked at a time.
    done: Vec<Cid>,
    /// When it last sent what it was asked for.
    heard: Instant,
}

/// A fetch under way. Peers are numbers that the shell gives out.
#[derive(Debug)]
pub struct Fetch {
    waiting: Vec<(Cid, u32)>,
    looking: Option<(Cid, u32)>,
    wanted: VecDeque<(Cid, u32)>,
    asked: BTreeMap<Cid, (u64, Instant, u32)>,
    seen: BTreeSet<Cid>,
    peers: BTreeMap<u64, Peer>,
    failed: Option<FetchError>,
}

impl Fetch {
    /// A fetch of all below `root`.
    pub fn new(root: Cid) -> Self {
        Self {
            waiting: vec![(root, 0)],
            looking: None,
            wanted: VecDeque::new(),
            asked: BTreeMap::new(),
            seen: BTreeSet::from([root]),
            peers: BTreeMap::new(),
            failed: None,
        }
    }

    /// A peer to ask. Says whether there is room for it.
    pub fn handle_peer(&mut self, peer: u64) -> bool {
        let room = self.peers.len() < MAX_PEERS || self.peers.contains_key(&peer);
        if room {
            self.peers.entry(peer).or_default();
        }
        room
    }

    /// A peer that is gone; what it was asked is asked of others.
    pub fn handle_gone(&mut self, peer: u64) {
        if let Some(gone) = self.peers.remove(&peer) {
            for cid in gone.asked {
                self.want_again(cid);
            }
        }
    }

    fn want_again(&mut self, cid: Cid) {
        if let Some((_, _, depth)) = self.asked.remove(&cid) {
            self.wanted.push_front((cid, depth));
        }
    }

    /// Whether the block that was looked for is here, and its bytes if it has links.
    pub fn handle_look(&mut self, found: Option<&[u8]>) {
        let Some((cid, depth)) = self.looking.take() else { return };
        match found {
            Some(bytes) => self.follow(cid, depth, bytes),
            None => self.wanted.push_back((cid, depth)),
        }
    }

    /// A block that came, named by the hash of its bytes. Says whether it was wanted, and so is to be stored.
    pub fn handle_block(&mut self, now: Instant, cid: Cid, bytes: &[u8]) -> bool {
        let Some((peer, _, depth)) = self.asked.remove(&cid) else { return false };
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.asked.remove(&cid);
            peer.done.push(cid);
            peer.heard = now;
        }
        self.follow(cid, depth, bytes);
        true
    }

    /// A peer says that it has not got a block.
    pub fn handle_lacking(&mut self, peer: u64, cid: Cid) {
        // Only what it was asked: others' names would fill its list.
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if known.asked.remove(&cid) {
            known.lacking.insert(cid);
            self.want_again(cid);
        }
    }

    fn follow(&mut self, cid: Cid, depth: u32, bytes: &[u8]) {
        for peer in self.peers.values_mut() {
            peer.lacking.remove(&cid);
        }
        match cid.codec() {
            RAW => {}
            DAG_PB => match Node::parse(bytes) {
                Ok(node) => {
                    if depth >= MAX_DEPTH && !node.links.is_empty() {
                        self.failed = Some(FetchError::TooLarge);
                        return;
                    }
                    for link in node.links.iter().rev() {
                        if self.seen.insert(link.cid) {
                            self.waiting.push((link.cid, depth + 1));
                        }
                    }
                    if self.waiting.len() > MAX_WAITING {
                        self.failed = Some(FetchError::TooLarge);
                    }
                }
                Err(error) => self.failed = Some(FetchError::Unreadable(cid, error.to_string())),
            },
            codec => {
                let why = format!("codec {codec:#x} is not known here");
                self.failed = Some(FetchError::Unreadable(cid, why));
            }
        }
    }

    /// What to do next.
    ///
    /// # Errors
    /// [`FetchError`]; the fetch is over then.
    pub fn poll_next(&mut self, now: Instant) -> Result<Next, FetchError> {
        self.give_up_waiting(now);
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.looking.is_none()
            && self.wanted.len() < ASKED_OF_A_PEER * self.peers.len().max(1)
            && let Some(next) = self.waiting.pop()
        {
            self.looking = Some(next);
            return Ok(Next::Look(next.0));
        }
        if let Some(ask) = self.ask(now) {
            return Ok(ask);
        }
        if let Some((cid, _)) = self.wanted.iter().find(|(cid, _)| !self.anybody_left(cid)) {
            return Err(FetchError::Missing(*cid));
        }
        if self.waiting.is_empty()
            && self.looking.is_none()
            && self.wanted.is_empty()
            && self.asked.is_empty()
        {
            return Ok(Next::Done);
        }
        let earliest = self.asked.values().map(|(peer, until, _)| self.deadline(*peer, *until)).min();
        Ok(Next::Wait(earliest.unwrap_or(now + PATIENCE)))
    }

    /// When to give up on a peer: a slow one that goes on sending is waited for.
    fn deadline(&self, peer: u64, until: Instant) -> Instant {
        self.peers.get(&peer).map_or(until, |peer| until.max(peer.heard + PATIENCE))
    }

    fn give_up_waiting(&mut self, now: Instant) {
        let late = self.asked.iter().filter(|(_, (peer, until, _))| self.deadline(*peer, *until) <= now);
        let late: Vec<_> = late.map(|(cid, (peer, ..))| (*cid, *peer)).collect();
        for (cid, peer) in late {
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.asked.remove(&cid);
                peer.lacking.insert(cid);
                peer.done.push(cid);
            }
            self.want_again(cid);
        }
    }

    fn anybody_left(&self, cid: &Cid) -> bool {
        self.peers.values().any(|peer| !peer.lacking.contains(cid))
    }

    fn ask(&mut self, now: Instant) -> Option<Next> {
        // Whoever is asked least is asked next.
        let mut order: Vec<_> = self.peers.iter().map(|(number, peer)| (peer.asked.len(), *number)).collect();
        order.sort_unstable();
        for (busy, number) in order {
            let room = ASKED_OF_A_PEER.saturating_sub(busy);
            let peer = self.peers.get_mut(&number)?;
            let mut wants = Vec::new();
            let mut left = VecDeque::new();
            while let Some((cid, depth)) = self.wanted.pop_front() {
                if wants.len() == room || peer.lacking.contains(&cid) {
                    left.push_back((cid, depth));
                    continue;
                }
                peer.asked.insert(cid);
                self.asked.insert(cid, (number, now + PATIENCE, depth));
                wants.push(Want { cid, priority: 1, have: false, tell_absence: true });
            }
            self.wanted = left;
            if !wants.is_empty() {
                let cancels = std::mem::take(&mut peer.done);
                return Some(Next::Ask { peer: number, wants, cancels });
            }
        }
        None
    }
}
