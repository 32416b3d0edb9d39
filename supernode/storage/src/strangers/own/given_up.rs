//! What is not wanted any more: its leases are ended, a few segments at a time, as far as the holders can be reached; the
//! rest ends by itself. What is left to do is in the catalogue, and the next process goes on with it.
//!
//! So it is with whoever was asked to keep a shard and had not signed when the upload or rebuild was over: it may have the
//! shard all the same, which nobody counts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use shared::{
    base::SegmentId,
    identity::PublicKey,
    storage::{record::SegmentRecord, seal::ObjectPath},
};

use super::{Own, blocking, catalog::Stored};
use crate::commits::committed;

/// Segments let go at once: each asks at most as many holders as it has shards.
const AT_ONCE: usize = 16;
/// Waited before the next try where the catalogue cannot be read or written.
const REST: Duration = Duration::from_secs(30);

/// A segment, and who was asked to keep a shard of it and never signed for that.
pub(super) type Unanswered = (SegmentRecord, BTreeSet<(u16, PublicKey)>);

impl Own {
    /// Deletes an object. On return it is gone, also after a crash, and its leases are being ended. Says whether there was
    /// one.
    ///
    /// # Errors
    /// Where the catalogue cannot be written; then it is there as before.
    pub async fn delete(self: &Arc<Self>, path: &ObjectPath) -> anyhow::Result<bool> {
        let (own, sealed) = (Arc::clone(self), self.bucket().seal_path(path));
        // It goes to its end, whether or not anybody waits.
        let deleting = tokio::spawn(async move {
            let catalog = own.catalog.clone();
            let Some(segments) = blocking(move || catalog.delete(&sealed)).await? else { return Ok(false) };
            committed("delete");
            own.forget(segments);
            Ok(true)
        });
        deleting.await.context("deleting ended in a panic")?
    }

    /// The catalogue has given these up: nobody watches over them any more, and their leases are ended.
    pub(super) fn forget(&self, segments: Vec<SegmentId>) {
        let mut state = self.state();
        segments.iter().for_each(|segment| state.custody.forget(*segment));
        drop(state);
        self.forget_extras(&segments);
        self.given_up.notify_one();
    }

    /// A segment is nobody's any more, or never became anybody's. Durable on return.
    pub(in crate::strangers) async fn give_up(&self, segment: SegmentId) -> anyhow::Result<()> {
        self.state().custody.forget(segment);
        self.forget_extras(&[segment]);
        let catalog = self.catalog.clone();
        blocking(move || catalog.give_up(segment)).await?;
        committed("delete");
        self.given_up.notify_one();
        Ok(())
    }

    /// Ends leases for as long as it is polled.
    pub(super) async fn let_go_of_all(self: Arc<Self>) {
        loop {
            match self.let_go_of_some().await {
                Ok(0) => self.given_up.notified().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "leases of what was deleted could not be ended");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// What these were asked to keep is not wanted of them any more.
    pub(super) fn let_go_of_asked(&self, record: &SegmentRecord, asked: Vec<(u16, PublicKey)>) {
        if !asked.is_empty() {
            let (segment, _) = record.encode();
            let mut state = self.state();
            let (_, unanswered) =
                state.unanswered.entry(segment).or_insert_with(|| (record.clone(), BTreeSet::new()));
            unanswered.extend(asked);
            drop(state);
            self.called_off.notify_one();
        }
    }

    /// Calls off what was asked in vain, for as long as it is polled.
    pub(super) async fn call_off_all(self: Arc<Self>) {
        loop {
            let all: Vec<_> = std::mem::take(&mut self.state().unanswered).into_iter().collect();
            for some in all.chunks(AT_ONCE) {
                futures::future::join_all(
                    some.iter().map(|(segment, unanswered)| self.call_off(*segment, unanswered)),
                )
                .await;
            }
            self.called_off.notified().await;
        }
    }

    async fn call_off(&self, segment: SegmentId, (record, asked): &Unanswered) {
        let telling = asked.iter().map(|(shard, holder)| async move {
            let root = record.root(*shard)?;
            self.drop_shard(holder, root).await.then(|| (*shard, holder.clone()))
        });
        let told: Vec<_> = futures::future::join_all(telling).await.into_iter().flatten().collect();
        let catalog = self.catalog.clone();
        if let Err(error) = blocking(move || catalog.forget_asked(segment, &told)).await {
            tracing::warn!(%error, "who was told that a shard is not wanted is told again");
        }
    }

    async fn let_go_of_some(&self) -> anyhow::Result<usize> {
        let catalog = self.catalog.clone();
        let some = blocking(move || catalog.given_up(AT_ONCE)).await?;
        futures::future::join_all(some.iter().map(|stored| self.let_go(stored))).await;
        committed("delete.let_go");
        let (catalog, count) = (self.catalog.clone(), some.len());
        if count > 0 {
            let ids: Vec<_> = some.iter().map(|stored| stored.record.encode().0).collect();
            blocking(move || catalog.forget_given_up(&ids)).await?;
        }
        Ok(count)
    }

    async fn let_go(&self, stored: &Stored) {
        let held = stored.leases.iter().map(|(shard, lease, _)| (*shard, &lease.holder));
        let asked = stored.asked.iter().map(|(shard, holder)| (*shard, holder));
        let all = held.chain(asked).filter_map(|(shard, holder)| Some((holder, stored.record.root(shard)?)));
        futures::future::join_all(all.map(|(holder, root)| self.drop_shard(holder, root))).await;
    }
}
