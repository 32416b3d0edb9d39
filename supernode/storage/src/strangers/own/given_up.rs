//! What is not wanted any more: its leases are ended, a few segments at a time, as far as the holders can be reached; the
//! rest ends by itself. What is left to do is in the catalogue, and the next process goes on with it.

use std::{sync::Arc, time::Duration};

use shared::base::SegmentId;

use super::{Own, blocking, catalog::Stored};

/// Segments let go at once: each asks at most as many holders as it has shards.
const AT_ONCE: usize = 16;
/// Waited before the next try where the catalogue cannot be read or written.
const REST: Duration = Duration::from_secs(30);

impl Own {
    /// A segment is nobody's any more, or never became anybody's. Durable on return.
    pub(in crate::strangers) async fn give_up(&self, segment: SegmentId) -> anyhow::Result<()> {
        self.state().custody.forget(segment);
        let catalog = self.catalog.clone();
        blocking(move || catalog.give_up(segment)).await?;
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

    async fn let_go_of_some(&self) -> anyhow::Result<usize> {
        let catalog = self.catalog.clone();
        let some = blocking(move || catalog.given_up(AT_ONCE)).await?;
        futures::future::join_all(some.iter().map(|stored| self.let_go(stored))).await;
        let (catalog, count) = (self.catalog.clone(), some.len());
        if count > 0 {
            let ids: Vec<_> = some.iter().map(|stored| stored.record.encode().0).collect();
            blocking(move || catalog.forget_given_up(&ids)).await?;
        }
        Ok(count)
    }

    async fn let_go(&self, stored: &Stored) {
        let held = stored.leases.iter();
        let held = held.filter_map(|(shard, lease, _)| Some((&lease.holder, stored.record.root(*shard)?)));
        futures::future::join_all(held.map(|(holder, root)| self.drop_shard(holder, root))).await;
    }
}
