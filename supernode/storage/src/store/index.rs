//! Which blobs are held, who leases them, and which are nobody's any more.
//!
//! A blob whose last lease ends is entered among the `idle` in the same transaction, so that garbage is found
//! without looking at what is not.

use std::path::Path;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use shared::base::{BlobRoot, blob::BlobShape};

use super::{Held, MAX_LEASE_BYTES, StoreError};

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
    database: Database,
}

impl Index {
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let write = database.begin_write()?;
        write.open_table(BLOBS)?;
        write.open_table(LEASES)?;
        write.open_table(COUNTS)?;
        write.open_table(IDLE)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// Bytes and number of all blobs.
    pub(super) fn totals(&self) -> Result<(u64, u64), StoreError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        let mut bytes = 0;
        for row in table.iter()? {
            bytes += row?.1.value();
        }
        Ok((bytes, table.len()?))
    }

    pub(super) fn shape(&self, root: BlobRoot) -> Result<BlobShape, StoreError> {
        let table = self.database.begin_read()?.open_table(BLOBS)?;
        let bytes = table.get(root.0)?.map(|row| row.value());
        bytes.and_then(BlobShape::new).ok_or(StoreError::Absent { root })
    }

    /// Enters a blob and a lease on it. Says whether the blob is new.
    pub(super) fn insert(&self, held: Held, lease: &[u8]) -> Result<bool, StoreError> {
        let write = self.database.begin_write()?;
        let new = write.open_table(BLOBS)?.insert(held.root.0, held.shape.size())?.is_none();
        add_lease(&write, held.root, lease)?;
        write.commit()?;
        Ok(new)
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

    /// Forgets those of `roots` that nobody leases, and says which those are, with their lengths.
    pub(super) fn forget_idle(&self, roots: &[BlobRoot]) -> Result<Vec<(BlobRoot, u64)>, StoreError> {
        let write = self.database.begin_write()?;
        let mut forgotten = Vec::new();
        {
            let mut idle = write.open_table(IDLE)?;
            let mut blobs = write.open_table(BLOBS)?;
            for root in roots {
                // Leased again meanwhile, where it is idle no more.
                if idle.remove(root.0)?.is_some() {
                    let bytes = blobs.remove(root.0)?.map_or(0, |row| row.value());
                    forgotten.push((*root, bytes));
                }
            }
        }
        write.commit()?;
        Ok(forgotten)
    }

    /// Forgets a blob that is lost, with its leases left as they are: who leases it is to hear that it is absent.
    pub(super) fn forget(&self, root: BlobRoot) -> Result<Option<u64>, StoreError> {
        let write = self.database.begin_write()?;
        let bytes = write.open_table(BLOBS)?.remove(root.0)?.map(|row| row.value());
        write.open_table(IDLE)?.remove(root.0)?;
        write.commit()?;
        Ok(bytes)
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
