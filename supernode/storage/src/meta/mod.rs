//! Metadata: accounts' buckets, the versions of each object, uploads in parts, and which segments somebody refers to.
//!
//! One operation is one transaction; what it returns is committed and synced. Operations that wait for each other are
//! committed together, so that many small writers share one sync.
//!
//! Non-goals: the objects' bytes, and what a client may do (the door asks before).

mod buckets;
mod error;
mod listing;
mod objects;
mod rows;
mod segments;
mod uploads;
mod writer;

use std::{path::Path, sync::Arc};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

pub use error::MetaError;
pub use listing::{Listed, Listing, ListingRequest};
pub use objects::{Condition, Deleted, Found, NewVersion};
pub use rows::{
    BucketRow, LockMode, ObjectRow, PartRow, Retention, UploadRow, VersionId, VersionRow, Versioning,
};
pub use segments::NewSegment;
use writer::Writer;

/// Name to [`BucketRow`].
const BUCKETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("buckets-1");
/// Bucket, key and the sequence number counted down, so that the newest comes first, to [`VersionRow`].
const VERSIONS: TableDefinition<'_, (u64, &[u8], u64), &[u8]> = TableDefinition::new("versions-1");
/// Bucket and sequence number to the object's signed record.
const RECORDS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("records-1");
/// Bucket and key to the sequence number of the version called `null`.
const NULLS: TableDefinition<'_, (u64, &[u8]), u64> = TableDefinition::new("nulls-1");
/// Bucket, key and upload to [`UploadRow`].
const UPLOADS: TableDefinition<'_, (u64, &[u8], &str), &[u8]> = TableDefinition::new("uploads-1");
/// Upload and part number to [`PartRow`].
const PARTS: TableDefinition<'_, (&str, u16), &[u8]> = TableDefinition::new("parts-1");
/// Segment to how many versions and parts refer to it, and its record.
const SEGMENTS: TableDefinition<'_, [u8; 32], (u64, &[u8])> = TableDefinition::new("segments-1");
/// Segments that nobody refers to any more, by when that became so.
const DOOMED: TableDefinition<'_, (u64, [u8; 32]), ()> = TableDefinition::new("doomed-1");
/// The next sequence number, under "sequence".
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters-1");

/// What the database keeps in memory.
const CACHE_BYTES: usize = 64 << 20;

/// The metadata of one node.
#[derive(Clone)]
pub struct Meta {
    database: Arc<Database>,
    writer: Writer,
}

impl Meta {
    /// Opens the database in `path`, making it where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub fn open(path: &Path) -> Result<Self, MetaError> {
        let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
        let write = database.begin_write()?;
        write.open_table(BUCKETS)?;
        write.open_table(VERSIONS)?;
        write.open_table(RECORDS)?;
        write.open_table(NULLS)?;
        write.open_table(UPLOADS)?;
        write.open_table(PARTS)?;
        write.open_table(SEGMENTS)?;
        write.open_table(DOOMED)?;
        write.open_table(COUNTERS)?;
        write.commit()?;
        Ok(Self { writer: Writer::start(Arc::clone(&database)), database })
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let database = Arc::clone(&self.database);
        let looked = tokio::task::spawn_blocking(move || look(&database.begin_read()?));
        looked.await.map_err(|_| MetaError::Closed)?
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        self.writer.write(change).await
    }
}

/// A number above all that were drawn before.
fn next_sequence(write: &WriteTransaction) -> Result<u64, MetaError> {
    let mut counters = write.open_table(COUNTERS)?;
    let sequence = counters.get("sequence")?.map_or(1, |row| row.value());
    counters.insert("sequence", sequence + 1)?;
    Ok(sequence)
}

#[cfg(test)]
mod tests;
