//! IPFS: what is stored here, readable by that world, and what lies there, fetched.
//!
//! ```text
//!  CLI ─► door (a Unix socket) ─► import ─┐            ┌─► gateway/   HTTP: trustless, by path, by subdomain; routing
//!                                         ├─► blocks ──┤
//!  peers ─► exchange/ (bitswap) ─► pull ──┘            └─► exchange/  bitswap, to whoever asks
//!                 names ─► records (IPNS), dns (DNSLink)
//!                 map: CID ─► where the bytes lie (redb) ─► store/ (blobs by BLAKE3, a quota of their own)
//! ```
//! The bytes of files lie in blobs once, and a leaf's CID stands for a stretch of one: a file of 1 MiB and more is a blob
//! of its own, smaller ones share. Nodes lie in the map itself. What is imported or pulled is a *pin*: its blocks and its
//! leases live as long as it does, and nothing is shared between pins but whole blobs.
//!
//! What is decided, `shared::storage::ipfs` decides. Off until the configuration has the section `[storage.ipfs]`.
//! What is not there: reading or writing CAR files from the command line, TAR and the IPLD codecs beyond dag-pb
//! and raw, name records in the DHT.

mod config;
mod dns;
pub mod door;
mod exchange;
mod gateway;
mod import;
mod map;
mod names;
mod reading;
mod sink;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use multiaddr::{Multiaddr, PeerId};
use shared::{
    identity::Keypair,
    storage::ipfs::{Cid, MAX_BLOCK_BYTES, inlined},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::{
    dns::DnsLink,
    exchange::Exchange,
    map::{Location, Map},
};
use crate::store::{BlobStore, Blobs, BucketConfig};

pub use config::{Dns, IpfsConfig};
pub use exchange::Incoming;
pub use gateway::Gateway;
pub use map::Pin;
pub use shared::storage::ipfs::bitswap::PROTOCOL;

/// Where in a bucket the bytes of pins lie.
const BUCKET_PART: &str = "ipfs";
/// Blobs that nobody leases any more are looked for so often.
const GARBAGE_EVERY: Duration = Duration::from_secs(600);

/// The network, as this service uses it.
#[async_trait]
pub trait Peering: Send + Sync + 'static {
    /// Opens streams.
    fn links(&self) -> links::Control;
    /// Connects; says whom it reached.
    async fn dial(&self, address: Multiaddr) -> Option<PeerId>;
    /// Where we can be dialled.
    fn addresses(&self) -> Vec<Multiaddr>;
    /// Says in the DHT that we have what has this multihash.
    async fn provide(&self, multihash: Vec<u8>);
    /// Takes that back.
    async fn withdraw(&self, multihash: Vec<u8>);
    /// Who says in the DHT to have it.
    async fn providers(&self, multihash: Vec<u8>) -> Vec<PeerId>;
}

/// What the parts of the service share.
pub struct Ipfs {
    blobs: Arc<dyn Blobs>,
    map: Map,
    key: Keypair,
    config: IpfsConfig,
    peering: Option<Arc<dyn Peering>>,
    exchange: Exchange,
    dns: DnsLink,
}

impl Ipfs {
    /// Opens what is in `directory`, making it where there is nothing. Settles what a killed process left.
    ///
    /// # Errors
    /// Says what cannot be opened.
    pub async fn open(
        config: IpfsConfig,
        directory: &Path,
        bucket: Option<&BucketConfig>,
        key: Keypair,
        peering: Option<Arc<dyn Peering>>,
    ) -> anyhow::Result<Arc<Self>> {
        let (path, quota) = (directory.to_owned(), config.quota_mib.saturating_mul(1 << 20));
        let blobs = BlobStore::open_at(path.clone(), quota, bucket, BUCKET_PART).await;
        let blobs = blobs.context("the blob store of IPFS cannot be opened")?;
        let map = tokio::task::spawn_blocking(move || Map::open(&path.join("map.redb"))).await??;
        let (exchange, dns) = (Exchange::default(), DnsLink::new(config.dns));
        let ipfs = Arc::new(Self { blobs: Arc::new(blobs), map, key, config, peering, exchange, dns });
        sink::recover(&ipfs).await.context("what the last run left unfinished cannot be removed")?;
        Ok(ipfs)
    }

    /// The bytes of a block that is held, at most 2 MiB, as they were verified when they came.
    ///
    /// # Errors
    /// Where the map or the store cannot be read.
    pub async fn block(&self, cid: &Cid) -> anyhow::Result<Option<Bytes>> {
        if let Some(inlined) = inlined(cid) {
            return Ok(Some(Bytes::copy_from_slice(inlined)));
        }
        match self.map.find(cid.hash().to_bytes()).await? {
            None => Ok(None),
            Some(Location::Inline(bytes)) => Ok(Some(bytes.into())),
            Some(Location::Blob { root, from, bytes }) => {
                let range = from..from.saturating_add(u64::from(bytes));
                let mut read = self.blobs.read(root, range).await?;
                let mut block = BytesMut::new();
                while let Some(piece) = read.next().await {
                    block.extend_from_slice(&piece?);
                    anyhow::ensure!(block.len() <= MAX_BLOCK_BYTES, "a block longer than blocks may be");
                }
                Ok(Some(block.freeze()))
            }
        }
    }

    /// Whether a block is held.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub async fn has(&self, cid: &Cid) -> anyhow::Result<bool> {
        Ok(inlined(cid).is_some() || self.map.find(cid.hash().to_bytes()).await?.is_some())
    }

    /// What is pinned, the oldest first.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub async fn pins(&self) -> anyhow::Result<Vec<Pin>> {
        self.map.pins().await
    }

    /// Ends a pin. Says whether there was one.
    ///
    /// # Errors
    /// Where the map or the store cannot be written.
    pub async fn unpin(&self, root: &Cid) -> anyhow::Result<bool> {
        let Some(pin) = self.map.pin_of(root).await? else { return Ok(false) };
        self.map.unsettle(pin).await?;
        sink::remove(self, pin).await?;
        if let Some(peering) = &self.peering {
            peering.withdraw(root.hash().to_bytes()).await;
        }
        Ok(true)
    }

    /// Runs what runs beside answers, until `shutdown`: bitswap on the streams that come in, provider records, and the
    /// collection of garbage.
    pub fn run(
        self: &Arc<Self>,
        incoming: tokio::sync::mpsc::Receiver<Incoming>,
        shutdown: CancellationToken,
    ) -> JoinHandle<()> {
        let ipfs = Arc::clone(self);
        tokio::spawn(async move {
            let serving = Exchange::serve(Arc::clone(&ipfs), incoming, shutdown.clone());
            let upkeep = async {
                ipfs.provide_all().await;
                while shutdown.run_until_cancelled(tokio::time::sleep(GARBAGE_EVERY)).await.is_some() {
                    if let Err(error) = ipfs.blobs.collect_garbage().await {
                        tracing::warn!(%error, "blobs that no pin needs could not be removed");
                    }
                }
            };
            tokio::join!(serving, upkeep);
            ipfs.blobs.shutdown().await;
        })
    }

    async fn provide_all(&self) {
        let Some(peering) = &self.peering else { return };
        match self.pins().await {
            Ok(pins) => {
                for pin in pins {
                    peering.provide(pin.root.hash().to_bytes()).await;
                }
            }
            Err(error) => tracing::warn!(%error, "pins could not be announced"),
        }
    }
}
