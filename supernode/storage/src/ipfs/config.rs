//! What an operator can set about IPFS.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The `[storage.ipfs]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpfsConfig {
    /// Where the gateway listens. Port 0 takes any free port. It speaks plain HTTP, for this machine or behind a proxy.
    pub listen: SocketAddr,
    /// Space for what is pinned, in MiB.
    pub quota_mib: u64,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Hosts below which a site has an origin of its own: `CID.ipfs.HOST`. Pages asked for at such a host are sent there.
    pub domains: Vec<String>,
    /// Whether files and directories are shown as such, to browsers that trust this node. Otherwise only what the client
    /// verifies itself is answered: blocks, CAR and name records.
    pub show: bool,
    /// Name records of strangers that are kept for them; none unless there is a number here.
    pub strangers_names: u64,
}

impl Default for IpfsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            quota_mib: 100 * 1024,
            // An answer holds a few blocks: 4 MiB, or 1 GiB for all.
            connections: 256,
            domains: vec!["localhost".to_owned()],
            show: true,
            strangers_names: 0,
        }
    }
}
