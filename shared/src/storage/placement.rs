//! Placement: which holders a segment's shards go to.
//!
//! Everybody who knows the same holders chooses the same ones, by weighted rendezvous hashing (Schindelhauer and
//! Schomaker, *Weighted Distributed Hash Tables*, SPAA 2005, the logarithmic method): each holder's score is its
//! weight over the negated logarithm of a hash of segment and holder, and the highest scores win, as far as the
//! rules of independence let them:
//!
//! - one shard an operator, and one a network (/24 of IPv4, /64 of IPv6);
//! - no more than a fifth of a segment's shards in one region, or in one autonomous system.
//!
//! A holder that was not chosen may come or go without any shard moving. Only vetted supernodes are chosen; tabs and
//! newcomers may get extra shards, which count nothing for durability.
//!
//! Taking the best first can leave a place empty that a cleverer choice would have filled, where few holders share
//! operators, regions and networks crosswise. It is [`Placement::missing`] then, and the caller takes a narrower
//! profile.
//!
//! Non-goals: whether an advert says the truth about region and operator, and negotiating with holders.

mod score;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::erasure::Profile;
use crate::{base::SegmentId, identity::PublicKey};
use score::Score;

/// A holder counts once it passed this many audits: with one an hour, that is four days.
pub const VETTING_AUDITS: u64 = 100;
/// A region or autonomous system may hold one of this many shards.
pub const SHARE_OF_REGION: u16 = 5;
/// Extra shards at most, with holders that count nothing: they are for speed, and cost upload.
pub const MAX_EXTRAS: usize = 8;
/// Best reputation.
pub const REPUTATION_MAX: u16 = 1000;
/// Below it nothing new is placed with a holder, unless an owner sets another line.
pub const REPUTATION_MIN: u16 = 500;

/// What may vanish as one because one line feeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// The first 24 bits.
    V4([u8; 3]),
    /// The first 64 bits.
    V6([u8; 8]),
}

impl Network {
    /// The network of an address; an IPv4 address written as IPv6 is an IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What a holder runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HolderKind {
    /// A process that means to stay.
    Supernode,
    /// A visitor's tab.
    Tab,
}

/// A holder, as its advert and its audits show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its key.
    pub node: PublicKey,
    /// Whose it is.
    pub operator: PublicKey,
    /// Where it is reached.
    pub network: Network,
    /// Where it stands; a number of the network's own table.
    pub region: u16,
    /// Who carries its traffic.
    pub autonomous_system: u32,
    /// What it has room for.
    pub free_bytes: u64,
    /// For a GiB and a month, in the smallest unit of account.
    pub price: u64,
    /// From 0 to [`REPUTATION_MAX`].
    pub reputation: u16,
    /// Audits it passed.
    pub passed_audits: u64,
    /// What it runs on.
    pub kind: HolderKind,
}

impl Holder {
    /// Whether a shard here counts for durability.
    pub fn counts(&self) -> bool {
        self.kind == HolderKind::Supernode && self.passed_audits >= VETTING_AUDITS
    }
}

/// What a segment needs holders for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The segment's profile: its total bounds what a region may hold.
    pub profile: Profile,
    /// How many shards are to be placed: all of them at first, what was lost later.
    pub shards: u16,
    /// How many more holders to name, of the same independence, for when one of the chosen is slow.
    pub spares: u16,
    /// Each shard's length.
    pub shard_bytes: u64,
    /// The most that is paid for a GiB and a month.
    pub price_max: u64,
    /// The least reputation.
    pub reputation_min: u16,
}

/// Why a holder got no shard although others did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassedOver {
    /// No room for a shard.
    Full,
    /// Asks for more than is paid.
    Expensive,
    /// Of less reputation than is asked for.
    Unreliable,
    /// Not vetted, or a tab.
    Uncounted,
    /// Its operator has a shard.
    Operator,
    /// Its network has a shard.
    Network,
    /// Its region has its fifth.
    Region,
    /// Its autonomous system has its fifth.
    AutonomousSystem,
}

/// Who is to hold what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement<'a> {
    /// A shard each, best first.
    pub chosen: Vec<&'a Holder>,
    /// To stand in for any of the chosen.
    pub spares: Vec<&'a Holder>,
    /// May hold an extra shard, and count nothing.
    pub extras: Vec<&'a Holder>,
    /// How many shards found no holder.
    pub missing: u16,
    /// How many holders were passed over, and why: what an operator reads who gets no shards.
    pub passed_over: BTreeMap<PassedOver, u32>,
}

