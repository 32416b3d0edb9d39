//! What service costs: whole base units for so many units of service, by a tariff that declares its bounds, and quotes
//! that a provider is held to until they expire.

use core::num::NonZeroU64;

use prost::Message as _;

use super::Amount;
use crate::{
    base::UnixSeconds,
    identity::{Account, Context, Keypair, PublicKey},
    wire::economy as wire,
};

pub use crate::wire::economy::Unit;

/// A quote holds for long enough to finish something, and for so short that a price can follow the market.
pub const QUOTE_SECONDS_MAX: u64 = 3600;
/// How far two nodes' clocks may be apart.
const QUOTE_SKEW_SECONDS: u64 = 60;
/// Four keys and six numbers.
const MAX_QUOTE_BYTES: usize = 256;
/// Prices stay below this on both sides, so that no surge overflows: a thousand million dollars for one unit, or one
/// base unit for a petabyte.
const PRICE_PART_MAX: u64 = 1 << 50;

/// Base units for each so many units of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Base units of the token,
    pub amount: u64,
    /// for each so many units.
    pub per: NonZeroU64,
}

impl Price {
    /// What `units` cost since the count began, rounded down. Both sides call this with their totals, so rounding never
    /// adds up and never sets them apart.
    pub fn cost(self, units: u64) -> Amount {
        let cost = u128::from(units) * u128::from(self.amount) / u128::from(self.per.get());
        Amount::new(cost).unwrap_or(Amount::MAX)
    }

    /// Whether a unit costs no more than it does by `other`.
    pub fn is_at_most(self, other: Self) -> bool {
        u128::from(self.amount) * u128::from(other.per.get())
            <= u128::from(other.amount) * u128::from(self.per.get())
    }
}

/// A provider's declared terms for one kind of unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    version: u32,
    unit: Unit,
    base: Price,
    calm_permille: u16,
    surge_max_permille: u16,
}

/// A tariff that nobody could rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// Nothing is counted so.
    #[error("the tariff names no unit")]
    Unit,
    /// Too large to compute with.
    #[error("both parts of a price stay below 2^50")]
    Price,
    /// Prices rise from somewhere below full to at most [`Tariff::SURGE_MAX_PERMILLE`].
    #[error("a surge begins below 1000 permille of use, and multiplies by 1000 to 10000 permille")]
    Surge,
}

impl Tariff {
    /// Ten times the base price: more is extortion of whoever cannot leave at once.
    pub const SURGE_MAX_PERMILLE: u16 = 10_000;

    /// Terms: up to `calm_permille` of use the base price, from there rising evenly to `surge_max_permille` of it.
    ///
    /// # Errors
    /// [`TariffError`].
    pub fn new(
        version: u32,
        unit: Unit,
        base: Price,
        calm_permille: u16,
        surge_max_permille: u16,
    ) -> Result<Self, TariffError> {
        if unit == Unit::Unspecified {
            return Err(TariffError::Unit);
        }
        if base.amount >= PRICE_PART_MAX || base.per.get() >= PRICE_PART_MAX {
            return Err(TariffError::Price);
        }
        if calm_permille >= 1000 || !(1000..=Self::SURGE_MAX_PERMILLE).contains(&surge_max_permille) {
            return Err(TariffError::Surge);
        }
        Ok(Self { version, unit, base, calm_permille, surge_max_permille })
    }

    /// What it counts.
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// Grows with each change of the terms.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The price at this much use of what the provider has.
    pub fn price_at(&self, used_permille: u16) -> Price {
        let used = u64::from(used_permille.min(1000));
        let calm = u64::from(self.calm_permille);
        let rise = u64::from(self.surge_max_permille) - 1000;
        let factor = 1000 + rise * used.saturating_sub(calm) / (1000 - calm);
        if factor == 1000 {
            return self.base;
        }
        self.scaled(factor)
    }

    /// No quote by this tariff is dearer.
    pub fn price_max(&self) -> Price {
        self.scaled(self.surge_max_permille.into())
    }

    fn scaled(&self, permille: u64) -> Price {
        let per = self.base.per.checked_mul(NonZeroU64::new(1000).expect("1000 is not 0"));
        Price { amount: self.base.amount * permille, per: per.expect("a tariff's price is below 2^50") }
    }
}

