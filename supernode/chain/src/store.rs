//! What is kept of money, in one redb file: the newest voucher of each payer, what we signed for each payee, and the
//! books. Each change is one transaction that is on the disk before anything follows from it.

use std::{collections::BTreeMap, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use shared::{
    economy::{
        Amount,
        payee::PayeeState,
        payer::PayerState,
        voucher::{ChannelContract, PACKED_VOUCHER_BYTES, SignedVoucher},
    },
    identity::Account,
};

/// Memory redb may use to cache its pages: the books are read once, at the start.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// The layout of the records below.
const VERSION: u8 = 1;

type Bytes = &'static [u8];
const META: TableDefinition<&str, Bytes> = TableDefinition::new("meta");
/// By payer.
const PAYEES: TableDefinition<Bytes, Bytes> = TableDefinition::new("payees");
/// By payee.
const PAYERS: TableDefinition<Bytes, Bytes> = TableDefinition::new("payers");
/// By payee and payer: vouchers that we watch for others.
const GUARDED: TableDefinition<Bytes, Bytes> = TableDefinition::new("guarded");
const LEDGER: TableDefinition<u64, Bytes> = TableDefinition::new("ledger");
/// By direction and the other side: ceiling and claimed of a channel, as the books have them.
const CHANNELS: TableDefinition<Bytes, Bytes> = TableDefinition::new("channels");
/// Epochs of earners that are booked.
const EPOCHS: TableDefinition<u64, ()> = TableDefinition::new("epochs");
/// By epoch and account: shares that nobody took.
const UNCLAIMED: TableDefinition<Bytes, Bytes> = TableDefinition::new("unclaimed");
const OWNER: &str = "owner";
const CURSOR: &str = "cursor";

/// The file failed, or is another's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb rolls back: nothing half-written remains.
    #[error("the file of vouchers and books failed: {0}")]
    Disk(Box<redb::Error>),
    /// Another account's, chain's or contract's: its vouchers are no money here.
    #[error("the file of vouchers and books is of another account, chain or contract")]
    OfAnother,
    /// A record is not what was written.
    #[error("a record of {0} in the file of vouchers and books is damaged")]
    Damaged(&'static str),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Disk(Box::new(error.into()))
    }
}

/// A channel as the books have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookedChannel {
    /// All that was locked and not taken back.
    pub ceiling: Amount,
    /// Of that, claimed.
    pub claimed: Amount,
}

/// Which way a channel pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

/// What is written at once, or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// By payer.
    pub payees: Vec<(Account, PayeeState)>,
    /// By payee.
    pub payers: Vec<(Account, PayerState)>,
    /// Vouchers watched for others.
    pub guarded: Vec<SignedVoucher>,
    /// Channels as they are booked.
    pub channels: Vec<(Direction, Account, BookedChannel)>,
    /// Entries of the books, from this number on.
    pub entries: (u64, Vec<Vec<u8>>),
    /// The block that this books.
    pub cursor: Option<u64>,
    /// Epochs of earners, with the shares that nobody took.
    pub epochs: Vec<(u64, Option<BTreeMap<Account, Amount>>)>,
}

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By payer.
    pub payees: Vec<(Account, PayeeState)>,
    /// By payee.
    pub payers: Vec<(Account, PayerState)>,
    /// Vouchers watched for others.
    pub guarded: Vec<SignedVoucher>,
    /// Channels as they are booked.
    pub channels: Vec<(Direction, Account, BookedChannel)>,
    /// The books, in their order.
    pub entries: Vec<Vec<u8>>,
    /// The block that was booked last.
    pub cursor: Option<u64>,
    /// Epochs of earners that are booked.
    pub epochs: Vec<u64>,
    /// Their shares that nobody took.
    pub shares: Vec<(u64, Account, Amount)>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Store(Database);

