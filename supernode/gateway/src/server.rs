//! The edge as it listens.

use std::{net::SocketAddr, time::Duration};

use hyper_util::service::TowerToHyperService;
use runtime::http::{Limits, Listener};
use tokio_util::sync::CancellationToken;

use crate::{Config, Edge};

/// A request's head must be here by then: longer than any honest network takes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Above the time an origin may keep us waiting.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A head: sixteen times what a browser sends us.
const HEAD_BYTES: usize = 32 * 1024;
/// Header fields of a head.
const HEADERS: usize = 64;
/// Requests at a time on one HTTP/2 connection; browsers keep to 100.
const STREAMS: u32 = 128;
/// How long answers under way may take once the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A bound edge that does not answer yet.
pub struct Server {
    listener: Listener,
    url: String,
    limits: Limits,
}

impl Server {
    /// Binds the edge.
    ///
    /// # Errors
    /// Names the address or file that cannot be used, and why.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let listener = Listener::bind("edge", config.listen, config.tls.as_ref()).await?;
        let url = config.public_url.clone().unwrap_or_else(|| listener.url());
        let limits = Limits {
            connections: config.connections,
            per_source: config.connections_per_source,
            head_timeout: HEAD_TIMEOUT,
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            streams: STREAMS,
            idle: IDLE_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        };
        Ok(Self { listener, url, limits })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// How the outside names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `shutdown`, and then as long as answers under way take, within bounds.
    pub async fn run(self, edge: Edge, shutdown: CancellationToken) {
        let open = edge.inner.meters.connections.clone();
        let service = TowerToHyperService::new(edge.router());
        self.listener.run(service, self.limits, open, shutdown).await;
    }
}
