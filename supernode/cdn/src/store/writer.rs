//! Writing a blob from async code: the disk works on a thread that may block, and a slow disk slows the sender.

use bytes::Bytes;
use shared::{base::BlobRoot, cdn::blob::BlobShape};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{ImportError, Incoming};

/// Chunks between the network and the disk. A chunk is what a socket gave at once, so below a megabyte.
const CHUNKS_WAITING: usize = 4;

/// A blob under way from async code. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    chunks: mpsc::Sender<Bytes>,
    task: JoinHandle<Result<Incoming, ImportError>>,
}

impl Writer {
    /// Starts writing.
    pub fn start(mut incoming: Incoming) -> Self {
        let (chunks, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
        let task = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                incoming.write(&chunk)?;
            }
            Ok(incoming)
        });
        Self { chunks, task }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// False once the disk or the quota refused; [`Writer::finish`] says why.
    pub async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits for the disk and puts the blob in its place, as [`Incoming::finish`].
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn finish(self, expected: Option<BlobRoot>) -> Result<(BlobRoot, BlobShape), ImportError> {
        drop(self.chunks);
        let incoming = self.task.await.map_err(std::io::Error::other)??;
        let finish = tokio::task::spawn_blocking(move || incoming.finish(expected));
        finish.await.map_err(std::io::Error::other)?
    }
}
