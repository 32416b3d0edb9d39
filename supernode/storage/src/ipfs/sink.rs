//! Where the blocks of a pin that is being made go: bytes into blobs, nodes into the map.
//!
//! What is entered lies in the store first. A pin counts once its root is entered, and what a killed process left of
//! others is removed at the next start.

use std::{collections::BTreeSet, io};

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use shared::storage::ipfs::{Cid, NewBlock};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Ipfs,
    map::{Location, Pin},
};
use crate::store::{Held, StoreError};

/// A blob that many files share is closed at this length: what a crash in the middle loses of a pull.
const SHARED_BLOB_BYTES: u64 = 64 << 20;
/// A file's blob goes on in another at this length: a multiple of a chunk, well below the longest blob.
const OWN_BLOB_BYTES: u64 = 1 << 30;
/// Blocks of one transaction.
const ROWS_AT_ONCE: usize = 1024;
/// Inline nodes of one transaction, in bytes.
const ROW_BYTES_AT_ONCE: usize = 8 << 20;
/// Chunks between the hash and the disk.
const PIECES: usize = 4;
/// Leases looked at at a time.
const LEASES: usize = 256;

/// A pin under way. [`Sink::finish`] makes it count, [`Sink::abandon`] removes what it has.
pub(super) struct Sink<'a> {
    ipfs: &'a Ipfs,
    pin: u64,
    open: Option<OpenBlob>,
    rows: Vec<(Vec<u8>, Location)>,
    row_bytes: usize,
    seen: BTreeSet<Cid>,
}

/// A blob that is being written.
struct OpenBlob {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    written: JoinHandle<Result<Held, StoreError>>,
    leaves: Vec<(Vec<u8>, u64, u32)>,
    bytes: u64,
    own: bool,
}

impl<'a> Sink<'a> {
    pub(super) async fn begin(ipfs: &'a Ipfs) -> anyhow::Result<Self> {
        let pin = ipfs.map.begin().await?;
        Ok(Self { ipfs, pin, open: None, rows: Vec::new(), row_bytes: 0, seen: BTreeSet::new() })
    }

    /// The chunks that follow are of one large file, which gets a blob of its own.
    pub(super) async fn begin_own(&mut self) -> anyhow::Result<()> {
        self.close().await?;
        self.open = Some(self.open_blob(true));
        Ok(())
    }

    /// The large file has ended.
    pub(super) async fn end_own(&mut self) -> anyhow::Result<()> {
        self.close().await
    }

    fn open_blob(&self, own: bool) -> OpenBlob {
        let (pieces, mut taken) = mpsc::channel(PIECES);
        let (blobs, lease) = (self.ipfs.blobs.clone(), lease(self.pin));
        let written = tokio::spawn(async move {
            let stream = futures::stream::poll_fn(move |context| taken.poll_recv(context)).boxed();
            blobs.put(stream, None, &lease).await
        });
        OpenBlob { pieces, written, leaves: Vec::new(), bytes: 0, own }
    }

    /// Takes bytes without structure.
    pub(super) async fn leaf(&mut self, cid: &Cid, bytes: Bytes) -> anyhow::Result<()> {
        let own = self.open.as_ref().is_some_and(|open| open.own);
        // A large file stays whole; elsewhere what is there once suffices.
        if !self.seen.insert(*cid) && !own {
            return Ok(());
        }
        let full = if own { OWN_BLOB_BYTES } else { SHARED_BLOB_BYTES };
        if self.open.as_ref().is_some_and(|open| open.bytes + bytes.len() as u64 > full) {
            self.close().await?;
        }
        if self.open.is_none() {
            self.open = Some(self.open_blob(own));
        }
        let open = self.open.as_mut().context("just opened")?;
        let length = u32::try_from(bytes.len()).context("a block longer than blocks may be")?;
        open.leaves.push((cid.hash().to_bytes(), open.bytes, length));
        open.bytes += u64::from(length);
        if open.pieces.send(Ok(bytes)).await.is_err() {
            // The store says why it went.
            self.close().await?;
            anyhow::bail!("the store ended a blob early");
        }
        Ok(())
    }