impl Store {
    /// Opens or makes the file of `account`'s vouchers for `contract`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn open(path: &Path, account: Account, contract: ChannelContract) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let owner = [&account.0[..], &contract.address.0[..], &contract.chain_id.to_be_bytes()[..]].concat();
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let known = meta.get(OWNER)?.map(|known| known.value().to_vec());
            match known {
                Some(known) if known != owner => return Err(StoreError::OfAnother),
                Some(_) => {}
                None => {
                    meta.insert(OWNER, owner.as_slice())?;
                }
            }
            transaction.open_table(PAYEES)?;
            transaction.open_table(PAYERS)?;
            transaction.open_table(GUARDED)?;
            transaction.open_table(LEDGER)?;
            transaction.open_table(CHANNELS)?;
            transaction.open_table(EPOCHS)?;
            transaction.open_table(UNCLAIMED)?;
        }
        transaction.commit()?;
        Ok(Self(database))
    }

    /// Writes a change. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; nothing was written then.
    pub(crate) fn keep(&self, change: &Change) -> Result<(), StoreError> {
        let transaction = self.0.begin_write()?;
        {
            let mut payees = transaction.open_table(PAYEES)?;
            for (payer, state) in &change.payees {
                payees.insert(&payer.0[..], payee_record(state).as_slice())?;
            }
            let mut payers = transaction.open_table(PAYERS)?;
            for (payee, state) in &change.payers {
                payers.insert(&payee.0[..], payer_record(state).as_slice())?;
            }
            let mut guarded = transaction.open_table(GUARDED)?;
            for signed in &change.guarded {
                let key = [signed.voucher.payee.0, signed.voucher.payer.0].concat();
                guarded.insert(key.as_slice(), signed.pack().as_slice())?;
            }
            let mut channels = transaction.open_table(CHANNELS)?;
            for (direction, other, channel) in &change.channels {
                let key = [&[*direction as u8][..], &other.0[..]].concat();
                let record = [channel.ceiling.to_bytes(), channel.claimed.to_bytes()].concat();
                channels.insert(key.as_slice(), record.as_slice())?;
            }
            if let Some(block) = change.cursor {
                transaction.open_table(META)?.insert(CURSOR, &block.to_be_bytes()[..])?;
            }
            let mut epochs = transaction.open_table(EPOCHS)?;
            let mut unclaimed = transaction.open_table(UNCLAIMED)?;
            for (epoch, shares) in &change.epochs {
                let Some(shares) = shares else { continue };
                epochs.insert(epoch, ())?;
                let from = epoch.to_be_bytes();
                let to = [&from[..], &[u8::MAX; 20]].concat();
                unclaimed.retain_in(from.as_slice()..=to.as_slice(), |_, _| false)?;
                for (account, amount) in shares {
                    let key = [&from[..], &account.0].concat();
                    unclaimed.insert(key.as_slice(), amount.to_bytes().as_slice())?;
                }
            }
            let mut ledger = transaction.open_table(LEDGER)?;
            let (first, entries) = &change.entries;
            for (number, entry) in (*first..).zip(entries) {
                ledger.insert(number, entry.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads everything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(&self) -> Result<Kept, StoreError> {
        let transaction = self.0.begin_read()?;
        let mut kept = Kept::default();
        if let Some(block) = transaction.open_table(META)?.get(CURSOR)? {
            let block = block.value().try_into().map_err(|_| StoreError::Damaged("the cursor"))?;
            kept.cursor = Some(u64::from_be_bytes(block));
        }
        for row in transaction.open_table(PAYEES)?.iter()? {
            let (payer, record) = row?;
            let payer = account(payer.value(), "a payer")?;
            let state = payee_state(payer, record.value()).ok_or(StoreError::Damaged("a payer"))?;
            kept.payees.push((payer, state));
        }
        for row in transaction.open_table(PAYERS)?.iter()? {
            let (payee, record) = row?;
            let state = payer_state(record.value()).ok_or(StoreError::Damaged("a payee"))?;
            kept.payers.push((account(payee.value(), "a payee")?, state));
        }
        for row in transaction.open_table(EPOCHS)?.iter()? {
            kept.epochs.push(row?.0.value());
        }
        for row in transaction.open_table(UNCLAIMED)?.iter()? {
            let (key, amount) = row?;
            let share = key.value().split_first_chunk().and_then(|(epoch, of)| {
                let amount = Amount::from_bytes(amount.value())?;
                Some((u64::from_be_bytes(*epoch), Account::try_from(of).ok()?, amount))
            });
            kept.shares.push(share.ok_or(StoreError::Damaged("a share"))?);
        }
        for row in transaction.open_table(GUARDED)?.iter()? {
            let (key, record) = row?;
            let payee = account(key.value().get(..20).unwrap_or_default(), "a watched voucher")?;
            let packed = <&[u8; PACKED_VOUCHER_BYTES]>::try_from(record.value()).ok();
            let signed = packed.and_then(|packed| SignedVoucher::unpack(payee, packed));
            kept.guarded.push(signed.ok_or(StoreError::Damaged("a watched voucher"))?);
        }
        for row in transaction.open_table(CHANNELS)?.iter()? {
            let (key, record) = row?;
            let channel = booked(key.value(), record.value()).ok_or(StoreError::Damaged("a channel"))?;
            kept.channels.push(channel);
        }
        for row in transaction.open_table(LEDGER)?.iter()? {
            kept.entries.push(row?.1.value().to_vec());
        }
        Ok(kept)
    }
}

fn account(bytes: &[u8], what: &'static str) -> Result<Account, StoreError> {
    Account::try_from(bytes).map_err(|_| StoreError::Damaged(what))
}

/// Version, delivered (12), and the newest voucher (96) where there is one. The payer is the record's key; the payee
/// is the file's owner, whom the reader puts in.
fn payee_record(state: &PayeeState) -> Vec<u8> {
    let mut record = vec![VERSION];
    record.extend(state.delivered.to_bytes());
    if let Some(newest) = &state.newest {
        record.extend(newest.voucher.payee.0);
        record.extend(newest.pack());
    }
    record
}

fn payee_state(payer: Account, record: &[u8]) -> Option<PayeeState> {
    let record = record.strip_prefix(&[VERSION])?;
    let (delivered, rest) = record.split_at_checked(12)?;
    let delivered = Amount::from_bytes(delivered)?;
    if rest.is_empty() {
        return Some(PayeeState { newest: None, delivered });
    }
    let (payee, packed) = rest.split_at_checked(20)?;
    let newest = SignedVoucher::unpack(Account::try_from(payee).ok()?, packed.try_into().ok()?)?;
    (newest.voucher.payer == payer).then_some(PayeeState { newest: Some(newest), delivered })
}

fn payer_record(state: &PayerState) -> Vec<u8> {
    let amounts = [state.signed, state.verified, state.tolerated].map(Amount::to_bytes);
    [&[VERSION][..], amounts.as_flattened()].concat()
}

fn payer_state(record: &[u8]) -> Option<PayerState> {
    let record = record.strip_prefix(&[VERSION])?;
    let amount = |at: usize| record.get(12 * at..12 * (at + 1)).and_then(Amount::from_bytes);
    Some(PayerState { signed: amount(0)?, verified: amount(1)?, tolerated: amount(2)? })
}

fn booked(key: &[u8], record: &[u8]) -> Option<(Direction, Account, BookedChannel)> {
    let (direction, other) = key.split_first()?;
    let direction = [Direction::In, Direction::Out].into_iter().find(|known| *known as u8 == *direction)?;
    let (ceiling, claimed) = record.split_at_checked(12)?;
    let channel =
        BookedChannel { ceiling: Amount::from_bytes(ceiling)?, claimed: Amount::from_bytes(claimed)? };
    Some((direction, Account::try_from(other).ok()?, channel))
}
