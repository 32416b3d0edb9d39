//! A supernode's list of who takes part in which site, and what it makes of reports.
//!
//! # Why slander does not work
//! A report is signed by its reporter and comes from it directly. It counts only if
//! 1. this supernode introduced the two to each other,
//! 2. the reporter is known to receive: *others* handed in receipts that it signed, for a mebibyte or more, and
//! 3. together with it [`REPORTERS_MIN`] distinct reporters, and more than a quarter of those whose receipts the
//!    accused handed in, say the same.
//!
//! Then, and for [`REPORT_LIFETIME`] only, the accused is named after everybody else. It is never refused: what a
//! supernode can take away by hearsay is a place in a list. Each victim cuts a liar by itself, on its own evidence.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;

use super::receipts::Receipt;
use crate::{
    base::{Instant, SeededRng, SiteId},
    identity::{Context, PublicKey},
    wire::cdn as wire,
};

/// Members over all sites: at some 600 bytes each, 60 MB.
pub const MAX_MEMBERS: usize = 100_000;
/// Sites listed.
pub const MAX_TRACKED_SITES: usize = 4096;
/// Distinct reporters before anything follows.
pub const REPORTERS_MIN: usize = 3;
/// A reporter has verified at least this much of others' bytes: false witnesses cost bandwidth.
pub const REPORTER_BYTES_MIN: u64 = 1024 * 1024;
/// Reports are forgotten after that.
pub const REPORT_LIFETIME: Duration = Duration::from_secs(600);
/// Introductions, reporters and vouchers remembered a member.
const MAX_REMEMBERED: usize = 64;
/// A longer report is none: two keys, two numbers.
const MAX_REPORT_BYTES: usize = 128;

/// One listed peer.
#[derive(Clone, Debug, Default)]
struct Member {
    addresses: Vec<Vec<u8>>,
    region: u32,
    /// Place in each site's order.
    sites: BTreeMap<SiteId, usize>,
    /// Keys as bytes: ready to verify by they would take six times as much.
    introduced: VecDeque<[u8; 32]>,
    /// Who signed for bytes of this member, and how many.
    receipted_by: BTreeMap<PublicKey, u64>,
    /// What others showed this member to have verified.
    received: u64,
    reporters: BTreeMap<PublicKey, Instant>,
    /// How often it was among the first named of an answer: those are dialled.
    dialled: u32,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    members: BTreeMap<PublicKey, Member>,
    sites: BTreeMap<SiteId, Vec<PublicKey>>,
}

impl Tracker {
    /// Members listed for a site.
    pub fn swarm(&self, site: &SiteId) -> usize {
        self.sites.get(site).map_or(0, Vec::len)
    }

    /// Members listed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is listed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Lists `peer`; false where the list is full.
    pub fn enter(&mut self, peer: &PublicKey, site: SiteId, region: u32, addresses: Vec<Vec<u8>>) -> bool {
        let full = !self.members.contains_key(peer) && self.members.len() >= MAX_MEMBERS;
        if full || (!self.sites.contains_key(&site) && self.sites.len() >= MAX_TRACKED_SITES) {
            return false;
        }
        let member = self.members.entry(peer.clone()).or_default();
        member.region = region;
        member.addresses = addresses;
        let order = self.sites.entry(site).or_default();
        if let std::collections::btree_map::Entry::Vacant(place) = member.sites.entry(site) {
            place.insert(order.len());
            order.push(peer.clone());
        }
        true
    }

    /// Takes `peer` off all lists.
    pub fn leave(&mut self, peer: &PublicKey) {
        let Some(member) = self.members.remove(peer) else { return };
        for (site, place) in member.sites {
            let Some(order) = self.sites.get_mut(&site) else { continue };
            order.swap_remove(place);
            if let Some(moved) = order.get(place)
                && let Some(moved) = self.members.get_mut(moved)
            {
                moved.sites.insert(site, place);
            }
            if order.is_empty() {
                self.sites.remove(&site);
            }
        }
    }

