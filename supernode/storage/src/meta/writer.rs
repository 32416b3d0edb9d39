//! One thread writes; what has queued up while it synced goes into the next commit together.

use std::sync::Arc;

use redb::{Database, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::MetaError;

/// Changes that may wait: one a request, and the door bounds those.
const QUEUE: usize = 4096;
/// Changes in one commit. More would make the first wait longer than it saves the last.
const BATCH: usize = 256;

/// Makes one change and says what to tell whoever asked for it, once the commit has ended.
type Change = Box<dyn FnOnce(&WriteTransaction) -> Tell + Send>;
/// Tells; with the reason where the commit failed.
type Tell = Box<dyn FnOnce(Option<&str>) + Send>;

/// Queues changes. The thread ends when all of these are gone.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Change>);

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> Self {
        let (changes, mut queue) = mpsc::channel::<Change>(QUEUE);
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            while let Some(first) = queue.blocking_recv() {
                batch.push(first);
                while batch.len() < BATCH
                    && let Ok(next) = queue.try_recv()
                {
                    batch.push(next);
                }
                commit(&database, &mut batch);
            }
        });
        Self(changes)
    }

    /// Makes a change. What `change` returns as an error must not have changed anything: it looks first, and
    /// writes after.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |write| {
            let done = change(write);
            Box::new(move |failed| {
                let done = match failed {
                    Some(reason) => Err(MetaError::Commit(reason.to_owned())),
                    None => done,
                };
                // Whoever asked may have gone.
                let _ = answer.send(done);
            })
        });
        self.0.send(change).await.map_err(|_| MetaError::Closed)?;
        answered.await.map_err(|_| MetaError::Closed)?
    }
}

fn commit(database: &Database, batch: &mut Vec<Change>) {
    let write = match database.begin_write() {
        Ok(write) => write,
        Err(error) => {
            // The answers' senders are dropped with the batch, which is told as closed.
            tracing::error!(%error, "the metadata cannot be written");
            batch.clear();
            return;
        }
    };
    let tells: Vec<Tell> = batch.drain(..).map(|change| change(&write)).collect();
    let failed = write.commit().err().map(|error| error.to_string());
    if let Some(error) = &failed {
        tracing::error!(error, "the metadata could not be committed");
    } else {
        crate::commits::committed("metadata");
    }
    for tell in tells {
        tell(failed.as_deref());
    }
}
