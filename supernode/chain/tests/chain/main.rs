//! The supernode's side of the chain against a real one: anvil, which `cargo xtask test contracts` installs.

mod anvil;
mod channels;
mod crashes;
mod digests;
mod escrow;
mod faults;
mod stakes_and_payouts;
mod thousand;
