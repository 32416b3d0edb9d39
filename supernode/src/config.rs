//! The configuration of a node: one section a part.

use std::path::PathBuf;

use serde::Deserialize;
use storage::strangers::{HoldConfig, OwnConfig};

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
    /// Storage over strangers; each half is off without its section.
    #[serde(default)]
    pub(crate) storage: Storage,
}

/// The `[storage]` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// Shards of others.
    pub(crate) hold: Option<HoldConfig>,
    /// This node's objects at others.
    pub(crate) own: Option<OwnConfig>,
}

/// The `[node]` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// The one directory the node writes to.
    pub(crate) data_dir: PathBuf,
}
