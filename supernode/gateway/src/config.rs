//! What an operator can set about the HTTP edge.

use std::{net::SocketAddr, path::PathBuf};

use runtime::http::Tls;
use serde::Deserialize;

use crate::LoginConfig;

/// The `[edge]` section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// How the outside names this edge, where that differs from `listen`: behind a proxy, or by a name.
    pub public_url: Option<String>,
    /// The directory with the tab's files, instead of those that this program carries.
    pub tab_dir: Option<PathBuf>,
    /// The certificate; without one the edge speaks plain HTTP, for a machine of one's own or behind a proxy.
    pub tls: Option<Tls>,
    /// Who may log in; without this section nobody.
    pub login: Option<LoginConfig>,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// Connections of one address at a time; further ones are closed. Behind a proxy, say as many as `connections`.
    pub connections_per_source: usize,
    /// Requests worked on at a time; further ones are answered 503 with when to come back.
    pub requests: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            tab_dir: None,
            tls: None,
            login: None,
            // At some 20 KiB a quiet connection, 80 MiB.
            connections: 4096,
            // A whole school behind one address, and still no one source keeps all others out.
            connections_per_source: 2048,
            // Each holds a read of 256 KiB at most: 128 MiB.
            requests: 512,
        }
    }
}
