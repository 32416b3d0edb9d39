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
    identity::{Account, Keypair, PublicKey},
};

use super::PRICE;

/// Networks that the attacker has addresses in.
const NETWORKS: u64 = 16;
const CONTENT_BYTES: u64 = 20_000_000;
const VISITS: u32 = 8;
const TERMS: Terms = Terms {
    content_bytes: CONTENT_BYTES,
    visits_per_network: VISITS,
    price: PRICE,
    pot: Amount::of(1 << 50),
};
/// Whom honest visitors' tabs earn for.
const HONEST: Account = Account([1; 20]);

/// Deliveries that each tab says it got.
const DELIVERIES: u32 = 3;

/// How the attacker's tabs deal with each other.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Each says that it got everything from any others, wherever they are.
    Anybody,
    /// Each says so of a tab that is never in its own network.
    AcrossNetworks,
    /// Each signs by a new key for each delivery.
    NewKeys,
    /// Each says little at a time, to as many earners as it can.
    Little,
    /// All say so of one earner, so that nothing is too little to be paid out.
    OneEarner,
}

const ATTACKS: [Attack; 5] =
    [Attack::Anybody, Attack::AcrossNetworks, Attack::NewKeys, Attack::Little, Attack::OneEarner];

/// How it ended, in base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sybils {
    /// What the attacker's tabs got by the attack that gave most.
    pub earned: Amount,
    /// What tabs get that serve honest visitors from as many networks, played the same way.
    pub honest_visits: Amount,
    /// What honest tabs got beside the attacker.
    pub honest: Amount,
    /// Of what was locked for both, at most.
    pub paid_out: Amount,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

/// Tabs, honest visitors, and one epoch's payout, for each attack.
pub fn sybils(tabs: u32, honest: u32, seed: u64) -> Sybils {
    let mut rng = SeededRng::from_number(seed);
    let honest_visits = honest_visits();
    let mut outcome = Sybils {
        earned: Amount::ZERO,
        honest_visits,
        honest: Amount::ZERO,
        paid_out: Amount::ZERO,
        violations: Vec::new(),
    };
    let receivers: Vec<PublicKey> =
        (0..tabs * DELIVERIES).map(|number| key((1 << 32) + u64::from(number)).public()).collect();
    for attack in ATTACKS {
        let mut earnings = Earnings::new(TERMS);
        for visitor in 0..honest {
            // Each from a home of its own.
            earnings.handle_delivery(&visit(visitor.into(), (2 << 40) + u64::from(visitor)));
        }
        let before = earnings.counted();
        for tab in 0..tabs {
            for delivery in 0..DELIVERIES {
                earnings.handle_delivery(&attack.delivery(tab, delivery, tabs, &receivers, &mut rng));
            }
        }
        let claimed = PRICE.cost(earnings.counted() - before);
        let owed = earnings.close();
        let paid_out = pay(&owed, &mut outcome.violations);
        let honest = owed.get(&HONEST).copied().unwrap_or_default();
        let earned: Amount =
            owed.iter().filter(|(account, _)| **account != HONEST).map(|(_, amount)| *amount).sum();
        if earned > honest_visits || claimed > honest_visits {
            let violation =
                format!("{attack:?}: the attacker has {earned}, honest visits give {honest_visits}");
            outcome.violations.push(violation);
        }
        outcome.earned = outcome.earned.max(earned);
        outcome.honest = honest;
        outcome.paid_out = outcome.paid_out.max(paid_out);
    }
    outcome
}

/// What the attacker's networks would give if visitors lived there who want the site, and others' tabs served them.
fn honest_visits() -> Amount {
    let mut earnings = Earnings::new(TERMS);
    for visitor in 0..NETWORKS * u64::from(VISITS) {
        earnings.handle_delivery(&visit(visitor, visitor % NETWORKS));
    }
    earnings.close().values().copied().sum()
}

/// An honest visitor that got the whole site from a tab elsewhere.
fn visit(visitor: u64, receiver_network: u64) -> Delivery {
    Delivery {
        earner: HONEST,
        earner_network: network(1 << 40),
        receiver: key(visitor).public(),
        receiver_network: network(receiver_network),
        bytes: CONTENT_BYTES,
    }
}

impl Attack {
    fn delivery(
        self,
        tab: u32,
        number: u32,
        tabs: u32,
        receivers: &[PublicKey],
        rng: &mut SeededRng,
    ) -> Delivery {
        let own_network = u64::from(tab) % NETWORKS;
        let any = u32::try_from(rng.below(tabs.into())).expect("below");
        let (earner, earner_network) = match self {
            Self::AcrossNetworks => (any, (own_network + 1) % NETWORKS),
            Self::OneEarner => (0, 0),
            Self::Anybody | Self::NewKeys | Self::Little => (any, u64::from(any) % NETWORKS),
        };
        let key = if matches!(self, Self::NewKeys) { tab * DELIVERIES + number } else { tab };
        Delivery {
            earner: sybil(earner),
            earner_network: network(earner_network),
            receiver: receivers[key as usize].clone(),
            receiver_network: network(own_network),
            bytes: if matches!(self, Self::Little) { CONTENT_BYTES / 1000 } else { 1 << 40 },
        }
    }
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
