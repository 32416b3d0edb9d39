//! What tabs gave to each other and what is owed to whom for it, in the file of evidence: written in the same transactions.

use prost::Message as _;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use shared::{
    base::SiteId,
    economy::{Amount, earnings::NetworkPrefix, tally::Day, tally::Tally},
    identity::{Account, PublicKey, eip712::Word},
    wire::cdn::{SignedEarner, SignedReceipt},
};

use super::store::{
    Bytes, PayeeKey, Store, TALLY_BYTES, VERSION, number, payee_key, payee_record, read_payee, read_tally,
    tally_record,
};
use crate::StoreError;

/// By site, tab, receiver and session: bytes that counted. Nothing is ever forgotten here, or it could count again.
const SESSIONS: TableDefinition<Bytes, u64> = TableDefinition::new("tab_sessions");
/// By the same: what is to be billed, or was and is not yet its tab's.
const LINES: TableDefinition<Bytes, Bytes> = TableDefinition::new("tab_lines");
/// By site and receiver, or network: the day, and what it verified in it.
const DAYS: TableDefinition<Bytes, Bytes> = TableDefinition::new("tab_days");
/// By site and payer: how what tabs gave stands between it and us.
const DEALS: TableDefinition<Bytes, Bytes> = TableDefinition::new("tab_deals");
/// By account, site and payer: what is the account's, and how much of that was put into epochs.
const EARNERS: TableDefinition<Bytes, Bytes> = TableDefinition::new("earners");
const EPOCHS: TableDefinition<u64, Bytes> = TableDefinition::new("epochs");
/// By epoch and account: its share.
const SHARES: TableDefinition<Bytes, Bytes> = TableDefinition::new("shares");
/// By payee, node and site: what tabs gave there, on the side that pays.
const PAYEES: TableDefinition<Bytes, Bytes> = TableDefinition::new("tab_payees");
/// By site, tab, receiver and session: who billed it first, and bytes that were counted. Never forgotten either.
const PAID: TableDefinition<Bytes, Bytes> = TableDefinition::new("tab_paid");

/// A session between two tabs: of which site, who gave, who verified, and its number.
pub(super) type TabKey = (SiteId, [u8; 32], [u8; 32], u64);
/// Whose it is, for which site, by whose money.
pub(super) type EarnerKey = (Account, SiteId, Account);

/// Who billed a session first, and bytes of it that were counted.
pub(super) type Billed = ([u8; 32], u64);

/// A session with the receipt that says the most of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TabLine {
    /// Bytes that count, in all.
    pub(super) bytes: u64,
    /// Of that, counted by the payer too,
    pub(super) accepted: u64,
    /// and of that, paid for: its tab's.
    pub(super) credited: u64,
    pub(super) account: Account,
    pub(super) receipt: SignedReceipt,
    pub(super) earner: SignedEarner,
}

/// How what tabs gave of a site stands between its payer and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deal {
    /// What the payer said last that it counted, in all that it remembers.
    pub(super) told: Amount,
    /// Its debt by all it ever said.
    pub(super) debt: Amount,
    /// Of that, given to accounts.
    pub(super) credited: Tally,
}

/// What an account earned of one payer's site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Earned {
    pub(super) tally: Tally,
    /// Of that, in epochs.
    pub(super) in_epochs: Amount,
}

impl Earned {
    pub(super) fn due(&self) -> Amount {
        self.tally.total().less(self.in_epochs)
    }
}

/// Who verified something in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verifier {
    Receiver(PublicKey),
    Network(NetworkPrefix),
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochStage {
    /// Its shares are settled here, and the chain does not have it yet.
    Planned,
    /// Shares can be claimed until then.
    Open {
        /// In seconds since 1970, by the chain's time.
        expires: u64,
    },
    /// What nobody claimed is owed anew.
    Closed,
}

/// An epoch as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptEpoch {
    pub(super) number: u64,
    /// `Payouts`, where it is paid.
    pub(super) contract: Account,
    pub(super) root: Word,
    pub(super) stage: EpochStage,
}

/// What is written at once, or not at all.
#[derive(Clone, Debug, Default)]
pub(super) struct TabChange {
    pub(super) sessions: Vec<(TabKey, u64)>,
    pub(super) lines: Vec<(TabKey, TabLine)>,
    pub(super) gone: Vec<TabKey>,
    /// A new day: nothing of those before is of use.
    pub(super) forget_days: bool,
    pub(super) days: Vec<(SiteId, Verifier, u64, u64)>,
    pub(super) deals: Vec<((SiteId, Account), Deal)>,
    pub(super) earners: Vec<(EarnerKey, Earned)>,
    pub(super) epoch: Option<KeptEpoch>,
    pub(super) shares: Vec<(u64, Account, Amount)>,
    /// An epoch that is over.
    pub(super) forget_shares: Option<u64>,
    pub(super) payees: Vec<(PayeeKey, Tally, Day)>,
    pub(super) paid: Vec<(TabKey, [u8; 32], u64)>,
}

