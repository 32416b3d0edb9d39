//! How many vouchers a payee takes in a second, on one core: `cargo xtask bench vouchers`.
//!
//! Each is a newer one of the same payer's, and goes through all that a payee does with it. Where the payer's key is
//! known from the one before, its signature is checked with that key; the first of a payer needs the key recovered
//! from the signature, which is what a contract does. Medians over the rounds.

use std::{process::ExitCode, time::Instant};

use shared::{
    economy::{
        Amount,
        payee::{Accepted, ChannelView, Payee, PayeeState},
        voucher::{ChannelContract, SignedVoucher, Voucher},
    },
    identity::{Account, AccountKey, eip712::Separator},
};

const ROUNDS: usize = 9;
const VOUCHERS: u64 = 2_000;
/// What was promised of vouchers whose payer's key is known.
const A_SECOND_MIN: f64 = 3_000.0;
const PAYEE: Account = Account([2; 20]);

fn main() -> ExitCode {
    let key = AccountKey::from_secret([1; 32]).expect("a secret of the curve");
    let separator = ChannelContract { chain_id: 137, address: Account([3; 20]) }.separator();
    let sign = |cumulative| {
        let voucher = Voucher { payer: key.account(), payee: PAYEE, cumulative: Amount::of(cumulative) };
        voucher.sign(&separator, &key)
    };
    let payee = || payee_of(&key, separator);
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let vouchers: Vec<SignedVoucher> = (1..=VOUCHERS).map(sign).collect();
        figures[0].push(a_second(begun));

        let mut one = payee();
        take(&mut one, &vouchers[0]);
        let begun = Instant::now();
        vouchers[1..].iter().for_each(|voucher| take(&mut one, voucher));
        figures[1].push(a_second(begun));

        let mut many: Vec<Payee> = vouchers.iter().map(|_| payee()).collect();
        let begun = Instant::now();
        many.iter_mut().zip(&vouchers).for_each(|(payee, voucher)| take(payee, voucher));
        figures[2].push(a_second(begun));
    }
    let [signed, known, first] = figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[ROUNDS / 2]
    });
    println!("vouchers a second on one core, medians of {ROUNDS} rounds of {VOUCHERS}");
    println!("  signed by a payer:                        {signed:>8.0}");
    println!("  taken by a payee, the key known:          {known:>8.0} (promised: {A_SECOND_MIN})");
    println!("  taken by a payee, the first of its payer: {first:>8.0}");
    if known < A_SECOND_MIN { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn payee_of(key: &AccountKey, separator: Separator) -> Payee {
    let mut payee = Payee::new(PAYEE, key.account(), separator, Amount::of(1), PayeeState::default());
    payee.set_view(ChannelView { ceiling: Amount::of(VOUCHERS), ..ChannelView::default() });
    payee
}

fn take(payee: &mut Payee, voucher: &SignedVoucher) {
    let taken = payee.handle_voucher(voucher).expect("a voucher that is good");
    assert!(matches!(taken, Accepted::Newer { .. }), "each says more than the one before");
}

fn a_second(begun: Instant) -> f64 {
    VOUCHERS as f64 / begun.elapsed().as_secs_f64()
}
