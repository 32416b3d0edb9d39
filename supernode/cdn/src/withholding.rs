//! Sites of which nothing is served until it is paid for.
//!
//! A payer answers a bill within a round trip. Who asks for content meanwhile is kept waiting for that, and not sent away:
//! visitors come back to an edge that refused them only after a while.

use std::{collections::BTreeMap, time::Duration};

use shared::base::SiteId;
use tokio::sync::watch;

/// A voucher across the world, after both disks: what takes longer is no round trip any more.
const BILLED_WITHIN: Duration = Duration::from_secs(1);

/// Why a site is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Its payer has the bill, and has paid each one so far.
    Billed,
    /// Nobody pays.
    Unpaid,
}

pub(crate) type Sites = BTreeMap<SiteId, Withheld>;

/// Which they are.
#[derive(Debug)]
pub(crate) struct Withholding(watch::Sender<Sites>);

impl Default for Withholding {
    fn default() -> Self {
        Self(watch::Sender::new(Sites::new()))
    }
}

impl Withholding {
    /// Withholds a site, or serves it again. Says whether that is new.
    pub(crate) fn set(&self, site: SiteId, withheld: Option<Withheld>) -> bool {
        self.0.send_if_modified(|sites| {
            let before = match withheld {
                Some(withheld) => sites.insert(site, withheld),
                None => sites.remove(&site),
            };
            before != withheld
        })
    }

    /// For who follows all changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sites> {
        self.0.subscribe()
    }

    /// Whether a site may be served: at once where that is known, else once its payer has answered.
    pub(crate) async fn is_served(&self, site: SiteId) -> bool {
        self.is_served_within(site, BILLED_WITHIN).await
    }

    async fn is_served_within(&self, site: SiteId, patience: Duration) -> bool {
        let mut sites = self.0.subscribe();
        let answered = sites.wait_for(|sites| sites.get(&site) != Some(&Withheld::Billed));
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(sites)) => !sites.contains_key(&site),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteId = SiteId([1; 32]);

    #[tokio::test]
    async fn who_asks_waits_for_a_voucher_on_its_way_and_for_nothing_else() {
        let withholding = Withholding::default();
        assert!(withholding.is_served_within(SITE, Duration::MAX).await);
        assert!(withholding.set(SITE, Some(Withheld::Unpaid)));
        assert!(!withholding.set(SITE, Some(Withheld::Unpaid)));
        assert!(!withholding.is_served_within(SITE, Duration::MAX).await);
        withholding.set(SITE, Some(Withheld::Billed));
        assert!(withholding.is_served_within(SiteId([2; 32]), Duration::MAX).await);
        assert!(!withholding.is_served_within(SITE, Duration::ZERO).await);
        for (answer, served) in [(None, true), (Some(Withheld::Unpaid), false)] {
            withholding.set(SITE, Some(Withheld::Billed));
            let answered = async { withholding.set(SITE, answer) };
            assert_eq!(
                tokio::join!(withholding.is_served_within(SITE, Duration::MAX), answered),
                (served, true)
            );
        }
    }
}
