//! What peers tell each other: who they are, what they hold, whom they know.

use core::time::Duration;

use super::{DisconnectReason, Effect, Event, Peer, Role};
use crate::{
    base::{BlobRoot, Instant, LinkId},
    cdn::{
        earner::Earner,
        messages::{self, BlobHave, Control, Hello, MAX_HAVE_BLOBS, MAX_SITES, SiteState},
        offences::Offence,
        report, spread,
    },
    wire::cdn as wire,
};

/// How often a supernode is asked for others while too few are linked, at first.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(5);
/// How many times that doubles while asking does not help: who cannot be reached by most must not ask for ever.
const ASK_DOUBLINGS_MAX: u32 = 4;
/// Receipts are handed in with each question for peers; where no peers are wanted, so often.
const HAND_IN_EVERY: Duration = Duration::from_secs(120);
/// Who is paid by them loses what it has not handed in when its visitor leaves: a message of some 250 bytes a link.
const HAND_IN_TO_EARN_EVERY: Duration = Duration::from_secs(10);

/// What there is to tell of one blob.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Groups that came.
    pub(super) groups: Vec<u32>,
    /// Groups that infrastructure was asked for.
    pub(super) coming: Vec<wire::GroupRange>,
}

impl Peer {
    pub(super) fn send_hello(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let sites = self.sites.iter().take(MAX_SITES).map(|(site, state)| wire::SiteState {
            site: site.0.to_vec(),
            sequence: state.sequence,
            complete: state.complete,
            swarm: self.listed(site),
        });
        let role = match self.config.role {
            Role::Tab => wire::Role::Tab,
            Role::Supernode => wire::Role::Supernode,
        };
        let hello = wire::Hello {
            version: crate::cdn::bulk::SWARM_VERSION,
            role: role.into(),
            region: self.config.region,
            sites: sites.collect(),
            session: link.session,
        };
        self.meters.signalling += 1;
        self.transmit(id, messages::control(wire::control::Message::Hello(hello)));
    }

    pub(super) fn handle_control(&mut self, now: Instant, id: LinkId, control: Control) {
        match control {
            Control::Hello(hello) => self.handle_hello(now, id, hello),
            Control::Have(blobs, receipt) => {
                for blob in blobs {
                    self.handle_have(now, id, blob);
                }
                if let Some(receipt) = receipt {
                    self.take_receipt(now, id, receipt);
                }
                self.mark_ready(id);
            }
            Control::Cancel(request) => self.cancel_request(id, request),
            Control::Choke => self.set_choked(id, true),
            Control::Unchoke => self.set_choked(id, false),
            Control::Receipt(receipt) => self.take_receipt(now, id, receipt),
            Control::Report(report) => self.handle_report(now, id, &report),
            Control::AskPeers(ask) => self.introduce(now, id, ask),
            Control::Peers(peers) => self.take_peers(id, &peers),
            Control::Offer(offer) => self.handle_offer(now, id, offer),
            Control::Answer(answer) => self.handle_answer(now, id, answer),
            Control::Refuse => {}
        }
    }

