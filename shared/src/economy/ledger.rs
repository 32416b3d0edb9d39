//! A node's books: the only place where a balance changes.
//!
//! Each entry moves one amount from one account to another, so that all balances together are always zero; that is
//! asserted with each entry, and over everything when the books are read again. Entries are only ever added, each with
//! the hash of the one before: a book that was cut or altered in the middle does not replay.
//!
//! ```text
//! outside ◄► wallet ◄► free ◄► reserved(payee) ─ voucher ─► signed(payee) ─ claimed ─► outside
//!              │ ▲      ▲
//!              │ │      └─ claimed ─ receivable(payer) ◄─ voucher ─ earned
//!              ▼ └ escrow(job), stake(node), payout(epoch) ─► owed(tab) ◄─ shares
//!
//! served ─ receipts ─► accrued: worth that receivers signed for, and nobody has promised to pay
//! ```
//! What we have is positive, what we owe or earned is negative. The shell keeps the entries' bytes, in their order, and
//! hands them in again at the next start.

use std::collections::BTreeMap;

use prost::Message as _;

use super::Amount;
use crate::{
    base::UnixSeconds,
    identity::{Account, eip712::Word},
    wire::economy::{self as wire, LedgerKind},
};

/// An account with a balance of zero takes no room; so many others are more than a node deals with, and some
/// 100 MB.
pub const BOOKS_MAX: usize = 1_000_000;
/// No entry is longer.
pub const MAX_ENTRY_BYTES: usize = 192;

/// An account of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Book {
    /// Everybody else's.
    Outside,
    /// The token, in our own account on the chain.
    Wallet,
    /// In the channels' contract, to reserve or withdraw.
    Free,
    /// Locked for a payee.
    Reserved(Account),
    /// Promised by vouchers and not yet claimed.
    Signed(Account),
    /// Of that, what no locked money stands behind; below zero.
    Debt(Account),
    /// Vouchers of a payer, not yet claimed.
    Receivable(Account),
    /// What we earned, since ever.
    Earned,
    /// Locked for a job that we ordered.
    Escrow(Word),
    /// Bonded for a node.
    Stake(Word),
    /// Locked for the earners of an epoch.
    Payout(u64),
    /// What we owe an earner.
    Owed(Account),
    /// What earners got of us, since ever.
    Shares,
    /// Slashed, or never paid.
    Lost,
    /// What receivers signed for, since ever, at the price that was asked.
    Served,
    /// Of that, what nobody has promised to pay.
    Accrued,
}

impl Book {
    /// What may be below zero: what is not ours, what we earned and what we owe.
    const fn is_source(self) -> bool {
        matches!(self, Self::Outside | Self::Earned | Self::Owed(_) | Self::Debt(_) | Self::Served)
    }

    /// What may be above zero: all but what we earned and what we owe.
    const fn is_asset(self) -> bool {
        !matches!(self, Self::Earned | Self::Owed(_) | Self::Debt(_) | Self::Served)
    }
}

/// What happened. Each is one movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posting {
    /// The token came to our account.
    Received,
    /// The token left our account.
    Sent,
    /// Into the channels' contract.
    Deposited,
    /// Out of it.
    Withdrawn,
    /// Locked for a payee.
    Reserved(Account),
    /// Taken back, or released by the payee.
    Unreserved(Account),
    /// We signed more for a payee.
    VoucherIssued(Account),
    /// We signed more for a payee than is locked for it: on credit, or where there is no chain.
    VoucherUnsecured(Account),
    /// What was promised on credit is locked now.
    Secured(Account),
    /// A payee let its time go by: what it had in vouchers is ours to take back.
    VoucherUnclaimed(Account),
    /// A payee claimed from us.
    VoucherClaimedFromUs(Account),
    /// A payer signed more for us.
    VoucherAccepted(Account),
    /// We claimed.
    VoucherClaimed(Account),
    /// What a payer promised and will never pay.
    VoucherLost(Account),
    /// Locked for a job.
    Escrowed(Word),
    /// The job's provider got it.
    EscrowPaid(Word),
    /// We got it back.
    EscrowRefunded(Word),
    /// We did a job.
    EscrowEarned,
    /// Bonded.
    Staked(Word),
    /// Taken out again.
    Unstaked(Word),
    /// Taken by the judge.
    Slashed(Word),
    /// An earner served for us.
    ShareOwed(Account),
    /// Locked for an epoch's earners.
    PayoutOpened(u64),
    /// An earner took its share of an epoch.
    SharePaid(Account, u64),
    /// What nobody took of an epoch came back.
    PayoutReturned(u64),
    /// An earner did not take its share: what was owed to it by that epoch is owed by another.
    ShareLapsed(Account),
    /// Receivers signed for what we served them: a batch of receipts.
    Served(u64),
}

