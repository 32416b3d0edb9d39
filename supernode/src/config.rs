//! The configuration of a node: one section a part.

use std::path::PathBuf;

use serde::Deserialize;

/// A node's configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The node itself.
    pub(crate) node: Node,
    /// The HTTP edge.
    #[serde(default)]
    pub(crate) edge: gateway::Config,
    /// The network; a node without this section is an HTTP edge alone.
    pub(crate) network: Option<net::Config>,
    /// Content delivery.
    #[serde(default)]
    pub(crate) cdn: cdn::Config,
    /// What is asked for what is served.
    #[serde(default)]
    pub(crate) earnings: chain::EarningsConfig,
    /// Money: the chain, contracts and account. A node without this section charges and pays nothing.
    pub(crate) chain: Option<chain::Config>,
    /// Who pays this node for what it serves, and whom it pays.
    #[serde(default)]
    pub(crate) payments: chain::ChargingConfig,
    /// Storage: the S3 door, shards of others, and objects at others. A node without this section has none of it.
    pub(crate) storage: Option<storage::Config>,
}

/// The `[node]` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// The one directory the node writes to.
    pub(crate) data_dir: PathBuf,
}