    fn handle_hello(&mut self, now: Instant, id: LinkId, hello: Hello) {
        self.meters.signalling += 1;
        for SiteState { site, sequence, .. } in hello.sites.iter().copied() {
            if self.sites.get(&site).is_some_and(|ours| ours.sequence < sequence) {
                self.events.push_back(Event::ManifestNewer { site, sequence });
            }
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let first = link.hello.replace(hello).is_none();
        let supernode = link.is_supernode();
        if first {
            // A supernode that serves by HTTP too need not hear what each tab holds.
            if !supernode && self.config.role == Role::Tab {
                self.send_all_haves(id);
            }
            if supernode {
                self.sign_for_edge();
                self.meeting.begin();
                self.asked = 0;
                self.count_others();
                self.ask_peers(now, id, false);
            }
            self.seek();
        }
        self.mark_ready(id);
        self.http_due = true;
    }

    fn send_all_haves(&mut self, id: LinkId) {
        let blobs: Vec<wire::BlobHave> = self
            .replicas
            .iter()
            .filter_map(|(root, replica)| {
                let coming = self.http.coming(root);
                (!coming.is_empty() || !replica.held.is_empty()).then(|| wire::BlobHave {
                    root: root.0.to_vec(),
                    complete: replica.held.is_full(),
                    bitfield: if replica.held.is_full() { Vec::new() } else { replica.held.to_bytes() },
                    coming,
                    ..wire::BlobHave::default()
                })
            })
            .collect();
        self.send_haves(id, &blobs);
    }

    fn send_haves(&mut self, id: LinkId, blobs: &[wire::BlobHave]) {
        // A frame holds so many; a bit field may be 32 KiB long, so long ones go alone.
        let (long, short): (Vec<_>, Vec<_>) =
            blobs.iter().cloned().partition(|have| have.bitfield.len() > 128);
        let long = long.chunks(1).map(<[_]>::to_vec);
        for blobs in short.chunks(MAX_HAVE_BLOBS).map(<[_]>::to_vec).chain(long) {
            let have = wire::Have { blobs, receipt: None };
            self.transmit(id, messages::control(wire::control::Message::Have(have)));
        }
    }

    /// Tells other tabs what has come since the last time.
    pub(super) fn announce_fresh(&mut self, now: Instant) {
        if self.news.is_empty() || now < self.have_at {
            return;
        }
        self.have_at = now + self.config.limits.have_interval;
        let news = core::mem::take(&mut self.news);
        let blobs: Vec<wire::BlobHave> = news
            .into_iter()
            .filter_map(|(root, News { groups, coming })| {
                self.have_of(root, groups).map(|have| wire::BlobHave { coming, ..have })
            })
            .collect();
        let tabs: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.is_tab()).map(|(id, _)| *id).collect();
        for id in tabs {
            self.send_haves(id, &blobs);
        }
    }

    fn have_of(&self, root: BlobRoot, mut groups: Vec<u32>) -> Option<wire::BlobHave> {
        let replica = self.replicas.get(&root)?;
        let mut have = wire::BlobHave { root: root.0.to_vec(), ..wire::BlobHave::default() };
        if replica.held.is_full() {
            have.complete = true;
            return Some(have);
        }
        groups.sort_unstable();
        for group in groups {
            match have.added.last_mut() {
                Some(range) if range.first + range.count == group => range.count += 1,
                _ => have.added.push(wire::GroupRange { first: group, count: 1 }),
            }
        }
        if have.added.len() > messages::MAX_HAVE_RANGES {
            have.added.clear();
            have.bitfield = replica.held.to_bytes();
        }
        Some(have)
    }

