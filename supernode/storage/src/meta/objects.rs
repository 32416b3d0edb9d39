//! The versions of an object: which there are, which is the newest, and which may go.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use shared::{
    base::SegmentId,
    storage::record::{Body, ObjectRecord},
};

use super::{
    BUCKETS, BucketRow, LockMode, Meta, MetaError, NULLS, NewSegment, ObjectRow, RECORDS, Retention,
    VERSIONS, VersionId, VersionRow, Versioning, buckets, next_sequence, rows, segments,
};

/// What a write wants of the object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Whatever,
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// It has one of these ETags.
    Etag(Vec<String>),
}

/// A version to be written.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// When it is written, in seconds of unix time.
    pub modified: u64,
    /// What listings say of it.
    pub object: ObjectRow,
    /// Its signed record.
    pub record: Vec<u8>,
    /// Segments that were stored for it.
    pub new_segments: Vec<NewSegment>,
    /// Segments of other versions that it shares.
    pub shared_segments: Vec<SegmentId>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Until when it is kept.
    pub retention: Option<Retention>,
    /// Whether it is kept until somebody says otherwise.
    pub legal_hold: bool,
    /// The door's own.
    pub acl: Option<String>,
}

/// What a deletion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The version that went or the marker that came, where versions are kept.
    pub version: Option<VersionId>,
    /// Whether that is a delete marker.
    pub marker: bool,
}

/// A version that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bucket it is in.
    pub bucket: BucketRow,
    /// Its name; nothing where the bucket never kept versions.
    pub version: Option<VersionId>,
    /// What is said of it.
    pub row: VersionRow,
    /// Its signed record; empty for a delete marker.
    pub record: Vec<u8>,
}

impl Meta {
    /// Writes a version, and says its name where the bucket keeps versions.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::Precondition`], [`MetaError::NoSuchKey`] where a condition is about an
    /// object that is not there.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        condition: Condition,
        new: NewVersion,
    ) -> Result<Option<VersionId>, MetaError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |write| {
            let bucket = buckets::find_to_write(write, &bucket)?;
            check(write, bucket.id, &key, &condition)?;
            insert(write, &bucket, &key, new)
        })
        .await
    }

    /// A version of an object, or the newest. A marker is found only by its own name.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::NoSuchKey`], [`MetaError::DeleteMarker`],
    /// [`MetaError::NoSuchVersion`].
    pub async fn object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
    ) -> Result<Found, MetaError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.read(move |read: &ReadTransaction| {
            let bucket = buckets::find(&read.open_table(BUCKETS)?, &bucket)?;
            let versions = read.open_table(VERSIONS)?;
            let found = match version {
                Some(version) => named(&versions, &read.open_table(NULLS)?, bucket.id, &key, version)?
                    .ok_or(MetaError::NoSuchVersion)?,
                None => newest(&versions, bucket.id, &key)?.ok_or(MetaError::NoSuchKey)?,
            };
            let (sequence, row) = found;
            let id = row.id(sequence);
            if version.is_none() && row.object.is_none() {
                return Err(MetaError::DeleteMarker { version: id });
            }
            let record = read.open_table(RECORDS)?.get((bucket.id, sequence))?;
            let record = record.map(|row| row.value().to_vec()).unwrap_or_default();
            let version = (bucket.versioning != Versioning::Off).then_some(id);
            Ok(Found { bucket, version, row, record })
        })
        .await
    }

    /// Deletes a version for good; without a name the object, leaving a marker where versions are kept. `bypass` ends
    /// a retention that may be ended. What is not there is deleted already.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::Locked`], [`MetaError::Precondition`].
    pub async fn delete_object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
        condition: Condition,
        bypass: bool,
        now: u64,
    ) -> Result<Deleted, MetaError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |write| {
            let bucket = buckets::find_to_write(write, &bucket)?;
            check(write, bucket.id, &key, &condition)?;
            if let Some(version) = version {
                let found = {
                    let (versions, nulls) = (write.open_table(VERSIONS)?, write.open_table(NULLS)?);
                    named(&versions, &nulls, bucket.id, &key, version)?
                };
                let marker = found.as_ref().is_some_and(|(_, row)| row.object.is_none());
                if let Some((sequence, row)) = found {
                    may_go(&row, bypass, now)?;
                    remove(write, bucket.id, &key, sequence)?;
                }
                return Ok(Deleted { version: Some(version), marker });
            }
            if bucket.versioning == Versioning::Off {
                remove_null(write, bucket.id, &key)?;
                return Ok(Deleted { version: None, marker: false });
            }
            let marker = NewRow { object: None, modified: now, ..NewRow::default() };
            let version = insert_row(write, &bucket, &key, marker, None)?;
            Ok(Deleted { version: Some(version), marker: true })
        })
        .await
    }

    /// Changes what may change of a version.
    ///
    /// # Errors
    /// [`MetaError::NoSuchBucket`], [`MetaError::NoSuchKey`], [`MetaError::NoSuchVersion`],
    /// [`MetaError::DeleteMarker`], and what `change` says, which then changed nothing.
    pub async fn change_object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
        change: impl FnOnce(&BucketRow, &mut VersionRow) -> Result<(), MetaError> + Send + 'static,
    ) -> Result<Option<VersionId>, MetaError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |write| {
            let bucket = buckets::find_to_write(write, &bucket)?;
            let mut versions = write.open_table(VERSIONS)?;
            let (sequence, mut row) = match version {
                Some(version) => named(&versions, &write.open_table(NULLS)?, bucket.id, &key, version)?
                    .ok_or(MetaError::NoSuchVersion)?,
                None => newest(&versions, bucket.id, &key)?.ok_or(MetaError::NoSuchKey)?,
            };
            let id = row.id(sequence);
            if row.object.is_none() {
                return Err(MetaError::DeleteMarker { version: id });
            }
            change(&bucket, &mut row)?;
            let place = (bucket.id, key.as_bytes(), u64::MAX - sequence);
            versions.insert(place, rows::write(&row)?.as_slice())?;
            Ok((bucket.versioning != Versioning::Off).then_some(id))
        })
        .await
    }
}

