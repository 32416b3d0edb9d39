//! Sessions, keys, passkeys and the audit, in one redb file. Each change is one transaction, with its line of the audit.

use std::{collections::BTreeMap, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::{ApiKey, Entry, Hash, Passkey, Session};

/// Memory redb may use to cache its pages.
const CACHE_BYTES: usize = 1024 * 1024;
/// Lines of the audit that are kept: years of an operator's.
const ENTRIES_MAX: u64 = 10_000;
/// Refused logins that are kept, apart from those: strangers make as many as they like.
const REFUSALS_MAX: u64 = 1_000;

type Bytes = &'static [u8];
/// By the hash of their tokens, as JSON.
const SESSIONS: TableDefinition<Bytes, Bytes> = TableDefinition::new("sessions-1");
const KEYS: TableDefinition<Bytes, Bytes> = TableDefinition::new("keys-1");
/// By the hash of what authenticators name them, as JSON.
const PASSKEYS: TableDefinition<Bytes, Bytes> = TableDefinition::new("passkeys-1");
const AUDIT: TableDefinition<u64, Bytes> = TableDefinition::new("audit-1");
const REFUSALS: TableDefinition<u64, Bytes> = TableDefinition::new("refusals-1");

/// The file failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// redb rolls back: nothing half-written remains.
    #[error("the file of logins failed: {0}")]
    Disk(Box<redb::Error>),
    /// A record is not what was written.
    #[error("a record in the file of logins is damaged")]
    Damaged,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Disk(Box::new(error.into()))
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Store(Database);

/// What is kept of accounts.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) sessions: BTreeMap<Hash, Session>,
    pub(super) keys: BTreeMap<Hash, ApiKey>,
    pub(super) passkeys: BTreeMap<Hash, Passkey>,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(KEYS)?;
        transaction.open_table(PASSKEYS)?;
        transaction.open_table(AUDIT)?;
        transaction.open_table(REFUSALS)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    /// All sessions, keys and passkeys.
    pub(super) fn read(&self) -> Result<Known, StoreError> {
        let transaction = self.0.begin_read()?;
        Ok(Known {
            sessions: records(&transaction, SESSIONS)?,
            keys: records(&transaction, KEYS)?,
            passkeys: records(&transaction, PASSKEYS)?,
        })
    }

    pub(super) fn keep_session(
        &self,
        hash: &Hash,
        session: &Session,
        entry: Option<&Entry>,
    ) -> Result<(), StoreError> {
        self.change(entry, |transaction| {
            transaction.open_table(SESSIONS)?.insert(&hash[..], text(session)?.as_slice())?;
            Ok(())
        })
    }

    pub(super) fn end_session(&self, hash: &Hash, entry: &Entry) -> Result<(), StoreError> {
        self.change(Some(entry), |transaction| {
            transaction.open_table(SESSIONS)?.remove(&hash[..])?;
            Ok(())
        })
    }

    pub(super) fn keep_key(&self, hash: &Hash, key: &ApiKey, entry: &Entry) -> Result<(), StoreError> {
        self.change(Some(entry), |transaction| {
            transaction.open_table(KEYS)?.insert(&hash[..], text(key)?.as_slice())?;
            Ok(())
        })
    }

    pub(super) fn end_key(&self, hash: &Hash, entry: &Entry) -> Result<(), StoreError> {
        self.change(Some(entry), |transaction| {
            transaction.open_table(KEYS)?.remove(&hash[..])?;
            Ok(())
        })
    }

    /// Keeps a passkey; sessions that it began may end with that.
    pub(super) fn keep_passkey(
        &self,
        hash: &Hash,
        passkey: &Passkey,
        ended: &[Hash],
        entry: Option<&Entry>,
    ) -> Result<(), StoreError> {
        self.change(entry, |transaction| {
            transaction.open_table(PASSKEYS)?.insert(&hash[..], text(passkey)?.as_slice())?;
            remove_sessions(transaction, ended)
        })
    }

    /// Ends a passkey, and sessions that it began.
    pub(super) fn end_passkey(&self, hash: &Hash, ended: &[Hash], entry: &Entry) -> Result<(), StoreError> {
        self.change(Some(entry), |transaction| {
            transaction.open_table(PASSKEYS)?.remove(&hash[..])?;
            remove_sessions(transaction, ended)
        })
    }

    /// Notes what was refused.
    pub(super) fn refuse(&self, entry: &Entry) -> Result<(), StoreError> {
        self.change(None, |transaction| note(&mut transaction.open_table(REFUSALS)?, entry, REFUSALS_MAX))
    }

    /// The newest lines, of both kinds, the newest first; at most so many.
    pub(super) fn audit(&self, max: usize) -> Result<Vec<Entry>, StoreError> {
        let transaction = self.0.begin_read()?;
        let mut entries: Vec<Entry> = Vec::new();
        for table in [AUDIT, REFUSALS] {
            for row in transaction.open_table(table)?.iter()?.rev().take(max) {
                entries.push(parse(row?.1.value())?);
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.unix));
        entries.truncate(max);
        Ok(entries)
    }

    fn change(
        &self,
        entry: Option<&Entry>,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let transaction = self.0.begin_write()?;
        change(&transaction)?;
        if let Some(entry) = entry {
            note(&mut transaction.open_table(AUDIT)?, entry, ENTRIES_MAX)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn records<T: DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'_, Bytes, Bytes>,
) -> Result<BTreeMap<Hash, T>, StoreError> {
    let mut records = BTreeMap::new();
    for row in transaction.open_table(table)?.iter()? {
        let (hash, record) = row?;
        records.insert(hash_of(hash.value())?, parse(record.value())?);
    }
    Ok(records)
}

fn remove_sessions(transaction: &redb::WriteTransaction, ended: &[Hash]) -> Result<(), StoreError> {
    let mut table = transaction.open_table(SESSIONS)?;
    for hash in ended {
        table.remove(&hash[..])?;
    }
    Ok(())
}

fn note(table: &mut Table<'_, u64, Bytes>, entry: &Entry, max: u64) -> Result<(), StoreError> {
    let next = table.last()?.map_or(0, |(number, _)| number.value() + 1);
    table.insert(next, text(entry)?.as_slice())?;
    while table.first()?.is_some_and(|(number, _)| number.value() + max <= next) {
        table.pop_first()?;
    }
    Ok(())
}

fn text(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|_| StoreError::Damaged)
}

fn parse<T: DeserializeOwned>(record: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(record).map_err(|_| StoreError::Damaged)
}

fn hash_of(bytes: &[u8]) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged)
}
