//! Amounts of money: whole base units of a token, of 96 bits as the contracts have them.

use core::fmt;

/// An amount in base units: a millionth of a dollar, where the token has six decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than any token has.
    pub const MAX: Self = Self((1 << 96) - 1);

    /// An amount, where 96 bits hold it.
    pub const fn new(units: u128) -> Option<Self> {
        if units <= Self::MAX.0 { Some(Self(units)) } else { None }
    }

    /// A small amount.
    pub const fn of(units: u64) -> Self {
        Self(units as u128)
    }

    /// Base units.
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Whether it is none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; nothing where it exceeds 96 bits.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0 + other.0)
    }

    /// The difference; nothing where it is below zero.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The sum, at most [`Amount::MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.checked_add(other).unwrap_or(Self::MAX)
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times as much, at most [`Amount::MAX`].
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        match self.0.checked_mul(factor as u128) {
            Some(units) if units <= Self::MAX.0 => Self(units),
            _ => Self::MAX,
        }
    }

    /// `numerator / denominator` of it, rounded down; all of it where the fraction is not below one.
    #[must_use]
    pub const fn share(self, numerator: u64, denominator: u64) -> Self {
        if numerator >= denominator {
            return self;
        }
        // In two parts, since 96 and 64 bits do not fit 128.
        let (numerator, denominator) = (numerator as u128, denominator as u128);
        let (whole, rest) = (self.0 / denominator, self.0 % denominator);
        Self(whole * numerator + rest * numerator / denominator)
    }

    /// Twelve bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 12] {
        self.0.to_be_bytes()[4..].try_into().expect("the last 12 of 16 bytes")
    }

    /// From twelve bytes, big-endian.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let low: [u8; 12] = bytes.try_into().ok()?;
        let mut all = [0; 16];
        all[4..].copy_from_slice(&low);
        Some(Self(u128::from_be_bytes(all)))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl core::iter::Sum for Amount {
    /// At most [`Amount::MAX`].
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_end_at_96_bits() {
        assert_eq!(Amount::new(1 << 96), None);
        assert_eq!(Amount::MAX.checked_add(Amount::of(1)), None);
        assert_eq!(Amount::MAX.plus(Amount::of(1)), Amount::MAX);
        assert_eq!(Amount::of(1).less(Amount::of(2)), Amount::ZERO);
        assert_eq!(Amount::MAX.times(2), Amount::MAX);
        assert_eq!(Amount::from_bytes(&Amount::MAX.to_bytes()), Some(Amount::MAX));
        assert_eq!(Amount::from_bytes(&[0; 11]), None);
    }

    #[test]
    fn shares_round_down_and_never_overflow() {
        assert_eq!(Amount::of(10).share(1, 3), Amount::of(3));
        assert_eq!(Amount::of(10).share(4, 3), Amount::of(10));
        let most = Amount::MAX.share(u64::MAX - 1, u64::MAX);
        assert!(most < Amount::MAX && most > Amount::MAX.share(1, 2));
    }
}