/// What was kept, but for what is looked up.
#[derive(Debug, Default)]
pub(super) struct KeptTabs {
    pub(super) lines: Vec<(TabKey, TabLine)>,
    pub(super) days: Vec<(SiteId, Verifier, u64, u64)>,
    pub(super) deals: Vec<((SiteId, Account), Deal)>,
    pub(super) epochs: Vec<KeptEpoch>,
    pub(super) payees: Vec<(PayeeKey, Tally, Day)>,
}

impl TabChange {
    /// Makes the tables.
    pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), StoreError> {
        transaction.open_table(SESSIONS)?;
        transaction.open_table(LINES)?;
        transaction.open_table(DAYS)?;
        transaction.open_table(DEALS)?;
        transaction.open_table(EARNERS)?;
        transaction.open_table(EPOCHS)?;
        transaction.open_table(SHARES)?;
        transaction.open_table(PAYEES)?;
        transaction.open_table(PAID)?;
        Ok(())
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut sessions = transaction.open_table(SESSIONS)?;
        for (key, bytes) in &self.sessions {
            sessions.insert(tab_key(key).as_slice(), bytes)?;
        }
        let mut lines = transaction.open_table(LINES)?;
        for (key, line) in &self.lines {
            lines.insert(tab_key(key).as_slice(), line_record(line).as_slice())?;
        }
        for key in &self.gone {
            lines.remove(tab_key(key).as_slice())?;
        }
        let mut days = transaction.open_table(DAYS)?;
        if self.forget_days {
            days.retain(|_, _| false)?;
        }
        for (site, verifier, day, bytes) in &self.days {
            let record = [day.to_be_bytes(), bytes.to_be_bytes()].concat();
            days.insert(day_key(site, verifier).as_slice(), record.as_slice())?;
        }
        let mut deals = transaction.open_table(DEALS)?;
        for ((site, payer), deal) in &self.deals {
            let Deal { told, debt, credited } = deal;
            let record = [&[VERSION][..], &told.to_bytes(), &debt.to_bytes(), &tally_record(credited)];
            deals.insert([&site.0[..], &payer.0].concat().as_slice(), record.concat().as_slice())?;
        }
        let mut earners = transaction.open_table(EARNERS)?;
        for ((account, site, payer), earned) in &self.earners {
            let key = [&account.0[..], &site.0, &payer.0].concat();
            let record =
                [&[VERSION][..], &tally_record(&earned.tally), &earned.in_epochs.to_bytes()].concat();
            earners.insert(key.as_slice(), record.as_slice())?;
        }
        if let Some(epoch) = &self.epoch {
            let record = epoch_record(epoch);
            transaction.open_table(EPOCHS)?.insert(epoch.number, record.as_slice())?;
        }
        let mut shares = transaction.open_table(SHARES)?;
        for (epoch, account, amount) in &self.shares {
            let key = [&epoch.to_be_bytes()[..], &account.0].concat();
            shares.insert(key.as_slice(), amount.to_bytes().as_slice())?;
        }
        if let Some(epoch) = self.forget_shares {
            let (from, to) = shares_of(epoch);
            shares.retain_in(from.as_slice()..=to.as_slice(), |_, _| false)?;
        }
        let mut payees = transaction.open_table(PAYEES)?;
        for (key, tally, day) in &self.payees {
            payees.insert(payee_key(key).as_slice(), payee_record(tally, day).as_slice())?;
        }
        let mut paid = transaction.open_table(PAID)?;
        for (key, node, bytes) in &self.paid {
            let record = [&node[..], &bytes.to_be_bytes()].concat();
            paid.insert(tab_key(key).as_slice(), record.as_slice())?;
        }
        Ok(())
    }
}

impl Store {
    /// Bytes of a session between tabs that counted before.
    pub(super) fn tab_session(&self, key: &TabKey) -> Result<u64, StoreError> {
        let table = self.database().begin_read()?.open_table(SESSIONS)?;
        Ok(table.get(tab_key(key).as_slice())?.map_or(0, |known| known.value()))
    }

