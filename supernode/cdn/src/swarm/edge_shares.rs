//! What each session may say that the HTTP edge gave it.
//!
//! The edge does not know who asks it. So visitors sign for what it gave them on their link, and all of them together are
//! believed as far as the edge sent anything of their site: who signs for more takes it of what others may sign for, and
//! never makes more of it.

use std::collections::BTreeMap;

use shared::base::SiteId;

/// By session and site, since the start.
#[derive(Debug, Default)]
pub(super) struct EdgeShares {
    /// One for each link of which there is a receipt.
    sessions: BTreeMap<u64, u64>,
    /// One for each site of this node.
    sites: BTreeMap<SiteId, u64>,
}

impl EdgeShares {
    /// A session signed for `said` bytes by the edge, in all, of a site of which that has sent so much. Says how much of
    /// it is believed, in all.
    pub(super) fn take(&mut self, session: u64, sent: Option<(SiteId, u64)>, said: u64) -> u64 {
        let known = self.sessions.get(&session).copied().unwrap_or(0);
        let Some((site, sent)) = sent else { return known };
        let taken = self.sites.entry(site).or_default();
        let more = said.saturating_sub(known).min(sent.saturating_sub(*taken));
        *taken += more;
        self.sessions.insert(session, known + more);
        known + more
    }

    /// A session is over. Says what was believed of it.
    pub(super) fn end(&mut self, session: u64) -> u64 {
        self.sessions.remove(&session).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_together_are_believed_no_more_than_the_edge_sent() {
        let (mut shares, site) = (EdgeShares::default(), SiteId([1; 32]));
        assert_eq!(shares.take(1, Some((site, 100)), 60), 60);
        assert_eq!(shares.take(2, Some((site, 100)), 60), 40);
        assert_eq!(shares.take(1, Some((site, 150)), 70), 70);
        assert_eq!(shares.take(2, Some((site, 150)), 90), 80);
        assert_eq!(shares.end(2), 80);
        // What was said of no site, or of another, takes nothing from this one.
        assert_eq!(shares.take(3, None, 50), 0);
        assert_eq!(shares.take(3, Some((SiteId([2; 32]), 10)), 50), 10);
    }
}
