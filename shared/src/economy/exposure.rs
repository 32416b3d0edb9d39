//! How much a provider serves before it is paid: little to a stranger, more to who pays in time.
//!
//! The window begins at what 256 KiB are worth and doubles with each timely voucher, up to a bound; one that is late
//! brings it back. It doubles only once the payer has paid a whole window since it last did: else many vouchers of
//! one base unit would open a window that nobody earned, to walk away with.

use core::time::Duration;

use super::{Amount, price::Price};
use crate::base::Instant;

/// What a stranger may owe, in bytes at the price agreed. A page's first pieces, and no loss to cry over.
pub const START_BYTES: u64 = 256 * 1024;
/// 64 MiB: at a gigabit a second half a second of service, so vouchers need not be faster than that.
pub const DOUBLINGS_MAX: u32 = 8;
/// A voucher that comes later than this after its payer was asked, or could have known, is late.
pub const TIMELY_WITHIN: Duration = Duration::from_secs(10);

/// A window on one payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    start: Amount,
    doublings: u32,
    /// Paid since the window last grew.
    paid: Amount,
    /// Since when more than half of the window is owed.
    due: Option<Instant>,
}

impl Exposure {
    /// For a payer whom nothing is known of; the window is never nothing, or nobody could begin.
    pub fn new(start: Amount) -> Self {
        Self { start: start.max(Amount::of(1)), doublings: 0, paid: Amount::ZERO, due: None }
    }

    /// The same for bytes at `price`.
    pub fn at(price: Price) -> Self {
        Self::new(price.cost(START_BYTES))
    }

    /// What may be owed now.
    pub fn window(&self) -> Amount {
        self.start.times(1 << self.doublings)
    }

    /// What may ever be owed.
    pub fn window_max(&self) -> Amount {
        self.start.times(1 << DOUBLINGS_MAX)
    }

    /// From when on the payer pays: at half, so that service need not stop for a voucher on its way.
    pub fn due_at(&self) -> Amount {
        self.window().share(1, 2).max(Amount::of(1))
    }

    /// So much is owed.
    pub fn handle_owed(&mut self, now: Instant, owed: Amount) {
        if owed < self.due_at() {
            self.due = None;
        } else {
            self.due.get_or_insert(now);
        }
    }

    /// So much was paid by one voucher. Whoever pays in time is trusted more.
    pub fn handle_paid(&mut self, now: Instant, amount: Amount) {
        let late = self.due.take().is_some_and(|due| now.since(due) > TIMELY_WITHIN);
        if late {
            (self.doublings, self.paid) = (0, Amount::ZERO);
            return;
        }
        self.paid = self.paid.plus(amount);
        if self.paid >= self.window() && self.doublings < DOUBLINGS_MAX {
            self.doublings += 1;
            self.paid = Amount::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_window_doubles_with_timely_payment_up_to_its_bound() {
        let mut exposure = Exposure::new(Amount::of(100));
        for doublings in 0..20 {
            let window = Amount::of(100 << doublings.min(DOUBLINGS_MAX));
            assert_eq!(exposure.window(), window);
            exposure.handle_owed(seconds(1), window);
            exposure.handle_paid(seconds(11), window);
        }
        assert_eq!(exposure.window(), exposure.window_max());
        exposure.handle_owed(seconds(20), exposure.window());
        exposure.handle_paid(seconds(31), exposure.window());
        assert_eq!(exposure.window(), Amount::of(100));
    }

    #[test]
    fn many_small_vouchers_open_nothing_that_was_not_paid() {
        let mut exposure = Exposure::new(Amount::of(100));
        let mut paid = Amount::ZERO;
        for _ in 0..100_000 {
            exposure.handle_paid(seconds(1), Amount::of(1));
            paid = paid.plus(Amount::of(1));
            assert!(exposure.window() <= paid.plus(Amount::of(100)));
        }
    }

    #[test]
    fn a_price_of_nothing_has_a_window_still() {
        assert_eq!(Exposure::new(Amount::ZERO).window(), Amount::of(1));
    }
}
