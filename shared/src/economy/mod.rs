//! What was moved for whom, what it costs, and who is owed what.
//!
//! ```text
//! tariff ─ quote ─► price ─┐                       ┌─► ledger ─► payout to tabs
//! verified units ─────────►├─ bill ─ payer ─ voucher ─ payee ─► claim on the chain
//! sent units ─────────────►┘             exposure ──┘
//! ```
//! Counters are in every build; what deals with money is behind the feature `economy`, which tabs leave out.

#[cfg(feature = "economy")]
pub mod agreement;
#[cfg(feature = "economy")]
mod amount;
#[cfg(feature = "economy")]
pub mod bill;
#[cfg(feature = "economy")]
pub mod earnings;
#[cfg(feature = "economy")]
pub mod escrow;
#[cfg(feature = "economy")]
pub mod exposure;
#[cfg(feature = "economy")]
pub mod ledger;
pub mod meter;
#[cfg(feature = "economy")]
pub mod payee;
#[cfg(feature = "economy")]
pub mod payer;
#[cfg(feature = "economy")]
pub mod payout;
#[cfg(feature = "economy")]
pub mod price;
#[cfg(feature = "economy")]
pub mod reputation;
#[cfg(feature = "economy")]
pub mod settlement;
#[cfg(feature = "economy")]
pub mod tally;
#[cfg(feature = "economy")]
pub mod voucher;

#[cfg(feature = "economy")]
pub use amount::Amount;
