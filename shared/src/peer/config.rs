//! What a peer is told once, when it is made, and what its user may change at any time.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::identity::{Keypair, PublicKey};

/// What a peer is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A visitor's tab: comes and goes, serves within its visitor's consent and budget.
    Tab,
    /// A supernode: seeds, introduces peers to each other, counts as infrastructure.
    Supernode,
}

/// What a peer is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub keypair: Keypair,
    /// What we are.
    pub role: Role,
    /// UN M49 area code, 0 for unknown. Peers of one region are preferred.
    pub region: u32,
    /// Whose introductions we believe. A tab's own supernodes.
    pub supernodes: BTreeSet<PublicKey>,
    /// Which plain HTTP sources the shell can reach.
    pub http: HttpSources,
    /// Bounds an operator may want to move.
    pub limits: Limits,
}

/// Which plain HTTP sources the shell can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSources {
    /// A supernode's edge: groups by range, hash pages and tops.
    pub edge: bool,
    /// The publisher's origin: groups by range, once their hash pages are known.
    pub origin: bool,
}

/// Bounds an operator may want to move. The defaults suit a tab; see [`Limits::supernode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Links alive at once. Chrome counts connections over a process's life, and a page wants few.
    pub links_max: usize,
    /// Links a peer tries to have; with fewer it seeks more, and with as many it passes offers on to who has fewer.
    pub links_wanted: usize,
    /// Links served at once, besides the optimistic one.
    pub upload_slots: usize,
    /// Answers under way in the shell at once, over all links; those after them go to whoever is furthest behind.
    /// Nothing where the line is wider than all who ask.
    pub serving_max: Option<usize>,
    /// Bytes asked of one link and not yet here, at most: the bandwidth-delay product of 100 Mbit/s over
    /// 160 ms.
    pub pipeline_bytes_max: u64,
    /// HTTP requests under way at once: as many as browsers allow to a host that speaks HTTP/1.1.
    pub http_requests_max: usize,
    /// How long groups collect before they are announced.
    pub have_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links_max: 12,
            links_wanted: 8,
            upload_slots: 8,
            // Enough to keep a line busy; with six, a swarm's last visitors are done a tenth later.
            serving_max: Some(3),
            pipeline_bytes_max: 2 * 1024 * 1024,
            http_requests_max: 6,
            have_interval: Duration::from_millis(250),
        }
    }
}

impl Limits {
    /// For a process on a server.
    pub fn supernode() -> Self {
        Self { links_max: 10_000, upload_slots: 2000, serving_max: None, ..Self::default() }
    }
}

/// What the user allows. Off until they said otherwise, or the publisher's policy says "on".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Serve what we hold. Taking it back stops serving within the call.
    pub serve: bool,
    /// Fetch from peers, not only by HTTP.
    pub fetch: bool,
}

/// Payload bytes that may still flow to and from peers. HTTP is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Upwards.
    pub upload_bytes: u64,
    /// Downwards.
    pub download_bytes: u64,
}

impl Budget {
    /// No limit.
    pub const UNLIMITED: Self = Self { upload_bytes: u64::MAX, download_bytes: u64::MAX };
}