/// Whether a locked version may be deleted.
fn may_go(row: &VersionRow, bypass: bool, now: u64) -> Result<(), MetaError> {
    let kept = row.retention.is_some_and(|retention| {
        retention.until > now && !(bypass && retention.mode == LockMode::Governance)
    });
    if kept || row.legal_hold { Err(MetaError::Locked) } else { Ok(()) }
}

/// Whether the object is as a write wants it.
pub(super) fn check(
    write: &WriteTransaction,
    bucket: u64,
    key: &str,
    condition: &Condition,
) -> Result<(), MetaError> {
    if *condition == Condition::Whatever {
        return Ok(());
    }
    let there = newest(&write.open_table(VERSIONS)?, bucket, key)?.and_then(|(_, row)| row.object);
    match (condition, there) {
        (Condition::Absent, None) | (Condition::Present, Some(_)) => Ok(()),
        (Condition::Etag(etags), Some(object)) if etags.contains(&object.etag) => Ok(()),
        (Condition::Etag(_) | Condition::Present, None) => Err(MetaError::NoSuchKey),
        _ => Err(MetaError::Precondition),
    }
}

#[derive(Default)]
struct NewRow {
    modified: u64,
    object: Option<ObjectRow>,
    tags: Vec<(String, String)>,
    retention: Option<Retention>,
    legal_hold: bool,
    acl: Option<String>,
}

/// Writes a version, whose conditions were checked.
pub(super) fn insert(
    write: &WriteTransaction,
    bucket: &BucketRow,
    key: &str,
    new: NewVersion,
) -> Result<Option<VersionId>, MetaError> {
    segments::refer(write, new.shared_segments)?;
    segments::insert(write, &new.new_segments)?;
    let row = NewRow {
        modified: new.modified,
        object: Some(new.object),
        tags: new.tags,
        retention: new.retention,
        legal_hold: new.legal_hold,
        acl: new.acl,
    };
    let id = insert_row(write, bucket, key, row, Some(&new.record))?;
    Ok((bucket.versioning != Versioning::Off).then_some(id))
}

