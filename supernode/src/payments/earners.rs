//! What tabs hand in, before it is judged: beside it comes what the site has, and how far this node tells networks apart.

use cdn::Cdn;
use chain::HandedIn;
use shared::{
    cdn::{earner::Earner, receipts::Receipt},
    economy::earnings::NetworkPrefix,
    wire::cdn::{SignedEarner, SignedReceipt},
};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Judge {
    cdn: Cdn,
    /// Each visitor counts as a network of its own.
    knows_visitors: bool,
}

impl Judge {
    pub(super) const fn new(cdn: Cdn, knows_visitors: bool) -> Self {
        Self { cdn, knows_visitors }
    }

    /// Nothing where the site is not served here.
    pub(super) fn judge(
        &self,
        earner: &Earner,
        signed: &SignedEarner,
        network: NetworkPrefix,
        receipts: &[(SignedReceipt, NetworkPrefix)],
    ) -> Option<HandedIn> {
        let content_bytes = self.cdn.content_bytes(earner.site)?;
        let apart = |receipt: &SignedReceipt, network: NetworkPrefix| {
            let receiver = Receipt::receiver_of(receipt).filter(|_| self.knows_visitors);
            receiver.map_or(network, |receiver| NetworkPrefix::of_visitor(&receiver))
        };
        let receipts = receipts.iter().map(|(receipt, from)| (receipt.clone(), apart(receipt, *from)));
        let of_tab = NetworkPrefix::of_visitor(&earner.tab);
        Some(HandedIn {
            earner: earner.clone(),
            signed: signed.clone(),
            network: if self.knows_visitors { of_tab } else { network },
            content_bytes,
            receipts: receipts.collect(),
        })
    }
}
