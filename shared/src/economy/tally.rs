//! Tallies: the worth of all bytes since ever, exact over restarts and changes of price; and how much of it a day may bring.
//!
//! A [`super::bill::Bill`] that is resumed from a sum has lost what was below one base unit. Where two sides keep evidence
//! of the same bytes, each keeps a tally beside it instead, and they agree to the last base unit however often they die.

use super::{Amount, price::Price};
use crate::base::UnixSeconds;

/// Worth of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Worth of what was counted at prices that hold no more.
    pub closed: Amount,
    /// What is asked now.
    pub price: Price,
    /// Counted at this price.
    pub bytes: u64,
}

impl Tally {
    /// Nothing yet.
    pub const fn new(price: Price) -> Self {
        Self { closed: Amount::ZERO, price, bytes: 0 }
    }

    /// The worth of all of it.
    pub fn total(&self) -> Amount {
        self.closed.plus(self.price.cost(self.bytes))
    }

    /// Counts more.
    pub fn add(&mut self, bytes: u64) {
        match self.bytes.checked_add(bytes) {
            Some(more) => self.bytes = more,
            None => (self.closed, self.bytes) = (self.total(), bytes),
        }
    }

    /// What bytes cost from now on.
    pub fn set_price(&mut self, price: Price) {
        if price != self.price {
            *self = Self { closed: self.total(), price, bytes: 0 };
        }
    }

    /// So much was counted elsewhere, whose evidence is gone.
    pub fn make_up(&mut self, amount: Amount) {
        self.closed = self.closed.plus(amount);
    }
}

/// What one day brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970.
    pub day: u64,
    /// So far.
    pub amount: Amount,
}

impl Day {
    const SECONDS: u64 = 86_400;

    /// Takes an amount, unless the day would bring more than `most`. Says how many seconds the next day is away then.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, now: UnixSeconds, amount: Amount, most: Amount) -> Result<(), u64> {
        let day = now.0 / Self::SECONDS;
        // A clock that was set back opens no new day.
        if day > self.day {
            *self = Self { day, amount: Amount::ZERO };
        }
        let sum = self.amount.plus(amount);
        if sum > most {
            return Err((self.day + 1).saturating_mul(Self::SECONDS).saturating_sub(now.0));
        }
        self.amount = sum;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    fn price(amount: u64, per: u64) -> Price {
        Price { amount, per: NonZeroU64::new(per).unwrap() }
    }

    proptest! {
        #[test]
        fn what_is_counted_in_parts_is_worth_what_all_of_it_is(
            parts in prop::collection::vec(0_u64..100_000, 0..50), amount in 0_u64..1000, per in 1_u64..5000,
        ) {
            let mut tally = Tally::new(price(amount, per));
            parts.iter().for_each(|part| tally.add(*part));
            prop_assert_eq!(tally.total(), price(amount, per).cost(parts.iter().sum()));
            let before = tally.total();
            tally.set_price(price(amount + 1, per));
            prop_assert_eq!(tally.total(), before);
        }
    }

    #[test]
    fn a_count_that_would_overflow_goes_on() {
        let mut tally = Tally::new(price(1, 1));
        tally.add(u64::MAX);
        tally.add(5);
        assert_eq!(tally.total().units(), u128::from(u64::MAX) + 5);
    }

    #[test]
    fn a_day_brings_no_more_than_it_may_and_the_next_begins_anew() {
        let mut day = Day::default();
        let (now, most) = (UnixSeconds(86_400 * 3 + 100), Amount::of(10));
        assert_eq!(day.take(now, Amount::of(7), most), Ok(()));
        assert_eq!(day.take(now, Amount::of(4), most), Err(86_300));
        assert_eq!(day.take(UnixSeconds(5), Amount::of(4), most), Err(86_400 * 4 - 5));
        assert_eq!(day.take(now.plus(86_400), Amount::of(10), most), Ok(()));
    }
}
