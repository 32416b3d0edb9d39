//! What tabs give to each other: counted by both sides, paid, and whose it is then.

use shared::{cdn::earner::Earner, economy::earnings::NetworkPrefix, wire::cdn::SignedReceipt};

use super::*;
use crate::charging::{EpochStage, HandedIn};

/// A tab that gives,
const GIVES: u8 = 50;
/// its network,
const HOME: u8 = 1;
/// and one who receives elsewhere.
const GETS: u8 = 60;
const CONTENT: u64 = 300_000;
const PAYOUTS: Account = Account([8; 20]);

fn earns(number: u8) -> Account {
    Account([number; 20])
}

/// A receipt of a receiver for a tab, in their session.
fn receipt(tab: u8, receiver: u8, session: u64, bytes: u64) -> SignedReceipt {
    let verified = Verified { site: Some(SITE), ..Verified::of(bytes) };
    Receipt::sign(&node(receiver), &node(tab).public(), session, verified)
}

/// What a tab of the first network hands in, of receivers in these networks; paid to an account of its number.
fn handed(tab: u8, receipts: Vec<(SignedReceipt, u8)>) -> HandedIn {
    let signed = Earner::sign(&node(tab), &node(SERVES).public(), SITE, earns(tab).0);
    HandedIn {
        earner: Earner::open(&signed).unwrap(),
        signed,
        network: NetworkPrefix([HOME; 8]),
        content_bytes: CONTENT,
        receipts: receipts.into_iter().map(|(receipt, from)| (receipt, NetworkPrefix([from; 8]))).collect(),
    }
}

impl Pair {
    fn hand_in(&self, handed: HandedIn) {
        self.hand_in_at(NOW, handed);
    }

    fn hand_in_at(&self, now: UnixSeconds, handed: HandedIn) {
        let news = vec![Delivered::HandedIn(Box::new(handed))];
        self.billing().handle_delivered(T, now, news).unwrap();
    }

    /// A tab gave so much in its session with a receiver of another network.
    fn give(&self, tab: u8, receiver: u8, bytes: u64) {
        self.hand_in(handed(tab, vec![(receipt(tab, receiver, 1, bytes), receiver)]));
    }

    fn earned(&self, tab: u8) -> u128 {
        self.billing().earner(earns(tab)).unwrap().earned.units()
    }

    /// Base units by the payer's count of what tabs gave.
    fn counted(&self) -> u128 {
        let stands = self.paying().stands().into_iter().find(|stands| stands.node == self.payment.node);
        let (tally, _) = stands.and_then(|stands| stands.tabs).unwrap();
        tally.total().units()
    }
}

#[test]
fn what_a_tab_gave_is_paid_by_the_publisher_and_is_the_tabs_once() {
    let pair = Pair::new(1_000_000);
    pair.deliver(10, 100_000);
    pair.give(GIVES, GETS, 100_000);
    assert_eq!(pair.earned(GIVES), 0, "nobody has paid yet");
    pair.settle();
    assert_eq!((pair.earned(GIVES), pair.counted()), (100, 100));
    assert_eq!(pair.figures(), (400, 400, 400));
    // The same again, and less, is nothing; more is what it is more.
    pair.give(GIVES, GETS, 100_000);
    pair.give(GIVES, GETS, 70_000);
    assert!(pair.billing().bill(SITE, 1).unwrap().is_none());
    pair.give(GIVES, GETS, 150_000);
    pair.settle();
    assert_eq!((pair.earned(GIVES), pair.figures()), (150, (450, 450, 450)));
}

#[test]
fn what_honest_visitors_could_not_have_verified_is_not_billed() {
    let pair = Pair::new(1_000_000);
    let all = CONTENT * 10;
    let of_no_site = Receipt::sign(&node(GETS), &node(GIVES).public(), 3, Verified::of(all));
    let mut forged = receipt(GIVES, GETS, 4, all);
    forged.signature[9] ^= 1;
    pair.hand_in(handed(
        GIVES,
        vec![
            // To itself, of another tab, by the node, of no site, signed by nobody, and in its own network.
            (receipt(GIVES, GIVES, 1, all), 2),
            (receipt(51, GETS, 2, all), 2),
            (receipt(GIVES, SERVES, 2, all), 2),
            (of_no_site, 2),
            (forged, 2),
            (receipt(GIVES, GETS, 5, all), HOME),
            // Less than is worth remembering.
            (receipt(GIVES, GETS, 6, 1000), 2),
        ],
    ));
    assert!(pair.billing().bill(SITE, 1).unwrap().is_none());
    // A receiver wants a site's content once a day, however many sessions it signs for, and a network some visits.
    for receiver in 70..90 {
        let sessions = (0..3).map(|session| (receipt(GIVES, receiver, session, all), 3)).collect();
        pair.hand_in(handed(GIVES, sessions));
    }
    pair.settle();
    let honest = u128::from(CONTENT * 2 / 1000);
    assert_eq!((pair.earned(GIVES), pair.counted()), (honest, honest));
    // Nor by another account, nor after a restart; the next day it may.
    let mut pair = pair;
    pair.open_billing();
    assert_eq!(pair.agree(PAYS, NOW), Ok(()));
    pair.hand_in(handed(52, vec![(receipt(52, 90, 1, all), 3)]));
    pair.settle();
    assert_eq!(pair.counted(), honest);
    pair.hand_in_at(NOW.plus(86_400), handed(52, vec![(receipt(52, 90, 1, all), 3)]));
    pair.settle();
    assert_eq!((pair.earned(52), pair.counted()), (300, honest + 300));
}

