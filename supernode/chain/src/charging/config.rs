//! What an operator says about being paid, and about paying.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};
use shared::economy::Amount;

/// The `[payments]` section of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChargingConfig {
    /// What this node wants to be paid for; without it, it charges nobody.
    pub charge: Option<Charge>,
    /// Whom it pays.
    pub pay: Vec<Pay>,
}

/// The `[payments.charge]` section. The price is the one of `[earnings]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// Sites that are not served unless somebody has agreed to pay for them, by their names; others are served, and what
    /// they owe is counted alone.
    #[serde(default)]
    pub required: Vec<String>,
    /// Without a chain: what a payer's vouchers are trusted for in all, in base units.
    #[serde(default = "credit", deserialize_with = "amount")]
    pub credit: Amount,
}

/// One `[[payments.pay]]` section: a site, and a node that serves it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The publisher's agreement, made by `blackhole payment agree`.
    pub agreement: PathBuf,
    /// Where the node that is paid listens: a multiaddress that ends in `/p2p/` and its peer id.
    pub to: String,
    /// What a day may cost at most, in base units.
    #[serde(deserialize_with = "amount")]
    pub per_day: Amount,
    /// Without a chain: what may be promised in all, in base units.
    #[serde(default = "credit", deserialize_with = "amount")]
    pub credit: Amount,
}

/// Ten dollars, with six decimals: what one may lose to a stranger's word.
fn credit() -> Amount {
    Amount::of(10_000_000)
}

fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("an amount is above zero")),
        units => Ok(Amount::of(units)),
    }
}
