//! What goes on in the background: letting go of what was deleted, and ending uploads that nobody finishes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Objects, WriteError};
use crate::meta::MetaError;

/// How often what was deleted is let go.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Segments let go in one transaction.
const SWEEP: usize = 256;
/// How many sweeps pass between two looks for abandoned uploads.
const UPLOADS_EVERY: u64 = 450;
/// Abandoned uploads ended at a look.
const UPLOADS: usize = 1000;

impl Objects {
    /// Finds out what became of segments that were stored when the last process ended. Before anything is written.
    ///
    /// # Errors
    /// [`WriteError::Store`], [`WriteError::Meta`].
    pub async fn recover(&self) -> Result<(), WriteError> {
        let mut kept = Vec::new();
        for stored in self.segments.unsettled().await? {
            if self.meta.refers_to(stored.id).await? {
                kept.push(stored);
            } else {
                self.segments.release(&stored.record).await?;
            }
        }
        self.segments.keep(kept);
        self.segments.settle().await?;
        Ok(())
    }

    /// Lets go of what was deleted and is read by nobody. Says how many segments went.
    ///
    /// # Errors
    /// [`WriteError::Store`], [`WriteError::Meta`].
    pub async fn sweep(&self) -> Result<usize, WriteError> {
        let mut swept = 0;
        loop {
            // Reads that begin after this see the metadata as it is now, without what is doomed.
            let now = self.meta.sequence().await?;
            let before = self.readers.oldest().map_or(now, |oldest| oldest.min(now));
            let doomed = self.meta.doomed(before, SWEEP).await?;
            if doomed.is_empty() {
                break;
            }
            for (_, _, record) in &doomed {
                self.segments.release(record).await?;
            }
            swept += doomed.len();
            self.meta.forget(doomed.into_iter().map(|(when, id, _)| (when, id)).collect()).await?;
        }
        self.segments.settle().await?;
        Ok(swept)
    }

    /// Ends uploads in parts that were begun more than `age` ago.
    ///
    /// # Errors
    /// [`WriteError::Meta`].
    pub async fn end_old_uploads(&self, age: Duration) -> Result<(), WriteError> {
        let before = runtime::unix_now().0.saturating_sub(age.as_secs());
        for (bucket, key, upload) in self.meta.old_uploads(before, UPLOADS).await? {
            match self.meta.abort_upload(&bucket, &key, &upload).await {
                // Ended by its owner meanwhile.
                Err(MetaError::NoSuchUpload | MetaError::NoSuchBucket) => {}
                ended => ended?,
            }
        }
        Ok(())
    }

    /// Does all of this until `shutdown`.
    pub async fn upkeep(self, upload_age: Duration, shutdown: CancellationToken) {
        let mut round = 0_u64;
        while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what was deleted could not be let go");
            }
            if round.is_multiple_of(UPLOADS_EVERY)
                && let Err(error) = self.end_old_uploads(upload_age).await
            {
                tracing::warn!(%error, "abandoned uploads could not be ended");
            }
            round += 1;
        }
    }
}
