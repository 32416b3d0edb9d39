//! The contracts as Rust calls them, made by `sol!` from `json/`, which `cargo xtask codegen --contracts` writes and the
//! contracts' tests hold against their sources.
//!
//! Names, fields and errors are Solidity's; what they mean stands in `contracts/src`.
#![expect(missing_docs, reason = "the contracts' sources say what each of these is")]
#![expect(clippy::too_many_arguments, reason = "the contracts' functions have what they have")]

pub use alloy;

alloy::sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    PaymentChannels,
    "json/PaymentChannels.json"
);
alloy::sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    PaymentManager,
    "json/PaymentManager.json"
);
alloy::sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    StakeRegistry,
    "json/StakeRegistry.json"
);
alloy::sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    Payouts,
    "json/Payouts.json"
);
alloy::sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    ReputationAnchor,
    "json/ReputationAnchor.json"
);
alloy::sol!(
    /// A token as tests deploy it: six decimals, and anybody may mint.
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    Dollar,
    "json/Dollar.json"
);
