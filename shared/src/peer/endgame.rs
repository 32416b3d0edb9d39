//! The end of a fetch: what is asked of a second peer, because the first one is slow.

use core::time::Duration;

use super::{Peer, asking::holding};
use crate::{
    base::{BlobRoot, Instant, LinkId},
    cdn::{part::Piece, replica::Asker},
};

/// Pieces looked at when there is nothing left to ask but what others were asked for.
const ENDGAME_SCAN: usize = 128;
/// In an idle fetch, so few are left that asking twice costs little.
const ENDGAME_PIECES: u32 = 32;
/// A piece is asked of nobody else before this, whatever is known of the links: asking twice costs both.
const ENDGAME_PATIENCE: Duration = Duration::from_millis(200);
/// And before this where whoever was asked delivers: on a busy machine it is late by what its processor lacks, and a
/// second one asked lacks the same.
const DELIVERING_PATIENCE: Duration = Duration::from_millis(1_000);
/// Peers asked for the same piece at the end.
pub(super) const ENDGAME_ASKERS: usize = 2;

impl Peer {
    /// A piece that somebody slower was asked for, where little else is left.
    pub(super) fn choose_endgame(&self, now: Instant, id: LinkId) -> Option<(BlobRoot, u32)> {
        let link = self.links.get(&id)?;
        let ours = link.pipeline.backlog();
        for (_, fetch) in self.queue.keys().take(ENDGAME_SCAN) {
            let Some(fetch) = self.fetches.get(fetch) else { continue };
            if !fetch.is_urgent() && fetch.missing > ENDGAME_PIECES {
                continue;
            }
            let Some(replica) = self.replicas.get(&fetch.root) else { continue };
            let Some(has) = holding(link, &self.sites, &fetch.root) else { continue };
            let first = Piece::Group(fetch.range.start);
            for (piece, (at, askers)) in
                replica.asked.iter().filter(|(piece, _)| **piece >= first).take(ENDGAME_SCAN)
            {
                let Piece::Group(group) = *piece else { continue };
                let asked_here =
                    askers.iter().any(|asker| matches!(asker, Asker::Link(link, _) if *link == id));
                if !asked_here
                    && askers.len() < ENDGAME_ASKERS
                    && has.group(group)
                    && replica.can_judge(group)
                    && askers.iter().all(|asker| now.since(*at) > self.patience_with(now, *asker, ours))
                {
                    return Some((fetch.root, group));
                }
            }
        }
        None
    }

    /// How long after a piece was asked of somebody it is worth asking another, who would need `ours` for it.
    fn patience_with(&self, now: Instant, asker: Asker, ours: Duration) -> Duration {
        let (theirs, patience) = match asker {
            Asker::Http(_) => (self.http.patience(), ENDGAME_PATIENCE),
            Asker::Link(link, _) => {
                let Some(link) = self.links.get(&link) else { return Duration::ZERO };
                // Who delivers what was asked before it will come to this too.
                if link.pipeline.is_delivering(now) {
                    (link.pipeline.backlog() * 4, DELIVERING_PATIENCE)
                } else {
                    (link.pipeline.backlog(), ENDGAME_PATIENCE)
                }
            }
        };
        (theirs + ours) * 2 + patience
    }
}
