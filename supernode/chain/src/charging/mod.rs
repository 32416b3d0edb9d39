//! Charging for content: what visitors of a site signed for is billed to whoever its publisher says pays, and paid by
//! vouchers.
//!
//! ```text
//! receipts ─► Billing ── bill: receipts, what it stands at ──► Paying ◄─ agreements, limits
//!               │ ◄────────────── newest voucher ─────────────── │
//!               └─ Purse: owed, window, books                    └─ Purse: signed, books
//! ```
//! What tabs gave to each other goes by the same bills (`tabs.rs`, `tab_evidence.rs`), and what is paid for it to accounts, by
//! epochs on the chain (`payouts.rs`).
//!
//! Both sides keep the evidence and count its worth themselves, each in a file beside the purse's. Evidence is on the disk
//! before its worth reaches the purse, and whichever of the two files a crash left behind is made up from the other: so
//! nothing is billed twice, paid twice, or forgotten.

mod billing;
mod config;
mod paying;
mod payouts;
mod store;
mod tab_evidence;
mod tab_store;
mod tabs;

pub use billing::{Billed, Billing, BillingError, Delivered, SiteStands};
pub use config::{Charge, ChargeTabs, ChargingConfig, Pay};
pub use paying::{PaidStands, Paying, PayingError, Payment};
pub use payouts::{EarnerStands, EpochStands, TabsStand};
pub use tab_store::EpochStage;
pub use tabs::{HandedIn, TabTerms};
#[cfg(test)]
mod tests;
