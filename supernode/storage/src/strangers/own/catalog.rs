//! What an owner must not forget: its objects, where their shards are, and what is kept against whom. One redb, one
//! transaction a change, synced.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use shared::{
    base::SegmentId,
    identity::PublicKey,
    storage::{
        holders::{HolderAdvert, Lease},
        proof::Standing,
        record::{Body, ObjectDraft, ObjectRecord, SegmentRecord},
    },
};

/// Path of the object, sealed; its signed record.
const OBJECTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("objects");
/// Name of the segment; a [`SegmentRow`] in JSON.
const SEGMENTS: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("segments");
/// The same of segments that are on their way: what is found here by a new process was never acknowledged.
const INTENTS: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("intents");
/// The same of segments that are stored, and of which the S3 door has not said yet whether anything refers to them.
const UNSETTLED: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("unsettled");
/// The same of segments whose leases are to be ended.
const GIVEN_UP: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("given-up");
/// Key of a holder; the last advert seen.
const HOLDERS: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("holders");
/// Key of a holder; what its audits add up to.
const STANDINGS: TableDefinition<[u8; 32], [u64; 8]> = TableDefinition::new("standings");
/// Number; a signed account of an audit that failed.
const EVIDENCE: TableDefinition<u64, &[u8]> = TableDefinition::new("evidence");

/// The one layout of rows there is so far.
const VERSION: u32 = 1;
/// Holders remembered of a segment that may have a shard of it without a lease: two rebuilds of the widest code.
const ASKED_MAX: usize = 256;
/// Accounts of failed audits kept, the newest: 32 MiB at most.
const EVIDENCE_MAX: u64 = 1000;

/// A segment and who holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SegmentRow {
    version: u32,
    /// Hexadecimal, as all bytes here.
    record: String,
    /// Shard and signed lease.
    leases: Vec<(u16, String)>,
    /// Shard and key of a holder that may have it without a lease that was noted.
    #[serde(default)]
    asked: Vec<(u16, String)>,
}

/// A segment's record, and the lease of each shard that is held.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) record: SegmentRecord,
    /// By shard: the promise, and as it was signed.
    pub(super) leases: Vec<(u16, Lease, Vec<u8>)>,
    /// Who was asked to keep a shard and may have it, though no lease of it was noted: what a process that was killed
    /// leaves with them is let go together with the segment.
    pub(super) asked: Vec<(u16, PublicKey)>,
}

impl Stored {
    fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let (_, record) = self.record.encode();
        let leases = self.leases.iter().map(|(shard, _, signed)| (*shard, hex::encode(signed))).collect();
        let asked = self.asked.iter().map(|(shard, node)| (*shard, hex::encode(node.to_bytes()))).collect();
        Ok(serde_json::to_vec(&SegmentRow { version: VERSION, record: hex::encode(record), leases, asked })?)
    }

    fn read(id: [u8; 32], row: &[u8]) -> anyhow::Result<Self> {
        let row: SegmentRow = serde_json::from_slice(row)?;
        anyhow::ensure!(row.version == VERSION, "a row of layout {}", row.version);
        let record = SegmentRecord::read(SegmentId(id), &hex::decode(row.record)?)?;
        let leases = row.leases.into_iter().map(|(shard, signed)| {
            let signed = hex::decode(signed)?;
            Ok((shard, Lease::open(&signed)?, signed))
        });
        let asked = row.asked.into_iter().map(|(shard, node)| {
            let node = <[u8; 32]>::try_from(hex::decode(node)?).ok().context("a key of 32 bytes")?;
            Ok((shard, PublicKey::from_bytes(&node)?))
        });
        let asked = asked.collect::<anyhow::Result<_>>()?;
        Ok(Self { record, leases: leases.collect::<anyhow::Result<_>>()?, asked })
    }
}

/// The database. Its methods block on the disk.
#[derive(Clone)]
pub(super) struct Catalog(Arc<Database>);

