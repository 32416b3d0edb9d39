//! What tabs gave to each other, on the side that pays: which lines of a bill are evidence, and fit in the day's pot.
//!
//! The payer sees keys and signatures. From where visitors came it does not see: whether they are many or one is the
//! node's to judge, and the pot bounds what its judgement can cost.

use std::collections::BTreeMap;

use shared::{
    base::UnixSeconds,
    cdn::{earner::Earner, receipts::Receipt},
    economy::{
        Amount,
        tally::{Day, Tally},
    },
    wire::{
        cdn::{SignedEarner, SignedReceipt},
        economy as wire,
    },
};

use super::{
    Payment,
    store::Store,
    tab_store::{Billed, TabKey},
};
use crate::StoreError;

/// Where a payment stands before a bill.
pub(super) struct Counting {
    pub(super) tally: Tally,
    pub(super) day: Day,
    /// The pot.
    pub(super) per_day: Amount,
    pub(super) unix: UnixSeconds,
}

/// And after it.
pub(super) struct Counted {
    pub(super) tally: Tally,
    pub(super) day: Day,
    /// To be remembered for ever.
    pub(super) paid: Vec<(TabKey, [u8; 32], u64)>,
    /// Places of the lines that were counted.
    pub(super) places: Vec<u32>,
}

impl Counting {
    pub(super) fn count(
        self,
        store: &Store,
        payment: &Payment,
        lines: &[wire::TabLine],
    ) -> Result<Counted, StoreError> {
        let Self { mut tally, mut day, per_day, unix } = self;
        let node = payment.node.to_bytes();
        let good: Vec<(u32, TabKey, u64)> = (0..)
            .zip(lines)
            .filter_map(|(place, line)| evidence(payment, line).map(|(key, bytes)| (place, key, bytes)))
            .collect();
        let keys: Vec<TabKey> = good.iter().map(|(_, key, _)| *key).collect();
        let mut known: BTreeMap<TabKey, Option<Billed>> =
            keys.iter().copied().zip(store.tabs_paid(&keys)?).collect();
        let (mut paid, mut places) = (Vec::new(), Vec::new());
        for (place, key, bytes) in good {
            let before = known.entry(key).or_default();
            // Whoever else billed it has been paid for it.
            if before.is_some_and(|(first, _)| first != node) {
                continue;
            }
            let gained = bytes.saturating_sub(before.map_or(0, |(_, bytes)| bytes));
            if gained == 0 {
                places.push(place);
                continue;
            }
            let (mut more, mut today) = (tally, day);
            more.add(gained);
            // What the pot has no room for is dropped, on both sides.
            if today.take(unix, more.total().less(tally.total()), per_day).is_ok() {
                (tally, day) = (more, today);
                places.push(place);
                *before = Some((node, bytes));
                paid.push((key, node, bytes));
            }
        }
        Ok(Counted { tally, day, paid, places })
    }
}

/// Which session a line is of, and what it says; nothing where it is no evidence.
fn evidence(payment: &Payment, line: &wire::TabLine) -> Option<(TabKey, u64)> {
    let wire::TabLine { line: Some(line), earner, earner_signature } = line else { return None };
    let signed = SignedReceipt { receipt: line.receipt.clone(), signature: line.signature.clone() };
    let receipt = Receipt::open(&signed).ok()?;
    let signed = SignedEarner { earner: earner.clone(), signature: earner_signature.clone() };
    let earner = Earner::open(&signed)?;
    let theirs = earner.node == payment.node && earner.site == payment.site;
    let between = [&receipt.provider, &receipt.receiver];
    let holds = theirs
        && earner.tab == receipt.provider
        && receipt.site == Some(payment.site)
        && receipt.provider != receipt.receiver
        && !between.contains(&&payment.node)
        && line.bytes <= receipt.bytes;
    let key = (payment.site, receipt.provider.to_bytes(), receipt.receiver.to_bytes(), receipt.session);
    holds.then_some((key, line.bytes))
}