#[test]
fn a_payer_counts_no_line_that_is_no_evidence_and_none_twice() {
    let pair = Pair::new(1_000_000);
    pair.give(GIVES, GETS, 100_000);
    let billed = pair.bill();
    let good = billed.bill.tabs[0].clone();
    let line = |receipt: SignedReceipt, earner: shared::wire::cdn::SignedEarner| wire::TabLine {
        line: Some(wire::BillLine { receipt: receipt.receipt, signature: receipt.signature, bytes: 100_000 }),
        earner: earner.earner,
        earner_signature: earner.signature,
    };
    let claim = |tab: u8, at: u8, site| Earner::sign(&node(tab), &node(at).public(), site, earns(tab).0);
    let own = claim(GIVES, SERVES, SITE);
    let mut more = good.clone();
    more.line.as_mut().unwrap().bytes = 100_001;
    let mut bill = billed.bill.clone();
    bill.tabs = vec![
        more,
        // Another tab's word, a word for another node or site, a receipt of itself or of the node.
        line(receipt(GIVES, GETS, 1, 100_000), claim(51, SERVES, SITE)),
        line(receipt(GIVES, GETS, 1, 100_000), claim(GIVES, 4, SITE)),
        line(receipt(GIVES, GETS, 1, 100_000), claim(GIVES, SERVES, SiteId([8; 32]))),
        line(receipt(GIVES, GIVES, 1, 100_000), own.clone()),
        line(receipt(GIVES, SERVES, 1, 100_000), own.clone()),
        line(receipt(SERVES, GETS, 1, 100_000), claim(SERVES, SERVES, SITE)),
        wire::TabLine { line: None, ..good.clone() },
        good.clone(),
        good.clone(),
    ];
    let paid = pair.answer(&bill, NOW);
    assert_eq!((paid.tabs_counted, pair.counted()), (vec![8, 9], 100));
    // What another node bills again is not counted for that one.
    let other = Payment { node: node(4).public(), ..pair.payment.clone() };
    pair.paying().handle_terms(T, &other).unwrap();
    bill.tabs = vec![line(receipt(GIVES, GETS, 1, 100_000), claim(GIVES, 4, SITE))];
    let paid = pair.paying().handle_bill(T, NOW, &other, &bill).unwrap();
    assert_eq!(paid.tabs_counted, Vec::<u32>::new());
    // Nor is anything where nothing was agreed for tabs.
    let none = Payment { tabs: None, ..pair.payment.clone() };
    bill.tabs = vec![line(receipt(GIVES, 61, 1, 100_000), own)];
    let paid = pair.paying().handle_bill(T, NOW, &none, &bill).unwrap();
    assert_eq!((paid.tabs_counted, pair.counted()), (Vec::new(), 100));
}

#[test]
fn nothing_is_a_tabs_before_its_payers_money_covers_it() {
    let pair = Pair::new(1_000_000);
    let poor = Payment { credit: Amount::ZERO, ..pair.payment.clone() };
    pair.paying().handle_terms(T, &poor).unwrap();
    for receiver in 60..70 {
        pair.give(GIVES, receiver, CONTENT);
    }
    // Three thousand base units, of a payer that counts and does not pay: its window is a thousand.
    for _ in 0..5 {
        let billed = pair.bill();
        let paid = pair.paying().handle_bill(T, NOW, &poor, &billed.bill).unwrap();
        pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
    }
    assert_eq!(pair.earned(GIVES), 0);
    assert_eq!(pair.billing().stands()[0].payer.total, WINDOW);
    assert!(pair.billing().is_overdue(SITE));
    pair.paying().handle_terms(T, &pair.payment).unwrap();
    pair.settle();
    assert_eq!((pair.earned(GIVES), pair.counted()), (3000, 3000));
}

#[test]
fn a_day_of_tabs_costs_no_more_than_its_pot_and_the_rest_is_dropped_on_both_sides() {
    let pair = Pair::new(150);
    pair.give(GIVES, GETS, 100_000);
    pair.give(GIVES, 61, 100_000);
    pair.settle();
    assert_eq!((pair.earned(GIVES), pair.counted(), pair.figures()), (100, 100, (100, 100, 100)));
    assert!(pair.billing().bill(SITE, 1).unwrap().is_none(), "what was dropped is not billed again");
    // Shown again the next day, it is counted from where both sides stand.
    pair.give(GIVES, 61, 120_000);
    let (billed, tomorrow) = (pair.bill(), NOW.plus(86_400));
    let paid = pair.answer(&billed.bill, tomorrow);
    pair.billing().handle_paid(T, tomorrow, SITE, &billed, &paid).unwrap();
    assert_eq!((pair.earned(GIVES), pair.counted(), pair.figures()), (220, 220, (220, 220, 220)));
}