impl Posting {
    /// From where, and to where.
    pub const fn accounts(self) -> (Book, Book) {
        match self {
            Self::Received => (Book::Outside, Book::Wallet),
            Self::Sent => (Book::Wallet, Book::Outside),
            Self::Deposited => (Book::Wallet, Book::Free),
            Self::Withdrawn => (Book::Free, Book::Wallet),
            Self::Reserved(payee) => (Book::Free, Book::Reserved(payee)),
            Self::Unreserved(payee) => (Book::Reserved(payee), Book::Free),
            Self::VoucherIssued(payee) => (Book::Reserved(payee), Book::Signed(payee)),
            Self::VoucherUnsecured(payee) => (Book::Debt(payee), Book::Signed(payee)),
            Self::Secured(payee) => (Book::Reserved(payee), Book::Debt(payee)),
            Self::VoucherUnclaimed(payee) => (Book::Signed(payee), Book::Reserved(payee)),
            Self::VoucherClaimedFromUs(payee) => (Book::Signed(payee), Book::Outside),
            Self::VoucherAccepted(payer) => (Book::Earned, Book::Receivable(payer)),
            Self::VoucherClaimed(payer) => (Book::Receivable(payer), Book::Free),
            Self::VoucherLost(payer) => (Book::Receivable(payer), Book::Lost),
            Self::Escrowed(job) => (Book::Wallet, Book::Escrow(job)),
            Self::EscrowPaid(job) => (Book::Escrow(job), Book::Outside),
            Self::EscrowRefunded(job) => (Book::Escrow(job), Book::Wallet),
            Self::EscrowEarned => (Book::Earned, Book::Wallet),
            Self::Staked(node) => (Book::Wallet, Book::Stake(node)),
            Self::Unstaked(node) => (Book::Stake(node), Book::Wallet),
            Self::Slashed(node) => (Book::Stake(node), Book::Lost),
            Self::ShareOwed(tab) => (Book::Owed(tab), Book::Shares),
            Self::PayoutOpened(epoch) => (Book::Wallet, Book::Payout(epoch)),
            Self::SharePaid(tab, epoch) => (Book::Payout(epoch), Book::Owed(tab)),
            Self::PayoutReturned(epoch) => (Book::Payout(epoch), Book::Wallet),
            Self::ShareLapsed(tab) => (Book::Shares, Book::Owed(tab)),
            Self::Served(_) => (Book::Served, Book::Accrued),
        }
    }

    fn encode(self) -> (LedgerKind, Vec<u8>) {
        use LedgerKind as Kind;
        match self {
            Self::Received => (Kind::Received, Vec::new()),
            Self::Sent => (Kind::Sent, Vec::new()),
            Self::Deposited => (Kind::Deposited, Vec::new()),
            Self::Withdrawn => (Kind::Withdrawn, Vec::new()),
            Self::EscrowEarned => (Kind::EscrowEarned, Vec::new()),
            Self::Reserved(other) => (Kind::Reserved, other.0.to_vec()),
            Self::Unreserved(other) => (Kind::Unreserved, other.0.to_vec()),
            Self::VoucherIssued(other) => (Kind::VoucherIssued, other.0.to_vec()),
            Self::VoucherUnsecured(other) => (Kind::VoucherUnsecured, other.0.to_vec()),
            Self::Secured(other) => (Kind::Secured, other.0.to_vec()),
            Self::VoucherUnclaimed(other) => (Kind::VoucherUnclaimed, other.0.to_vec()),
            Self::VoucherClaimedFromUs(other) => (Kind::VoucherClaimedFromUs, other.0.to_vec()),
            Self::VoucherAccepted(other) => (Kind::VoucherAccepted, other.0.to_vec()),
            Self::VoucherClaimed(other) => (Kind::VoucherClaimed, other.0.to_vec()),
            Self::VoucherLost(other) => (Kind::VoucherLost, other.0.to_vec()),
            Self::ShareOwed(other) => (Kind::ShareOwed, other.0.to_vec()),
            Self::ShareLapsed(other) => (Kind::ShareLapsed, other.0.to_vec()),
            Self::Escrowed(name) => (Kind::Escrowed, name.to_vec()),
            Self::EscrowPaid(name) => (Kind::EscrowPaid, name.to_vec()),
            Self::EscrowRefunded(name) => (Kind::EscrowRefunded, name.to_vec()),
            Self::Staked(name) => (Kind::Staked, name.to_vec()),
            Self::Unstaked(name) => (Kind::Unstaked, name.to_vec()),
            Self::Slashed(name) => (Kind::Slashed, name.to_vec()),
            Self::PayoutOpened(epoch) => (Kind::PayoutOpened, epoch.to_be_bytes().to_vec()),
            Self::PayoutReturned(epoch) => (Kind::PayoutReturned, epoch.to_be_bytes().to_vec()),
            Self::Served(batch) => (Kind::Served, batch.to_be_bytes().to_vec()),
            Self::SharePaid(tab, epoch) => (Kind::SharePaid, [&tab.0[..], &epoch.to_be_bytes()[..]].concat()),
        }
    }