/// What one provider asks of one consumer for a while. Its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Who serves.
    pub provider: PublicKey,
    /// Whom.
    pub consumer: PublicKey,
    /// Who is paid,
    pub payee: Account,
    /// through this contract,
    pub contract: Account,
    /// on this chain.
    pub chain_id: u64,
    /// What is counted.
    pub unit: Unit,
    /// What it costs.
    pub price: Price,
    /// The version of the tariff it follows from.
    pub tariff: u32,
    /// Good from here on,
    pub issued: UnixSeconds,
    /// and no longer than to here.
    pub expires: UnixSeconds,
}

/// Why a quote is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The bytes are no quote.
    #[error("the quote cannot be read")]
    Malformed,
    /// Not signed by the provider it names.
    #[error("the quote's signature is not its provider's")]
    Signature,
    /// For another consumer.
    #[error("the quote is for another consumer")]
    OfAnother,
    /// Outside its time.
    #[error("the quote is not good at {0:?}")]
    Expired(UnixSeconds),
    /// Dearer than the consumer pays, or than the provider's own bounds.
    #[error("the quote asks {amount} for each {per}, which is above the most that is paid")]
    TooDear {
        /// Base units,
        amount: u64,
        /// for so many units.
        per: u64,
    },
}

impl Quote {
    /// Signs this quote. `self.provider` is taken from `provider`.
    pub fn sign(&self, provider: &Keypair) -> wire::SignedQuote {
        let quote = wire::Quote {
            provider: provider.public().to_bytes().to_vec(),
            consumer: self.consumer.to_bytes().to_vec(),
            payee: self.payee.0.to_vec(),
            contract: self.contract.0.to_vec(),
            chain_id: self.chain_id,
            unit: self.unit.into(),
            amount: self.price.amount,
            per: self.price.per.get(),
            tariff: self.tariff,
            issued_unix: self.issued.0,
            expires_unix: self.expires.0,
        }
        .encode_to_vec();
        let signature = provider.sign(Context::Quote, &quote).to_vec();
        wire::SignedQuote { quote, signature }
    }

    /// Reads and verifies a quote.
    ///
    /// # Errors
    /// [`QuoteError::Malformed`] or [`QuoteError::Signature`].
    pub fn open(signed: &wire::SignedQuote) -> Result<Self, QuoteError> {
        let quote = Self::read(signed).ok_or(QuoteError::Malformed)?;
        if !quote.provider.verify(Context::Quote, &signed.quote, &signed.signature) {
            return Err(QuoteError::Signature);
        }
        Ok(quote)
    }

    fn read(signed: &wire::SignedQuote) -> Option<Self> {
        if signed.quote.len() > MAX_QUOTE_BYTES {
            return None;
        }
        let inner = wire::Quote::decode(signed.quote.as_slice()).ok()?;
        let (issued, expires) = (UnixSeconds(inner.issued_unix), UnixSeconds(inner.expires_unix));
        let unit = inner.unit();
        if unit == Unit::Unspecified || expires.0.checked_sub(issued.0)? > QUOTE_SECONDS_MAX {
            return None;
        }
        Some(Self {
            provider: PublicKey::from_bytes(&inner.provider).ok()?,
            consumer: PublicKey::from_bytes(&inner.consumer).ok()?,
            payee: inner.payee.as_slice().try_into().ok()?,
            contract: inner.contract.as_slice().try_into().ok()?,
            chain_id: inner.chain_id,
            unit,
            price: Price { amount: inner.amount, per: NonZeroU64::new(inner.per)? },
            tariff: inner.tariff,
            issued,
            expires,
        })
    }