    /// Names up to `count` others of a site: a random draw, ordered by standing, new ones before those named to it
    /// before. In the first half, which is dialled
    /// first, stand those who were there least often: whoever has few links has little to choose from, and is done
    /// late. In the second half stand those of the same region.
    pub fn introduce(
        &mut self,
        now: Instant,
        peer: &PublicKey,
        site: &SiteId,
        count: usize,
        rng: &mut SeededRng,
    ) -> Vec<wire::PeerEntry> {
        let Some(order) = self.sites.get(site) else { return Vec::new() };
        let region = self.members.get(peer).map_or(0, |member| member.region);
        let mut drawn: Vec<PublicKey> = Vec::new();
        // Three times as many as needed, to choose from; draws repeat, so a few more.
        for _ in 0..count.saturating_mul(4) {
            let Some(other) = rng.pick(order) else { break };
            if other != peer && !drawn.contains(other) && drawn.len() < count * 3 {
                drawn.push(other.clone());
            }
        }
        if order.len() <= count * 2 {
            drawn = order.iter().filter(|other| *other != peer).cloned().collect();
            rng.shuffle(&mut drawn);
        }
        let far = |key: &PublicKey| self.members.get(key).is_none_or(|member| member.region != region);
        let poor = |key: &PublicKey| self.members.get(key).is_some_and(|member| member.is_poor(now));
        let dialled = |key: &PublicKey| self.members.get(key).map_or(0, |member| member.dialled);
        let met = self.members.get(peer).map(|member| &member.introduced);
        let met = |key: &PublicKey| met.is_some_and(|met| met.contains(&key.to_bytes()));
        drawn.sort_by_key(|key| (poor(key), met(key), dialled(key)));
        let head = count.div_ceil(2).min(drawn.len());
        drawn[head..].sort_by_key(|key| (poor(key), far(key)));
        drawn.truncate(count);
        let mut entries = Vec::new();
        for (place, key) in drawn.into_iter().enumerate() {
            let Some(member) = self.members.get_mut(&key) else { continue };
            member.dialled = member.dialled.saturating_add(u32::from(place < head));
            remember(&mut member.introduced, peer);
            entries.push(wire::PeerEntry {
                peer: key.to_bytes().to_vec(),
                addresses: member.addresses.clone(),
                region: member.region,
                role: wire::Role::Tab.into(),
            });
            if let Some(asker) = self.members.get_mut(peer) {
                remember(&mut asker.introduced, &key);
            }
        }
        entries
    }

    /// Takes a receipt that `provider` handed in. How many bytes it says more than the one before.
    pub fn hand_in(&mut self, provider: &PublicKey, signed: &wire::SignedReceipt) -> u64 {
        let Ok(receipt) = Receipt::open(signed) else { return 0 };
        if receipt.provider != *provider || receipt.receiver == *provider {
            return 0;
        }
        let Some(member) = self.members.get_mut(provider) else { return 0 };
        let known = member.receipted_by.contains_key(&receipt.receiver);
        if !known && member.receipted_by.len() >= MAX_REMEMBERED {
            return 0;
        }
        let counted = member.receipted_by.entry(receipt.receiver.clone()).or_default();
        let gained = receipt.bytes.saturating_sub(*counted);
        *counted += gained;
        if let Some(receiver) = self.members.get_mut(&receipt.receiver) {
            receiver.received = receiver.received.saturating_add(gained);
        }
        gained
    }

    /// Takes a report from `reporter`, who is on the other end of the link. Whether it counted.
    pub fn report(&mut self, now: Instant, reporter: &PublicKey, signed: &wire::SignedReport) -> bool {
        if signed.report.len() > MAX_REPORT_BYTES
            || !reporter.verify(Context::Report, &signed.report, &signed.signature)
        {
            return false;
        }
        let Ok(report) = wire::Report::decode(signed.report.as_slice()) else { return false };
        let Ok(accused) = PublicKey::from_bytes(&report.accused) else { return false };
        if report.reporter != reporter.to_bytes() || accused == *reporter {
            return false;
        }
        let receives = self.members.get(reporter).is_some_and(|member| member.received >= REPORTER_BYTES_MIN);
        let Some(member) = self.members.get_mut(&accused) else { return false };
        if !receives || !member.introduced.contains(&reporter.to_bytes()) {
            return false;
        }
        member.reporters.retain(|_, at| now.since(*at) < REPORT_LIFETIME);
        if member.reporters.len() < MAX_REMEMBERED {
            member.reporters.insert(reporter.clone(), now);
        }
        true
    }

    /// Whether a peer is named last.
    pub fn is_poor(&self, now: Instant, peer: &PublicKey) -> bool {
        self.members.get(peer).is_some_and(|member| member.is_poor(now))
    }
}

impl Member {
    fn is_poor(&self, now: Instant) -> bool {
        let reporters = self.reporters.values().filter(|at| now.since(**at) < REPORT_LIFETIME).count();
        reporters >= REPORTERS_MIN && reporters * 4 > self.receipted_by.len()
    }
}

