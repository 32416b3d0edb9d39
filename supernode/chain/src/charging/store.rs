//! Evidence of both sides in one redb file: lines that are billed, sessions that were paid, and the tallies over them.
//! Each change is one transaction.

use std::{num::NonZeroU64, path::Path};

use prost::Message as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use shared::{
    base::{SiteId, UnixSeconds},
    economy::{
        Amount,
        price::Price,
        tally::{Day, Tally},
    },
    identity::{Account, PublicKey},
    wire::{cdn::SignedReceipt, economy::SignedAgreement},
};

use super::tab_store::TabChange;
use crate::StoreError;

/// Memory redb may use to cache its pages: what is asked for again and again are sessions of the last minutes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// The layout of the records below.
pub(super) const VERSION: u8 = 1;

pub(super) type Bytes = &'static [u8];
/// By site: the agreement in force, and what its payer got.
const SITES: TableDefinition<Bytes, Bytes> = TableDefinition::new("sites");
/// By site, receiver and session: what is to be billed.
const LINES: TableDefinition<Bytes, Bytes> = TableDefinition::new("lines");
/// By payee, node and site: what we got of it.
const PAYEES: TableDefinition<Bytes, Bytes> = TableDefinition::new("payees");
/// By node, receiver and session: bytes that were counted. Nothing is ever forgotten here, or it could be billed again.
const PAID: TableDefinition<Bytes, u64> = TableDefinition::new("paid");

/// A receiver, and which of its sessions with a node.
pub(super) type Session = ([u8; 32], u64);
/// One session that is to be billed.
pub(super) type LineKey = (SiteId, [u8; 32], u64);
/// Whom we pay, which node of it, and for which site.
pub(super) type PayeeKey = (Account, [u8; 32], SiteId);

/// A site that somebody agreed to pay for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Site {
    pub(super) signed: SignedAgreement,
    /// What its payer got.
    pub(super) tally: Tally,
    /// Since when it is this payer.
    pub(super) since: UnixSeconds,
}

/// A session with the receipt that says the most of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// To be billed, in all.
    pub(super) bytes: u64,
    /// Of that, answered by the payer.
    pub(super) billed: u64,
    /// Whether no more comes.
    pub(super) ended: bool,
    pub(super) receipt: SignedReceipt,
}

/// What is written at once, or not at all.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) sites: Vec<(SiteId, Site)>,
    pub(super) lines: Vec<(LineKey, Line)>,
    pub(super) gone: Vec<LineKey>,
    pub(super) payees: Vec<(PayeeKey, Tally, Day)>,
    /// Of which node, and how many bytes.
    pub(super) paid: Vec<([u8; 32], Session, u64)>,
    pub(super) tabs: TabChange,
}

