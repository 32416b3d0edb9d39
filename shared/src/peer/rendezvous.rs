//! What only a supernode does: it lists who takes part in which site, and introduces them to each other.
//!
//! Behind the feature `rendezvous`, so that visitors do not download it: a tab lists nobody.

use super::Peer;
use crate::{
    base::{BlobRoot, Instant, LinkId, SiteId},
    cdn::{introduction::Offer, messages::AskPeers},
    identity::PublicKey,
    wire::cdn::SignedReport,
};

#[cfg(feature = "rendezvous")]
mod listed {
    use super::{AskPeers, BlobRoot, Instant, LinkId, Offer, Peer, PublicKey, SignedReport, SiteId};
    use crate::{
        cdn::{
            earner::Earner,
            messages::{self, Hello, MAX_PEERS},
            receipts::Receipt,
        },
        peer::{Event, Role, control::ASK_EVERY, link::Link, meeting::GRACE},
        wire::cdn as wire,
    };

    impl Peer {
        /// How many peers are listed for a site that we take part in, and how many bytes they delivered to each
        /// other, by the receipts that they handed in.
        pub fn swarm(&self, site: &SiteId) -> (usize, u64) {
            (self.tracker.swarm(site), self.sites.get(site).map_or(0, |site| site.delivered))
        }

        /// Takes a report of one peer about another.
        pub(in crate::peer) fn handle_report(&mut self, now: Instant, id: LinkId, report: &SignedReport) {
            if let Some(link) = self.links.get(&id) {
                self.tracker.report(now, &link.peer, report);
            }
        }

        /// Lists the asker, and names others.
        pub(in crate::peer) fn introduce(&mut self, now: Instant, id: LinkId, ask: AskPeers) {
            let Some(link) = self.links.get(&id).filter(|_| self.config.role == Role::Supernode) else {
                return;
            };
            let peer = link.peer.clone();
            let region = link.hello.as_ref().map_or(0, |hello| hello.region);
            self.tracker.enter(&peer, ask.site, region, ask.addresses);
            for receipt in &ask.receipts {
                let gained = self.tracker.hand_in(&peer, receipt);
                if let Some(site) = self.sites.get_mut(&ask.site) {
                    site.delivered = site.delivered.saturating_add(gained);
                }
            }
            if let Some(signed) = ask.earner.filter(|_| !ask.receipts.is_empty())
                && let Some(earner) = Earner::open(&signed)
                && (&earner.tab, &earner.node, earner.site) == (&peer, &self.public_key(), ask.site)
            {
                let (earner, receipts) = (Box::new(earner), ask.receipts);
                self.events.push_back(Event::HandedIn { earner, signed, receipts });
            }
            let count = ask.count.min(MAX_PEERS);
            // Only receipts were handed in.
            if count == 0 {
                return;
            }
            let peers = self.tracker.introduce(now, &peer, &ask.site, count, &mut self.rng);
            let answer = wire::Peers {
                request: ask.request,
                site: ask.site.0.to_vec(),
                peers,
                retry_after_ms: u64::try_from(ASK_EVERY.as_millis()).unwrap_or(0),
                swarm: self.listed(&ask.site),
            };
            self.meters.signalling += 2;
            self.transmit(id, messages::control(wire::control::Message::Peers(answer)));
        }

        /// Passes a tab's offer on to another of its site.
        pub(in crate::peer) fn arrange(&mut self, now: Instant, id: LinkId, offer: Offer) {
            let own = self.links.get(&id).is_some_and(|link| link.peer == offer.from);
            if !own {
                return;
            }
            let chosen = self.tracker.introduce(now, &offer.from, &offer.site, 1, &mut self.rng);
            let onward = chosen.iter().find_map(|entry| {
                let mut links = self.links.iter();
                links.find(|(_, link)| link.peer.to_bytes()[..] == entry.peer[..]).map(|(id, _)| *id)
            });
            if let Some(onward) = onward {
                self.carry(id, onward, offer, GRACE);
            }
        }

        /// Tabs listed for a site, to be said in a Hello.
        pub(in crate::peer) fn listed(&self, site: &SiteId) -> u32 {
            u32::try_from(self.tracker.swarm(site)).unwrap_or(u32::MAX)
        }

