//! Storage over strangers: this node holds shards for others, and others hold this node's.
//!
//! ```text
//!  CLI ─► door (a Unix socket) ─► own/ ─ put, get, watch ─┐                    ┌─► hold/ ─► store/
//!                                  │                      ├─ a stream an ask ──┤    (others' shards,
//!                            catalogue: one redb          │                    │     a quota of their own)
//!                            transaction a change         └─ adverts by gossip ┘
//! ```
//! What is decided, `shared::storage` decides: `upload`, `read`, `custody`. Here bytes are moved, and leases, records and
//! evidence are kept.
//!
//! Each half is off until its section of the configuration is there: `[storage.hold]` and `[storage.own]`.

pub mod door;
mod exchange;
mod heard;
pub mod hold;
mod join;
pub mod own;
mod segments;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shared::{
    identity::PublicKey,
    storage::{
        holders::{HolderAdvert, MAX_HOLDERS},
        placement::{Network as Place, REPUTATION_MIN, VETTING_AUDITS},
    },
};

pub use exchange::Incoming;
pub use heard::Heard;
pub use join::{ask_around, hear};
pub use segments::SpreadSegments;

/// Connects to a peer at one of its addresses; says whether that worked.
pub type Dial = Box<dyn Fn(PublicKey, Vec<Vec<u8>>) -> BoxFuture<'static, bool> + Send + Sync>;
/// Where we can be dialled at the moment, as binary multiaddresses.
pub type OwnAddresses = Box<dyn Fn() -> Vec<Vec<u8>> + Send + Sync>;
/// Tells everybody who listens for holders; says whether anybody heard.
pub type Publish = Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, bool> + Send + Sync>;

/// Connects to some who say in the DHT that they hold shards.
pub type Find = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The network, as both halves use it.
pub struct Network {
    /// Opens streams.
    pub links: links::Control,
    /// Connects.
    pub dial: Dial,
    /// Where we are.
    pub addresses: OwnAddresses,
    /// Tells what we offer.
    pub publish: Publish,
    /// Finds holders where no neighbour knows of any.
    pub find: Find,
    /// Who was dialled in the network that it claims.
    pub reached: Reached,
}

/// Which holders were reached where they say to be.
#[derive(Default)]
pub struct Reached(Mutex<BTreeMap<PublicKey, Place>>);

impl Network {
    fn was_reached(&self, holder: &HolderAdvert) -> bool {
        let reached = self.reached.0.lock().unwrap_or_else(PoisonError::into_inner);
        reached.get(&holder.node) == Some(&holder.network)
    }

    fn note_reached(&self, holder: &HolderAdvert) {
        let mut reached = self.reached.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is forgotten is dialled once more.
        if reached.len() >= MAX_HOLDERS {
            reached.clear();
        }
        reached.insert(holder.node.clone(), holder.network);
    }
}

/// The `[storage.hold]` section: shards of others, for as long as they lease them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldConfig {
    /// What others may fill, in MiB.
    pub quota_mib: u64,
    /// Asked for a GiB and a month, in the smallest unit of account.
    #[serde(default)]
    pub price: u64,
    /// Where this node stands, by the network's table of regions.
    #[serde(default)]
    pub region: u16,
    /// Whose lines carry its traffic.
    #[serde(default)]
    pub autonomous_system: u32,
    /// The key of whose this node is, to be counted as one with the operator's others; its own without.
    pub operator_key: Option<PathBuf>,
    /// How often it says that it is there. Others believe it for an hour at most.
    #[serde(default = "advert_seconds")]
    pub advert_seconds: u64,
}

const fn advert_seconds() -> u64 {
    300
}

/// The `[storage.own]` section: this node's objects, held by others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnConfig {
    /// For how long shards are leased; leases are renewed at half of it.
    pub lease_days: u64,
    /// The most that is paid for a GiB and a month.
    pub price_max: u64,
    /// The least reputation of a holder, of a thousand.
    pub reputation_min: u16,
    /// How many audits a holder must pass before its shards count. Lower it in a network of friends only: 0 trusts
    /// whoever advertises.
    pub vetting_audits: u64,
    /// Each shard is asked about once in so many seconds.
    pub audit_seconds: u64,
    /// A holder that answers nothing for so many seconds is given up, and its shards are rebuilt.
    pub gone_seconds: u64,
    /// As many extra copies of shards of each segment may lie with visitors' tabs, at most 8. They count nothing for
    /// durability and cost upload; 0 asks no tab.
    pub extra_shards: usize,
}

impl Default for OwnConfig {
    fn default() -> Self {
        Self {
            lease_days: 30,
            price_max: u64::MAX,
            reputation_min: REPUTATION_MIN,
            vetting_audits: VETTING_AUDITS,
            audit_seconds: 86_400,
            gone_seconds: 12 * 3600,
            extra_shards: 0,
        }
    }
}