    /// Whether `consumer`, who pays at most `price_max`, takes it at `now`.
    ///
    /// # Errors
    /// [`QuoteError::OfAnother`], [`QuoteError::Expired`] or [`QuoteError::TooDear`].
    pub fn check(&self, consumer: &PublicKey, price_max: Price, now: UnixSeconds) -> Result<(), QuoteError> {
        if self.consumer != *consumer {
            return Err(QuoteError::OfAnother);
        }
        if now.plus(QUOTE_SKEW_SECONDS) < self.issued || now > self.expires {
            return Err(QuoteError::Expired(now));
        }
        if !self.price.is_at_most(price_max) {
            return Err(QuoteError::TooDear { amount: self.price.amount, per: self.price.per.get() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(amount: u64, per: u64) -> Price {
        Price { amount, per: NonZeroU64::new(per).unwrap() }
    }

    #[test]
    fn totals_do_not_lose_to_rounding() {
        // A cent a gigabyte, with six decimals.
        let price = price(10_000, 1_000_000_000);
        assert_eq!(price.cost(99_999), Amount::ZERO);
        assert_eq!(price.cost(100_000), Amount::of(1));
        assert_eq!(price.cost(1_000_000_000), Amount::of(10_000));
    }

    #[test]
    fn a_surge_stays_in_its_bounds() {
        let tariff = Tariff::new(1, Unit::Bytes, price(100, 7), 700, 3000).unwrap();
        let calm = [0, 500, 700].map(|used| tariff.price_at(used));
        assert_eq!(calm, [price(100, 7); 3]);
        assert_eq!(tariff.price_at(850), price(200_000, 7000));
        assert_eq!(tariff.price_at(1000), tariff.price_max());
        assert_eq!(tariff.price_at(u16::MAX), price(300_000, 7000));
        assert_eq!(Tariff::new(1, Unit::Bytes, price(1, 1), 1000, 1000), Err(TariffError::Surge));
        assert_eq!(Tariff::new(1, Unit::Bytes, price(1, 1), 0, 10_001), Err(TariffError::Surge));
        assert_eq!(Tariff::new(1, Unit::Unspecified, price(1, 1), 0, 1000), Err(TariffError::Unit));
        assert_eq!(Tariff::new(1, Unit::Bytes, price(1 << 50, 1), 0, 1000), Err(TariffError::Price));
    }

    fn quote() -> (Keypair, Quote) {
        let provider = Keypair::from_secret([1; 32]);
        let quote = Quote {
            provider: provider.public(),
            consumer: Keypair::from_secret([2; 32]).public(),
            payee: Account([3; 20]),
            contract: Account([4; 20]),
            chain_id: 137,
            unit: Unit::Bytes,
            price: price(10_000, 1_000_000_000),
            tariff: 3,
            issued: UnixSeconds(1_000_000),
            expires: UnixSeconds(1_000_600),
        };
        (provider, quote)
    }

    #[test]
    fn a_quote_is_good_for_its_consumer_in_its_time_and_below_its_price() {
        let (provider, quote) = quote();
        let signed = quote.sign(&provider);
        assert_eq!(Quote::open(&signed), Ok(quote.clone()));
        let (consumer, now) = (&quote.consumer, UnixSeconds(1_000_100));
        assert_eq!(quote.check(consumer, price(20_000, 2_000_000_000), now), Ok(()));
        let cheap = price(9_999, 1_000_000_000);
        assert!(matches!(quote.check(consumer, cheap, now), Err(QuoteError::TooDear { .. })));
        assert_eq!(quote.check(&quote.provider, quote.price, now), Err(QuoteError::OfAnother));
        let late = UnixSeconds(1_000_601);
        assert_eq!(quote.check(consumer, quote.price, late), Err(QuoteError::Expired(late)));
        let eternal = Quote { expires: UnixSeconds(1_000_000 + QUOTE_SECONDS_MAX + 1), ..quote };
        assert_eq!(Quote::open(&eternal.sign(&provider)), Err(QuoteError::Malformed));
    }

    proptest! {
        #[test]
        fn any_changed_bit_of_a_quote_is_caught(bit in 0_usize..1200) {
            let (provider, quote) = quote();
            let mut signed = quote.sign(&provider);
            let at = bit / 8 % signed.quote.len();
            signed.quote[at] ^= 1 << (bit % 8);
            prop_assert!(Quote::open(&signed).is_err());
        }

        #[test]
        fn no_price_overflows(amount in 0..PRICE_PART_MAX, per in 1..PRICE_PART_MAX, used: u16, units: u64) {
            let tariff = Tariff::new(1, Unit::Gas, price(amount, per), 0, 10_000).unwrap();
            let at = tariff.price_at(used);
            prop_assert!(at.is_at_most(tariff.price_max()));
            prop_assert!(at.cost(units) >= price(amount, per).cost(units));
        }
    }
}