    /// Who billed these sessions first, and how many bytes of them; in their order.
    pub(super) fn tabs_paid(&self, keys: &[TabKey]) -> Result<Vec<Option<Billed>>, StoreError> {
        let table = self.database().begin_read()?.open_table(PAID)?;
        let known = keys.iter().map(|key| {
            let Some(known) = table.get(tab_key(key).as_slice())? else { return Ok(None) };
            let (node, bytes) =
                known.value().split_first_chunk().ok_or(StoreError::Damaged("what tabs gave"))?;
            Ok(Some((*node, number(bytes, 0).ok_or(StoreError::Damaged("what tabs gave"))?)))
        });
        known.collect()
    }

    /// What an account earned, by site and payer; what all did, without an account.
    pub(super) fn earned(&self, account: Option<Account>) -> Result<Vec<(EarnerKey, Earned)>, StoreError> {
        let table = self.database().begin_read()?.open_table(EARNERS)?;
        let (from, to) = account.map_or((vec![0], vec![u8::MAX; EARNER_KEY_BYTES]), |account| {
            (account.0.to_vec(), [&account.0[..], &[u8::MAX; 52]].concat())
        });
        let mut earned = Vec::new();
        for row in table.range(from.as_slice()..=to.as_slice())? {
            let (key, record) = row?;
            let read = read_earned(key.value(), record.value());
            earned.push(read.ok_or(StoreError::Damaged("what an account earned"))?);
        }
        Ok(earned)
    }

    /// What an account earned of one payer's site.
    pub(super) fn earned_of(&self, (account, site, payer): &EarnerKey) -> Result<Option<Earned>, StoreError> {
        let table = self.database().begin_read()?.open_table(EARNERS)?;
        let key = [&account.0[..], &site.0, &payer.0].concat();
        let Some(record) = table.get(key.as_slice())? else { return Ok(None) };
        let read = read_earned(&key, record.value());
        Ok(Some(read.ok_or(StoreError::Damaged("what an account earned"))?.1))
    }

    /// The shares of an epoch.
    pub(super) fn shares(&self, epoch: u64) -> Result<Vec<(Account, Amount)>, StoreError> {
        let table = self.database().begin_read()?.open_table(SHARES)?;
        let (from, to) = shares_of(epoch);
        let mut shares = Vec::new();
        for row in table.range(from.as_slice()..=to.as_slice())? {
            let (key, amount) = row?;
            let account = key.value().get(8..).and_then(|bytes| Account::try_from(bytes).ok());
            let share = account.zip(Amount::from_bytes(amount.value()));
            shares.push(share.ok_or(StoreError::Damaged("a share"))?);
        }
        Ok(shares)
    }

    pub(super) fn read_tabs(&self) -> Result<KeptTabs, StoreError> {
        let transaction = self.database().begin_read()?;
        let mut kept = KeptTabs::default();
        for row in transaction.open_table(LINES)?.iter()? {
            let (key, record) = row?;
            let line = read_tab_key(key.value()).zip(read_line(record.value()));
            kept.lines.push(line.ok_or(StoreError::Damaged("a tab's line"))?);
        }
        for row in transaction.open_table(DAYS)?.iter()? {
            let (key, record) = row?;
            let day = read_day(key.value(), record.value());
            kept.days.push(day.ok_or(StoreError::Damaged("a day of tabs"))?);
        }
        for row in transaction.open_table(DEALS)?.iter()? {
            let (key, record) = row?;
            let deal = read_deal(key.value(), record.value());
            kept.deals.push(deal.ok_or(StoreError::Damaged("what tabs are paid"))?);
        }
        for row in transaction.open_table(EPOCHS)?.iter()? {
            let (number, record) = row?;
            let epoch = read_epoch(number.value(), record.value());
            kept.epochs.push(epoch.ok_or(StoreError::Damaged("an epoch"))?);
        }
        for row in transaction.open_table(PAYEES)?.iter()? {
            let (key, record) = row?;
            let payee = read_payee(key.value(), record.value());
            kept.payees.push(payee.ok_or(StoreError::Damaged("what tabs gave"))?);
        }
        Ok(kept)
    }
}

fn tab_key((site, tab, receiver, session): &TabKey) -> Vec<u8> {
    [&site.0[..], tab, receiver, &session.to_be_bytes()].concat()
}

fn read_tab_key(key: &[u8]) -> Option<TabKey> {
    let (site, rest) = key.split_first_chunk()?;
    let (tab, rest) = rest.split_first_chunk()?;
    let (receiver, rest) = rest.split_first_chunk()?;
    Some((SiteId(*site), *tab, *receiver, number(rest, 0)?))
}

