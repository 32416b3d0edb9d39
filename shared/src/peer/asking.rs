//! What to ask of which link, and how much.

use core::time::Duration;
use std::ops::Range;

use super::{Effect, Peer, Priority, Role, endgame, link::Link};
use crate::{
    base::{BlobRoot, Instant, LinkId},
    cdn::{
        availability::Has,
        blob::GROUP_BYTES,
        bulk,
        part::{Part, Piece},
        replica::{Asker, Replica},
    },
};

/// Groups one request to a peer asks for: 128 KiB keeps frames rare and cancels cheap.
const RUN_GROUPS: u32 = 8;
/// and the fewest, while there are more: whoever asks for single groups sends as many messages as it gets.
const RUN_GROUPS_MIN: u64 = 2;
/// A peer that pauses for less than this is still reckoned with.
const PAUSE_SHORT: Duration = Duration::from_secs(3);

impl Peer {
    /// Asks one link for as much as its window has room for.
    pub(super) fn fill_link(&mut self, now: Instant, id: LinkId) {
        if !self.consent.fetch {
            return;
        }
        let Some(link) = self.links.get(&id) else { return };
        if !is_askable(link, now) {
            return;
        }
        // Refilling by quarters keeps requests long enough to be worth a frame.
        let window = self.window_of(link);
        let free = window.saturating_sub(link.pipeline.in_flight_bytes());
        if free < (window / 4).max(RUN_GROUPS_MIN * GROUP_BYTES).min(window) {
            return;
        }
        if self.config.role == Role::Tab && link.is_supernode() {
            return self.fill_supernode(now, id);
        }
        while let Some((root, part)) = self.choose_for(now, id) {
            self.ask_link(now, id, root, part);
        }
    }

    /// How many bytes should be under way on a link; to a tab, beside what is under way on its others.
    pub(super) fn window_of(&self, link: &Link) -> u64 {
        let max = self.config.limits.pipeline_bytes_max;
        let all_bytes_per_second = self.swarm_pace.bytes_per_second();
        if self.config.role != Role::Tab || link.is_supernode() || all_bytes_per_second == 0.0 {
            return link.pipeline.window_bytes(max);
        }
        let tabs = self.links.values().filter(|link| link.is_tab());
        let all: u64 = tabs.map(|link| link.pipeline.in_flight_bytes()).sum();
        let others = all.saturating_sub(link.pipeline.in_flight_bytes());
        link.pipeline.window_beside(max, others, all_bytes_per_second)
    }

    fn choose_for(&mut self, now: Instant, id: LinkId) -> Option<(BlobRoot, Part)> {
        let link = self.links.get(&id)?;
        let count = room(link, self.window_of(link));
        if count == 0 || self.budget.download_bytes < u64::from(count) * GROUP_BYTES {
            return None;
        }
        let tabs = self.links.values().filter(|link| link.is_tab()).count();
        // What plays later gives way to everything that somebody waits for now.
        for later in [false, true] {
            for (_, fetch) in self.queue.keys() {
                let Some(fetch) = self.fetches.get(fetch) else { continue };
                let Some(replica) = self.replicas.get(&fetch.root) else { continue };
                let range = fetch.turn(now, later);
                if replica.open.next_from(range.start).is_none_or(|first| first >= range.end) {
                    continue;
                }
                let Some(has) = holding(link, &self.sites, &fetch.root) else { continue };
                let in_order = !later && matches!(fetch.priority, Priority::Deadline { .. });
                let run = if in_order {
                    replica.next_in_order(has, &range, count)
                } else {
                    replica.next_rarest(has, &range, count, tabs, &mut self.rng)
                };
                let Some(run) = run else { continue };
                if let Some(part) = ready_part(now, replica, run, id) {
                    return Some((fetch.root, part));
                }
            }
        }
        self.choose_endgame(now, id).map(|(root, group)| (root, Part::Groups { first: group, count: 1 }))
    }

