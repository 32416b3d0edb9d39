//! Buckets.

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable, WriteTransaction};

use super::{BUCKETS, BucketRow, Meta, MetaError, UPLOADS, VERSIONS, next_sequence, rows};

/// What S3 allows an account by default, ten times over.
const MAX_BUCKETS: usize = 1000;

impl Meta {
    /// Makes a bucket.
    ///
    /// # Errors
    /// [`MetaError::BucketExists`], [`MetaError::TooManyBuckets`].
    pub async fn create_bucket(&self, name: &str, mut row: BucketRow) -> Result<(), MetaError> {
        let name = name.to_owned();
        self.write(move |write| {
            {
                let table = write.open_table(BUCKETS)?;
                let mut own = 0;
                for other in table.iter()? {
                    own += usize::from(rows::read::<BucketRow>(other?.1.value())?.account == row.account);
                }
                if let Some(other) = table.get(name.as_str())? {
                    let account = rows::read::<BucketRow>(other.value())?.account;
                    return Err(MetaError::BucketExists { account });
                }
                if own >= MAX_BUCKETS {
                    return Err(MetaError::TooManyBuckets(MAX_BUCKETS));
                }
            }
            row.id = next_sequence(write)?;
            write.open_table(BUCKETS)?.insert(name.as_str(), rows::write(&row)?.as_slice())?;
            Ok(())
        })
        .await
    }

    /// A bucket by its name. Every request asks several times, so its pages are in memory, and looking there takes a tenth of
    /// going to another thread and back.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<BucketRow, MetaError> {
        find(&self.database.begin_read()?.open_table(BUCKETS)?, name)
    }

    /// All buckets, in order of their names.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn buckets(&self) -> Result<Vec<(String, BucketRow)>, MetaError> {
        self.read(|read: &ReadTransaction| {
            let table = read.open_table(BUCKETS)?;
            let rows = table.iter()?.map(|row| {
                let (name, row) = row?;
                Ok((name.value().to_owned(), rows::read(row.value())?))
            });
            rows.collect()
        })
        .await
    }

    /// Changes a bucket's settings.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], and what `change` says, which then changed nothing.
    pub async fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut BucketRow) -> Result<(), MetaError> + Send + 'static,
    ) -> Result<(), MetaError> {
        let name = name.to_owned();
        self.write(move |write| {
            let mut table = write.open_table(BUCKETS)?;
            let mut row = find(&table, &name)?;
            change(&mut row)?;
            table.insert(name.as_str(), rows::write(&row)?.as_slice())?;
            Ok(())
        })
        .await
    }

    /// Deletes a bucket that has nothing in it.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::BucketNotEmpty`].
    pub async fn delete_bucket(&self, name: &str) -> Result<(), MetaError> {
        let name = name.to_owned();
        self.write(move |write| {
            let id = find(&write.open_table(BUCKETS)?, &name)?.id;
            let versions = write.open_table(VERSIONS)?;
            let uploads = write.open_table(UPLOADS)?;
            if versions.range((id, &b""[..], 0)..(id + 1, &b""[..], 0))?.next().is_some()
                || uploads.range((id, &b""[..], "")..(id + 1, &b""[..], ""))?.next().is_some()
            {
                return Err(MetaError::BucketNotEmpty);
            }
            write.open_table(BUCKETS)?.remove(name.as_str())?;
            Ok(())
        })
        .await
    }
}

pub(super) fn find(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<BucketRow, MetaError> {
    rows::read(table.get(name)?.ok_or(MetaError::NoSuchBucket)?.value())
}

/// A bucket within a transaction.
pub(super) fn find_to_write(write: &WriteTransaction, name: &str) -> Result<BucketRow, MetaError> {
    find(&write.open_table(BUCKETS)?, name)
}