/// Chooses among `holders`, beside those that hold shards of the segment already and keep them.
pub fn place<'a, 'b>(
    segment: SegmentId,
    need: &Need,
    kept: impl IntoIterator<Item = &'b Holder>,
    holders: impl IntoIterator<Item = &'a Holder>,
) -> Placement<'a> {
    let mut ranked: Vec<(Score, &Holder)> =
        holders.into_iter().map(|holder| (Score::new(segment, holder, need.price_max), holder)).collect();
    // Highest score first; the key decides between equals, so that the order of `holders` never does.
    ranked.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.node.cmp(&right.node)));

    let mut taken = Taken::new(need.profile);
    kept.into_iter().for_each(|holder| taken.take(holder));
    let wanted = usize::from(need.shards) + usize::from(need.spares);
    let (mut chosen, mut newcomers, mut passed_over) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (_, holder) in ranked {
        let obstacle = need.obstacle(holder).or_else(|| taken.obstacle(holder));
        match obstacle {
            Some(obstacle) => *passed_over.entry(obstacle).or_insert(0) += 1,
            None if !holder.counts() => newcomers.push(holder),
            None if chosen.len() < wanted => {
                taken.take(holder);
                chosen.push(holder);
            }
            // Eligible, and simply not among the highest.
            None => {}
        }
    }
    let spares = chosen.split_off(chosen.len().min(usize::from(need.shards)));
    let extras = extras(&newcomers, &mut taken);
    let uncounted = newcomers.len() - extras.len();
    if uncounted > 0 {
        passed_over.insert(PassedOver::Uncounted, u32::try_from(uncounted).unwrap_or(u32::MAX));
    }
    let found = u16::try_from(chosen.len()).expect("no more than need.shards");
    Placement { chosen, spares, extras, missing: need.shards - found, passed_over }
}

/// After all that count, so that none of them is kept out by one that does not.
fn extras<'a>(newcomers: &[&'a Holder], taken: &mut Taken) -> Vec<&'a Holder> {
    let mut extras = Vec::new();
    for holder in newcomers {
        if extras.len() < MAX_EXTRAS && taken.obstacle(holder).is_none() {
            taken.take(holder);
            extras.push(*holder);
        }
    }
    extras
}

impl Need {
    fn obstacle(&self, holder: &Holder) -> Option<PassedOver> {
        if holder.free_bytes < self.shard_bytes {
            Some(PassedOver::Full)
        } else if holder.price > self.price_max {
            Some(PassedOver::Expensive)
        } else if holder.reputation < self.reputation_min {
            Some(PassedOver::Unreliable)
        } else {
            None
        }
    }
}

/// What the holders so far have used up of the segment's independence.
struct Taken {
    operators: BTreeSet<PublicKey>,
    networks: BTreeSet<Network>,
    regions: BTreeMap<u16, u16>,
    systems: BTreeMap<u32, u16>,
    /// What a region or autonomous system may hold; at least one, or nothing could be stored at all.
    share: u16,
}

impl Taken {
    fn new(profile: Profile) -> Self {
        Self {
            operators: BTreeSet::new(),
            networks: BTreeSet::new(),
            regions: BTreeMap::new(),
            systems: BTreeMap::new(),
            share: (profile.total_shards() / SHARE_OF_REGION).max(1),
        }
    }

    fn obstacle(&self, holder: &Holder) -> Option<PassedOver> {
        if self.operators.contains(&holder.operator) {
            Some(PassedOver::Operator)
        } else if self.networks.contains(&holder.network) {
            Some(PassedOver::Network)
        } else if self.regions.get(&holder.region).is_some_and(|held| *held >= self.share) {
            Some(PassedOver::Region)
        } else if self.systems.get(&holder.autonomous_system).is_some_and(|held| *held >= self.share) {
            Some(PassedOver::AutonomousSystem)
        } else {
            None
        }
    }

    fn take(&mut self, holder: &Holder) {
        self.operators.insert(holder.operator.clone());
        self.networks.insert(holder.network);
        *self.regions.entry(holder.region).or_default() += 1;
        *self.systems.entry(holder.autonomous_system).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