    fn decode(kind: LedgerKind, about: &[u8]) -> Option<Self> {
        use LedgerKind as Kind;
        let other = || Account::try_from(about).ok();
        let name = || Word::try_from(about).ok();
        let epoch = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let posting = match kind {
            Kind::Unspecified => return None,
            Kind::Received => Self::Received,
            Kind::Sent => Self::Sent,
            Kind::Deposited => Self::Deposited,
            Kind::Withdrawn => Self::Withdrawn,
            Kind::EscrowEarned => Self::EscrowEarned,
            Kind::Reserved => Self::Reserved(other()?),
            Kind::Unreserved => Self::Unreserved(other()?),
            Kind::VoucherIssued => Self::VoucherIssued(other()?),
            Kind::VoucherUnsecured => Self::VoucherUnsecured(other()?),
            Kind::Secured => Self::Secured(other()?),
            Kind::VoucherUnclaimed => Self::VoucherUnclaimed(other()?),
            Kind::VoucherClaimedFromUs => Self::VoucherClaimedFromUs(other()?),
            Kind::VoucherAccepted => Self::VoucherAccepted(other()?),
            Kind::VoucherClaimed => Self::VoucherClaimed(other()?),
            Kind::VoucherLost => Self::VoucherLost(other()?),
            Kind::ShareOwed => Self::ShareOwed(other()?),
            Kind::ShareLapsed => Self::ShareLapsed(other()?),
            Kind::Escrowed => Self::Escrowed(name()?),
            Kind::EscrowPaid => Self::EscrowPaid(name()?),
            Kind::EscrowRefunded => Self::EscrowRefunded(name()?),
            Kind::Staked => Self::Staked(name()?),
            Kind::Unstaked => Self::Unstaked(name()?),
            Kind::Slashed => Self::Slashed(name()?),
            Kind::PayoutOpened => Self::PayoutOpened(epoch(about)?),
            Kind::PayoutReturned => Self::PayoutReturned(epoch(about)?),
            Kind::Served => Self::Served(epoch(about)?),
            Kind::SharePaid => {
                let (tab, rest) = about.split_at_checked(20)?;
                Self::SharePaid(tab.try_into().ok()?, epoch(rest)?)
            }
        };
        Some(posting)
    }
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// An amount of zero moves nothing.
    #[error("an entry moves something")]
    Nothing,
    /// More than is there, or more than is owed.
    #[error("{book:?} has {balance}, and {amount} should move")]
    Insufficient {
        /// Which account.
        book: Book,
        /// What it has; below zero what is owed.
        balance: i128,
        /// What was to move.
        amount: Amount,
    },
    /// More accounts than [`BOOKS_MAX`].
    #[error("the books have {BOOKS_MAX} accounts already")]
    Full,
    /// An entry that was kept is not the one that was written.
    #[error("entry {sequence} of the books is damaged: {what}")]
    Damaged {
        /// Which.
        sequence: u64,
        /// How.
        what: &'static str,
    },
}

/// The books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    balances: BTreeMap<Book, i128>,
    next: u64,
    last: Word,
}

