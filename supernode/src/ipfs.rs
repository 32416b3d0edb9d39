//! IPFS, wired to the network: whose streams go where, and what of it runs.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use net::{Multiaddr, Network};
use shared::identity::{Keypair, PeerId};
use storage::{
    ipfs::{Gateway, Incoming, Ipfs, IpfsConfig, PROTOCOL, Peering, door},
    store::BucketConfig,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Streams that wait for the exchange; later ones are reset.
const STREAMS: usize = 64;
/// The part of the data directory that is its own.
const DIRECTORY: &str = "storage/ipfs";

/// Takes the streams of bitswap out of what happens on links.
pub(crate) fn route(
    events: links::Events,
    links: links::Control,
) -> (BoxStream<'static, links::Event>, mpsc::Receiver<Incoming>) {
    let (sender, receiver) = mpsc::channel(STREAMS);
    let rest = events.filter_map(move |event| {
        let rest = match event {
            links::Event::Incoming { link, protocol, stream } if protocol.as_ref() == PROTOCOL => {
                if let Some(link) = links.link(link)
                    && sender.try_send(Incoming { peer: link.peer, stream }).is_err()
                {
                    tracing::debug!("a stream of bitswap was reset: the exchange is busy");
                }
                None
            }
            event => Some(event),
        };
        std::future::ready(rest)
    });
    (rest.boxed(), receiver)
}

/// What was started.
pub(crate) struct Started {
    /// Ends after the shutdown.
    pub(crate) running: Vec<JoinHandle<()>>,
    /// Where the gateway is.
    pub(crate) url: String,
}

/// Starts the service, until `shutdown`, with its blobs in a bucket where there is one. Without a network it is a gateway alone.
pub(crate) async fn join(
    config: IpfsConfig,
    bucket: Option<&BucketConfig>,
    data_dir: &Path,
    key: &Keypair,
    network: Option<&Arc<Network>>,
    exchange: Option<mpsc::Receiver<Incoming>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Started> {
    let peering =
        network.map(|network| Arc::new(Peers(Arc::downgrade(network), network.links())) as Arc<dyn Peering>);
    let ipfs = Ipfs::open(config, &data_dir.join(DIRECTORY), bucket, key.clone(), peering).await?;
    let gateway = Gateway::bind(Arc::clone(&ipfs)).await?;
    let url = gateway.url();
    let exchange = exchange.unwrap_or_else(|| mpsc::channel(1).1);
    let running = vec![
        door::open(Arc::clone(&ipfs), data_dir, shutdown.clone())?,
        tokio::spawn(gateway.run(shutdown.clone())),
        ipfs.run(exchange, shutdown.clone()),
    ];
    Ok(Started { running, url })
}

/// The network, which ends when the node lets it go.
struct Peers(Weak<Network>, links::Control);

#[async_trait]
impl Peering for Peers {
    fn links(&self) -> links::Control {
        self.1.clone()
    }

    async fn dial(&self, address: Multiaddr) -> Option<PeerId> {
        self.0.upgrade()?.dial(address).await.ok()
    }

    fn addresses(&self) -> Vec<Multiaddr> {
        let network = self.0.upgrade();
        let both = network.map(|network| [network.external_addrs(), network.listen_addrs()].concat());
        let mut addresses = both.unwrap_or_default();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    async fn provide(&self, multihash: Vec<u8>) {
        if let Some(network) = self.0.upgrade()
            && network.provide(multihash).await.is_err()
        {
            tracing::debug!("nothing is announced any more: the network is shut down");
        }
    }

    async fn withdraw(&self, multihash: Vec<u8>) {
        if let Some(network) = self.0.upgrade() {
            // After a shutdown nothing is announced anyway.
            let _ = network.withdraw(multihash).await;
        }
    }

    async fn providers(&self, multihash: Vec<u8>) -> Vec<PeerId> {
        match self.0.upgrade() {
            Some(network) => network.providers(multihash).await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}