        /// Says that a receiver signed for more: supernodes keep receipts.
        pub(in crate::peer) fn tell_of_receipt(&mut self, id: LinkId) {
            let Some(link) = self.links.get(&id).filter(|_| self.config.role == Role::Supernode) else {
                return;
            };
            if let Some(receipt) = link.account.newest.clone() {
                let (session, sent) = (link.session, link.account.sent);
                let edge = link.account.edge_receipted;
                let site = Receipt::site_of(&receipt).filter(|site| {
                    let takes_part = |hello: &Hello| hello.sites.iter().any(|state| state.site == *site);
                    !link.strayed && link.hello.as_ref().is_some_and(takes_part)
                });
                self.events.push_back(Event::Receipted { session, sent, edge, site, receipt });
            }
        }

        /// Serves nothing of a site until it is paid for, or goes on to serve it.
        pub fn withhold(&mut self, site: SiteId, withheld: bool) {
            let changed = if withheld { self.withheld.insert(site) } else { self.withheld.remove(&site) };
            if changed && !withheld {
                // Who was refused asks no more until told.
                self.resume_serving();
            }
        }

        /// Whether nobody has paid for this blob: neither for the one site that names it, nor for any of several.
        pub(in crate::peer) fn is_withheld(&self, root: &BlobRoot) -> bool {
            if self.withheld.is_empty() {
                return false;
            }
            let mut named = self.sites.iter().filter(|(_, site)| site.roots.contains_key(root)).peekable();
            named.peek().is_some() && named.all(|(site, _)| self.withheld.contains(site))
        }

        /// Notes where somebody gets what is of another site than the ones it said it takes part in: nobody else is
        /// to pay for that.
        pub(in crate::peer) fn note_stray(&mut self, id: LinkId, root: &BlobRoot) {
            let Some(link) = self.links.get_mut(&id).filter(|link| !link.strayed) else { return };
            let names =
                |site: &SiteId| self.sites.get(site).is_some_and(|site| site.roots.contains_key(root));
            let own = link.hello.iter().flat_map(|hello| &hello.sites).any(|state| names(&state.site));
            link.strayed = !own && self.sites.keys().any(names);
        }

        /// Says that no more receipts come of a link that is gone.
        pub(in crate::peer) fn tell_of_end(&mut self, link: &Link) {
            if self.config.role == Role::Supernode && link.account.newest.is_some() {
                let (receiver, session, sent) = (link.peer.clone(), link.session, link.account.sent);
                self.events.push_back(Event::SessionEnded { receiver, session, sent });
            }
        }

        /// Takes a peer off the lists once its last link is gone.
        pub(in crate::peer) fn delist(&mut self, peer: &PublicKey) {
            let gone = !self.links.values().any(|other| other.peer == *peer);
            if self.config.role == Role::Supernode && gone {
                self.tracker.leave(peer);
            }
        }
    }
}

#[cfg(not(feature = "rendezvous"))]
impl Peer {
    /// Nobody reports to a tab.
    pub(super) fn handle_report(&mut self, _: Instant, _: LinkId, _: &SignedReport) {}

    /// A tab introduces nobody.
    pub(super) fn introduce(&mut self, _: Instant, _: LinkId, _: AskPeers) {}

    /// Nor passes offers on for those it does not know.
    pub(super) fn arrange(&mut self, _: Instant, _: LinkId, _: Offer) {}

    /// It lists nobody.
    pub(super) fn listed(&self, _: &SiteId) -> u32 {
        0
    }

    /// A tab keeps its receipts with their links.
    pub(super) fn tell_of_receipt(&mut self, _: LinkId) {}

    /// And until their end.
    pub(super) fn tell_of_end(&mut self, _: &super::link::Link) {}

    /// Nobody pays a tab before it serves.
    pub(super) fn is_withheld(&self, _: &BlobRoot) -> bool {
        false
    }

    /// Nor is it told for whom.
    pub(super) fn note_stray(&mut self, _: LinkId, _: &BlobRoot) {}

    /// Nobody was listed.
    pub(super) fn delist(&mut self, _: &PublicKey) {}
}
