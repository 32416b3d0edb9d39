//! Content from a supernode over a link, where its edge cannot be had by HTTP: its operator has no name and no
//! certificate, or a page's policy allows no other host.
//!
//! What is asked for follows the rules of plain HTTP ([`super::http`]): it is infrastructure all the same.

use super::{LinkId, Peer, Role, asking, http::Why};
use crate::{
    base::{BlobRoot, Instant},
    cdn::part::Part,
};

impl Peer {
    /// Whether a supernode that holds this blob can be asked over a link, now or after a moment.
    pub(super) fn is_held_by_supernode(&self, now: Instant, root: &BlobRoot) -> bool {
        self.config.role == Role::Tab
            && self.consent.fetch
            && self.links.values().any(|link| {
                link.is_supernode()
                    && !link.choked_by_remote
                    && asking::is_present(link, now)
                    && asking::holding(link, &self.sites, root).is_some()
            })
    }

    /// Asks this supernode for what its edge does not give.
    pub(super) fn fill_supernode(&mut self, now: Instant, id: LinkId) {
        if self.sources(now).0 {
            return;
        }
        while let Some((root, part, why)) = self.choose_for_supernode(now, id) {
            let Some(shape) = self.replicas.get(&root).map(|replica| replica.shape) else { return };
            self.ask_link(now, id, root, part);
            if let Part::Groups { first, count } = part {
                self.tell_coming(root, shape, first, count);
            }
            self.note_asked(part.bytes(shape), why);
        }
    }

    fn choose_for_supernode(&self, now: Instant, id: LinkId) -> Option<(BlobRoot, Part, Why)> {
        let link = self.links.get(&id)?;
        let count = asking::room(link, self.window_of(link));
        if count == 0 {
            return None;
        }
        for later in [false, true] {
            for (_, fetch) in self.queue.keys() {
                let Some(fetch) = self.fetches.get(fetch) else { continue };
                let Some(replica) = self.replicas.get(&fetch.root) else { continue };
                let range = fetch.turn(now, later);
                if asking::holding(link, &self.sites, &fetch.root).is_none() {
                    continue;
                }
                let behind = self.is_swarm_behind(now, fetch);
                let Some((run, why)) = self.choose_run(now, fetch, &range, replica, (None, behind)) else {
                    continue;
                };
                let run = run.start..run.end.min(run.start + count);
                if let Some(part) = asking::ready_part(now, replica, run, id) {
                    return Some((fetch.root, part, why));
                }
            }
        }
        None
    }
}