    fn handle_have(&mut self, now: Instant, id: LinkId, BlobHave { root, what, coming }: BlobHave) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(replica) = self.replicas.get_mut(&root) else { return link.keep_unknown(root, what) };
        let shape = replica.shape;
        for stripe in spread::stripes_of(&coming, shape) {
            link.claims.note(now, root, stripe);
        }
        let is_tab = link.is_tab();
        let claims = &mut link.claims;
        let count = |group, holds| {
            if is_tab {
                replica.count(group, holds);
            }
            if holds {
                claims.keep(root, spread::stripe_of(group));
            }
        };
        if link.has.update(root, shape, &what, count).is_err() {
            self.offend(now, id, Offence::Malformed);
        }
    }

    fn set_choked(&mut self, id: LinkId, choked: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.choked_by_remote = choked;
        }
        self.mark_ready(id);
        self.http_due = true;
    }

    /// How many others there are, by the first word of the supernodes.
    pub(super) fn count_others(&mut self) {
        let said = self.links.values().filter(|link| link.rendezvous).filter_map(|link| link.hello.as_ref());
        for state in said.flat_map(|hello| &hello.sites) {
            if let Some(site) = self.sites.get_mut(&state.site) {
                site.swarm = state.swarm.saturating_add(1);
            }
        }
    }

    /// Tab: has a supernode list it for each site, and asks how many others there are where neighbours are wanted and
    /// none are known, or `anew`: of two who come at once, each was first told that it is the only one.
    pub(super) fn ask_peers(&mut self, now: Instant, id: LinkId, anew: bool) {
        self.asked_at = now;
        let wanted = self.wants_peers();
        let sites: Vec<_> =
            self.sites.iter().map(|(site, state)| (*site, anew || state.swarm <= 1)).collect();
        for (site, unknown) in sites {
            let kept = self.unhanded.drain(..);
            let receipts =
                kept.chain(self.links.iter_mut().filter_map(|(_, link)| link.account.newest.take()));
            let receipts = receipts.take(messages::MAX_HANDED_IN).collect();
            let own = &self.config.keypair;
            let earner = self.links.get(&id).zip(self.earn_to);
            let earner = earner.map(|(link, account)| Earner::sign(own, &link.peer, site, account));
            let ask = wire::AskPeers {
                request: self.new_id(),
                site: site.0.to_vec(),
                count: u32::from(wanted && unknown),
                addresses: self.addresses.clone(),
                receipts,
                earner,
            };
            self.meters.signalling += 1;
            self.transmit(id, messages::control(wire::control::Message::AskPeers(ask)));
        }
    }

    pub(super) fn ask_peers_where_due(&mut self, now: Instant) {
        if self.ask_due().is_some_and(|at| now >= at) {
            self.asked = self.asked.saturating_add(1);
            self.asked_at = now;
            self.meeting.retry();
            if self.tabs() == 0 || !self.is_in_crowd() {
                self.ask_all(now, true);
            }
            self.seek();
        } else if self.hand_in_due().is_some_and(|at| now >= at) {
            self.ask_all(now, false);
        }
    }

    /// When supernodes are to be asked for peers, if any are wanted.
    pub(super) fn ask_due(&self) -> Option<Instant> {
        let pause = ASK_EVERY * (1 << self.asked.min(ASK_DOUBLINGS_MAX));
        self.wants_peers().then(|| self.asked_at + pause)
    }

    /// When what neighbours signed for is to be handed in, if any of it is new and a supernode is there.
    pub(super) fn hand_in_due(&self) -> Option<Instant> {
        let due = self.config.role == Role::Tab
            && (!self.unhanded.is_empty() || self.links.values().any(|link| link.account.newest.is_some()))
            && self.links.values().any(|link| link.hello.is_some() && link.is_supernode());
        let every = if self.earn_to.is_some() { HAND_IN_TO_EARN_EVERY } else { HAND_IN_EVERY };
        due.then(|| self.asked_at + every)
    }

    pub(super) fn ask_all(&mut self, now: Instant, anew: bool) {
        let supernodes = self.links.iter().filter(|(_, link)| link.hello.is_some() && link.is_supernode());
        let supernodes: Vec<LinkId> = supernodes.map(|(id, _)| *id).collect();
        for id in supernodes {
            self.ask_peers(now, id, anew);
        }
    }

    /// A peer broke the protocol: it is cut, remembered, and where nobody does that by accident, reported.
    pub(super) fn offend(&mut self, now: Instant, id: LinkId, offence: Offence) {
        let Some(link) = self.links.get(&id) else { return };
        let (peer, session) = (link.peer.clone(), link.hello.as_ref().map_or(0, |hello| hello.session));
        let supernode = link.is_supernode();
        self.meters.cut += 1;
        self.cut.cut(now, peer.clone(), offence);
        self.effects.push_back(Effect::Disconnect { link: id, reason: DisconnectReason::Offence(offence) });
        self.unlink(id);
        if offence.is_reported() && !supernode && self.config.role == Role::Tab {
            let report = report::sign(&self.config.keypair, &peer, offence.to_wire(), session);
            let supernodes: Vec<LinkId> =
                self.links.iter().filter(|(_, link)| link.is_supernode()).map(|(id, _)| *id).collect();
            for id in supernodes {
                self.transmit(id, messages::control(wire::control::Message::Report(report.clone())));
            }
        }
        self.events.push_back(Event::PeerCut { peer, offence });
    }

    /// Forgets a link, and takes back what was asked over it.
    pub(super) fn unlink(&mut self, id: LinkId) {
        let Some(mut link) = self.links.remove(&id) else { return };
        if link.is_tab() {
            for (root, has) in link.has.iter() {
                if let Some(replica) = self.replicas.get_mut(root) {
                    for group in (0..replica.shape.groups()).filter(|group| has.group(*group)) {
                        replica.count(group, false);
                    }
                }
            }
        }
        self.release_link(id, &mut link);
        if self.earn_to.is_some() && link.is_tab() && self.unhanded.len() < messages::MAX_HANDED_IN {
            self.unhanded.extend(link.account.newest.take());
        }
        self.tell_of_end(&link);
        self.delist(&link.peer);
        self.http_due = true;
    }
}