fn remember(list: &mut VecDeque<[u8; 32]>, key: &PublicKey) {
    let key = key.to_bytes();
    if !list.contains(&key) {
        if list.len() >= MAX_REMEMBERED {
            list.pop_front();
        }
        list.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cdn::receipts::Verified, identity::Keypair};

    const SITE: SiteId = SiteId([9; 32]);

    fn key(n: u8) -> Keypair {
        Keypair::from_secret([n; 32])
    }

    fn world(peers: u8) -> (Tracker, SeededRng) {
        let (mut tracker, mut rng) = (Tracker::default(), SeededRng::from_number(1));
        for n in 1..=peers {
            assert!(tracker.enter(&key(n).public(), SITE, 0, vec![vec![n]]));
        }
        for n in 1..=peers {
            tracker.introduce(Instant::default(), &key(n).public(), &SITE, 32, &mut rng);
        }
        (tracker, rng)
    }

    fn accuse(tracker: &mut Tracker, reporter: u8, accused: u8) -> bool {
        let kind = wire::OffenceKind::BadPiece;
        let report = crate::cdn::report::sign(&key(reporter), &key(accused).public(), kind, 1);
        tracker.report(Instant::default(), &key(reporter).public(), &report)
    }

    fn vouch(tracker: &mut Tracker, provider: u8, receiver: u8) {
        let receipt =
            Receipt::sign(&key(receiver), &key(provider).public(), 1, Verified::of(REPORTER_BYTES_MIN));
        tracker.hand_in(&key(provider).public(), &receipt);
    }

    #[test]
    fn reports_of_three_who_receive_put_a_liar_last() {
        let (mut tracker, _) = world(8);
        let liar = key(8).public();
        for reporter in 1..=3 {
            assert!(!accuse(&mut tracker, reporter, 8), "unknown receivers do not count");
            vouch(&mut tracker, 5, reporter);
            assert!(!tracker.is_poor(Instant::default(), &liar));
            assert!(accuse(&mut tracker, reporter, 8));
        }
        assert!(tracker.is_poor(Instant::default(), &liar));
        let later = Instant::default() + REPORT_LIFETIME;
        assert!(!tracker.is_poor(later, &liar));
    }

    #[test]
    fn slander_does_not_work() {
        let (mut tracker, _) = world(20);
        for receiver in 1..=15 {
            vouch(&mut tracker, 20, receiver);
        }
        for slanderer in 1..=3 {
            assert!(accuse(&mut tracker, slanderer, 20));
            assert!(accuse(&mut tracker, slanderer, 20), "a second report counts no more than the first");
        }
        assert!(!tracker.is_poor(Instant::default(), &key(20).public()), "outvoted by those it served");
        let forged = crate::cdn::report::sign(&key(4), &key(20).public(), wire::OffenceKind::BadPiece, 1);
        assert!(!tracker.report(Instant::default(), &key(5).public(), &forged));
    }

    #[test]
    fn nobody_is_left_with_few_links() {
        let (mut tracker, mut rng) = (Tracker::default(), SeededRng::from_number(1));
        // Early ones stand in every draw, late ones in few: by chance alone, some would be dialled ten times and more.
        for n in 1..=200 {
            tracker.enter(&key(n).public(), SITE, 0, vec![vec![n]]);
            tracker.introduce(Instant::default(), &key(n).public(), &SITE, 8, &mut rng);
        }
        let dialled: Vec<u32> = tracker.members.values().map(|member| member.dialled).collect();
        assert!(dialled.iter().all(|times| *times <= 8), "{dialled:?}");
        assert!(dialled.iter().filter(|times| **times == 0).count() <= 8, "{dialled:?}");
    }

    #[test]
    fn members_leave_and_are_no_longer_named() {
        let (mut tracker, mut rng) = world(10);
        for n in [3, 10, 1] {
            tracker.leave(&key(n).public());
        }
        assert_eq!(tracker.swarm(&SITE), 7);
        let named = tracker.introduce(Instant::default(), &key(2).public(), &SITE, 32, &mut rng);
        assert_eq!(named.len(), 6);
        for n in [2, 4, 5, 6, 7, 8, 9] {
            tracker.leave(&key(n).public());
        }
        assert_eq!((tracker.swarm(&SITE), tracker.len()), (0, 0));
    }
}