fn read_deal(key: &[u8], record: &[u8]) -> Option<((SiteId, Account), Deal)> {
    let (site, payer) = key.split_first_chunk()?;
    let (told, rest) = record.strip_prefix(&[VERSION])?.split_at_checked(12)?;
    let (debt, credited) = rest.split_at_checked(12)?;
    let deal = Deal {
        told: Amount::from_bytes(told)?,
        debt: Amount::from_bytes(debt)?,
        credited: read_tally(credited)?,
    };
    Some(((SiteId(*site), Account::try_from(payer).ok()?), deal))
}

/// Account, site, payer.
const EARNER_KEY_BYTES: usize = 20 + 32 + 20;

fn read_earned(key: &[u8], record: &[u8]) -> Option<(EarnerKey, Earned)> {
    let (account, rest) = key.split_first_chunk()?;
    let (site, payer) = rest.split_first_chunk()?;
    let (tally, in_epochs) = record.strip_prefix(&[VERSION])?.split_at_checked(TALLY_BYTES)?;
    let earned = Earned { tally: read_tally(tally)?, in_epochs: Amount::from_bytes(in_epochs)? };
    Some(((Account(*account), SiteId(*site), Account::try_from(payer).ok()?), earned))
}

/// Version, bytes, accepted, credited, the account, then each part after its length.
fn line_record(line: &TabLine) -> Vec<u8> {
    let mut record = vec![VERSION];
    for number in [line.bytes, line.accepted, line.credited] {
        record.extend(number.to_be_bytes());
    }
    record.extend(line.account.0);
    let (receipt, earner) = (line.receipt.encode_to_vec(), line.earner.encode_to_vec());
    record.extend(u16::try_from(receipt.len()).unwrap_or(u16::MAX).to_be_bytes());
    record.extend(receipt);
    record.extend(earner);
    record
}

fn read_line(record: &[u8]) -> Option<TabLine> {
    let record = record.strip_prefix(&[VERSION])?;
    let (account, rest) = record.get(24..)?.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (receipt, earner) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some(TabLine {
        bytes: number(record, 0)?,
        accepted: number(record, 8)?,
        credited: number(record, 16)?,
        account: Account(*account),
        receipt: SignedReceipt::decode(receipt).ok()?,
        earner: SignedEarner::decode(earner).ok()?,
    })
}

fn day_key(site: &SiteId, verifier: &Verifier) -> Vec<u8> {
    match verifier {
        Verifier::Receiver(key) => [&site.0[..], &key.to_bytes()].concat(),
        Verifier::Network(network) => [&site.0[..], &network.0].concat(),
    }
}

fn read_day(key: &[u8], record: &[u8]) -> Option<(SiteId, Verifier, u64, u64)> {
    let (site, verifier) = key.split_first_chunk()?;
    let verifier = match <[u8; 8]>::try_from(verifier) {
        Ok(network) => Verifier::Network(NetworkPrefix(network)),
        Err(_) => Verifier::Receiver(PublicKey::from_bytes(verifier).ok()?),
    };
    Some((SiteId(*site), verifier, number(record, 0)?, number(record, 8)?))
}

/// From the first of an epoch's shares to the last.
fn shares_of(epoch: u64) -> (Vec<u8>, Vec<u8>) {
    let from = epoch.to_be_bytes();
    (from.to_vec(), [&from[..], &[u8::MAX; 20]].concat())
}

/// Version, stage, when it expires, the contract, and the root.
fn epoch_record(epoch: &KeptEpoch) -> Vec<u8> {
    let (stage, expires) = match epoch.stage {
        EpochStage::Planned => (0, 0),
        EpochStage::Open { expires } => (1, expires),
        EpochStage::Closed => (2, 0),
    };
    [&[VERSION, stage][..], &expires.to_be_bytes(), &epoch.contract.0, &epoch.root].concat()
}

fn read_epoch(number_of: u64, record: &[u8]) -> Option<KeptEpoch> {
    let (stage, rest) = record.strip_prefix(&[VERSION])?.split_first()?;
    let stage = match stage {
        0 => EpochStage::Planned,
        1 => EpochStage::Open { expires: number(rest, 0)? },
        2 => EpochStage::Closed,
        _ => return None,
    };
    let (contract, root) = rest.get(8..)?.split_first_chunk()?;
    Some(KeptEpoch { number: number_of, contract: Account(*contract), root: root.try_into().ok()?, stage })
}
