//! Accepting connections, plain or by TLS.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Tls,
    connection::{self, Limits},
    sources::Sources,
    tls,
};

/// A TLS handshake takes two round trips; what takes longer is not a client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After the system refused to accept (no file descriptors left), before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address at which nobody is answered yet.
pub struct Listener {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Listener {
    /// Binds `listen`. `section` names the part of the configuration it is said in.
    ///
    /// # Errors
    /// Names the address or file that cannot be used, and why.
    pub async fn bind(section: &str, listen: SocketAddr, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let tls = tls.map(|tls| tls::acceptor(tls, section)).transpose()?;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("{section}.listen: cannot listen on {listen}; is it in use? port 0 takes any free one")
        })?;
        let address = listener.local_addr()?;
        Ok(Self { listener, tls, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as a URL, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers by `service` until `shutdown`, and then as long as answers under way take, within bounds. `open` is told
    /// how many connections there are.
    pub async fn run<S, B>(self, service: S, limits: Limits, open: Gauge, shutdown: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let sources = Sources::new(limits.per_source);
        let tasks = TaskTracker::new();
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                () = shutdown.cancelled() => break,
            };
            let (stream, from) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            let Some(place) = sources.enter(from.ip()) else {
                tracing::debug!("a source has as many connections as it may");
                continue;
            };
            let (service, shutdown, open, tls) =
                (service.clone(), shutdown.clone(), open.clone(), self.tls.clone());
            tasks.spawn(async move {
                let _held = (slot, place);
                open.inc();
                handle((stream, from), tls, service, limits, shutdown).await;
                open.dec();
            });
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

async fn handle<S, B>(
    (stream, from): (TcpStream, SocketAddr),
    tls: Option<TlsAcceptor>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Answers are written whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    match tls {
        None => connection::serve(stream, from, service, limits, shutdown).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => connection::serve(stream, from, service, limits, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}
