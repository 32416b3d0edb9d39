//! Messages on streams: a length, and the message behind it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use links::{Stream, StreamProtocol};
use multiaddr::PeerId;
use shared::storage::ipfs::bitswap::{MAX_MESSAGE_BYTES, Message, PROTOCOL};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Heard, Incoming, MAX_PEERS, MESSAGES, answer};
use crate::ipfs::Ipfs;

/// A stream without a message for so long is closed; peers open another.
const IDLE: Duration = Duration::from_secs(120);
/// A message that has begun and does not go on for so long is given up.
const STALLED: Duration = Duration::from_secs(30);
/// Without a pull there is no reason to hear more at once: 2,000 wants.
const SMALL_BYTES: usize = 256 * 1024;

/// Hears one stream of a peer.
pub(super) async fn listen(
    ipfs: &Arc<Ipfs>,
    incoming: Incoming,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let Incoming { peer, mut stream } = incoming;
    while let Some(length) = timeout(IDLE, read_length(&mut stream)).await.context("idle")?? {
        ensure!(length <= MAX_MESSAGE_BYTES, "a message of {length} bytes");
        let _large = if length > SMALL_BYTES {
            ensure!(ipfs.exchange.is_asked(&peer), "a message of {length} bytes that nobody waits for");
            Some(Arc::clone(&ipfs.exchange.large).acquire_owned().await?)
        } else {
            None
        };
        let bytes = read_message(&mut stream, length).await?;
        // Blocks are hashed there.
        let message = tokio::task::spawn_blocking(move || Message::parse(&bytes)).await??;
        hear(ipfs, peer, message, tasks, shutdown).await;
    }
    Ok(())
}

async fn hear(
    ipfs: &Arc<Ipfs>,
    peer: PeerId,
    mut message: Message,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (blocks, lacking) = (std::mem::take(&mut message.blocks), std::mem::take(&mut message.lacking));
    if !blocks.is_empty() || !lacking.is_empty() {
        let waiting: Vec<_> = {
            let pulls = ipfs.exchange.pulls();
            pulls.values().filter(|(peers, _)| peers.contains(&peer)).map(|(_, pull)| pull.clone()).collect()
        };
        for pull in waiting {
            // One that has ended meanwhile does not need it.
            let _ = pull.send(Heard { peer, blocks: blocks.clone(), lacking: lacking.clone() }).await;
        }
    }
    if !message.full && message.wants.is_empty() && message.cancels.is_empty() {
        return;
    }
    let sender = {
        let mut answering = ipfs.exchange.answering();
        match answering.get(&peer).filter(|sender| !sender.is_closed()) {
            Some(sender) => sender.clone(),
            None if answering.len() >= MAX_PEERS => return,
            None => {
                let (sender, receiver) = tokio::sync::mpsc::channel(MESSAGES);
                answering.insert(peer, sender.clone());
                let (ipfs, shutdown) = (Arc::clone(ipfs), shutdown.clone());
                tasks.spawn(async move {
                    shutdown.run_until_cancelled(answer::answer(&ipfs, peer, receiver)).await;
                    ipfs.exchange.answering().remove(&peer);
                });
                sender
            }
        }
    };
    // One that ends just now has left nothing unanswered but this, and the peer asks again.
    let _ = sender.send(message).await;
}

/// The length of the next message; nothing where the stream has ended between two.
async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Option<usize>> {
    let mut length = 0_usize;
    for index in 0..4 {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            ensure!(index == 0, "the stream ended within a length");
            return Ok(None);
        }
        length |= usize::from(byte[0] & 0x7f) << (7 * index);
        if byte[0] & 0x80 == 0 {
            return Ok(Some(length));
        }
    }
    bail!("a length of more than 28 bits")
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin), length: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        let more = timeout(STALLED, stream.read(&mut bytes[read..])).await.context("stalled")??;
        ensure!(more > 0, "the stream ended within a message");
        read += more;
    }
    Ok(bytes)
}

/// Says things to one peer, on a stream that is opened when there is something to say.
pub(super) struct Speaker {
    peer: PeerId,
    stream: Option<Stream>,
}

impl Speaker {
    pub(super) const fn new(peer: PeerId) -> Self {
        Self { peer, stream: None }
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Says it. On a stream that turns out dead, once more on a new one.
    pub(super) async fn say(&mut self, links: &links::Control, message: Message) -> anyhow::Result<()> {
        let bytes = message.encode();
        let mut buffer = [0; 10];
        let mut length = &mut buffer[..];
        prost::encoding::encode_varint(bytes.len() as u64, &mut length);
        let unused = length.len();
        let length = &buffer[..10 - unused];
        if let Some(stream) = &mut self.stream
            && write(stream, length, &bytes).await.is_ok()
        {
            return Ok(());
        }
        self.stream = None;
        let link = links.best(&self.peer).context("no connection")?;
        let mut stream = links.open(link, StreamProtocol::new(PROTOCOL)).await?;
        write(&mut stream, length, &bytes).await?;
        self.stream = Some(stream);
        Ok(())
    }
}

async fn write(stream: &mut Stream, length: &[u8], bytes: &[u8]) -> anyhow::Result<()> {
    timeout(STALLED, stream.write_all(length)).await.context("stalled")??;
    // Pieces, so that a slow peer is told from a dead one.
    for piece in bytes.chunks(64 * 1024) {
        timeout(STALLED, stream.write_all(piece)).await.context("stalled")??;
    }
    timeout(STALLED, stream.flush()).await.context("stalled")??;
    Ok(())
}
