//! Accepting connections, plain or by TLS.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Config, Edge, Tls, connection};

/// A TLS handshake takes two round trips; what takes longer is not a browser.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After the system refused to accept (no file descriptors left), before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound edge that does not answer yet.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    url: String,
    connections: usize,
}

impl Server {
    /// Binds the edge.
    ///
    /// # Errors
    /// Names the address or file that cannot be used, and why.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("edge.listen: cannot listen on {listen}; is it in use? port 0 takes any free one")
        })?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
        Ok(Self { listener, tls, address, url, connections: config.connections })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the outside names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `shutdown`, and then as long as answers under way take, within bounds.
    pub async fn run(self, edge: Edge, shutdown: CancellationToken) {
        let meters = edge.inner.meters.clone();
        let router = edge.router();
        let slots = Arc::new(Semaphore::new(self.connections));
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
            let (router, shutdown, meters) = (router.clone(), shutdown.clone(), meters.clone());
            let tls = self.tls.clone();
            tasks.spawn(async move {
                let _slot = slot;
                meters.connections.inc();
                handle(stream, from, tls, router, shutdown).await;
                meters.connections.dec();
            });
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

async fn handle(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    shutdown: CancellationToken,
) {
    // Answers are written whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    match tls {
        None => connection::serve(stream, from, router, shutdown).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => connection::serve(stream, from, router, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let chain = read_chain(&tls.certificate).with_context(|| {
        format!("edge.tls.certificate: {} holds no PEM certificate chain", tls.certificate.display())
    })?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("edge.tls.key: {} holds no PEM private key", tls.key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("edge.tls: the certificate and the key do not belong together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    anyhow::ensure!(!chain.is_empty(), "it is empty");
    Ok(chain)
}
