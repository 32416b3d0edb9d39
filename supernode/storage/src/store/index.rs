//! Which blobs are held, who leases them, and which are nobody's any more.
//!
//! A blob whose last lease ends is entered among the `idle` in the same transaction, so that garbage is found
//! without looking at what is not.

use std::path::Path;

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};
use shared::base::{BlobRoot, blob::BlobShape};

use super::{
    Held, MAX_LEASE_BYTES, StoreError,
    editions::{self, Edition, Gone},
};

/// Root to length.
const BLOBS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("blobs-1");
/// Lease and root; ordered by lease.
const LEASES: TableDefinition<'_, (&[u8], [u8; 32]), ()> = TableDefinition::new("leases-1");
/// How many leases are on a root. Without a row there are none.
const COUNTS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("lease-counts-1");
/// Roots that nobody leases.
const IDLE: TableDefinition<'_, [u8; 32], ()> = TableDefinition::new("idle-1");

/// The index's database.
pub(super) struct Index {
    pub(super) database: Database,
}

/// What entering a blob changed.
pub(super) struct Entered {
    /// Whether it was not held before.
    pub(super) new: bool,
    /// Where it lay, if it was.
    pub(super) replaced: Option<Edition>,
}

impl Index {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let write = database.begin_write()?;
        write.open_table(BLOBS)?;
        write.open_table(LEASES)?;
        write.open_table(COUNTS)?;
        write.open_table(IDLE)?;
        editions::open(&write)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// Bytes and number of all blobs; the bytes also of what is still to be deleted.
    pub(super) fn totals(&self) -> Result<(u64, u64), StoreError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        let mut bytes = self.gone_bytes()?;
        for row in table.iter()? {
            bytes += row?.1.value();
        }
        Ok((bytes, table.len()?))
    }

    pub(super) fn shape(&self, root: BlobRoot) -> Result<BlobShape, StoreError> {
        Self::shape_in(&self.database.begin_read()?, root)
    }

    pub(super) fn shape_in(read: &ReadTransaction, root: BlobRoot) -> Result<BlobShape, StoreError> {
        let table = read.open_table(BLOBS)?;
        let bytes = table.get(root.0)?.map(|row| row.value());
        bytes.and_then(BlobShape::new).ok_or(StoreError::Absent { root })
    }

    /// Enters a blob that lies there, and a lease on it.
    pub(super) fn insert(&self, held: Held, edition: Edition, lease: &[u8]) -> Result<Entered, StoreError> {
        let write = self.database.begin_write()?;
        let known = write.open_table(BLOBS)?.insert(held.root.0, held.shape.size())?.is_some();
        let replaced = editions::replace(&write, held, edition, known)?;
        add_lease(&write, held.root, lease)?;
        write.commit()?;
        Ok(Entered { new: !known, replaced })
    }

    pub(super) fn lease(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        if write.open_table(BLOBS)?.get(root.0)?.is_none() {
            return Err(StoreError::Absent { root });
        }
        add_lease(&write, root, lease)?;
        write.commit()?;
        Ok(())
    }

    pub(super) fn release(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        drop_lease(&write, root, lease)?;
        write.commit()?;
        Ok(())
    }

    pub(super) fn hand_over(&self, roots: &[BlobRoot], from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        for root in roots {
            let was = write.open_table(LEASES)?.get((from, root.0))?.is_some();
            if was {
                // The new one first, so that the blob is never without.
                add_lease(&write, *root, to)?;
                drop_lease(&write, *root, from)?;
            }
        }
        write.commit()?;
        Ok(())
    }

    pub(super) fn leases(
        &self,
        prefix: &[u8],
        after: Option<(Vec<u8>, BlobRoot)>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, BlobRoot)>, StoreError> {
        let table = self.database.begin_read()?.open_table(LEASES)?;
        let start = after.as_ref().map_or((prefix, [0; 32]), |(lease, root)| (lease.as_slice(), root.0));
        let mut found = Vec::new();
        for row in table.range(start..)? {
            let row = row?.0;
            let (lease, root) = row.value();
            if !lease.starts_with(prefix) || found.len() >= limit {
                break;
            }
            if after.as_ref().is_none_or(|after| (after.0.as_slice(), after.1.0) != (lease, root)) {
                found.push((lease.to_vec(), BlobRoot(root)));
            }
        }
        Ok(found)
    }

    /// Roots that nobody leases.
    pub(super) fn idle(&self) -> Result<Vec<BlobRoot>, StoreError> {
        let table = self.database.begin_read()?.open_table(IDLE)?;
        table.iter()?.map(|row| Ok(BlobRoot(row?.0.value()))).collect()
    }

    /// Forgets those of `roots` that nobody leases, and says which those are.
    pub(super) fn forget_idle(&self, roots: &[BlobRoot]) -> Result<Vec<Gone>, StoreError> {
        let write = self.database.begin_write()?;
        let mut forgotten = Vec::new();
        {
            let mut idle = write.open_table(IDLE)?;
            let mut blobs = write.open_table(BLOBS)?;
            for root in roots {
                // Leased again meanwhile, where it is idle no more.
                if idle.remove(root.0)?.is_some() {
                    let bytes = blobs.remove(root.0)?.map_or(0, |row| row.value());
                    forgotten.push(editions::forget(&write, *root, bytes)?);
                }
            }
        }
        write.commit()?;
        Ok(forgotten)
    }

    /// Forgets a blob that is lost, with its leases left as they are: who leases it is to hear that it is absent.
    pub(super) fn forget(&self, root: BlobRoot) -> Result<Option<Gone>, StoreError> {
        let write = self.database.begin_write()?;
        let bytes = write.open_table(BLOBS)?.remove(root.0)?.map(|row| row.value());
        let gone = bytes.map(|bytes| editions::forget(&write, root, bytes)).transpose()?;
        write.open_table(IDLE)?.remove(root.0)?;
        write.commit()?;
        Ok(gone)
    }

    /// The next blobs in order of their roots.
    pub(super) fn after(&self, after: Option<BlobRoot>, limit: usize) -> Result<Vec<Held>, StoreError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        let mut found = Vec::new();
        for row in table.range(after.map_or([0; 32], |root| root.0)..)? {
            let (root, bytes) = row?;
            let root = BlobRoot(root.value());
            if Some(root) == after {
                continue;
            }
            if found.len() >= limit {
                break;
            }
            found.extend(BlobShape::new(bytes.value()).map(|shape| Held { root, shape }));
        }
        Ok(found)
    }
}

fn add_lease(write: &redb::WriteTransaction, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
    if lease.len() > MAX_LEASE_BYTES {
        return Err(StoreError::Lease);
    }
    if write.open_table(LEASES)?.insert((lease, root.0), ())?.is_none() {
        let mut counts = write.open_table(COUNTS)?;
        let count = counts.get(root.0)?.map_or(0, |row| row.value()) + 1;
        counts.insert(root.0, count)?;
        write.open_table(IDLE)?.remove(root.0)?;
    }
    Ok(())
}

fn drop_lease(write: &redb::WriteTransaction, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
    if write.open_table(LEASES)?.remove((lease, root.0))?.is_none() {
        return Ok(());
    }
    let mut counts = write.open_table(COUNTS)?;
    let left = counts.get(root.0)?.map_or(0, |row| row.value()).saturating_sub(1);
    if left > 0 {
        counts.insert(root.0, left)?;
        return Ok(());
    }
    counts.remove(root.0)?;
    if write.open_table(BLOBS)?.get(root.0)?.is_some() {
        write.open_table(IDLE)?.insert(root.0, ())?;
    }
    Ok(())
}
