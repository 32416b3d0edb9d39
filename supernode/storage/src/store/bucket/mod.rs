//! Blobs as objects in a bucket, on whatever server speaks S3.
//!
//! ```text
//! PREFIX/store                    whose the prefix is; nothing is written or deleted before that is known
//! PREFIX/blobs/ROOT.EDITION       payload ‖ hash of each group, as a file has them
//! PREFIX/rotten/ROOT              what a scrub found damaged, for an operator to look at
//! ```
//!
//! What is promised: an upload that returned was confirmed by the server; each request ends within a bound; no name is
//! used twice, so that a request carried out late harms nothing.
//!
//! Everything here but [`Bucket::connect`] blocks the thread that calls it.

mod config;
mod deletion;
mod error;
mod remembered;
mod scrub_budget;
mod source;
mod upload;

use std::{
    fs::File,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, multipart::MultipartStore, path::Path,
};
use shared::base::{
    BlobRoot,
    blob::{BlobShape, HASH_BYTES},
};
use tokio::{
    runtime::Handle,
    sync::{OnceCell, Semaphore},
};
use tokio_util::task::TaskTracker;

use self::remembered::Remembered;
use super::{Held, StoreError, editions::Edition, index::Index};

pub use config::BucketConfig;
pub use error::BucketError;
pub(super) use scrub_budget::ScrubBudget;
pub(super) use source::ObjectSource;
#[cfg(test)]
pub(super) use upload::GONE_MAX;

/// What a bucket has to do for us.
pub(super) trait Objects: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Objects for T {}

/// One small request, with whatever object_store does again: before most clients give up on us.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The copy of a whole blob, which the server makes.
const COPY_WITHIN: Duration = Duration::from_secs(120);
/// How the mark of a store begins; its name is behind it.
const MARK: &str = "blackhole-store-1:";
/// A mark is far shorter.
const MAX_MARK_BYTES: u64 = 1024;
/// Where below the prefix blobs are.
const BLOBS: &str = "blobs";

/// A prefix of a bucket that is one store's.
pub(super) struct Bucket {
    objects: Arc<dyn Objects>,
    prefix: Path,
    /// Which bucket, for whoever reads an error.
    name: String,
    index: Arc<Index>,
    /// The upper half of this process's editions.
    epoch: u64,
    next: AtomicU64,
    claimed: OnceCell<()>,
    uploading: Semaphore,
    reading: Semaphore,
    /// Windows that are being read. Those that nobody wants any more end a little later.
    pub(super) windows: TaskTracker,
    remembered: Remembered,
    delete_failed: Mutex<Option<Instant>>,
    pub(super) scrub_budget: ScrubBudget,
    runtime: Handle,
}

impl Bucket {
    /// The part `part` of a configured bucket. Asks the server whose it is; where that cannot be reached now, it is asked
    /// again before anything is written or deleted.
    ///
    /// # Errors
    /// Where the configuration is wrong, or the server says so.
    pub(super) async fn connect(
        config: &BucketConfig,
        part: &str,
        index: Arc<Index>,
    ) -> anyhow::Result<Arc<Self>> {
        let client = config.client()?;
        let endpoint = config.endpoint.as_deref().unwrap_or("AWS");
        let name = format!("the bucket {:?} at {endpoint}", config.name);
        let prefix = Path::parse(&config.prefix)?.join(part);
        let budget = ScrubBudget::new(config.scrub_mib_per_hour);
        let bucket = Self::over(Arc::new(client), name, prefix, budget, index)?;
        match bucket.claim().await {
            Err(StoreError::Bucket(error)) if !error.is_lasting() => {
                tracing::warn!(%error, "blobs cannot be reached now");
            }
            claimed => claimed?,
        }
        Ok(bucket)
    }

    pub(super) fn over(
        objects: Arc<dyn Objects>,
        name: String,
        prefix: Path,
        scrub_budget: ScrubBudget,
        index: Arc<Index>,
    ) -> anyhow::Result<Arc<Self>> {
        let seed = runtime::random_seed()?;
        // Never 0, so that no edition is that of a file.
        let epoch = u64::from_le_bytes(std::array::from_fn(|at| seed[at])) | 1;
        Ok(Arc::new(Self {
            objects,
            prefix,
            name,
            index,
            epoch,
            next: AtomicU64::new(0),
            claimed: OnceCell::new(),
            uploading: Semaphore::new(upload::PARTS_IN_MEMORY),
            reading: Semaphore::new(source::READ_AT_ONCE),
            windows: TaskTracker::new(),
            remembered: Remembered::default(),
            delete_failed: Mutex::default(),
            scrub_budget,
            runtime: Handle::current(),
        }))
    }

