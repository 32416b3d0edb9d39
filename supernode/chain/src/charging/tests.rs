//! Both sides against each other, without a network between them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use core::num::NonZeroU64;
use std::{path::Path, sync::Arc};

use shared::{
    base::{Instant, SiteId, UnixSeconds},
    cdn::receipts::{Receipt, Verified},
    economy::{Amount, agreement::Agreement, price::Price, voucher::ChannelContract},
    identity::{Account, AccountKey, Keypair},
    wire::{Refusal, economy as wire},
};
use tempfile::TempDir;

use super::{Billed, Billing, Delivered, Paying, Payment, TabTerms};
use crate::{Purse, Settlement};

mod tabs;

const T: Instant = Instant::from_micros(0);
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const SITE: SiteId = SiteId([7; 32]);
const PRICE: Price = Price { amount: 3, per: NonZeroU64::new(1000).unwrap() };
const TABS: TabTerms =
    TabTerms { price: Price { amount: 1, per: NonZeroU64::new(1000).unwrap() }, visits_per_network: 2 };
const WINDOW: Amount = Amount::of(1_000);
const CREDIT: Amount = Amount::of(1_000_000);
const CONTRACT: ChannelContract = ChannelContract { chain_id: 137, address: Account([9; 20]) };

/// The node that is paid,
const SERVES: u8 = 1;
/// the one that pays,
const PAYS: u8 = 2;
/// and another that could.
const ALSO_PAYS: u8 = 3;

fn node(number: u8) -> Keypair {
    Keypair::from_secret([number; 32])
}

fn account(number: u8) -> AccountKey {
    AccountKey::from_secret([number; 32]).unwrap()
}

fn purse(directory: &Path, number: u8) -> Arc<Purse> {
    let path = directory.join(format!("purse{number}.redb"));
    Arc::new(Purse::open(&path, account(number), Settlement::Unsettled(CONTRACT), WINDOW).unwrap())
}

/// The two sides. Each can be ended and opened again.
struct Pair {
    directory: TempDir,
    billing: Option<Billing>,
    paying: Option<Paying>,
    payment: Payment,
}

impl Pair {
    fn new(per_day: u64) -> Self {
        let payment = Payment {
            node: node(SERVES).public(),
            site: SITE,
            payee: account(SERVES).account(),
            price: PRICE,
            per_day: Amount::of(per_day),
            tabs: Some((TABS.price, Amount::of(per_day))),
            credit: CREDIT,
        };
        let directory = tempfile::tempdir().unwrap();
        let mut pair = Self { directory, billing: None, paying: None, payment };
        pair.open_billing();
        pair.open_paying();
        assert_eq!(pair.agree(PAYS, NOW), Ok(()));
        pair
    }

    fn open_billing(&mut self) {
        drop(self.billing.take());
        let directory = self.directory.path();
        let (path, purse) = (directory.join("billing.redb"), purse(directory, SERVES));
        let billing =
            Billing::open(&path, purse, node(SERVES).public(), (PRICE, Some(TABS)), CREDIT, (T, NOW));
        self.billing = Some(billing.unwrap());
    }

    fn open_paying(&mut self) {
        drop(self.paying.take());
        let directory = self.directory.path();
        let paying = Paying::open(&directory.join("paying.redb"), purse(directory, PAYS)).unwrap();
        paying.handle_terms(T, &self.payment).unwrap();
        self.paying = Some(paying);
    }

    fn billing(&self) -> &Billing {
        self.billing.as_ref().unwrap()
    }

    fn paying(&self) -> &Paying {
        self.paying.as_ref().unwrap()
    }

