//! Bitswap 1.2 (<https://specs.ipfs.tech/bitswap-protocol/>): wants, blocks, and who has what.
//!
//! A side opens a stream for what it says and hears answers on a stream that the other opens; either carries messages
//! one after the other, each behind its length. Older versions of the protocol are not spoken.

mod fetch;
mod message;
mod queue;

pub use fetch::{Fetch, FetchError, Next};
pub use message::{MAX_MESSAGE_BYTES, Message, MessageError, Want};
pub use queue::{MAX_WANTS, Wants};

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs/bitswap/1.2.0";