/// What was kept, but for the sessions that were paid.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) sites: Vec<(SiteId, Site)>,
    pub(super) lines: Vec<(LineKey, Line)>,
    pub(super) payees: Vec<(PayeeKey, Tally, Day)>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Store(Database);

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(SITES)?;
        transaction.open_table(LINES)?;
        transaction.open_table(PAYEES)?;
        transaction.open_table(PAID)?;
        TabChange::prepare(&transaction)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    pub(super) const fn database(&self) -> &Database {
        &self.0
    }

    /// Writes a change. When this returns, it is on the disk.
    pub(super) fn keep(&self, change: &Change) -> Result<(), StoreError> {
        let transaction = self.0.begin_write()?;
        {
            let mut sites = transaction.open_table(SITES)?;
            for (id, site) in &change.sites {
                let mut record = vec![VERSION];
                record.extend(tally_record(&site.tally));
                record.extend(site.since.0.to_be_bytes());
                record.extend(site.signed.encode_to_vec());
                sites.insert(id.0.as_slice(), record.as_slice())?;
            }
            let mut lines = transaction.open_table(LINES)?;
            for (key, line) in &change.lines {
                lines.insert(line_key(key).as_slice(), line_record(line).as_slice())?;
            }
            for key in &change.gone {
                lines.remove(line_key(key).as_slice())?;
            }
            let mut payees = transaction.open_table(PAYEES)?;
            for (key, tally, day) in &change.payees {
                payees.insert(payee_key(key).as_slice(), payee_record(tally, day).as_slice())?;
            }
            let mut paid = transaction.open_table(PAID)?;
            for (node, session, bytes) in &change.paid {
                paid.insert(paid_key(node, session).as_slice(), bytes)?;
            }
            change.tabs.write(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Bytes of sessions that were counted before, in the order of `sessions`.
    pub(super) fn paid(&self, node: &[u8; 32], sessions: &[Session]) -> Result<Vec<u64>, StoreError> {
        let table = self.0.begin_read()?.open_table(PAID)?;
        let counted = sessions.iter().map(|session| {
            let known = table.get(paid_key(node, session).as_slice())?;
            Ok(known.map_or(0, |known| known.value()))
        });
        counted.collect()
    }

    pub(super) fn read(&self) -> Result<Kept, StoreError> {
        let transaction = self.0.begin_read()?;
        let mut kept = Kept::default();
        for row in transaction.open_table(SITES)?.iter()? {
            let (key, record) = row?;
            let site = read_site(key.value(), record.value()).ok_or(StoreError::Damaged("a site's bills"))?;
            kept.sites.push(site);
        }
        for row in transaction.open_table(LINES)?.iter()? {
            let (key, record) = row?;
            let line = read_line(key.value(), record.value()).ok_or(StoreError::Damaged("a bill's line"))?;
            kept.lines.push(line);
        }
        for row in transaction.open_table(PAYEES)?.iter()? {
            let (key, record) = row?;
            let payee = read_payee(key.value(), record.value());
            kept.payees.push(payee.ok_or(StoreError::Damaged("what a payee gave"))?);
        }
        Ok(kept)
    }
}

fn line_key((site, receiver, session): &LineKey) -> Vec<u8> {
    [&site.0[..], receiver, &session.to_be_bytes()].concat()
}

pub(super) fn payee_key((account, node, site): &PayeeKey) -> Vec<u8> {
    [&account.0[..], &node[..], &site.0[..]].concat()
}

pub(super) fn payee_record(tally: &Tally, day: &Day) -> Vec<u8> {
    let mut record = vec![VERSION];
    record.extend(tally_record(tally));
    record.extend(day.day.to_be_bytes());
    record.extend(day.amount.to_bytes());
    record
}

fn paid_key(node: &[u8; 32], (receiver, session): &Session) -> Vec<u8> {
    [&node[..], receiver, &session.to_be_bytes()].concat()
}

/// Closed, amount, per, bytes.
pub(super) const TALLY_BYTES: usize = 12 + 8 + 8 + 8;

pub(super) fn tally_record(tally: &Tally) -> Vec<u8> {
    let mut record = Vec::with_capacity(TALLY_BYTES);
    record.extend(tally.closed.to_bytes());
    for number in [tally.price.amount, tally.price.per.get(), tally.bytes] {
        record.extend(number.to_be_bytes());
    }
    record
}

pub(super) fn number(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn read_tally(record: &[u8]) -> Option<Tally> {
    let price = Price { amount: number(record, 12)?, per: NonZeroU64::new(number(record, 20)?)? };
    Some(Tally { closed: Amount::from_bytes(record.get(..12)?)?, price, bytes: number(record, 28)? })
}

fn read_site(key: &[u8], record: &[u8]) -> Option<(SiteId, Site)> {
    let (tally, rest) = record.strip_prefix(&[VERSION])?.split_at_checked(TALLY_BYTES)?;
    let (since, signed) = rest.split_first_chunk()?;
    let (since, signed) = (UnixSeconds(u64::from_be_bytes(*since)), SignedAgreement::decode(signed).ok()?);
    Some((SiteId(key.try_into().ok()?), Site { signed, tally: read_tally(tally)?, since }))
}

pub(super) fn read_payee(key: &[u8], record: &[u8]) -> Option<(PayeeKey, Tally, Day)> {
    let (account, rest) = key.split_at_checked(20)?;
    let (node, site) = rest.split_at_checked(32)?;
    let (tally, day) = record.strip_prefix(&[VERSION])?.split_at_checked(TALLY_BYTES)?;
    let key = (Account::try_from(account).ok()?, node.try_into().ok()?, SiteId(site.try_into().ok()?));
    let day = Day { day: number(day, 0)?, amount: Amount::from_bytes(day.get(8..20)?)? };
    Some((key, read_tally(tally)?, day))
}

/// Version, whether it ended, bytes, billed, and the receipt after its length, then its signature.
fn line_record(line: &Line) -> Vec<u8> {
    let mut record = vec![VERSION, u8::from(line.ended)];
    for number in [line.bytes, line.billed] {
        record.extend(number.to_be_bytes());
    }
    record.extend(u16::try_from(line.receipt.receipt.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(&line.receipt.receipt);
    record.extend(&line.receipt.signature);
    record
}

fn read_line(key: &[u8], record: &[u8]) -> Option<(LineKey, Line)> {
    let (site, rest) = key.split_at_checked(32)?;
    let (receiver, session) = rest.split_at_checked(32)?;
    // One that was kept can be named.
    PublicKey::from_bytes(receiver).ok()?;
    let key = (SiteId(site.try_into().ok()?), receiver.try_into().ok()?, number(session, 0)?);
    let (ended, rest) = record.strip_prefix(&[VERSION])?.split_first()?;
    let (numbers, rest) = rest.split_at_checked(16)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (receipt, signature) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let line = Line {
        bytes: number(numbers, 0)?,
        billed: number(numbers, 8)?,
        ended: *ended == 1,
        receipt: SignedReceipt { receipt: receipt.to_vec(), signature: signature.to_vec() },
    };
    Some((key, line))
}
