//! What an operator can set about storage.

use std::net::SocketAddr;

use serde::Deserialize;

/// The `[storage]` section of the configuration. A node without it stores nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the S3 door listens. Port 0 takes any free port. It speaks plain HTTP, for this machine or behind a proxy.
    pub listen: SocketAddr,
    /// Space for blobs in the data directory, in MiB.
    pub quota_mib: u64,
    /// Hosts below which a bucket's name is a host of its own (virtual-host style).
    pub domains: Vec<String>,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Uploads in parts that are neither finished nor aborted within so many days are ended.
    pub upload_days: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            quota_mib: 100 * 1024,
            domains: Vec::new(),
            // An upload holds some 2 MiB: at most 512 MiB.
            connections: 256,
            upload_days: 7,
        }
    }
}