    /// Sends one request.
    pub(super) fn ask_link(&mut self, now: Instant, id: LinkId, root: BlobRoot, part: Part) {
        let site = self.only_site();
        let swarm_busy = self.links.values().any(|link| link.is_tab() && !link.pipeline.is_empty());
        let (Some(link), Some(replica)) = (self.links.get_mut(&id), self.replicas.get_mut(&root)) else {
            return;
        };
        let shape = replica.shape;
        let bytes = part.bytes(shape);
        if !swarm_busy {
            self.swarm_pace.begin(now);
        }
        let request = link.pipeline.ask(now, root, part, bytes);
        replica.ask(now, part, Asker::Link(id, request));
        let session = link.hello.as_ref().map_or(0, |hello| hello.session);
        let receipt = link.account.due(false, &self.config.keypair, &link.peer, session, site);
        if receipt.is_some() {
            self.meters.signed_for += core::mem::take(&mut link.unsigned);
        }
        let frame = bulk::request_message(request, root, part, receipt);
        self.meters.messages_out += 1;
        self.effects.push_back(Effect::Request { link: id, request, root, shape, part, frame });
    }
}

pub(super) fn is_askable(link: &Link, now: Instant) -> bool {
    link.hello.is_some() && !link.choked_by_remote && link.retry_at <= now
}

/// How many groups a window has room for, in one request.
pub(super) fn room(link: &Link, window_bytes: u64) -> u32 {
    let room = window_bytes.saturating_sub(link.pipeline.in_flight_bytes());
    u32::try_from(room / GROUP_BYTES).unwrap_or(RUN_GROUPS).min(RUN_GROUPS)
}

/// Whether the link's peer takes its part, even where it cannot be asked at this moment.
pub(super) fn is_present(link: &Link, now: Instant) -> bool {
    link.hello.is_some() && link.retry_at <= now + PAUSE_SHORT
}

/// What the link's peer holds of a blob, by its own word or because it holds the whole site.
pub(super) fn holding<'a>(link: &'a Link, sites: &super::Sites, root: &BlobRoot) -> Option<&'a Has> {
    const ALL: &Has = &Has::All;
    if let Some(has) = link.has.get(root) {
        return Some(has);
    }
    let hello = link.hello.as_ref()?;
    let whole = hello.sites.iter().any(|state| {
        let same = |ours: &super::Site| ours.sequence == state.sequence && ours.roots.contains_key(root);
        state.complete && sites.get(&state.site).is_some_and(same)
    });
    whole.then_some(ALL)
}

/// The part to ask for now, so that the groups of `run` can be judged: their hashes first. Nothing while those
/// hashes come from elsewhere.
pub(super) fn ready_part(now: Instant, replica: &Replica, run: Range<u32>, id: LinkId) -> Option<Part> {
    /// Hashes asked for this long ago are asked for again.
    const HASH_PATIENCE: Duration = Duration::from_secs(1);
    let groups = Part::Groups { first: run.start, count: run.end - run.start };
    let mut piece = match replica.hash_piece_for(run.start) {
        None => return Some(groups),
        Some(piece) => piece,
    };
    loop {
        match replica.asked.get(&piece) {
            None if piece == Piece::Top => return Some(Part::Top),
            None => return Some(Part::Page(replica.shape.page_of(run.start))),
            // A link answers in order: behind its hashes, groups can be judged when they come.
            Some((_, askers)) if askers.iter().any(|a| matches!(a, Asker::Link(link, _) if *link == id)) => {}
            Some((at, askers))
                if now.since(*at) > HASH_PATIENCE && askers.len() < endgame::ENDGAME_ASKERS =>
            {
                return Some(match piece {
                    Piece::Top => Part::Top,
                    _ => Part::Page(replica.shape.page_of(run.start)),
                });
            }
            Some(_) => return None,
        }
        piece = match piece {
            Piece::Top => Piece::Page(replica.shape.page_of(run.start)),
            _ => return Some(groups),
        };
    }
}
