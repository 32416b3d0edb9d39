//! Content delivery: verified blobs, signed manifests, and the swarm that moves them.

pub mod blob;
pub mod bulk;
pub mod manifest;
pub mod offences;
pub mod part;
