//! Deleting objects: those that the index gave up, and those that it never knew.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStoreExt as _};
use shared::base::BlobRoot;
use tokio_util::sync::CancellationToken;

use super::{ANSWER_WITHIN, BLOBS, Bucket, absent_is_fine};
use crate::store::{
    BucketError, StoreError,
    editions::{Edition, Gone},
};

/// Objects deleted before the index hears of it.
const PAGE: usize = 64;
/// Pages in one go; the next garbage collection goes on. A shutdown waits for no more than these.
const PAGES: usize = 16;
/// Requests under way for that.
const AT_ONCE: usize = 8;
/// A server that failed to delete is left in peace for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// A server that could not be reached at the start is asked again after so long.
const CLAIM_AGAIN: Duration = Duration::from_secs(5);

impl Bucket {
    /// Deletes what the index says is to be deleted, and says how many bytes that freed. What a server fails to delete
    /// stays for later.
    ///
    /// # Errors
    /// What the index says.
    pub(in crate::store) fn delete_gone(&self) -> Result<u64, StoreError> {
        if self.failed_at().is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            return Ok(0);
        }
        let (mut freed, mut after, mut failed) = (0, None, None);
        for _ in 0..PAGES {
            let page = self.index.gone(after.as_ref(), PAGE)?;
            after = page.last().cloned();
            if after.is_none() {
                break;
            }
            let deleting = futures::stream::iter(page)
                .map(async |gone| self.delete(&gone).await.map(|()| gone))
                .buffered(AT_ONCE)
                .collect::<Vec<_>>();
            let mut deleted = Vec::new();
            for done in self.runtime.block_on(deleting) {
                match done {
                    Ok(gone) => deleted.push(gone),
                    Err(StoreError::Bucket(error)) => failed = Some(error),
                    Err(error) => return Err(error),
                }
            }
            freed += self.index.deleted(&deleted)?;
            if matches!(
                failed,
                Some(
                    BucketError::Unreachable { .. }
                        | BucketError::Untrusted { .. }
                        | BucketError::Slow { .. }
                )
            ) {
                break;
            }
        }
        let before = std::mem::replace(&mut *self.failed_at(), failed.is_some().then(Instant::now));
        if let Some(error) = failed.filter(|_| before.is_none()) {
            tracing::warn!(%error, "objects that nobody needs stay in the bucket for now");
        }
        Ok(freed)
    }

    fn failed_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.delete_failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delete(&self, gone: &Gone) -> Result<(), StoreError> {
        self.claim().await?;
        let path = self.blob_path(gone.root, gone.edition);
        if let Some(upload) = &gone.upload {
            absent_is_fine(self.within(ANSWER_WITHIN, self.objects.abort_multipart(&path, upload)).await)?;
        }
        absent_is_fine(self.within(ANSWER_WITHIN, self.objects.delete(&path)).await)
    }

    /// Deletes objects that the index does not know: a process died between uploading one and entering it. Waits until the
    /// server can be reached. Ends early where the store is closed; the next start goes on.
    ///
    /// # Errors
    /// What the index or the server says.
    pub(in crate::store) fn remove_strays(&self, closing: &CancellationToken) -> Result<(), StoreError> {
        let removed = closing.run_until_cancelled(async {
            loop {
                match self.claim().await {
                    Err(StoreError::Bucket(error)) if !error.is_lasting() => {
                        tokio::time::sleep(CLAIM_AGAIN).await;
                    }
                    claimed => break claimed?,
                }
            }
            // A page of a thousand is in memory.
            let mut listed = self.objects.list(Some(&self.prefix.clone().join(BLOBS)));
            while let Some(object) =
                self.within(ANSWER_WITHIN, listed.try_next()).await.map_err(StoreError::from)?
            {
                if let Some(gone) = self.stray(&object)? {
                    tracing::debug!(root = %gone.root, "an object that no blob belongs to is deleted");
                    self.delete(&gone).await?;
                }
            }
            Ok(())
        });
        self.runtime.block_on(removed).unwrap_or(Ok(()))
    }

    /// What object this is, where it is of an earlier process and no blob's.
    fn stray(&self, object: &ObjectMeta) -> Result<Option<Gone>, StoreError> {
        let name = object.location.filename().and_then(|name| name.split_once('.'));
        let Some((Ok(root), Ok(edition))) =
            name.map(|(root, edition)| (root.parse::<BlobRoot>(), u128::from_str_radix(edition, 16)))
        else {
            return Ok(None);
        };
        let edition = Edition(edition);
        if edition.0 >> 64 == u128::from(self.epoch) {
            return Ok(None);
        }
        match self.index.locate(root) {
            Ok((_, known)) if known == edition => Ok(None),
            Ok(_) | Err(StoreError::Absent { .. }) => {
                Ok(Some(Gone { root, edition, bytes: 0, upload: None }))
            }
            Err(error) => Err(error),
        }
    }
}
