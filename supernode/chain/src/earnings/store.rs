//! Sessions, sums and entries in one redb file. Each change is one transaction.

use std::{num::NonZeroU64, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use shared::{
    base::UnixSeconds,
    economy::{Amount, ledger::LedgerError, price::Price},
    identity::PublicKey,
    wire::cdn::SignedReceipt,
};

use super::{Place, Session, Sums, day};

/// Memory redb may use to cache its pages: what is asked for again and again is the newest sessions.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// The layout of the records below.
const VERSION: u8 = 1;
/// Batch, receiver, session.
pub(super) const KEY_BYTES: usize = 8 + 32 + 8;

type Bytes = &'static [u8];
const META: TableDefinition<&str, Bytes> = TableDefinition::new("meta");
/// By receiver and session.
const RUNNING: TableDefinition<Bytes, Bytes> = TableDefinition::new("running");
/// By batch, receiver and session: the oldest first.
const BOOKED: TableDefinition<Bytes, Bytes> = TableDefinition::new("booked");
/// Sums by day since 1970.
const DAYS: TableDefinition<u64, Bytes> = TableDefinition::new("days");
const LEDGER: TableDefinition<u64, Bytes> = TableDefinition::new("ledger");
const SUMS: &str = "sums";

/// Why earnings cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum EarningsError {
    /// redb rolls back: nothing half-written remains.
    #[error("the file of earnings failed: {0}")]
    Disk(Box<redb::Error>),
    /// It failed before.
    #[error("earnings cannot be kept since the disk failed; the node must start anew")]
    Failed,
    /// A record is not what was written.
    #[error("{0} in the file of earnings is damaged")]
    Damaged(&'static str),
    /// The books are damaged, or full.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl<E: Into<redb::Error>> From<E> for EarningsError {
    fn from(error: E) -> Self {
        Self::Disk(Box::new(error.into()))
    }
}

/// Sessions of a day that are not kept singly any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// When it began.
    pub begins: UnixSeconds,
    /// What they came to.
    pub sums: Sums,
}