    /// Takes a node.
    pub(super) async fn node(&mut self, block: NewBlock) -> anyhow::Result<()> {
        self.row_bytes += block.bytes.len();
        self.rows.push((block.cid.hash().to_bytes(), Location::Inline(block.bytes)));
        if self.rows.len() >= ROWS_AT_ONCE || self.row_bytes >= ROW_BYTES_AT_ONCE {
            self.flush().await?;
        }
        Ok(())
    }

    /// Takes a block that is held for another pin; says whether it is.
    pub(super) async fn adopt(&mut self, cid: &Cid) -> anyhow::Result<bool> {
        let multihash = cid.hash().to_bytes();
        let Some(location) = self.ipfs.map.find(multihash.clone()).await? else { return Ok(false) };
        if let Location::Blob { root, .. } = &location {
            match self.ipfs.blobs.lease(*root, &lease(self.pin)).await {
                Ok(()) => {}
                // Its pin went just now.
                Err(StoreError::Absent { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.rows.push((multihash, location));
        if self.rows.len() >= ROWS_AT_ONCE {
            self.flush().await?;
        }
        Ok(true)
    }

    async fn close(&mut self) -> anyhow::Result<()> {
        let Some(OpenBlob { pieces, written, leaves, .. }) = self.open.take() else { return Ok(()) };
        drop(pieces);
        let held = written.await.context("writing a blob ended in a panic")??;
        let rows = leaves
            .into_iter()
            .map(|(multihash, from, bytes)| (multihash, Location::Blob { root: held.root, from, bytes }));
        self.rows.extend(rows);
        self.flush().await
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        self.row_bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() { Ok(()) } else { self.ipfs.map.enter(self.pin, rows).await }
    }

    /// Makes the pin count. Where its root is pinned already, that one stays and this one goes.
    pub(super) async fn finish(mut self, root: Cid, name: String, total_bytes: u64) -> anyhow::Result<()> {
        self.close().await?;
        self.flush().await?;
        let since_unix = runtime::unix_now().0;
        let pin = Pin { root, name, total_bytes, since_unix, number: self.pin };
        if self.ipfs.map.settle(pin).await?.is_some() {
            remove(self.ipfs, self.pin).await?;
        }
        if let Some(peering) = &self.ipfs.peering {
            peering.provide(root.hash().to_bytes()).await;
        }
        Ok(())
    }

    /// Lets go of all of it.
    pub(super) async fn abandon(mut self) -> anyhow::Result<()> {
        if let Some(OpenBlob { pieces, written, .. }) = self.open.take() {
            // Half a blob is none. The store could lease it to us as long as it does not know that.
            let _ = pieces.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
            let _ = written.await;
        }
        remove(self.ipfs, self.pin).await
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // The node ends; its next start removes the rest.
            open.written.abort();
        }
    }
}

/// The lease of a pin.
fn lease(pin: u64) -> Vec<u8> {
    [LEASE, &pin.to_be_bytes()].concat()
}

/// Before a pin's number.
const LEASE: &[u8] = b"pin/";

/// Lets go of all that a pin has which is not finished, and of the room that it took.
pub(super) async fn remove(ipfs: &Ipfs, pin: u64) -> anyhow::Result<()> {
    ipfs.map.remove(pin).await?;
    let lease = lease(pin);
    loop {
        let leases = ipfs.blobs.leases(&lease, None, LEASES).await?;
        if leases.is_empty() {
            break;
        }
        for (name, root) in leases {
            ipfs.blobs.release(root, &name).await?;
        }
    }
    // Who ends a pin wants its room.
    ipfs.blobs.collect_garbage().await?;
    Ok(())
}

/// Removes what a killed process left.
pub(super) async fn recover(ipfs: &Ipfs) -> anyhow::Result<()> {
    for pin in ipfs.map.unfinished().await? {
        remove(ipfs, pin).await?;
    }
    let mut after = None;
    loop {
        let leases = ipfs.blobs.leases(LEASE, after.take(), LEASES).await?;
        let Some(last) = leases.last().cloned() else { break };
        for (name, root) in leases {
            let pin = name.strip_prefix(LEASE).and_then(|pin| pin.try_into().ok()).map(u64::from_be_bytes);
            if !matches!(pin, Some(pin) if ipfs.map.is_settled(pin).await?) {
                ipfs.blobs.release(root, &name).await?;
            }
        }
        after = Some(last);
    }
    ipfs.blobs.collect_garbage().await?;
    Ok(())
}
