//! Ten thousand tabs of one attacker, beside honest visitors: what they earn, and what is paid out.

use std::collections::BTreeMap;

use shared::{
    base::{SeededRng, UnixSeconds},
    economy::{
        Amount,
        earnings::{Delivery, Earnings, NetworkPrefix, Terms},
        ledger::{Book, Ledger, Posting},
        payout::{Epoch, Payout},
    },
    identity::{Account, Keypair},
};

use super::PRICE;

/// Networks that the attacker has addresses in.
const NETWORKS: u64 = 16;
const CONTENT_BYTES: u64 = 20_000_000;
const VISITS: u32 = 8;

/// How it ended, in base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sybils {
    /// What the attacker's tabs got.
    pub earned: Amount,
    /// What honest visits from as many networks give.
    pub honest_bound: Amount,
    /// What honest tabs got.
    pub honest: Amount,
    /// Of what was locked for both.
    pub paid_out: Amount,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

/// Tabs, honest visitors, and one epoch's payout.
pub fn sybils(tabs: u32, honest: u32, seed: u64) -> Sybils {
    let mut rng = SeededRng::from_number(seed);
    let terms = Terms {
        content_bytes: CONTENT_BYTES,
        visits_per_network: VISITS,
        price: PRICE,
        pot: Amount::of(1 << 50),
    };
    let mut earnings = Earnings::new(terms);
    let honest_account = Account([1; 20]);
    for visitor in 0..honest {
        // Each from a home of its own, served by a tab elsewhere.
        let delivery = Delivery {
            earner: honest_account,
            earner_network: network(1 << 40),
            receiver: key(u64::from(visitor)).public(),
            receiver_network: network((2 << 40) + u64::from(visitor)),
            bytes: CONTENT_BYTES,
        };
        earnings.handle_delivery(&delivery);
    }
    let before = earnings.counted();
    // Every tab says that it got everything, many times, from many others.
    for tab in 0..tabs {
        let receiver = key((1 << 32) + u64::from(tab)).public();
        for _ in 0..3 {
            let other = u32::try_from(rng.below(tabs.into())).expect("below");
            let delivery = Delivery {
                earner: sybil(other),
                earner_network: network(u64::from(other) % NETWORKS),
                receiver: receiver.clone(),
                receiver_network: network(u64::from(tab) % NETWORKS),
                bytes: 1 << 40,
            };
            earnings.handle_delivery(&delivery);
        }
    }
    let claimed = earnings.counted() - before;
    let owed = earnings.close();
    let mut violations = Vec::new();
    let paid_out = pay(&owed, &mut violations);
    let honest_bound = PRICE.cost(NETWORKS * u64::from(VISITS) * CONTENT_BYTES);
    let honest = owed.get(&honest_account).copied().unwrap_or_default();
    let earned: Amount =
        owed.iter().filter(|(account, _)| **account != honest_account).map(|(_, amount)| *amount).sum();
    if earned > honest_bound || PRICE.cost(claimed) > honest_bound {
        violations.push(format!("the attacker has {earned}, honest visits would give {honest_bound}"));
    }
    Sybils { earned, honest_bound, honest, paid_out, violations }
}

/// Owes, locks, pays and takes back the rest, by the books.
fn pay(owed: &BTreeMap<Account, Amount>, violations: &mut Vec<String>) -> Amount {
    let mut ledger = Ledger::default();
    let mut post = |posting, amount: Amount| {
        let posted = ledger.append(UnixSeconds(0), posting, amount, &[0; 32]);
        posted.expect("what is owed can be written");
    };
    for (account, amount) in owed {
        post(Posting::ShareOwed(*account), *amount);
    }
    let epoch = Epoch { chain_id: 1, contract: Account([3; 20]), payer: Account([4; 20]), number: 1 };
    let Ok((payout, carried)) = Payout::net(&epoch, owed, Amount::of(1000)) else {
        return Amount::ZERO;
    };
    post(Posting::Received, payout.total());
    post(Posting::PayoutOpened(1), payout.total());
    for share in payout.shares() {
        if !share.is_proven(&epoch, &payout.root()) {
            violations.push(format!("the share of {} is not proven", share.account));
        }
        post(Posting::SharePaid(share.account, 1), share.amount);
    }
    ledger.assert_balanced();
    let still: i128 =
        ledger.balances().filter(|(book, _)| matches!(book, Book::Owed(_))).map(|(_, b)| b).sum();
    let carried: Amount = carried.values().copied().sum();
    if still.unsigned_abs() != carried.units() || ledger.balance(Book::Payout(1)) != 0 {
        violations.push(format!("{still} is owed, {carried} was carried"));
    }
    payout.total()
}

fn sybil(number: u32) -> Account {
    let mut account = [2; 20];
    account[..4].copy_from_slice(&number.to_be_bytes());
    Account(account)
}

fn network(number: u64) -> NetworkPrefix {
    NetworkPrefix(number.to_be_bytes())
}

fn key(number: u64) -> Keypair {
    let mut secret = [5; 32];
    secret[..8].copy_from_slice(&number.to_le_bytes());
    Keypair::from_secret(secret)
}
