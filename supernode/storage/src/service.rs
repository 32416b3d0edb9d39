//! The service as a node runs it: opened, served, kept up, closed.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use shared::{identity::Keypair, storage::seal::Sealing};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Meters,
    meta::Meta,
    objects::{Keys, LocalSegments, Objects, Segments, usual_sealing},
    s3::{AccessKeys, Grants, S3Server},
    store::{BlobStore, Blobs},
    strangers::{SpreadSegments, own::Own},
};

/// How often the meters are told how full the store is.
const USAGE_EVERY: Duration = Duration::from_secs(5);
/// Blobs read and hashed at a time: at most 64 MiB each, and seldom that.
const SCRUB_BLOBS: usize = 16;

/// Where in a bucket the door's blobs lie.
const BUCKET_PART: &str = "door";

/// Storage on this node, listening and not answering yet.
pub struct Storage {
    blobs: Arc<dyn Blobs>,
    objects: Objects,
    server: S3Server,
    meters: Meters,
    upload_age: Duration,
    scrub_every: Duration,
}

impl Storage {
    /// Opens what is in the data directory and binds the door. With `own`, objects can lie with others.
    ///
    /// # Errors
    /// Says what cannot be opened or bound.
    pub async fn open(
        config: &Config,
        data_dir: &Path,
        node: &Keypair,
        own: Option<Arc<Own>>,
        meters: Meters,
    ) -> anyhow::Result<Self> {
        let directory = data_dir.join("storage");
        let quota = config.quota_mib.saturating_mul(1 << 20);
        let store = BlobStore::open_at(directory.clone(), quota, config.bucket.as_ref(), BUCKET_PART).await;
        let store = store.context("the blob store cannot be opened")?;
        let meta = tokio::task::spawn_blocking(move || Meta::open(&directory.join("meta.redb"))).await?;
        let meta = meta.context("the metadata cannot be opened")?;
        let blobs: Arc<dyn Blobs> = Arc::new(store);
        let segments: Arc<dyn Segments> = match (own, config.profile) {
            (Some(own), profile) => Arc::new(SpreadSegments::new(own, Arc::clone(&blobs), profile)),
            (None, None) => Arc::new(LocalSegments::new(Arc::clone(&blobs))),
            (None, Some(_)) => anyhow::bail!(
                "storage.profile spreads objects over holders, and wants the sections [storage.own] and [network]"
            ),
        };
        let sealing = config.sealing.unwrap_or_else(usual_sealing);
        anyhow::ensure!(
            config.profile.is_none() || sealing != Sealing::Plain,
            "what storage.profile spreads over holders is always sealed; take storage.sealing = \"none\" away"
        );
        let objects = Objects::new(meta, segments, Keys::new(node), sealing);
        objects.recover().await.context("what the last run left unfinished cannot be settled")?;
        let keys = AccessKeys::open(data_dir, node)?;
        let grants = Grants::open(data_dir, node, config.issuers.clone())?;
        meters.usage(blobs.usage());
        let server = S3Server::bind(config, objects.clone(), keys, grants, meters.clone()).await?;
        let upload_age = Duration::from_secs(config.upload_days.saturating_mul(86_400));
        let scrub_every = Duration::from_secs(config.scrub_seconds.max(1));
        Ok(Self { blobs, objects, server, meters, upload_age, scrub_every })
    }

    /// Where the S3 door listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The store, for whoever else keeps blobs on this node.
    #[must_use]
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.blobs)
    }

    /// Answers until `shutdown`, and closes.
    pub async fn run(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        tasks.spawn(self.objects.clone().upkeep(self.upload_age, shutdown.clone()));
        tasks.spawn(show_usage(Arc::clone(&self.blobs), self.meters.clone(), shutdown.clone()));
        tasks.spawn(scrub(Arc::clone(&self.blobs), self.scrub_every, self.meters.clone(), shutdown.clone()));
        self.server.run(shutdown).await;
        tasks.close();
        tasks.wait().await;
        if let Err(error) = self.objects.sweep().await {
            tracing::warn!(%error, "what was deleted is let go at the next start");
        }
        self.blobs.shutdown().await;
    }
}

async fn show_usage(blobs: Arc<dyn Blobs>, meters: Meters, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(USAGE_EVERY)).await.is_some() {
        meters.usage(blobs.usage());
    }
}

async fn scrub(blobs: Arc<dyn Blobs>, every: Duration, meters: Meters, shutdown: CancellationToken) {
    let mut after = None;
    while shutdown.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        match blobs.scrub(after, SCRUB_BLOBS).await {
            Ok(report) => {
                meters.scrubbed(&report);
                after = report.next;
            }
            Err(error) => tracing::warn!(%error, "blobs could not be scrubbed"),
        }
    }
}