fn insert_row(
    write: &WriteTransaction,
    bucket: &BucketRow,
    key: &str,
    new: NewRow,
    record: Option<&[u8]>,
) -> Result<VersionId, MetaError> {
    let sequence = next_sequence(write)?;
    let nonce = if bucket.versioning == Versioning::Enabled {
        Some(rand::random())
    } else {
        remove_null(write, bucket.id, key)?;
        write.open_table(NULLS)?.insert((bucket.id, key.as_bytes()), sequence)?;
        None
    };
    let NewRow { modified, object, tags, retention, legal_hold, acl } = new;
    let row = VersionRow { nonce, modified, object, tags, retention, legal_hold, acl };
    let place = (bucket.id, key.as_bytes(), u64::MAX - sequence);
    write.open_table(VERSIONS)?.insert(place, rows::write(&row)?.as_slice())?;
    if let Some(record) = record {
        write.open_table(RECORDS)?.insert((bucket.id, sequence), record)?;
    }
    Ok(row.id(sequence))
}

fn remove_null(write: &WriteTransaction, bucket: u64, key: &str) -> Result<(), MetaError> {
    let sequence = write.open_table(NULLS)?.get((bucket, key.as_bytes()))?.map(|row| row.value());
    sequence.map_or(Ok(()), |sequence| remove(write, bucket, key, sequence))
}

/// Deletes a version and lets go of its segments.
fn remove(write: &WriteTransaction, bucket: u64, key: &str, sequence: u64) -> Result<(), MetaError> {
    let row = {
        let mut versions = write.open_table(VERSIONS)?;
        let row = versions.remove((bucket, key.as_bytes(), u64::MAX - sequence))?;
        row.map(|row| rows::read::<VersionRow>(row.value())).transpose()?
    };
    if row.is_some_and(|row| row.nonce.is_none()) {
        write.open_table(NULLS)?.remove((bucket, key.as_bytes()))?;
    }
    let record = write.open_table(RECORDS)?.remove((bucket, sequence))?.map(|row| row.value().to_vec());
    if let Some(record) = record {
        segments::drop_references(write, segments_of(&record)?)?;
    }
    Ok(())
}

/// The segments that a record names.
fn segments_of(record: &[u8]) -> Result<Vec<SegmentId>, MetaError> {
    let record = ObjectRecord::read(record).map_err(|_| MetaError::State("an object's record is damaged"))?;
    Ok(match record.public.body {
        Body::Inline(_) => Vec::new(),
        Body::Parts(parts) => parts.into_iter().flat_map(|part| part.segments).collect(),
    })
}

type VersionKey = (u64, &'static [u8], u64);

/// The newest version, with its sequence number.
pub(super) fn newest(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    bucket: u64,
    key: &str,
) -> Result<Option<(u64, VersionRow)>, MetaError> {
    let key = key.as_bytes();
    let Some(found) = versions.range((bucket, key, 0)..=(bucket, key, u64::MAX))?.next() else {
        return Ok(None);
    };
    let (place, row) = found?;
    Ok(Some((u64::MAX - place.value().2, rows::read(row.value())?)))
}

fn named(
    versions: &impl ReadableTable<VersionKey, &'static [u8]>,
    nulls: &impl ReadableTable<(u64, &'static [u8]), u64>,
    bucket: u64,
    key: &str,
    version: VersionId,
) -> Result<Option<(u64, VersionRow)>, MetaError> {
    let sequence = match version {
        VersionId::Own { sequence, .. } => sequence,
        VersionId::Null => match nulls.get((bucket, key.as_bytes()))? {
            Some(sequence) => sequence.value(),
            None => return Ok(None),
        },
    };
    let Some(row) = versions.get((bucket, key.as_bytes(), u64::MAX - sequence))? else { return Ok(None) };
    let row: VersionRow = rows::read(row.value())?;
    Ok((row.id(sequence) == version).then_some((sequence, row)))
}
