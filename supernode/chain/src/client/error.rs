//! What goes wrong with a chain, and what to do about it.

use abi::{
    Dollar, PaymentChannels, PaymentManager, Payouts, StakeRegistry,
    alloy::{
        primitives::Bytes,
        sol_types::{Revert, SolError as _, SolInterface as _},
        transports::{RpcError, TransportErrorKind},
    },
};
use shared::identity::Account;

use super::ATTEMPTS_MAX;

/// Why the chain did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The node did not answer, or not sensibly: try later.
    #[error("the chain's node does not answer: {0}")]
    Rpc(String),
    /// The contract refused.
    #[error("the contract refused: {0}")]
    Refused(String),
    /// Not mined, however dear.
    #[error("the transaction was not mined after {ATTEMPTS_MAX} attempts")]
    NotMined,
    /// The node is of another chain.
    #[error("the node is of chain {found}, not of {expected}")]
    WrongChain {
        /// What was configured.
        expected: u64,
        /// What answered.
        found: u64,
    },
    /// There is no contract at this address.
    #[error("there is no contract at {0}")]
    NoContract(Account),
    /// The contract was not configured.
    #[error("no {0} contract is configured: set `{1}` in the section [chain]")]
    NotConfigured(&'static str, &'static str),
    /// The account cannot pay for gas.
    #[error("the account has too few of the chain's coins to pay for gas")]
    NoCoins,
    /// Another process's transaction of the same account took this one's place.
    #[error("another transaction of this account took the place of this one")]
    Overtaken,
    /// It would be too many questions.
    #[error("from block {from} on there are {blocks} blocks, more than are looked through at once")]
    TooLong {
        /// The first block asked for.
        from: u64,
        /// How many there are.
        blocks: u64,
    },
    /// The secret is no key.
    #[error("the account's secret is no key")]
    Key,
}

impl From<RpcError<TransportErrorKind>> for ChainError {
    fn from(error: RpcError<TransportErrorKind>) -> Self {
        let response = error.as_error_resp();
        if let Some(data) = response.and_then(|response| response.as_revert_data()) {
            return Self::Refused(refusal(&data));
        }
        if response.is_some_and(|response| response.message.contains("insufficient funds")) {
            return Self::NoCoins;
        }
        // A node says so where a call would fail without a reason.
        match response {
            Some(response) if response.message.contains("revert") => {
                Self::Refused(response.message.to_string())
            }
            _ => Self::Rpc(error.to_string()),
        }
    }
}

/// The contract's own name of it. A token of another make has at most a sentence.
fn refusal(data: &[u8]) -> String {
    let named = PaymentChannels::PaymentChannelsErrors::abi_decode(data)
        .map(|error| format!("{error:?}"))
        .or_else(|_| Payouts::PayoutsErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| StakeRegistry::StakeRegistryErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| PaymentManager::PaymentManagerErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Dollar::DollarErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Revert::abi_decode(data).map(|error| error.reason));
    named.unwrap_or_else(|_| Bytes::copy_from_slice(data).to_string())
}

/// What contracts say, by the beginning of it, and what helps.
const REMEDIES: [(&str, &str); 21] = [
    ("FreeTooLow", "see `blackhole account balance`, and deposit more with `blackhole account deposit`"),
    ("ERC20InsufficientBalance", "the account has fewer tokens than that: see `blackhole account balance`"),
    (
        "ERC20: transfer amount exceeds",
        "the account has fewer tokens than that: see `blackhole account balance`",
    ),
    ("NothingReserved", "nothing is left in that channel: see `blackhole channel list`"),
    ("AlreadyThawing", "it is being closed already: see `blackhole channel list` for when it ends"),
    ("NotThawed", "its payee has until then to claim: see `blackhole channel list`, and come back"),
    ("StakeTooLow", "less than that is at stake: see `blackhole stake show`"),
    ("NotOperator", "no node of this account and key is recorded: `blackhole stake register` does that"),
    ("NothingUnbonding", "nothing is on its way out: `blackhole stake unbond` begins it"),
    (
        "TooEarly",
        "somebody has time until then: see `blackhole stake show` or `blackhole escrow show` for until when",
    ),
    ("TooLate", "its time was over: see `blackhole escrow show` for what can be done now"),
    ("NotParty", "that is for another party of the job, or it is over: see `blackhole escrow show`"),
    ("WrongState", "that is not done with a job that stands so: see `blackhole escrow show`"),
    ("ResultDiffers", "another result was delivered: see `blackhole escrow show`, and look at what you have"),
    ("PartiesNotDistinct", "client, provider and arbiter have to be three accounts"),
    ("TimesOutOfBounds", "a job has up to 366 days, a review 10 minutes to 60 days, a ruling 1 to 60 days"),
    ("NameTaken", "there is such a job of this account already: give another --salt"),
    ("EpochTaken", "that epoch was opened before: take the next number"),
    ("Expired", "its time is over, and what is left of it is the payer's again"),
    ("NotExpired", "earners have until then: see `blackhole payout show`"),
    ("NothingLeft", "all of it was taken, or it was never opened: see `blackhole payout show`"),
];

impl ChainError {
    /// What its operator can do.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Rpc(_) => Some("see that `rpc` in the section [chain] is right and the node behind it up"),
            Self::Refused(why) => {
                REMEDIES.iter().find(|(name, _)| why.starts_with(name)).map(|(_, remedy)| *remedy)
            }
            Self::NotMined => Some("fees may be high, or the chain slow: look at the account, and try again"),
            Self::WrongChain { .. } | Self::NoContract(_) => {
                Some("correct rpc, chain_id, channels, stakes, payouts or escrow in the section [chain]")
            }
            Self::NoCoins => Some("send it some: see `blackhole account balance` for its name"),
            Self::Overtaken => Some("the node's own, most likely: look at the account, and try again"),
            Self::TooLong { .. } => {
                Some("give the block that the contracts are from, or a later one, as --from-block")
            }
            Self::NotConfigured(..) | Self::Key => None,
        }
    }
}
