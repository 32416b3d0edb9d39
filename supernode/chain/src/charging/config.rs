//! What an operator says about being paid, and about paying.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};
use shared::economy::{Amount, price::Price};

use super::TabTerms;
use crate::earnings::{at_least_one, price};

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
    /// What visitors' tabs get for what they give to each other, of publishers that agreed to that; nothing without.
    pub tabs: Option<ChargeTabs>,
}

/// The `[payments.charge.tabs]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeTabs {
    /// What a tab gets for bytes that others verified; the publisher pays as much.
    #[serde(deserialize_with = "price")]
    pub price: Option<Price>,
    /// Visits of a site that count from one network in a day: a household's, or a small office's.
    #[serde(default = "visits_per_network")]
    pub visits_per_network: u32,
    /// Whether each visitor counts as a network of its own, and tabs within one network earn of each other: for a network
    /// whose visitors the operator knows.
    #[serde(default)]
    pub knows_visitors: bool,
    /// How often those who are owed enough are paid, in seconds, at least 1; a week.
    #[serde(default = "payout_seconds", deserialize_with = "at_least_one")]
    pub payout_seconds: u64,
    /// What is enough, in base units: a share costs its owner gas.
    #[serde(default = "least", deserialize_with = "amount")]
    pub least: Amount,
    /// How many days a share can be claimed, 7 to 366. Then it is owed anew.
    #[serde(default = "claim_days", deserialize_with = "days")]
    pub claim_days: u64,
}

impl ChargeTabs {
    /// What of it decides which receipts count.
    pub fn terms(&self) -> Option<TabTerms> {
        let visits_per_network = self.visits_per_network;
        self.price.map(|price| TabTerms { price, visits_per_network })
    }
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
    /// What a day may cost beside that for what tabs give to each other, where the agreement names a price for it; nothing
    /// without.
    #[serde(default, deserialize_with = "optional_amount")]
    pub tabs_per_day: Option<Amount>,
    /// Without a chain: what may be promised in all, in base units.
    #[serde(default = "credit", deserialize_with = "amount")]
    pub credit: Amount,
}

/// Ten dollars, with six decimals: what one may lose to a stranger's word.
fn credit() -> Amount {
    Amount::of(10_000_000)
}

const fn visits_per_network() -> u32 {
    8
}

const fn payout_seconds() -> u64 {
    7 * 86_400
}

/// Ten cents, with six decimals: some times the gas of a claim.
fn least() -> Amount {
    Amount::of(100_000)
}

const fn claim_days() -> u64 {
    90
}

fn days<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        days @ 7..=366 => Ok(days),
        _ => Err(D::Error::custom("expected 7 to 366")),
    }
}

fn optional_amount<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Amount>, D::Error> {
    amount(from).map(Some)
}

fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("an amount is above zero")),
        units => Ok(Amount::of(units)),
    }
}
