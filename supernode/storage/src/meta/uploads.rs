//! Uploads in parts.

use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};
use shared::base::SegmentId;

use super::{
    BUCKETS, BucketRow, Condition, Meta, MetaError, NewSegment, NewVersion, PARTS, PartRow, UPLOADS,
    UploadRow, VersionId, buckets, objects, rows, segments,
};

impl Meta {
    /// Begins an upload under an identity that nobody else has.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`].
    pub async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        row: UploadRow,
    ) -> Result<(), MetaError> {
        let (bucket, key, upload) = (bucket.to_owned(), key.to_owned(), upload.to_owned());
        self.write(move |write| {
            let bucket = buckets::find_to_write(write, &bucket)?;
            let place = (bucket.id, key.as_bytes(), upload.as_str());
            write.open_table(UPLOADS)?.insert(place, rows::write(&row)?.as_slice())?;
            Ok(())
        })
        .await
    }

    /// An upload.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::NoSuchUpload`].
    pub async fn upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<(BucketRow, UploadRow), MetaError> {
        let (bucket, key, upload) = (bucket.to_owned(), key.to_owned(), upload.to_owned());
        self.read(move |read: &ReadTransaction| {
            let bucket = buckets::find(&read.open_table(BUCKETS)?, &bucket)?;
            let table = read.open_table(UPLOADS)?;
            let place = (bucket.id, key.as_bytes(), upload.as_str());
            let row = table.get(place)?.ok_or(MetaError::NoSuchUpload)?;
            let row = rows::read(row.value())?;
            Ok((bucket, row))
        })
        .await
    }

    /// Enters a part; one of the same number is replaced.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::NoSuchUpload`].
    pub async fn put_part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: u16,
        part: PartRow,
        new: Vec<NewSegment>,
    ) -> Result<(), MetaError> {
        let (bucket, key, upload) = (bucket.to_owned(), key.to_owned(), upload.to_owned());
        self.write(move |write| {
            find(write, &bucket, &key, &upload)?;
            segments::insert(write, &new)?;
            let replaced = {
                let mut parts = write.open_table(PARTS)?;
                let row = parts.insert((upload.as_str(), number), rows::write(&part)?.as_slice())?;
                row.map(|row| rows::read::<PartRow>(row.value())).transpose()?
            };
            segments::drop_references(write, replaced.iter().flat_map(ids))
        })
        .await
    }

    /// At most `limit` parts after number `after`, in order, and whether there are more.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`] is not among them: who lists asks for the upload first.
    pub async fn parts(
        &self,
        upload: &str,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<(u16, PartRow)>, bool), MetaError> {
        let upload = upload.to_owned();
        self.read(move |read: &ReadTransaction| {
            let table = read.open_table(PARTS)?;
            let mut found = Vec::new();
            for row in table.range((upload.as_str(), after)..=(upload.as_str(), u16::MAX))? {
                let (place, row) = row?;
                let number = place.value().1;
                if number == after {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push((number, rows::read(row.value())?));
            }
            Ok((found, false))
        })
        .await
    }

    /// Ends an upload with the object that it becomes: `kept` are its parts, the others are let go.
    ///
    /// # Errors
    /// [`MetaError::NoSuchUpload`], [`MetaError::InvalidPart`] where a part was replaced meanwhile, and those of
    /// [`Meta::put_object`].
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        kept: Vec<(u16, [u8; 16])>,
        condition: Condition,
        new: NewVersion,
    ) -> Result<Option<VersionId>, MetaError> {
        let (bucket, key, upload) = (bucket.to_owned(), key.to_owned(), upload.to_owned());
        self.write(move |write| {
            let bucket = find(write, &bucket, &key, &upload)?;
            objects::check(write, bucket.id, &key, &condition)?;
            let parts = parts_of(write, &upload)?;
            for (number, salt) in kept {
                let same = parts.iter().any(|(other, part)| *other == number && part.salt == salt);
                if !same {
                    return Err(MetaError::InvalidPart(number));
                }
            }
            let version = objects::insert(write, &bucket, &key, new)?;
            end(write, bucket.id, &key, &upload, &parts)?;
            Ok(version)
        })
        .await
    }

    /// Ends an upload and lets all its parts go.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::NoSuchUpload`].
    pub async fn abort_upload(&self, bucket: &str, key: &str, upload: &str) -> Result<(), MetaError> {
        let (bucket, key, upload) = (bucket.to_owned(), key.to_owned(), upload.to_owned());
        self.write(move |write| {
            let bucket = find(write, &bucket, &key, &upload)?;
            let parts = parts_of(write, &upload)?;
            end(write, bucket.id, &key, &upload, &parts)
        })
        .await
    }

    /// At most `limit` uploads of all buckets that were begun before `before`, as bucket, key and upload.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn old_uploads(
        &self,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(String, String, String)>, MetaError> {
        let names = self.buckets().await?;
        self.read(move |read: &ReadTransaction| {
            let mut found = Vec::new();
            for row in read.open_table(UPLOADS)?.iter()? {
                let (place, row) = row?;
                let (bucket, key, upload) = place.value();
                let Some((name, _)) = names.iter().find(|(_, row)| row.id == bucket) else { continue };
                if rows::read::<UploadRow>(row.value())?.begun < before && found.len() < limit {
                    let key = String::from_utf8_lossy(key).into_owned();
                    found.push((name.clone(), key, upload.to_owned()));
                }
            }
            Ok(found)
        })
        .await
    }
}

fn find(write: &WriteTransaction, bucket: &str, key: &str, upload: &str) -> Result<BucketRow, MetaError> {
    let bucket = buckets::find_to_write(write, bucket)?;
    let there = write.open_table(UPLOADS)?.get((bucket.id, key.as_bytes(), upload))?.is_some();
    if there { Ok(bucket) } else { Err(MetaError::NoSuchUpload) }
}

fn parts_of(write: &WriteTransaction, upload: &str) -> Result<Vec<(u16, PartRow)>, MetaError> {
    let table = write.open_table(PARTS)?;
    let rows = table.range((upload, 0)..=(upload, u16::MAX))?.map(|row| {
        let (place, row) = row?;
        Ok((place.value().1, rows::read(row.value())?))
    });
    rows.collect()
}

fn end(
    write: &WriteTransaction,
    bucket: u64,
    key: &str,
    upload: &str,
    parts: &[(u16, PartRow)],
) -> Result<(), MetaError> {
    write.open_table(UPLOADS)?.remove((bucket, key.as_bytes(), upload))?;
    for (number, _) in parts {
        write.open_table(PARTS)?.remove((upload, *number))?;
    }
    segments::drop_references(write, parts.iter().flat_map(|(_, part)| ids(part)))
}

fn ids(part: &PartRow) -> impl Iterator<Item = SegmentId> + '_ {
    part.segments.iter().map(|id| SegmentId(*id))
}