    fn agree(&self, payer: u8, now: UnixSeconds) -> Result<(), Refusal> {
        let publisher = Keypair::from_secret([99; 32]);
        let agreement = Agreement {
            publisher: publisher.public(),
            site: "site.example".to_owned(),
            node: node(payer).public(),
            payer: account(payer).account(),
            contract: CONTRACT,
            price: PRICE,
            tabs: Some(TABS.price),
            issued: now,
            expires: now.plus(86_400 * 30),
        };
        let signed = agreement.sign(&publisher);
        let counted = self.paying.as_ref().filter(|_| payer == PAYS);
        let total = counted.map_or(Amount::ZERO, |paying| paying.tabs_total(&self.payment.node, SITE));
        self.billing().handle_agreement(T, now, &node(payer).public(), SITE, &signed, total).unwrap()
    }

    /// A visitor signed for so much, in all of its session.
    fn deliver(&self, visitor: u8, bytes: u64) {
        let verified = Verified { site: Some(SITE), ..Verified::of(bytes) };
        let receipt = Receipt::sign(&node(visitor), &node(SERVES).public(), 1, verified);
        let news = vec![Delivered::Receipt { site: SITE, edge: 0, receipt }];
        self.billing().handle_delivered(T, NOW, news).unwrap();
    }

    fn bill(&self) -> Billed {
        self.billing().bill(SITE, 1).unwrap().unwrap()
    }

    fn answer(&self, bill: &wire::PaymentBill, now: UnixSeconds) -> wire::PaymentPaid {
        self.paying().handle_bill(T, now, &self.payment, bill).unwrap()
    }

    fn settle(&self) {
        while let Some(billed) = self.billing().bill(SITE, 1).unwrap() {
            let paid = self.answer(&billed.bill, NOW);
            self.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
        }
    }

    /// What the payee counts, what it has vouchers for, and what the payer signed.
    fn figures(&self) -> (u128, u128, u128) {
        let (billed, paid) = (self.billing().stands().remove(0).payer, self.paying().stands().remove(0));
        assert_eq!(paid.channel.total, paid.channel.paid, "whoever counts signs");
        (billed.total.units(), billed.paid.units(), paid.channel.paid.units())
    }
}

#[test]
fn what_visitors_signed_for_is_paid_to_the_last_byte_and_once() {
    let pair = Pair::new(1_000_000);
    // Each is worth less than a base unit by itself.
    for bytes in 1..=100 {
        pair.deliver(10, bytes * 10);
        pair.deliver(11, bytes * 7);
        pair.settle();
    }
    assert_eq!(pair.figures(), (5, 5, 5));
    pair.deliver(10, 50_000);
    let billed = pair.bill();
    // Its answer was lost, so it is billed again.
    pair.answer(&billed.bill, NOW);
    pair.settle();
    assert_eq!(pair.figures(), (152, 152, 152));
    assert!(pair.billing().bill(SITE, 2).unwrap().is_none(), "nothing is left to bill");
}

#[test]
fn what_is_no_evidence_is_not_paid_and_stays_owed() {
    let pair = Pair::new(1_000_000);
    pair.deliver(10, 100_000);
    let mut billed = pair.bill();
    let good = billed.bill.lines[0].clone();
    let sign = |provider: u8, receiver: u8, verified: Verified| {
        let signed = Receipt::sign(&node(receiver), &node(provider).public(), 1, verified);
        wire::BillLine { receipt: signed.receipt, signature: signed.signature, bytes: 100_000 }
    };
    let of_site = Verified { site: Some(SITE), ..Verified::of(100_000) };
    let mut forged = good.clone();
    forged.signature[3] ^= 1;
    billed.bill.lines = vec![
        wire::BillLine { bytes: 100_001, ..good.clone() },
        forged,
        // Of another node, of no site, of another, and of what a node sent to itself.
        sign(4, 10, of_site),
        sign(SERVES, 10, Verified::of(100_000)),
        sign(SERVES, 10, Verified { site: Some(SiteId([8; 32])), ..of_site }),
        sign(SERVES, SERVES, of_site),
    ];
    let paid = pair.answer(&billed.bill, NOW);
    assert_eq!((paid.refused.len(), paid.voucher.clone()), (6, None));
    assert!(!pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap());
    let owed = pair.billing().stands().remove(0).payer.owed;
    assert_eq!(owed, Amount::of(300));
    // A bill that is too long is not looked at.
    billed.bill.lines = vec![good; super::billing::LINES_MAX + 1];
    assert_eq!(pair.answer(&billed.bill, NOW).refusal, Refusal::Malformed.code());
}

