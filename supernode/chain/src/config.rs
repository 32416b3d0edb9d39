//! What an operator says about the chain.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Error as _};
use shared::{
    economy::{Amount, settlement::ClaimRule, voucher::ChannelContract},
    identity::Account,
};
use url::Url;

use crate::Others;

/// The account's key, where the configuration names none.
const KEY_FILE: &str = "account.key";

/// The `[chain]` section of the configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A JSON-RPC endpoint of the chain. Without one a node runs unsettled: vouchers and books work, for the contract
    /// named here, and claims wait for the day there is one.
    pub rpc: Option<Url>,
    /// The account's key; without it `account.key` in the data directory, made at the first start.
    pub key_file: Option<PathBuf>,
    /// Which chain it must be.
    pub chain_id: u64,
    /// `PaymentChannels`.
    #[serde(deserialize_with = "account")]
    pub channels: Account,
    /// `StakeRegistry`, where this node has a stake.
    #[serde(default, deserialize_with = "optional_account")]
    pub stakes: Option<Account>,
    /// `Payouts`, where this node pays tabs.
    #[serde(default, deserialize_with = "optional_account")]
    pub payouts: Option<Account>,
    /// `PaymentManager`, where this account pays for jobs or does them.
    #[serde(default, deserialize_with = "optional_account")]
    pub escrow: Option<Account>,
    /// What a whole coin of the chain (10¹⁸ wei) is worth, in base units of the token.
    pub coin_price: u64,
    /// Claim once the money is worth so many times the gas.
    #[serde(default = "gas_multiple")]
    pub gas_multiple: u64,
    /// Claim whatever it costs once a payer has so many base units outstanding.
    #[serde(default = "outstanding_max")]
    pub outstanding_max: u64,
    /// What a stranger may owe before it pays, in base units.
    #[serde(default = "stranger_owes_max")]
    pub stranger_owes_max: u64,
    /// How often to look, at least 1. The shortest thaw takes two hours.
    #[serde(default = "poll_seconds", deserialize_with = "at_least_one")]
    pub poll_seconds: u64,
}

const fn gas_multiple() -> u64 {
    20
}

/// Ten dollars, with six decimals: what one may lose with a disk.
const fn outstanding_max() -> u64 {
    10_000_000
}

/// The worth of 256 KiB at a cent a GiB, with six decimals, rounded up.
const fn stranger_owes_max() -> u64 {
    3
}

const fn poll_seconds() -> u64 {
    15
}

/// Without the endpoint, whose address is often a secret of its own.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (chain_id, channels) = (self.chain_id, self.channels);
        f.debug_struct("Config")
            .field("chain_id", &chain_id)
            .field("channels", &channels)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The contract that vouchers are for.
    #[must_use]
    pub fn contract(&self) -> ChannelContract {
        ChannelContract { chain_id: self.chain_id, address: self.channels }
    }

    /// The contracts beside it.
    #[must_use]
    pub fn others(&self) -> Others {
        Others { stakes: self.stakes, payouts: self.payouts, escrow: self.escrow }
    }

    /// Where the account's key is.
    #[must_use]
    pub fn key_file(&self, data_dir: &Path) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| data_dir.join(KEY_FILE))
    }

    /// When to claim.
    #[must_use]
    pub fn rule(&self) -> ClaimRule {
        ClaimRule { gas_multiple: self.gas_multiple, outstanding_max: Amount::of(self.outstanding_max) }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("expected at least 1")),
        seconds => Ok(seconds),
    }
}

fn account<'de, D: Deserializer<'de>>(from: D) -> Result<Account, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn optional_account<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Account>, D::Error> {
    account(from).map(Some)
}