    /// Says that the prefix is this store's, unless it is another's, or its blobs lie elsewhere.
    async fn claim(&self) -> Result<(), StoreError> {
        let claim = async || {
            let (own, mark) = (self.own_mark()?, self.mark().await?);
            if mark.is_some() || self.index.needs_bucket()? {
                return self.is_own(&own, mark);
            }
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.objects.put_opts(&self.mark_path(), own.clone().into(), options).await;
            match put {
                Ok(_) => Ok(()),
                // Somebody was faster, or this was sent twice.
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    self.is_own(&own, self.mark().await?)
                }
                Err(error) => Err(BucketError::of(&self.name, &error).into()),
            }
        };
        let claimed = tokio::time::timeout(ANSWER_WITHIN, self.claimed.get_or_try_init(claim)).await;
        claimed.map_err(|_| self.slow(ANSWER_WITHIN))?.copied()
    }

    fn own_mark(&self) -> Result<String, StoreError> {
        let name = self.index.store_name(self.new_edition().0)?;
        Ok(format!("{MARK}{name:032x}"))
    }

    fn is_own(&self, own: &str, mark: Option<String>) -> Result<(), StoreError> {
        let (bucket, prefix) = (self.name.clone(), self.prefix.to_string());
        match mark {
            Some(mark) if mark == own => Ok(()),
            Some(_) => Err(BucketError::Foreign { bucket, prefix }.into()),
            None => Err(BucketError::Unmarked { bucket, prefix, mark: own.to_owned() }.into()),
        }
    }

    /// Whose the prefix is, if anybody's.
    async fn mark(&self) -> Result<Option<String>, BucketError> {
        let path = self.mark_path();
        let get = async {
            let found = self.objects.get(&path).await?;
            // A longer one is nobody's that we know; it is not worth its bytes.
            if found.meta.size > MAX_MARK_BYTES { Ok(Bytes::new()) } else { found.bytes().await }
        };
        match self.within(ANSWER_WITHIN, get).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(Failed::Absent(_)) => Ok(None),
            Err(Failed::Bucket(error)) => Err(error),
        }
    }

    /// Whether the server is the one that has this store's blobs: only then does an object that is not there mean that it
    /// is lost.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        self.runtime.block_on(async {
            let mark = self.mark().await?;
            self.is_own(&self.own_mark()?, mark)
        })
    }

    /// Uploads a blob's bytes and hashes, and says under which name. Confirmed by the server on return.
    pub(super) fn upload(&self, file: &File, held: Held) -> Result<Edition, StoreError> {
        self.runtime.block_on(upload::upload(self, file, held))
    }

    /// Copies a damaged object to where an operator may look at it; whoever forgets the blob has its own object deleted.
    pub(super) fn set_aside(&self, root: BlobRoot, edition: Edition) -> Result<(), StoreError> {
        let (from, to) =
            (self.blob_path(root, edition), self.prefix.clone().join("rotten").join(root.to_string()));
        absent_is_fine(self.runtime.block_on(self.within(COPY_WITHIN, self.objects.copy(&from, &to))))
    }

    /// Waits for an answer, and says what the lack of one means.
    async fn within<T>(
        &self,
        within: Duration,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failed> {
        match tokio::time::timeout(within, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let absent = matches!(error, object_store::Error::NotFound { .. });
                Err(match BucketError::of(&self.name, &error) {
                    error @ BucketError::NoBucket { .. } => Failed::Bucket(error),
                    error if absent => Failed::Absent(error),
                    error => Failed::Bucket(error),
                })
            }
            Err(_) => Err(Failed::Bucket(self.slow(within))),
        }
    }

    fn slow(&self, within: Duration) -> BucketError {
        BucketError::Slow { bucket: self.name.clone(), within }
    }

    /// A name that no object had.
    fn new_edition(&self) -> Edition {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Edition(u128::from(self.epoch) << 64 | u128::from(next))
    }

    fn blob_path(&self, root: BlobRoot, Edition(edition): Edition) -> Path {
        self.prefix.clone().join(BLOBS).join(format!("{root}.{edition:032x}"))
    }

    fn mark_path(&self) -> Path {
        self.prefix.clone().join("store")
    }
}

/// Why there is no answer.
enum Failed {
    /// There is no such object.
    Absent(BucketError),
    Bucket(BucketError),
}

impl From<Failed> for StoreError {
    fn from((Failed::Absent(error) | Failed::Bucket(error)): Failed) -> Self {
        Self::Bucket(error)
    }
}

fn absent_is_fine(done: Result<(), Failed>) -> Result<(), StoreError> {
    match done {
        Ok(()) | Err(Failed::Absent(_)) => Ok(()),
        Err(Failed::Bucket(error)) => Err(error.into()),
    }
}

/// What an object holds: the payload, and the hashes behind it.
fn object_bytes(shape: BlobShape) -> u64 {
    let hashes = if shape.pages() == 0 { 0 } else { u64::from(shape.groups()) * HASH_BYTES as u64 };
    shape.size() + hashes
}