/// What is written at once, or not at all.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) running: Vec<Session>,
    /// These run no more.
    pub(super) booked: Vec<Session>,
    /// Entries of the books, from this number on.
    pub(super) entries: (u64, Vec<Vec<u8>>),
    /// Over all that was booked; how many are kept; the next batch.
    pub(super) sums: Option<(Sums, u64, u64)>,
    /// So many of the oldest are kept as sums of their days from now on.
    pub(super) fold: u64,
}

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) running: Vec<Session>,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) booked: Sums,
    pub(super) kept: u64,
    pub(super) batch: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Store(Database);

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, EarningsError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(META)?;
        transaction.open_table(RUNNING)?;
        transaction.open_table(BOOKED)?;
        transaction.open_table(DAYS)?;
        transaction.open_table(LEDGER)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    /// Writes a change. When this returns, it is on the disk.
    pub(super) fn keep(&self, change: &Change) -> Result<(), EarningsError> {
        let transaction = self.0.begin_write()?;
        {
            let mut running = transaction.open_table(RUNNING)?;
            for session in &change.running {
                running.insert(running_key(session).as_slice(), record(session).as_slice())?;
            }
            let mut booked = transaction.open_table(BOOKED)?;
            for session in &change.booked {
                let key = running_key(session);
                running.remove(key.as_slice())?;
                let batch = session.batch.ok_or(EarningsError::Damaged("a batch"))?.to_be_bytes();
                booked.insert([&batch[..], &key].concat().as_slice(), record(session).as_slice())?;
            }
            let mut days = transaction.open_table(DAYS)?;
            for _ in 0..change.fold {
                let Some((key, value)) = booked.pop_first()? else { break };
                let session = read_booked(key.value(), value.value())?;
                let day = day(session.last);
                let known = days.get(day)?.map(|sums| read_sums(sums.value()));
                let mut sums =
                    known.unwrap_or(Some(Sums::default())).ok_or(EarningsError::Damaged("a day"))?;
                sums.add(&session);
                days.insert(day, sums_record(&sums).as_slice())?;
            }
            let mut ledger = transaction.open_table(LEDGER)?;
            let (first, entries) = &change.entries;
            for (number, entry) in (*first..).zip(entries) {
                ledger.insert(number, entry.as_slice())?;
            }
            if let Some((sums, kept, batch)) = &change.sums {
                let mut record = sums_record(sums);
                record.extend(kept.to_be_bytes());
                record.extend(batch.to_be_bytes());
                transaction.open_table(META)?.insert(SUMS, record.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads all but what was booked.
    pub(super) fn read(&self) -> Result<Kept, EarningsError> {
        let transaction = self.0.begin_read()?;
        let mut kept = Kept::default();
        if let Some(record) = transaction.open_table(META)?.get(SUMS)? {
            let damaged = || EarningsError::Damaged("the sums");
            let (sums, rest) = record.value().split_at_checked(SUMS_BYTES).ok_or_else(damaged)?;
            let (count, batch) = rest.split_at_checked(8).ok_or_else(damaged)?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged());
            (kept.kept, kept.batch) = (number(count)?, number(batch)?);
            kept.booked = read_sums(sums).ok_or_else(damaged)?;
        }
        for row in transaction.open_table(RUNNING)?.iter()? {
            let (key, value) = row?;
            let session = read_session(key.value(), value.value(), None);
            kept.running.push(session.ok_or(EarningsError::Damaged("a session"))?);
        }
        for row in transaction.open_table(LEDGER)?.iter()? {
            kept.entries.push(row?.1.value().to_vec());
        }
        Ok(kept)
    }

    /// Booked sessions, the newest first.
    pub(super) fn booked(
        &self,
        after: Option<Place>,
        max: usize,
    ) -> Result<(Vec<Session>, Option<Place>), EarningsError> {
        let table = self.0.begin_read()?.open_table(BOOKED)?;
        let mut rows = match &after {
            Some(Place(key)) => table.range::<&[u8]>(..key.as_slice())?,
            None => table.iter()?,
        };
        let (mut sessions, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next_back() {
            if sessions.len() == max {
                return Ok((sessions, last));
            }
            let (key, value) = row?;
            sessions.push(read_booked(key.value(), value.value())?);
            last = key.value().try_into().ok().map(Place);
        }
        Ok((sessions, None))
    }

    /// Shows every booked session that is kept.
    pub(super) fn each_booked(&self, mut show: impl FnMut(&Session)) -> Result<(), EarningsError> {
        for row in self.0.begin_read()?.open_table(BOOKED)?.iter()? {
            let (key, value) = row?;
            show(&read_booked(key.value(), value.value())?);
        }
        Ok(())
    }

    /// Days, the newest first.
    pub(super) fn days(&self, max: usize) -> Result<Vec<Day>, EarningsError> {
        let table = self.0.begin_read()?.open_table(DAYS)?;
        let mut days = Vec::new();
        for row in table.iter()?.rev().take(max) {
            let (day, sums) = row?;
            let sums = read_sums(sums.value()).ok_or(EarningsError::Damaged("a day"))?;
            days.push(Day { begins: UnixSeconds(day.value().saturating_mul(super::DAY)), sums });
        }
        Ok(days)
    }
}

fn running_key(session: &Session) -> Vec<u8> {
    [&session.receiver.to_bytes()[..], &session.number.to_be_bytes()].concat()
}

/// Version, the times, sent, signed, price (zeros where there was none), whether it ended, and the receipt after its
/// length, then its signature.
fn record(session: &Session) -> Vec<u8> {
    let mut record = vec![VERSION, u8::from(session.ended)];
    let (amount, per) = session.price.map_or((0, 0), |price| (price.amount, price.per.get()));
    for number in [session.first.0, session.last.0, session.sent, session.signed, amount, per] {
        record.extend(number.to_be_bytes());
    }
    record.extend(u16::try_from(session.receipt.receipt.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(&session.receipt.receipt);
    record.extend(&session.receipt.signature);
    record
}

fn read_session(key: &[u8], record: &[u8], batch: Option<u64>) -> Option<Session> {
    let (receiver, number) = key.split_at_checked(32)?;
    let (flags, rest) = record.strip_prefix(&[VERSION])?.split_first()?;
    let (numbers, rest) = rest.split_at_checked(48)?;
    let at = |place: usize| numbers.get(8 * place..8 * place + 8)?.try_into().ok().map(u64::from_be_bytes);
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (receipt, signature) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some(Session {
        receiver: PublicKey::from_bytes(receiver).ok()?,
        number: u64::from_be_bytes(number.try_into().ok()?),
        first: UnixSeconds(at(0)?),
        last: UnixSeconds(at(1)?),
        sent: at(2)?,
        signed: at(3)?,
        price: NonZeroU64::new(at(5)?).zip(at(4)).map(|(per, amount)| Price { amount, per }),
        ended: *flags == 1,
        batch,
        receipt: SignedReceipt { receipt: receipt.to_vec(), signature: signature.to_vec() },
    })
}

fn read_booked(key: &[u8], record: &[u8]) -> Result<Session, EarningsError> {
    let parts = key.split_first_chunk::<8>();
    let session = parts.and_then(|(batch, key)| read_session(key, record, Some(u64::from_be_bytes(*batch))));
    session.ok_or(EarningsError::Damaged("a booked session"))
}

/// Three numbers and an amount.
const SUMS_BYTES: usize = 3 * 8 + 12;

fn sums_record(sums: &Sums) -> Vec<u8> {
    let mut record = Vec::with_capacity(SUMS_BYTES);
    for number in [sums.sessions, sums.sent, sums.signed] {
        record.extend(number.to_be_bytes());
    }
    record.extend(sums.worth.to_bytes());
    record
}

fn read_sums(record: &[u8]) -> Option<Sums> {
    let (numbers, worth) = record.split_at_checked(24)?;
    let at = |place: usize| numbers.get(8 * place..8 * place + 8)?.try_into().ok().map(u64::from_be_bytes);
    Some(Sums { sessions: at(0)?, sent: at(1)?, signed: at(2)?, worth: Amount::from_bytes(worth)? })
}