#[test]
fn whichever_side_dies_both_count_tabs_alike_and_no_account_loses_or_gains() {
    let mut pair = Pair::new(1_000_000);
    for step in 0..5_u8 {
        pair.give(GIVES, 60 + step, 100_000);
        pair.deliver(20 + step, 100_000);
        let billed = pair.bill();
        if step == 0 {
            pair.open_billing();
        } else {
            let paid = pair.answer(&billed.bill, NOW);
            match step {
                1 => pair.open_paying(),
                2 => pair.open_billing(),
                3 => {
                    // Its voucher was lost on the way, and the rest came.
                    let lame = wire::PaymentPaid { voucher: None, ..paid };
                    pair.billing().handle_paid(T, NOW, SITE, &billed, &lame).unwrap();
                    pair.open_billing();
                }
                _ => {
                    pair.billing().handle_paid(T, NOW, SITE, &billed, &paid).unwrap();
                    pair.open_billing();
                    pair.open_paying();
                }
            }
        }
        assert_eq!(pair.agree(PAYS, NOW), Ok(()));
        pair.settle();
        let tabs = 100 * (u128::from(step) + 1);
        assert_eq!((pair.earned(GIVES), pair.counted()), (tabs, tabs), "after step {step}");
        assert_eq!(pair.figures(), (4 * tabs, 4 * tabs, 4 * tabs), "after step {step}");
    }
}

#[test]
fn another_payer_pays_for_what_the_one_before_did_not() {
    let pair = Pair::new(1_000_000);
    pair.give(GIVES, GETS, 100_000);
    pair.settle();
    pair.give(GIVES, 61, 100_000);
    assert_eq!(pair.agree(ALSO_PAYS, NOW.plus(60)), Ok(()));
    assert_eq!(pair.bill().bill.tabs.len(), 1);
    assert_eq!(pair.billing().stands()[0].payer.total, Amount::ZERO);
    // And the first one, coming back, finds what it paid counted.
    assert_eq!(pair.agree(PAYS, NOW.plus(120)), Ok(()));
    pair.settle();
    assert_eq!((pair.earned(GIVES), pair.figures()), (200, (200, 200, 200)));
}

#[test]
fn accounts_that_are_owed_enough_get_a_share_and_what_nobody_claims_is_owed_anew() {
    let mut pair = Pair::new(1_000_000);
    for (tab, bytes) in [(GIVES, 200_000), (51, 70_000), (52, 150_000)] {
        pair.give(tab, tab + 20, bytes);
    }
    pair.settle();
    let least = Amount::of(100);
    let plan = |pair: &Pair, number| pair.billing().plan_payout(PAYOUTS, number, least).unwrap();
    assert_eq!(plan(&pair, 7), Some(Amount::of(350)));
    assert_eq!(plan(&pair, 8), None, "one after the other");
    let due = |pair: &Pair, tab| pair.billing().earner(earns(tab)).unwrap().due.units();
    assert_eq!([GIVES, 51, 52].map(|tab| due(&pair, tab)), [0, 70, 0]);
    // A crash before it came to the chain plans the same again.
    let (epoch, before) = pair.billing().planned().unwrap();
    assert_eq!((epoch.contract, epoch.payer, epoch.number), (PAYOUTS, account(SERVES).account(), 7));
    pair.open_billing();
    let (_, again) = pair.billing().planned().unwrap();
    assert_eq!(again.root(), before.root());
    pair.billing().handle_opened(7, 1000).unwrap();
    pair.open_billing();
    assert!(pair.billing().planned().is_none() && pair.billing().expired(999).is_empty());
    let stands = pair.billing().earner(earns(GIVES)).unwrap();
    let (epoch, stage, share) = stands.shares[0].clone();
    assert_eq!((stage, share.amount), (EpochStage::Open { expires: 1000 }, Amount::of(200)));
    assert!(share.is_proven(&epoch, &before.root()));
    // One was claimed. The other comes back, with what it earned since.
    assert_eq!(pair.billing().expired(1000).len(), 1);
    pair.billing().handle_closed(7, &[earns(52)]).unwrap();
    assert_eq!([GIVES, 51, 52].map(|tab| due(&pair, tab)), [0, 70, 150]);
    assert_eq!(pair.agree(PAYS, NOW), Ok(()));
    pair.give(51, 80, 100_000);
    pair.settle();
    assert_eq!(plan(&pair, 7), None, "a number is used once");
    assert_eq!(plan(&pair, 8), Some(Amount::of(170 + 150)));
    let stand = pair.billing().tabs_stand().unwrap();
    assert_eq!((stand.earned.units(), stand.due.units(), stand.accounts), (520, 0, 3));
}
