//! What an operator can set about storage.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::strangers::{HoldConfig, OwnConfig};

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
    /// Whether the S3 door is open. Without this line it is where the section has neither `hold` nor `own`.
    pub s3: Option<bool>,
    /// Shards of others; none without this section.
    pub hold: Option<HoldConfig>,
    /// Objects of this node at others; none without this section.
    pub own: Option<OwnConfig>,
}

impl Config {
    /// Whether the S3 door is to be opened.
    #[must_use]
    pub fn opens_door(&self) -> bool {
        self.s3.unwrap_or(self.hold.is_none() && self.own.is_none())
    }
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
            s3: None,
            hold: None,
            own: None,
        }
    }
}
