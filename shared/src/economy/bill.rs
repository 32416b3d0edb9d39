//! A bill: what one party owes another for all it got since ever, over services and changes of price.
//!
//! Units are counted as a receiver verified them, or on the other side as a provider sent them; both keep a bill, and
//! where they agree on the units they agree on the sum to the last base unit.

use std::collections::BTreeMap;

use super::{
    Amount,
    price::{Price, Unit},
};

/// Runs from the first unit that one party ever got from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Worth of what was counted at prices that hold no more.
    closed: Amount,
    open: BTreeMap<Unit, Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    price: Price,
    units: u64,
}

impl Bill {
    /// Goes on from a sum that was kept.
    pub fn resume(total: Amount) -> Self {
        Self { closed: total, open: BTreeMap::new() }
    }

    /// A bill with this sum and the same prices.
    pub fn resume_with(other: &Self, total: Amount) -> Self {
        let open = other.open.iter().map(|(unit, line)| (*unit, Line { units: 0, ..*line })).collect();
        Self { closed: total, open }
    }

    /// The sum.
    pub fn total(&self) -> Amount {
        self.closed.plus(self.open.values().map(|line| line.price.cost(line.units)).sum())
    }

    /// What units cost from now on; what was counted before keeps its price.
    pub fn set_price(&mut self, unit: Unit, price: Price) {
        if let Some(line) = self.open.insert(unit, Line { price, units: 0 }) {
            self.closed = self.closed.plus(line.price.cost(line.units));
        }
    }

    /// Counts; tells whether such units have a price at all.
    #[must_use]
    pub fn count(&mut self, unit: Unit, units: u64) -> bool {
        let Some(line) = self.open.get_mut(&unit) else { return false };
        let Some(more) = line.units.checked_add(units) else {
            self.closed = self.closed.plus(line.price.cost(line.units));
            line.units = units;
            return true;
        };
        line.units = more;
        true
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;

    fn price(amount: u64) -> Price {
        Price { amount, per: NonZeroU64::new(10).unwrap() }
    }

    #[test]
    fn each_unit_keeps_the_price_it_was_counted_at() {
        let mut bill = Bill::resume(Amount::of(5));
        assert!(!bill.count(Unit::Bytes, 1));
        bill.set_price(Unit::Bytes, price(1));
        (0..15).for_each(|_| assert!(bill.count(Unit::Bytes, 1)));
        assert_eq!(bill.total(), Amount::of(6));
        bill.set_price(Unit::Bytes, price(10));
        assert_eq!(bill.total(), Amount::of(6));
        assert!(bill.count(Unit::Bytes, 3));
        bill.set_price(Unit::Gas, price(10));
        assert!(bill.count(Unit::Gas, 4));
        assert_eq!(bill.total(), Amount::of(13));
    }

    #[test]
    fn a_count_that_would_overflow_goes_on() {
        let mut bill = Bill::default();
        bill.set_price(Unit::Gas, price(10));
        assert!(bill.count(Unit::Gas, u64::MAX));
        assert!(bill.count(Unit::Gas, 2));
        assert_eq!(bill.total().units(), u128::from(u64::MAX) + 2);
    }
}