impl Ledger {
    /// Reads the entries that were kept, in their order.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], or what the entry itself would have met.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.read(entry)?;
        }
        ledger.assert_balanced();
        Ok(ledger)
    }

    /// What an account has; below zero what is owed or was earned.
    pub fn balance(&self, book: Book) -> i128 {
        self.balances.get(&book).copied().unwrap_or(0)
    }

    /// All accounts that have something.
    pub fn balances(&self) -> impl Iterator<Item = (Book, i128)> {
        self.balances.iter().map(|(book, balance)| (*book, *balance))
    }

    /// How many entries there are.
    pub const fn entries(&self) -> u64 {
        self.next
    }

    /// The hash of the newest entry: whoever knows it knows all of them.
    pub const fn head(&self) -> Word {
        self.last
    }

    /// Moves `amount` as `posting` says. The returned bytes are kept by the shell before anything else follows from it.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing has changed then.
    pub fn append(
        &mut self,
        now: UnixSeconds,
        posting: Posting,
        amount: Amount,
        evidence: &Word,
    ) -> Result<Vec<u8>, LedgerError> {
        self.move_amount(posting, amount)?;
        let (kind, about) = posting.encode();
        let entry = wire::LedgerEntry {
            sequence: self.next,
            unix: now.0,
            previous: self.last.to_vec(),
            kind: kind.into(),
            about,
            amount: amount.to_bytes().to_vec(),
            evidence: evidence.to_vec(),
        };
        let bytes = entry.encode_to_vec();
        assert!(bytes.len() <= MAX_ENTRY_BYTES, "an entry has a bounded length");
        self.advance(&bytes);
        Ok(bytes)
    }

    /// Asserts over everything that nothing came from nowhere.
    pub fn assert_balanced(&self) {
        assert_eq!(self.balances.values().sum::<i128>(), 0, "debits are credits");
        for (book, balance) in &self.balances {
            assert!(*balance >= 0 || book.is_source(), "{book:?} has {balance}");
            assert!(*balance <= 0 || book.is_asset(), "{book:?} has {balance}");
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        let sequence = self.next;
        let damaged = |what| LedgerError::Damaged { sequence, what };
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(damaged("it is too long"));
        }
        let entry = wire::LedgerEntry::decode(bytes).map_err(|_| damaged("it cannot be read"))?;
        if entry.sequence != sequence {
            return Err(damaged("its number is another"));
        }
        if entry.previous != self.last {
            return Err(damaged("the one before is another"));
        }
        let posting =
            Posting::decode(entry.kind(), &entry.about).ok_or_else(|| damaged("it says nothing"))?;
        let amount = Amount::from_bytes(&entry.amount).ok_or_else(|| damaged("it has no amount"))?;
        self.move_amount(posting, amount)?;
        self.advance(bytes);
        Ok(())
    }

    fn move_amount(&mut self, posting: Posting, amount: Amount) -> Result<(), LedgerError> {
        if amount.is_zero() {
            return Err(LedgerError::Nothing);
        }
        let (from, to) = posting.accounts();
        let units = i128::try_from(amount.units()).expect("96 bits fit 127");
        let (before_from, before_to) = (self.balance(from), self.balance(to));
        let (after_from, after_to) = (before_from - units, before_to + units);
        let insufficient = |book, balance| Err(LedgerError::Insufficient { book, balance, amount });
        if after_from < 0 && !from.is_source() {
            return insufficient(from, before_from);
        }
        if after_to > 0 && !to.is_asset() {
            return insufficient(to, before_to);
        }
        if self.balances.len() + 2 > BOOKS_MAX {
            return Err(LedgerError::Full);
        }
        self.set(from, after_from);
        self.set(to, after_to);
        assert_eq!(
            self.balance(from) + self.balance(to),
            before_from + before_to,
            "what one account loses the other gains"
        );
        Ok(())
    }

    fn set(&mut self, book: Book, balance: i128) {
        if balance == 0 {
            self.balances.remove(&book);
        } else {
            self.balances.insert(book, balance);
        }
    }

    fn advance(&mut self, bytes: &[u8]) {
        self.next += 1;
        self.last = *blake3::hash(bytes).as_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYEE: Account = Account([1; 20]);
    const TAB: Account = Account([2; 20]);

    fn all() -> Vec<Posting> {
        vec![
            Posting::Received,
            Posting::Sent,
            Posting::Deposited,
            Posting::Withdrawn,
            Posting::Reserved(PAYEE),
            Posting::Unreserved(PAYEE),
            Posting::VoucherIssued(PAYEE),
            Posting::VoucherUnsecured(PAYEE),
            Posting::Secured(PAYEE),
            Posting::VoucherUnclaimed(PAYEE),
            Posting::VoucherClaimedFromUs(PAYEE),
            Posting::VoucherAccepted(PAYEE),
            Posting::VoucherClaimed(PAYEE),
            Posting::VoucherLost(PAYEE),
            Posting::Escrowed([3; 32]),
            Posting::EscrowPaid([3; 32]),
            Posting::EscrowRefunded([3; 32]),
            Posting::EscrowEarned,
            Posting::Staked([4; 32]),
            Posting::Unstaked([4; 32]),
            Posting::Slashed([4; 32]),
            Posting::ShareOwed(TAB),
            Posting::PayoutOpened(7),
            Posting::SharePaid(TAB, 7),
            Posting::PayoutReturned(7),
            Posting::Served(7),
        ]
    }

    #[test]
    fn every_posting_reads_back() {
        for posting in all() {
            let (kind, about) = posting.encode();
            assert_eq!(Posting::decode(kind, &about), Some(posting));
        }
        assert_eq!(Posting::decode(LedgerKind::Staked, &[1; 31]), None);
        assert_eq!(Posting::decode(LedgerKind::SharePaid, &[1; 19]), None);
    }

    #[test]
    fn nothing_is_spent_that_is_not_there() {
        let mut ledger = Ledger::default();
        let mut post = |posting, amount| ledger.append(UnixSeconds(1), posting, Amount::of(amount), &[0; 32]);
        post(Posting::Received, 10).unwrap();
        let refused = LedgerError::Insufficient { book: Book::Wallet, balance: 10, amount: Amount::of(11) };
        assert_eq!(post(Posting::Deposited, 11), Err(refused));
        assert_eq!(post(Posting::Deposited, 0), Err(LedgerError::Nothing));
        // Nobody is paid more than it is owed.
        post(Posting::ShareOwed(TAB), 3).unwrap();
        post(Posting::PayoutOpened(7), 5).unwrap();
        let refused = LedgerError::Insufficient { book: Book::Owed(TAB), balance: -3, amount: Amount::of(4) };
        assert_eq!(post(Posting::SharePaid(TAB, 7), 4), Err(refused));
        post(Posting::SharePaid(TAB, 7), 3).unwrap();
        post(Posting::PayoutReturned(7), 2).unwrap();
        assert_eq!(ledger.balance(Book::Wallet), 7);
        assert_eq!(ledger.balance(Book::Shares), 3);
    }

    proptest! {
        #[test]
        fn books_replay_to_the_same_state_and_damage_is_found(
            acts in prop::collection::vec((0_usize..25, 1_u64..1000), 1..80), damage in (0_usize..80, 0_usize..2000),
        ) {
            let mut ledger = Ledger::default();
            let mut kept = Vec::new();
            for (act, amount) in acts {
                let before = ledger.clone();
                match ledger.append(UnixSeconds(9), all()[act], Amount::of(amount), &[5; 32]) {
                    Ok(entry) => kept.push(entry),
                    Err(_) => prop_assert_eq!(&ledger, &before),
                }
                ledger.assert_balanced();
            }
            let slices = || kept.iter().map(Vec::as_slice);
            let replayed = Ledger::replay(slices());
            prop_assert_eq!(replayed.as_ref(), Ok(&ledger));
            prop_assert_eq!(ledger.entries(), kept.len() as u64);
            // Any entry that is not the last and was changed, left out or said twice is found.
            let at = damage.0 % kept.len().max(1);
            if at + 1 < kept.len() {
                let mut changed = kept.clone();
                let bit = damage.1 % (changed[at].len() * 8);
                changed[at][bit / 8] ^= 1 << (bit % 8);
                prop_assert!(Ledger::replay(changed.iter().map(Vec::as_slice)).is_err());
                let left_out = slices().enumerate().filter(|(index, _)| *index != at).map(|(_, entry)| entry);
                prop_assert!(Ledger::replay(left_out).is_err());
                let twice = slices().flat_map(|entry| [entry, entry]);
                prop_assert!(Ledger::replay(twice).is_err());
            }
        }
    }
}
