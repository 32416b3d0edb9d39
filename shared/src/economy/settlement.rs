//! When vouchers are claimed: when they are worth the gas, when a payer is leaving, or when too much hangs on one disk.

use super::Amount;

/// What a transaction costs before its first voucher: the base fee and the call's own words.
pub const BATCH_GAS: u64 = 60_000;
/// What each further voucher costs (contracts/snapshots/PaymentChannels.json: 13,080 by hot keys), with room.
pub const VOUCHER_GAS: u64 = 14_000;
/// A Polygon transaction may spend 33.5 million; half of that is never refused.
pub const BATCH_VOUCHERS_MAX: usize = 500;

/// What an operator finds worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// Claim once the money is worth so many times the gas.
    pub gas_multiple: u64,
    /// Whatever gas costs, claim of a payer that has this much outstanding.
    pub outstanding_max: Amount,
}

/// A payer's vouchers that could be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimable {
    /// How much the claim would bring now: up to the ceiling, less what was claimed.
    pub amount: Amount,
    /// The payer takes its money back soon, or revokes the key that signed.
    pub leaving: bool,
}

impl ClaimRule {
    /// Which of them to claim now, as places in `claimables`; `gas_price` is what one unit of gas costs, in
    /// 10⁻¹² base units of the token. Who is leaving comes first, then who owes most; what is left waits.
    pub fn due(&self, claimables: &[Claimable], gas_price: u64) -> Vec<usize> {
        let mut places: Vec<usize> =
            (0..claimables.len()).filter(|place| !claimables[*place].amount.is_zero()).collect();
        places.sort_by_key(|place| {
            let claimable = &claimables[*place];
            (!claimable.leaving, core::cmp::Reverse(claimable.amount))
        });
        let pressing = |place: &usize| {
            let claimable = &claimables[*place];
            let worth_it = claimable.amount > self.cost(VOUCHER_GAS, gas_price);
            claimable.amount >= self.outstanding_max || (claimable.leaving && worth_it)
        };
        let must_go = places.iter().any(pressing);
        // A voucher is worth its place where it brings more than it costs itself.
        places
            .retain(|place| pressing(place) || claimables[*place].amount > self.cost(VOUCHER_GAS, gas_price));
        let sum: Amount = places.iter().map(|place| claimables[*place].amount).sum();
        let gas = BATCH_GAS + VOUCHER_GAS * places.len() as u64;
        let worth_it = sum >= self.cost(gas, gas_price).times(self.gas_multiple.max(1));
        if must_go || (worth_it && !places.is_empty()) { places } else { Vec::new() }
    }

    /// Base units that so much gas costs, rounded up.
    fn cost(&self, gas: u64, gas_price: u64) -> Amount {
        let cost = (u128::from(gas) * u128::from(gas_price)).div_ceil(1_000_000_000_000);
        Amount::new(cost).unwrap_or(Amount::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ClaimRule = ClaimRule { gas_multiple: 10, outstanding_max: Amount::of(1_000_000) };
    /// 50 gwei of a coin worth half a dollar: 0.025 base units of a token of six decimals for each gas.
    const GAS_PRICE: u64 = 25_000_000_000;

    fn of(amount: u64) -> Claimable {
        Claimable { amount: Amount::of(amount), leaving: false }
    }

    #[test]
    fn cents_wait_until_together_they_are_worth_the_gas() {
        let few = vec![of(2000); 3];
        assert_eq!(RULE.due(&few, GAS_PRICE), Vec::<usize>::new());
        let many = vec![of(20_000); 100];
        assert_eq!(RULE.due(&many, GAS_PRICE).len(), 100);
        assert_eq!(RULE.due(&many, GAS_PRICE * 1000), Vec::<usize>::new());
    }

    #[test]
    fn who_leaves_is_claimed_first_and_at_once() {
        let mut all = vec![of(2000); 5];
        all[3].leaving = true;
        let due = RULE.due(&all, GAS_PRICE);
        assert_eq!(due[0], 3);
        // Unless the claim costs more than it brings.
        assert_eq!(RULE.due(&all, GAS_PRICE * 1000), Vec::<usize>::new());
    }

    #[test]
    fn too_much_on_one_disk_is_claimed_whatever_it_costs() {
        let all = [of(10), of(1_000_000), of(0)];
        assert_eq!(RULE.due(&all, u64::MAX), [1]);
        assert_eq!(RULE.due(&[of(0)], 0), Vec::<usize>::new());
    }
}
