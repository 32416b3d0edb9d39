//! The peer that runs in a browser tab.

pub mod net;
pub mod store;

#[cfg(target_family = "wasm")]
mod worker;
