//! The index's part about objects in a bucket: which of them is a blob's, which are to be deleted, which are being
//! uploaded, and whose the bucket's prefix is.
//!
//! An object's name is never used again. A request that a bucket carries out late, long after its sender gave up, can
//! then neither delete nor overwrite what came after it.

use redb::{
    ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use shared::base::{BlobRoot, blob::BlobShape};

use super::{Held, StoreError, index::Index};

/// Which of the objects that were made of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edition(pub(super) u128);

impl Edition {
    /// The file on the disk, of which there is one.
    pub(super) const FILE: Self = Self(0);
}

/// A blob that the index forgot, and whose bytes may still lie somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) root: BlobRoot,
    pub(super) edition: Edition,
    /// Counted as stored until they are deleted; none of an upload that failed.
    pub(super) bytes: u64,
    /// The upload in parts that was to make it, if that was not finished.
    pub(super) upload: Option<String>,
}

type Name = ([u8; 32], u128);

/// Root to edition, of blobs in a bucket. One without a row is a file.
const EDITIONS: TableDefinition<'_, [u8; 32], u128> = TableDefinition::new("editions-1");
/// Objects to delete: bytes, and the upload to abort or nothing.
const GONE: TableDefinition<'_, Name, (u64, &str)> = TableDefinition::new("gone-1");
/// Uploads in parts that this process began.
const UPLOADS: TableDefinition<'_, Name, &str> = TableDefinition::new("uploads-1");
/// What this store calls itself where a bucket's prefix is said to be its own.
const STORE: TableDefinition<'_, (), u128> = TableDefinition::new("store-1");

/// Makes the tables. What an earlier process was uploading is to be deleted.
pub(super) fn open(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(EDITIONS)?;
    write.open_table(STORE)?;
    let mut gone = write.open_table(GONE)?;
    let mut uploads = write.open_table(UPLOADS)?;
    for row in uploads.extract_if(|_, _| true)? {
        let (name, upload) = row?;
        gone.insert(name.value(), (0, upload.value()))?;
    }
    Ok(())
}

/// Says where the blob lies from now on, and where it lay.
pub(super) fn replace(
    write: &WriteTransaction,
    held: Held,
    edition: Edition,
    known: bool,
) -> Result<Option<Edition>, StoreError> {
    if edition == Edition::FILE {
        return Ok(known.then_some(Edition::FILE));
    }
    write.open_table(UPLOADS)?.remove((held.root.0, edition.0))?;
    let before = write.open_table(EDITIONS)?.insert(held.root.0, edition.0)?.map(|row| row.value());
    if let Some(before) = before {
        write.open_table(GONE)?.insert((held.root.0, before), (held.shape.size(), ""))?;
    }
    Ok(before.map(Edition).or_else(|| known.then_some(Edition::FILE)))
}

/// Forgets where the blob lies. An object is to be deleted then.
pub(super) fn forget(write: &WriteTransaction, root: BlobRoot, bytes: u64) -> Result<Gone, StoreError> {
    let edition = write.open_table(EDITIONS)?.remove(root.0)?.map(|row| row.value());
    if let Some(edition) = edition {
        write.open_table(GONE)?.insert((root.0, edition), (bytes, ""))?;
    }
    let edition = edition.map_or(Edition::FILE, Edition);
    Ok(Gone { root, edition, bytes, upload: None })
}

impl Index {
    /// The geometry of a blob, and where it lies.
    pub(super) fn locate(&self, root: BlobRoot) -> Result<(BlobShape, Edition), StoreError> {
        let read = self.database.begin_read()?;
        let shape = Self::shape_in(&read, root)?;
        let edition =
            read.open_table(EDITIONS)?.get(root.0)?.map_or(Edition::FILE, |row| Edition(row.value()));
        Ok((shape, edition))
    }

    /// Whether anything of this store lies in a bucket.
    pub(super) fn needs_bucket(&self) -> Result<bool, StoreError> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(EDITIONS)?.first()?.is_some() || read.open_table(GONE)?.first()?.is_some())
    }

    /// What this store calls itself; `otherwise` from now on where it has no name.
    pub(super) fn store_name(&self, otherwise: u128) -> Result<u128, StoreError> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(STORE)?;
            if let Some(known) = table.get(())?.map(|row| row.value()) {
                return Ok(known);
            }
            table.insert((), otherwise)?;
        }
        write.commit()?;
        Ok(otherwise)
    }

    /// Notes an upload in parts, which is found after the process was killed.
    pub(super) fn uploading(&self, root: BlobRoot, edition: Edition, upload: &str) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write.open_table(UPLOADS)?.insert((root.0, edition.0), upload)?;
        write.commit()?;
        Ok(())
    }

    /// An upload failed; how much of it is in the bucket nobody knows.
    pub(super) fn upload_failed(&self, root: BlobRoot, edition: Edition) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        let name = (root.0, edition.0);
        let upload = write.open_table(UPLOADS)?.remove(name)?.map(|row| row.value().to_owned());
        write.open_table(GONE)?.insert(name, (0, upload.as_deref().unwrap_or_default()))?;
        write.commit()?;
        Ok(())
    }

    /// How many objects are to be deleted.
    pub(super) fn gone_count(&self) -> Result<u64, StoreError> {
        Ok(self.database.begin_read()?.open_table(GONE)?.len()?)
    }

    /// Objects that are to be deleted, at most `limit` after `after`.
    pub(super) fn gone(&self, after: Option<&Gone>, limit: usize) -> Result<Vec<Gone>, StoreError> {
        let table = self.database.begin_read()?.open_table(GONE)?;
        let from = after.map_or(([0; 32], 0), |gone| (gone.root.0, gone.edition.0.saturating_add(1)));
        let rows = table.range(from..)?.take(limit);
        let read = rows.map(|row| {
            let (name, value) = row?;
            let ((root, edition), (bytes, upload)) = (name.value(), value.value());
            let upload = (!upload.is_empty()).then(|| upload.to_owned());
            Ok(Gone { root: BlobRoot(root), edition: Edition(edition), bytes, upload })
        });
        read.collect()
    }

    /// These objects are deleted. Says how many bytes that freed; none of those that it was told of before.
    pub(super) fn deleted(&self, gone: &[Gone]) -> Result<u64, StoreError> {
        if gone.is_empty() {
            return Ok(0);
        }
        let write = self.database.begin_write()?;
        let mut freed = 0;
        {
            let mut table = write.open_table(GONE)?;
            for gone in gone {
                freed += table.remove((gone.root.0, gone.edition.0))?.map_or(0, |row| row.value().0);
            }
        }
        write.commit()?;
        Ok(freed)
    }

    /// Bytes of objects that are to be deleted.
    pub(super) fn gone_bytes(&self) -> Result<u64, StoreError> {
        let table = self.database.begin_read()?.open_table(GONE)?;
        let mut bytes = 0;
        for row in table.iter()? {
            bytes += row?.1.value().0;
        }
        Ok(bytes)
    }
}
