//! Charging for content: what visitors of a site signed for is billed to whoever its publisher says pays, and paid by
//! vouchers.
//!
//! ```text
//! receipts ─► Billing ── bill: receipts, what it stands at ──► Paying ◄─ agreements, limits
//!               │ ◄────────────── newest voucher ─────────────── │
//!               └─ Purse: owed, window, books                    └─ Purse: signed, books
//! ```
//! Both sides keep the evidence and count its worth themselves, each in a file beside the purse's. Evidence is on the disk
//! before its worth reaches the purse, and whichever of the two files a crash left behind is made up from the other: so
//! nothing is billed twice, paid twice, or forgotten.

mod billing;
mod config;
mod paying;
mod store;

pub use billing::{Billed, Billing, BillingError, Delivered, LINES_MAX, SiteStands};
pub use config::{Charge, ChargingConfig, Pay};
pub use paying::{PaidStands, Paying, PayingError, Payment};
#[cfg(test)]
mod tests;