/// What a new process begins with.
#[derive(Default)]
pub(super) struct Before {
    pub(super) segments: Vec<Stored>,
    /// The last advert of each, and as it was signed.
    pub(super) holders: Vec<(HolderAdvert, Vec<u8>)>,
    pub(super) standings: Vec<(PublicKey, Standing)>,
}

impl Catalog {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let database = Database::create(path).with_context(|| format!("opening {}", path.display()))?;
        let write = database.begin_write()?;
        write.open_table(OBJECTS)?;
        write.open_table(SEGMENTS)?;
        write.open_table(INTENTS)?;
        write.open_table(UNSETTLED)?;
        write.open_table(GIVEN_UP)?;
        write.open_table(HOLDERS)?;
        write.open_table(STANDINGS)?;
        write.open_table(EVIDENCE)?;
        write.commit()?;
        Ok(Self(Arc::new(database)))
    }

    pub(super) fn load(&self) -> anyhow::Result<Before> {
        let read = self.0.begin_read()?;
        let mut before = Before::default();
        for row in read.open_table(SEGMENTS)?.iter()? {
            let (id, row) = row?;
            before.segments.push(Stored::read(id.value(), row.value()).context("a segment's row")?);
        }
        for row in read.open_table(HOLDERS)?.iter()? {
            let (_, signed) = row?;
            before.holders.push((HolderAdvert::open(signed.value())?, signed.value().to_vec()));
        }
        for row in read.open_table(STANDINGS)?.iter()? {
            let (holder, counts) = row?;
            let standing = Standing::from_counts(counts.value());
            before.standings.push((PublicKey::from_bytes(&holder.value())?, standing));
        }
        Ok(before)
    }

    /// All objects: sealed path and record.
    pub(super) fn objects(&self) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let read = self.0.begin_read()?;
        let table = read.open_table(OBJECTS)?;
        let rows = table.iter()?.map(|row| {
            let (path, record) = row?;
            Ok((path.value().to_vec(), record.value().to_vec()))
        });
        rows.collect()
    }

    pub(super) fn object(&self, path: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let read = self.0.begin_read()?;
        Ok(read.open_table(OBJECTS)?.get(path)?.map(|record| record.value().to_vec()))
    }

    pub(super) fn segment(&self, id: SegmentId) -> anyhow::Result<Option<Stored>> {
        let read = self.0.begin_read()?;
        for table in [SEGMENTS, UNSETTLED] {
            if let Some(row) = read.open_table(table)?.get(id.0)? {
                return Stored::read(id.0, row.value()).map(Some);
            }
        }
        Ok(None)
    }

    /// The names of all segments that are watched over.
    pub(super) fn segments(&self) -> anyhow::Result<Vec<SegmentId>> {
        let read = self.0.begin_read()?;
        let table = read.open_table(SEGMENTS)?;
        table.iter()?.map(|row| Ok(SegmentId(row?.0.value()))).collect()
    }

    /// A segment is about to be sent, or on its way, with who was asked and the leases it has so far: all that is cleared
    /// up after a crash.
    pub(super) fn put_intent(&self, stored: &Stored) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        write.open_table(INTENTS)?.insert(stored.record.encode().0.0, stored.encode()?.as_slice())?;
        Ok(write.commit()?)
    }

    /// A segment is stored, and waits for the S3 door's word.
    pub(super) fn put_unsettled(&self, stored: &Stored) -> anyhow::Result<()> {
        let id = stored.record.encode().0.0;
        let write = self.0.begin_write()?;
        write.open_table(INTENTS)?.remove(id)?;
        write.open_table(UNSETTLED)?.insert(id, stored.encode()?.as_slice())?;
        Ok(write.commit()?)
    }

    /// Segments that wait for the S3 door's word.
    pub(super) fn unsettled(&self) -> anyhow::Result<Vec<Stored>> {
        let read = self.0.begin_read()?;
        let table = read.open_table(UNSETTLED)?;
        let rows = table.iter()?.map(|row| {
            let (id, row) = row?;
            Stored::read(id.value(), row.value()).context("an unsettled segment's row")
        });
        rows.collect()
    }

    /// Something refers to these; returns those of them that had waited for that.
    pub(super) fn settle(&self, segments: &[SegmentId]) -> anyhow::Result<Vec<Stored>> {
        let write = self.0.begin_write()?;
        let mut settled = Vec::new();
        {
            let (mut unsettled, mut kept) = (write.open_table(UNSETTLED)?, write.open_table(SEGMENTS)?);
            for id in segments {
                if let Some(row) = unsettled.remove(id.0)? {
                    kept.insert(id.0, row.value())?;
                    settled.push(Stored::read(id.0, row.value())?);
                }
            }
        }
        write.commit()?;
        Ok(settled)
    }

    /// A segment is nobody's any more, or never became anybody's: its leases are to be ended.
    pub(super) fn give_up(&self, id: SegmentId) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        move_to_given_up(&write, &[id])?;
        Ok(write.commit()?)
    }

    /// The process that had these on their way is no more. Returns how many there are.
    pub(super) fn give_up_intents(&self) -> anyhow::Result<usize> {
        let write = self.0.begin_write()?;
        let mut count = 0;
        {
            let (mut intents, mut given_up) = (write.open_table(INTENTS)?, write.open_table(GIVEN_UP)?);
            while let Some((id, row)) = intents.pop_first()? {
                given_up.insert(id.value(), row.value())?;
                count += 1;
            }
        }
        write.commit()?;
        Ok(count)
    }

    /// At most `limit` segments whose leases are to be ended.
    pub(super) fn given_up(&self, limit: usize) -> anyhow::Result<Vec<Stored>> {
        let read = self.0.begin_read()?;
        let table = read.open_table(GIVEN_UP)?;
        let rows = table.iter()?.take(limit).map(|row| {
            let (id, row) = row?;
            Stored::read(id.value(), row.value()).context("the row of a segment that was given up")
        });
        rows.collect()
    }

    /// The leases of these were ended, as far as could be.
    pub(super) fn forget_given_up(&self, segments: &[SegmentId]) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut given_up = write.open_table(GIVEN_UP)?;
            for id in segments {
                given_up.remove(id.0)?;
            }
        }
        Ok(write.commit()?)
    }

    /// An object is whole: from now on it is there, with all its segments, also after a crash, and what it replaces is
    /// given up. Returns the segments that were.
    pub(super) fn commit(
        &self,
        path: &[u8],
        record: &[u8],
        segments: &[Stored],
    ) -> anyhow::Result<Vec<SegmentId>> {
        let write = self.0.begin_write()?;
        let before = write.open_table(OBJECTS)?.insert(path, record)?.map(|before| before.value().to_vec());
        let replaced = before.map(|before| segments_of(&before)).transpose()?.unwrap_or_default();
        move_to_given_up(&write, &replaced)?;
        {
            let (mut kept, mut intents) = (write.open_table(SEGMENTS)?, write.open_table(INTENTS)?);
            for stored in segments {
                let id = stored.record.encode().0.0;
                kept.insert(id, stored.encode()?.as_slice())?;
                intents.remove(id)?;
            }
        }
        write.commit()?;
        Ok(replaced)
    }

    /// An object is no more, also after a crash, and its segments are given up. Returns them; nothing where there is no
    /// such object.
    pub(super) fn delete(&self, path: &[u8]) -> anyhow::Result<Option<Vec<SegmentId>>> {
        let write = self.0.begin_write()?;
        let record = write.open_table(OBJECTS)?.remove(path)?.map(|record| record.value().to_vec());
        let Some(record) = record else { return Ok(None) };
        let segments = segments_of(&record)?;
        move_to_given_up(&write, &segments)?;
        write.commit()?;
        Ok(Some(segments))
    }

    /// Changes what is known of a segment that is not given up; returns it as it is now.
    fn change(&self, id: SegmentId, change: impl FnOnce(&mut Stored)) -> anyhow::Result<Option<Stored>> {
        let write = self.0.begin_write()?;
        let mut found = None;
        for table in [INTENTS, UNSETTLED, SEGMENTS] {
            if let Some(row) = write.open_table(table)?.get(id.0)? {
                found = Some((table, Stored::read(id.0, row.value())?));
            }
        }
        let Some((table, mut stored)) = found else { return Ok(None) };
        change(&mut stored);
        write.open_table(table)?.insert(id.0, stored.encode()?.as_slice())?;
        write.commit()?;
        Ok(Some(stored))
    }

    /// These are about to be asked to keep shards.
    pub(super) fn note_asked(
        &self,
        id: SegmentId,
        asked: &[(u16, PublicKey)],
    ) -> anyhow::Result<Option<Stored>> {
        self.change(id, |stored| {
            let new: Vec<_> = asked.iter().filter(|place| !stored.asked.contains(place)).cloned().collect();
            stored.asked.extend(new);
            let beyond = stored.asked.len().saturating_sub(ASKED_MAX);
            stored.asked.drain(..beyond);
        })
    }

    /// These know that nothing is wanted of them any more.
    pub(super) fn forget_asked(&self, id: SegmentId, told: &[(u16, PublicKey)]) -> anyhow::Result<()> {
        self.change(id, |stored| stored.asked.retain(|place| !told.contains(place)))?;
        Ok(())
    }

    /// Holders signed for shards, or again.
    pub(super) fn note_leases(
        &self,
        id: SegmentId,
        new: &[(u16, Lease, Vec<u8>)],
    ) -> anyhow::Result<Option<Stored>> {
        self.change(id, |stored| {
            stored.leases.retain(|(shard, ..)| !new.iter().any(|(other, ..)| other == shard));
            stored.leases.extend(new.iter().cloned());
            let Stored { leases, asked, .. } = stored;
            let leased = |(shard, node): &(u16, PublicKey)| {
                leases.iter().any(|(other, lease, _)| other == shard && lease.holder == *node)
            };
            asked.retain(|place| !leased(place));
        })
    }

    /// A holder's advert, kept as it came.
    pub(super) fn put_holder(&self, node: &PublicKey, advert: &[u8]) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        write.open_table(HOLDERS)?.insert(node.to_bytes(), advert)?;
        Ok(write.commit()?)
    }

    pub(super) fn put_standings(&self, standings: &[(PublicKey, Standing)]) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(STANDINGS)?;
            for (holder, standing) in standings {
                table.insert(holder.to_bytes(), standing.to_counts())?;
            }
        }
        Ok(write.commit()?)
    }

    /// Keeps an account of a failed audit, and lets the oldest go.
    pub(super) fn put_evidence(&self, account: &[u8]) -> anyhow::Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(EVIDENCE)?;
            let next = table.last()?.map_or(0, |(last, _)| last.value() + 1);
            table.insert(next, account)?;
            if table.len()? > EVIDENCE_MAX {
                table.pop_first()?;
            }
        }
        Ok(write.commit()?)
    }

    /// Accounts of failed audits, oldest first.
    pub(super) fn evidence(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let read = self.0.begin_read()?;
        let table = read.open_table(EVIDENCE)?;
        table.iter()?.map(|row| Ok(row?.1.value().to_vec())).collect()
    }
}

/// From wherever these are, with all that is known of who holds them.
fn move_to_given_up(write: &WriteTransaction, segments: &[SegmentId]) -> anyhow::Result<()> {
    let mut given_up = write.open_table(GIVEN_UP)?;
    for table in [INTENTS, UNSETTLED, SEGMENTS] {
        let mut table = write.open_table(table)?;
        for id in segments {
            if let Some(row) = table.remove(id.0)? {
                given_up.insert(id.0, row.value())?;
            }
        }
    }
    Ok(())
}

/// What an object's record names.
fn segments_of(record: &[u8]) -> anyhow::Result<Vec<SegmentId>> {
    let ObjectRecord { public: ObjectDraft { body, .. }, .. } = ObjectRecord::read(record)?;
    Ok(match body {
        Body::Parts(parts) => parts.into_iter().flat_map(|part| part.segments).collect(),
        Body::Inline(_) => Vec::new(),
    })
}
