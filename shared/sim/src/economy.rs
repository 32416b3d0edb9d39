//! Payers and payees over channels: honest ones that crash, and liars of every kind; and tabs by the ten thousand that
//! deal with themselves.
//!
//! It drives the product's `Payer`, `Payee`, `Ledger`, `Earnings` and `Payout`; what is played is who dies before or
//! after something was kept, which voucher is lost or sent twice, what is counted wrong, and a chain that does
//! what `PaymentChannels` does. Real keys sign.
//!
//! Held after each step: nothing comes from nowhere, on the chain and in every book; nobody loses more than a window;
//! nothing is paid twice. And at the end: the books say what the chain says, honest pairs owe each other
//! nothing, and no liar has more than it staked.

mod chain;
mod pair;
mod sybils;

use shared::{
    base::SeededRng,
    economy::{Amount, price::Price},
};

pub use pair::{PayeeKind, PayerKind};
pub use sybils::{Sybils, sybils};

use chain::Chain;
use pair::Pair;

/// A base unit for 16 bytes: dear enough that a start window is worth looking at.
pub(crate) const PRICE: Price =
    Price { amount: 1, per: core::num::NonZeroU64::new(16).expect("16 is not 0") };
/// What each payer brings.
const DEPOSIT: Amount = Amount::of(100_000_000);
/// What each payee has bonded.
pub(crate) const STAKE: Amount = Amount::of(100_000);

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs of each kind of payer with each kind of payee.
    pub pairs_of_a_kind: u32,
    /// Pieces that each pair tries to move.
    pub rounds: u32,
}

impl Plan {
    /// As the promise has it.
    pub const FULL: Self = Self { pairs_of_a_kind: 3, rounds: 1500 };
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Pairs that dealt.
    pub pairs: u32,
    /// Base units that payees got on the chain.
    pub claimed: u128,
    /// Processes that were killed.
    pub crashes: u32,
    /// The most that a payee lost to one payer, in start windows times thousand.
    pub payee_loss_permille: u128,
    /// The most that a payer lost to one payee, likewise.
    pub payer_loss_permille: u128,
    /// The most that a lying payee gained, in stakes times thousand.
    pub lie_gain_permille: u128,
    /// Vouchers and claims that were refused.
    pub refused: u32,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

/// Plays `plan`; one seed replays it.
pub fn run(plan: Plan, seed: u64) -> Outcome {
    let mut rng = SeededRng::from_number(seed);
    let mut chain = Chain::default();
    let mut pairs = Vec::new();
    for _ in 0..plan.pairs_of_a_kind {
        for payer in PayerKind::ALL {
            for payee in PayeeKind::ALL {
                let number = u32::try_from(pairs.len()).expect("there are few");
                pairs.push(Pair::new(number, payer, payee, DEPOSIT, &mut chain));
            }
        }
    }
    let mut outcome = Outcome { pairs: u32::try_from(pairs.len()).expect("few"), ..Outcome::default() };
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    for round in 0..plan.rounds {
        rng.shuffle(&mut order);
        chain.tick();
        for place in &order {
            let pair = &mut pairs[*place];
            pair.step(round, plan.rounds, &mut rng, &mut chain);
            pair.judge(&mut outcome);
        }
        if let Err(error) = chain.conserves() {
            outcome.violations.push(error);
        }
    }
    for pair in &mut pairs {
        pair.conclude(&mut chain);
        pair.judge(&mut outcome);
        pair.judge_end(&chain, &mut outcome);
    }
    if let Err(error) = chain.conserves() {
        outcome.violations.push(error);
    }
    outcome
}
