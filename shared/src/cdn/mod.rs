//! Content delivery: verified blobs, signed manifests, and the swarm that moves them.

pub mod availability;
pub mod bits;
pub mod bulk;
pub mod choke;
pub mod claims;
pub mod earner;
pub mod flood;
pub mod introduction;
pub mod manifest;
pub mod messages;
pub mod offences;
pub mod pace;
pub mod part;
pub mod pipeline;
pub mod receipts;
pub mod replica;
pub mod report;
pub mod spread;
#[cfg(feature = "rendezvous")]
pub mod tracker;

/// What this service delivers. Storage keeps its shards in the same form, so it lives below both.
pub use crate::base::blob;
