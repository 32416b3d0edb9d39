//! Connections within bounds.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Gateway, answer};
use crate::ipfs::Ipfs;

/// A request's head must be here by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A long path, and the headers of a browser.
const HEAD_BYTES: usize = 64 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// How long answers under way may take once the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// After the system refused to accept, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Gateway {
    /// Binds the gateway.
    ///
    /// # Errors
    /// Names the address that cannot be used.
    pub async fn bind(ipfs: Arc<Ipfs>) -> anyhow::Result<Self> {
        let listen = ipfs.config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("storage.ipfs.listen: cannot listen on {listen}; port 0 takes any free one")
        })?;
        let address = listener.local_addr()?;
        Ok(Self { ipfs, listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers until `shutdown`, and then as long as answers under way take, within bounds.
    pub async fn run(self, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.ipfs.config.connections));
        let tasks = TaskTracker::new();
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                () = shutdown.cancelled() => break,
            };
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            let (ipfs, shutdown) = (Arc::clone(&self.ipfs), shutdown.clone());
            tasks.spawn(async move {
                let _slot = slot;
                let _ = stream.set_nodelay(true);
                serve(stream, ipfs, shutdown).await;
            });
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve(stream: TcpStream, ipfs: Arc<Ipfs>, shutdown: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let answering = service_fn(move |request: Request<Incoming>| {
        let ipfs = Arc::clone(&ipfs);
        async move { Ok::<_, Infallible>(answer(&ipfs, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answering));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(SHUTDOWN_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
