//! Which segments somebody refers to. One that nobody refers to any more is doomed in the same transaction, and stays
//! readable until no reader is left who may still want it.

use redb::{ReadableTable as _, WriteTransaction};
use shared::{base::SegmentId, storage::record::SegmentRecord};

use super::{DOOMED, Meta, MetaError, SEGMENTS, next_sequence};

/// A segment that was just stored.
#[derive(Clone, Debug)]
pub struct NewSegment {
    /// Its name.
    pub id: SegmentId,
    /// Its encoded record.
    pub record: Vec<u8>,
}

impl Meta {
    /// The records of segments.
    ///
    /// # Errors
    /// [`MetaError::State`] where one is not there or cannot be read.
    pub async fn segments(&self, ids: Vec<SegmentId>) -> Result<Vec<SegmentRecord>, MetaError> {
        self.read(move |read| {
            let table = read.open_table(SEGMENTS)?;
            let record = |id: SegmentId| {
                let row = table.get(id.0)?.ok_or(MetaError::State("a segment's record is missing"))?;
                SegmentRecord::read(id, row.value().1)
                    .map_err(|_| MetaError::State("a segment's record is damaged"))
            };
            ids.into_iter().map(record).collect()
        })
        .await
    }

    /// Whether anything refers to a segment.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn refers_to(&self, id: SegmentId) -> Result<bool, MetaError> {
        self.read(move |read| Ok(read.open_table(SEGMENTS)?.get(id.0)?.is_some())).await
    }

    /// A number above those of all segments that are doomed so far.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn sequence(&self) -> Result<u64, MetaError> {
        self.read(|read| Ok(read.open_table(super::COUNTERS)?.get("sequence")?.map_or(1, |row| row.value())))
            .await
    }

    /// At most `limit` doomed segments, of those doomed before `before`.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn doomed(
        &self,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, SegmentId, SegmentRecord)>, MetaError> {
        self.read(move |read| {
            let (doomed, segments) = (read.open_table(DOOMED)?, read.open_table(SEGMENTS)?);
            let mut found = Vec::new();
            for row in doomed.range(..(before, [0; 32]))?.take(limit) {
                let (when, id) = row?.0.value();
                let id = SegmentId(id);
                if let Some(row) = segments.get(id.0)?
                    && let Ok(record) = SegmentRecord::read(id, row.value().1)
                {
                    found.push((when, id, record));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Forgets doomed segments once they are gone.
    ///
    /// # Errors
    /// [`MetaError::Storage`].
    pub async fn forget(&self, gone: Vec<(u64, SegmentId)>) -> Result<(), MetaError> {
        self.write(move |write| {
            let (mut doomed, mut segments) = (write.open_table(DOOMED)?, write.open_table(SEGMENTS)?);
            for (when, id) in gone {
                doomed.remove((when, id.0))?;
                let unreferred = segments.get(id.0)?.is_some_and(|row| row.value().0 == 0);
                if unreferred {
                    segments.remove(id.0)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// One more reference to each, which are new.
pub(super) fn insert(write: &WriteTransaction, new: &[NewSegment]) -> Result<(), MetaError> {
    let mut table = write.open_table(SEGMENTS)?;
    for segment in new {
        let count = table.get(segment.id.0)?.map_or(0, |row| row.value().0);
        table.insert(segment.id.0, (count + 1, segment.record.as_slice()))?;
    }
    Ok(())
}

/// One more reference to each, which are there already.
pub(super) fn refer(
    write: &WriteTransaction,
    ids: impl IntoIterator<Item = SegmentId>,
) -> Result<(), MetaError> {
    let mut table = write.open_table(SEGMENTS)?;
    let mut rows = std::collections::BTreeMap::new();
    for id in ids {
        if let Some((count, _)) = rows.get_mut(&id) {
            *count += 1;
            continue;
        }
        let row = table.get(id.0)?.map(|row| (row.value().0, row.value().1.to_vec()));
        // What nobody refers to is on its way out: whoever wanted to share it came too late.
        let (count, record) = row.filter(|(count, _)| *count > 0).ok_or(MetaError::NoSuchKey)?;
        rows.insert(id, (count + 1, record));
    }
    for (id, (count, record)) in rows {
        table.insert(id.0, (count, record.as_slice()))?;
    }
    Ok(())
}

/// One reference less to each.
pub(super) fn drop_references(
    write: &WriteTransaction,
    ids: impl IntoIterator<Item = SegmentId>,
) -> Result<(), MetaError> {
    let mut when = None;
    for id in ids {
        let mut table = write.open_table(SEGMENTS)?;
        let Some((count, record)) = table.get(id.0)?.map(|row| (row.value().0, row.value().1.to_vec()))
        else {
            continue;
        };
        let left = count.saturating_sub(1);
        table.insert(id.0, (left, record.as_slice()))?;
        if left == 0 {
            let when = match when {
                Some(when) => when,
                None => *when.insert(next_sequence(write)?),
            };
            write.open_table(DOOMED)?.insert((when, id.0), ())?;
        }
    }
    Ok(())
}
