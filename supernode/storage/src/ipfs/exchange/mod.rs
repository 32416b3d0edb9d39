//! Bitswap with peers: what they want is answered, and what is wanted here is asked of them.

mod answer;
mod pull;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use links::Stream;
use multiaddr::PeerId;
use shared::storage::ipfs::{Cid, bitswap::Message};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Ipfs;

/// Streams that peers hold open at a time. Helia keeps one, kubo opens one a message.
const MAX_STREAMS: usize = 512;
/// Messages of megabytes in memory at a time: 128 MiB.
const MAX_LARGE: usize = 32;
/// Peers that are answered at a time.
const MAX_PEERS: usize = 512;
/// Messages of one peer that wait to be answered; its stream waits then.
const MESSAGES: usize = 8;
/// Messages with blocks that wait for a pull.
const HEARD: usize = 16;

/// A stream that a peer opened, and who it is.
pub struct Incoming {
    /// Whom the connection authenticated.
    pub peer: PeerId,
    /// The stream.
    pub stream: Stream,
}

/// What a pull hears.
pub(super) struct Heard {
    pub(super) peer: PeerId,
    pub(super) blocks: Vec<(Cid, Vec<u8>)>,
    pub(super) lacking: Vec<Cid>,
}

/// By its number, whom a pull asks, and where it hears of it.
type Pulls = BTreeMap<u64, (BTreeSet<PeerId>, mpsc::Sender<Heard>)>;

/// Whom we are answering, and who of us waits for what.
pub(super) struct Exchange {
    answering: Mutex<BTreeMap<PeerId, mpsc::Sender<Message>>>,
    pulls: Mutex<Pulls>,
    next_pull: AtomicU64,
    streams: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            answering: Mutex::default(),
            pulls: Mutex::default(),
            next_pull: AtomicU64::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            large: Arc::new(Semaphore::new(MAX_LARGE)),
        }
    }
}

impl Exchange {
    /// Takes the streams that peers open, until `shutdown`.
    pub(super) async fn serve(
        ipfs: Arc<Ipfs>,
        mut incoming: mpsc::Receiver<Incoming>,
        shutdown: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        while let Some(Some(next)) = shutdown.run_until_cancelled(incoming.recv()).await {
            // Dropped, a stream is reset: the peer tries again.
            let Ok(place) = Arc::clone(&ipfs.exchange.streams).try_acquire_owned() else { continue };
            let (ipfs, shutdown, answers) = (Arc::clone(&ipfs), shutdown.clone(), tasks.clone());
            tasks.spawn(async move {
                let _place = place;
                let listening = streams::listen(&ipfs, next, &answers, &shutdown);
                if let Some(Err(error)) = shutdown.run_until_cancelled(listening).await {
                    tracing::debug!(%error, "a stream of bitswap ended");
                }
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Whether blocks of this peer are waited for.
    fn is_asked(&self, peer: &PeerId) -> bool {
        self.pulls().values().any(|(peers, _)| peers.contains(peer))
    }

    fn pulls(&self) -> std::sync::MutexGuard<'_, Pulls> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answering(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, mpsc::Sender<Message>>> {
        self.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pull; it hears the peers that it is told of by [`Exchange::ask_of`].
    fn begin_pull(&self) -> (u64, mpsc::Receiver<Heard>) {
        let (sender, receiver) = mpsc::channel(HEARD);
        let number = self.next_pull.fetch_add(1, Ordering::Relaxed);
        self.pulls().insert(number, (BTreeSet::new(), sender));
        (number, receiver)
    }

    fn ask_of(&self, pull: u64, peer: PeerId) {
        if let Some((peers, _)) = self.pulls().get_mut(&pull) {
            peers.insert(peer);
        }
    }

    fn end_pull(&self, pull: u64) {
        self.pulls().remove(&pull);
    }
}