#[test]
fn a_day_costs_no_more_than_the_publisher_said() {
    let pair = Pair::new(400);
    pair.deliver(10, 100_000);
    pair.settle();
    pair.deliver(11, 100_000);
    let billed = pair.bill();
    let paid = pair.answer(&billed.bill, NOW);
    assert_eq!(paid.refusal, Refusal::OverBudget.code());
    assert!(paid.retry_after_ms > 0 && paid.retry_after_ms <= 86_400_000);
    pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
    assert_eq!(pair.figures(), (600, 300, 300));
    // It is billed again, and paid the next day.
    let billed = pair.bill();
    let paid = pair.answer(&billed.bill, NOW.plus(86_400));
    pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
    assert_eq!(pair.figures(), (600, 600, 600));
}

#[test]
fn a_window_is_served_unpaid_and_another_payer_opens_no_other_one() {
    let pair = Pair::new(1_000_000);
    pair.deliver(10, 300_000);
    assert!(!pair.billing().is_overdue(SITE) && pair.billing().is_pressing(SITE));
    pair.deliver(11, 100_000);
    assert!(pair.billing().is_overdue(SITE));
    assert_eq!(pair.agree(ALSO_PAYS, NOW.plus(60)), Err(Refusal::Unpaid));
    // An older word does not come back.
    assert_eq!(pair.agree(PAYS, NOW.plus(120)), Ok(()));
    assert_eq!(pair.agree(PAYS, NOW.plus(60)), Err(Refusal::Superseded));
    pair.settle();
    assert!(!pair.billing().is_overdue(SITE));
    // Who owes nothing is replaced at once, and who comes next is billed from then on.
    pair.deliver(12, 1_000);
    pair.settle();
    assert_eq!(pair.agree(ALSO_PAYS, NOW.plus(180)), Ok(()));
    let stands = pair.billing().stands().remove(0).payer;
    assert_eq!((stands.total, stands.paid), (Amount::ZERO, Amount::ZERO));
}

#[test]
fn whichever_side_dies_at_whichever_step_both_agree_afterwards() {
    let mut pair = Pair::new(1_000_000);
    for step in 0..4_u8 {
        pair.deliver(20 + step, 100_000);
        let billed = pair.bill();
        if step == 0 {
            pair.open_billing();
        }
        if step >= 1 {
            let paid = pair.answer(&billed.bill, NOW);
            assert!(paid.voucher.is_some());
            match step {
                // The answer never came; its sender remembers, or does not.
                1 => pair.open_paying(),
                2 => pair.open_billing(),
                _ => {
                    pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
                    pair.open_billing();
                    pair.open_paying();
                }
            }
        }
        assert_eq!(pair.agree(PAYS, NOW), Ok(()));
        pair.settle();
        let all = 300 * (u128::from(step) + 1);
        assert_eq!(pair.figures(), (all, all, all), "after step {step}");
    }
    // Evidence that is lost is neither paid again nor owed for ever.
    drop((pair.billing.take(), pair.paying.take()));
    for file in ["billing.redb", "paying.redb"] {
        std::fs::remove_file(pair.directory.path().join(file)).unwrap();
    }
    pair.open_billing();
    pair.open_paying();
    assert_eq!(pair.agree(PAYS, NOW), Ok(()));
    assert_eq!(pair.figures(), (1200, 1200, 1200));
    pair.deliver(30, 100_000);
    pair.settle();
    assert_eq!(pair.figures(), (1500, 1500, 1500));
}
