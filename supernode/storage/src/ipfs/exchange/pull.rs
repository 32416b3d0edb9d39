//! Fetching a tree from peers, into a pin.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant as Clock},
};

use anyhow::{Context as _, bail};
use multiaddr::{Multiaddr, PeerId};
use shared::{
    base::Instant,
    storage::ipfs::{
        Cid, DAG_PB, NewBlock, RAW,
        bitswap::{Fetch, Message, Next},
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Heard, streams::Speaker};
use crate::ipfs::{Ipfs, sink::Sink};

/// Peers that the DHT names and that are dialled.
const MAX_DIALLED: usize = 8;

impl Ipfs {
    /// Fetches all below `root` from the peers at `from` and from those that the DHT names, and pins it. Returns the bytes
    /// of all blocks; `moved` hears how many have come, and once nobody listens to it, it is broken off.
    ///
    /// # Errors
    /// Where nobody has a block, or it cannot be stored, or it was broken off. Nothing is kept then.
    pub async fn pull(&self, root: Cid, from: &[String], moved: &watch::Sender<u64>) -> anyhow::Result<u64> {
        if let Some(pin) = self.map.pin_of(&root).await? {
            let pins = self.map.pins().await?;
            return Ok(pins.iter().find(|known| known.number == pin).map_or(0, |known| known.total_bytes));
        }
        let peers = self.reach(&root, from).await?;
        let mut sink = Sink::begin(self).await?;
        let (pull, heard) = self.exchange.begin_pull();
        let pulled = tokio::select! {
            pulled = self.fetch_into(&mut sink, root, &peers, pull, heard, moved) => pulled,
            () = moved.closed() => Err(anyhow::anyhow!("whoever asked for {root} went away")),
        };
        self.exchange.end_pull(pull);
        match pulled {
            Ok(bytes) => {
                sink.finish(root, root.to_string(), bytes).await?;
                Ok(bytes)
            }
            Err(error) => {
                sink.abandon().await?;
                Err(error)
            }
        }
    }

    /// Connects to who may have it.
    async fn reach(&self, root: &Cid, from: &[String]) -> anyhow::Result<Vec<PeerId>> {
        let Some(peering) = &self.peering else {
            bail!("without the section [network] there is nobody to ask")
        };
        let mut peers = Vec::new();
        for address in from {
            let parsed: Multiaddr = address.parse().with_context(|| format!("{address:?} is no address"))?;
            let reached = peering.dial(parsed).await;
            peers.push(reached.with_context(|| format!("nobody answers at {address}"))?);
        }
        if from.is_empty() {
            for provider in peering.providers(root.hash().to_bytes()).await.into_iter().take(MAX_DIALLED) {
                let connected = peering.links().best(&provider).is_some();
                let address = Multiaddr::empty().with(multiaddr::Protocol::P2p(provider));
                if connected || peering.dial(address).await == Some(provider) {
                    peers.push(provider);
                }
            }
        }
        anyhow::ensure!(!peers.is_empty(), "the DHT names nobody who has {root} and can be reached");
        Ok(peers)
    }

    async fn fetch_into(
        &self,
        sink: &mut Sink<'_>,
        root: Cid,
        peers: &[PeerId],
        pull: u64,
        mut heard: mpsc::Receiver<Heard>,
        moved: &watch::Sender<u64>,
    ) -> anyhow::Result<u64> {
        let peering = self.peering.as_ref().context("no network")?;
        let links = peering.links();
        let (mut fetch, begun, mut bytes) = (Fetch::new(root), Clock::now(), 0_u64);
        let now = || Instant::default() + begun.elapsed();
        let mut speakers = BTreeMap::new();
        for (number, peer) in (0..).zip(peers) {
            if fetch.handle_peer(number) {
                self.exchange.ask_of(pull, *peer);
                speakers.insert(number, Speaker::new(*peer));
            }
        }
        loop {
            match fetch.poll_next(now())? {
                Next::Look(cid) => {
                    let found = if sink.adopt(&cid).await? { self.block(&cid).await? } else { None };
                    bytes += found.as_ref().map_or(0, |block| block.len() as u64);
                    fetch.handle_look(found.as_deref());
                }
                Next::Ask { peer: number, wants, cancels } => {
                    let message = Message { wants, cancels, ..Message::default() };
                    let Some(speaker) = speakers.get_mut(&number) else { continue };
                    if let Err(error) = speaker.say(&links, message).await {
                        tracing::debug!(peer = %speaker.peer(), %error, "a peer cannot be asked");
                        speakers.remove(&number);
                        fetch.handle_gone(number);
                    }
                }
                Next::Wait(until) => {
                    let patience = until.since(now()).max(Duration::from_millis(1));
                    let Ok(said) = timeout(patience, heard.recv()).await else { continue };
                    let Heard { peer, blocks, lacking } = said.context("shutting down")?;
                    for (cid, block) in blocks {
                        if fetch.handle_block(now(), cid, &block) {
                            bytes += block.len() as u64;
                            self.store(sink, cid, block).await?;
                            moved.send_replace(bytes);
                        }
                    }
                    let number = speakers.iter().find(|(_, speaker)| speaker.peer() == peer);
                    if let Some(number) = number.map(|(number, _)| *number) {
                        for cid in lacking {
                            fetch.handle_lacking(number, cid);
                        }
                    }
                }
                Next::Done => return Ok(bytes),
            }
        }
    }

    async fn store(&self, sink: &mut Sink<'_>, cid: Cid, block: Vec<u8>) -> anyhow::Result<()> {
        match cid.codec() {
            RAW => sink.leaf(&cid, block.into()).await,
            DAG_PB => sink.node(NewBlock { cid, bytes: block }).await,
            codec => bail!("codec {codec:#x} is not known here"),
        }
    }
}
