//! The gateway as it listens.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use prometheus_client::metrics::gauge::Gauge;
use runtime::http::{Limits, Listener};
use tokio_util::sync::CancellationToken;

use super::{Gateway, answer};
use crate::ipfs::Ipfs;

/// A request's head must be here by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A long path, and the headers of a browser.
const HEAD_BYTES: usize = 64 * 1024;
/// Header fields of a head.
const HEADERS: usize = 128;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Above the time that a block of a peer may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long answers under way may take once the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

impl Gateway {
    /// Binds the gateway.
    ///
    /// # Errors
    /// Names the address that cannot be used.
    pub async fn bind(ipfs: Arc<Ipfs>) -> anyhow::Result<Self> {
        let listener = Listener::bind("storage.ipfs", ipfs.config.listen, None).await?;
        Ok(Self { ipfs, listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.listener.url()
    }

    /// Answers until `shutdown`, and then as long as answers under way take, within bounds.
    pub async fn run(self, shutdown: CancellationToken) {
        let limits = Limits {
            connections: self.ipfs.config.connections,
            per_source: self.ipfs.config.connections,
            head_timeout: HEAD_TIMEOUT,
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            streams: STREAMS,
            idle: IDLE_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        };
        let ipfs = self.ipfs;
        let service = service_fn(move |request: Request<Incoming>| {
            let ipfs = Arc::clone(&ipfs);
            async move { Ok::<_, Infallible>(answer(&ipfs, request).await) }
        });
        self.listener.run(service, limits, Gauge::default(), shutdown).await;
    }
}
