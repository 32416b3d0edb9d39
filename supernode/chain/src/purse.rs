//! A node's money: what its peers promised it, what it promised them, and the books of both, on the disk before
//! anything follows from it.
//!
//! It works without a chain: promises are then backed by credit that the operator gives, and wait. Calls write to the
//! disk and return when it is there; async callers wrap them in `spawn_blocking`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::{
    base::{Instant, UnixSeconds},
    economy::{
        Amount,
        ledger::{Book, Ledger, LedgerError, Posting},
        payee::{Accepted, ChannelView, Payee, PayeeState, SIGNERS_MAX, VoucherRefused},
        payer::{Agreement, AnswerError, Payer},
        payout::Payout,
        price::{Price, Unit},
        voucher::{ChannelContract, SignedVoucher},
    },
    identity::{
        Account, AccountKey,
        eip712::{Separator, Word},
    },
    wire::economy as wire,
};

use crate::{
    entries::Entries,
    store::{BookedChannel, Change, Direction, Store, StoreError},
};

/// Others that a node deals with at a time; each costs some kilobyte.
pub const PEERS_MAX: usize = 50_000;
/// Vouchers that are watched for others.
pub const GUARDED_MAX: usize = 50_000;

/// Why money did not move.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// The disk failed. Nothing is served or promised until the node starts again: what is in memory may be ahead of it.
    #[error("vouchers cannot be kept any more: {0}")]
    Store(#[from] StoreError),
    /// It failed before.
    #[error("vouchers cannot be kept since the disk failed")]
    Failed,
    /// The books do not permit it, or are damaged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No voucher for us.
    #[error(transparent)]
    Refused(#[from] VoucherRefused),
    /// A payee's answer proves nothing.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Nothing was agreed with this account yet.
    #[error("nothing was agreed with {0}")]
    Unknown(Account),
    /// More than [`PEERS_MAX`] or [`GUARDED_MAX`].
    #[error("the purse deals with as many as it can")]
    Full,
}

/// How a node's promises stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// There is no way to a chain: promises are credit, and wait for one.
    Unsettled(ChannelContract),
    /// Claims go to this contract.
    Chain(ChannelContract),
}

/// What the chain had in one block that will not be undone.
#[derive(Clone, Debug, Default)]
pub struct FinalState {
    /// The block's number,
    pub number: u64,
    /// and its hash: the evidence of what is booked.
    pub block: Word,
    /// The token in our account.
    pub wallet: Amount,
    /// In the channels' contract.
    pub free: Amount,
    /// Channels by direction and other side.
    pub channels: BTreeMap<(Direction, Account), BookedChannel>,
    /// What is at stake, by node.
    pub stakes: BTreeMap<Word, StakeState>,
    /// What happened to jobs that we pay for since the block that was booked last.
    pub jobs: BTreeMap<Word, JobMoves>,
    /// What jobs that we did brought since then.
    pub jobs_earned: Amount,
    /// Our epochs of earners, by their numbers.
    pub payouts: BTreeMap<u64, PayoutSeen>,
}

/// What happened to an epoch since the block that was booked last.
#[derive(Clone, Debug, Default)]
pub struct PayoutSeen {
    /// It was opened.
    pub opened: Option<Arc<Payout>>,
    /// Who took its share.
    pub paid: Vec<(Account, Amount)>,
    /// Whether what nobody took came back.
    pub returned: bool,
}

/// How one channel stands, by vouchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stands {
    /// All that was delivered or verified, since ever.
    pub total: Amount,
    /// Of that, by the newest voucher.
    pub paid: Amount,
    /// Not paid, or by a voucher that nothing stands behind.
    pub owed: Amount,
    /// What may be owed before service stops; nothing where we are the payer.
    pub window: Amount,
}

/// What some blocks did to one job's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobMoves {
    /// Locked for it.
    pub locked: Amount,
    /// Given to who did it.
    pub paid: Amount,
    /// Given back to us.
    pub refunded: Amount,
}

/// One node's stake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StakeState {
    /// Bonded and unbonding.
    pub amount: Amount,
    /// What was withdrawn from it since the block that was booked last.
    pub withdrawn: Amount,
}

/// The purse.
#[derive(Debug)]
pub struct Purse {
    key: AccountKey,
    settlement: Settlement,
    separator: Separator,
    start: Amount,
    store: Store,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    payees: BTreeMap<Account, Payee>,
    payers: BTreeMap<Account, Payer>,
    guarded: BTreeMap<(Account, Account), SignedVoucher>,
    /// Hot keys that payers say may sign for them. The chain is asked.
    told: BTreeMap<Account, BTreeSet<Account>>,
    booked: BTreeMap<(Direction, Account), BookedChannel>,
    /// Epochs that may come to the chain, or are there.
    watched: BTreeMap<u64, Arc<Payout>>,
    /// Those that are booked, with the shares that nobody took.
    unclaimed: BTreeMap<u64, BTreeMap<Account, Amount>>,
    ledger: Ledger,
    cursor: Option<u64>,
    failed: bool,
}

impl Purse {
    /// Opens the purse of `key`'s account, with all it had. `start` is the worth that a stranger may owe.
    ///
    /// # Errors
    /// [`PurseError::Store`], or [`PurseError::Ledger`] where the books are damaged.
    pub fn open(
        path: &Path,
        key: AccountKey,
        settlement: Settlement,
        start: Amount,
    ) -> Result<Self, PurseError> {
        let (Settlement::Unsettled(contract) | Settlement::Chain(contract)) = settlement;
        let (account, separator) = (key.account(), contract.separator());
        let store = Store::open(path, account, contract)?;
        let kept = store.read()?;
        let mut inner =
            Inner { ledger: Ledger::replay(kept.entries.iter().map(Vec::as_slice))?, ..Inner::default() };
        inner.cursor = kept.cursor;
        for (payer, state) in kept.payees {
            inner.payees.insert(payer, Payee::new(account, payer, separator, start, state));
        }
        for (payee, state) in kept.payers {
            inner.payers.insert(payee, Payer::new(account, payee, separator, start, state));
        }
        inner.guarded = kept.guarded.into_iter().map(|s| ((s.voucher.payee, s.voucher.payer), s)).collect();
        for epoch in kept.epochs {
            inner.unclaimed.insert(epoch, BTreeMap::new());
        }
        for (epoch, account, amount) in kept.shares {
            inner.unclaimed.entry(epoch).or_default().insert(account, amount);
        }
        inner.booked = kept.channels.into_iter().map(|(way, other, c)| ((way, other), c)).collect();
        Ok(Self { key, settlement, separator, start, store, inner: Mutex::new(inner) })
    }

    // ── What is known ──

    /// Whose it is.
    pub fn account(&self) -> Account {
        self.key.account()
    }

    /// Whether promises can be claimed.
    pub const fn settlement(&self) -> Settlement {
        self.settlement
    }

    /// What an account of the books has.
    pub fn balance(&self, book: Book) -> i128 {
        self.lock().ledger.balance(book)
    }

    /// All accounts of the books that have something.
    pub fn balances(&self) -> Vec<(Book, i128)> {
        self.lock().ledger.balances().collect()
    }

    /// How many entries the books have, and the hash of the newest.
    pub fn head(&self) -> (u64, Word) {
        let inner = self.lock();
        (inner.ledger.entries(), inner.ledger.head())
    }

    /// The block that was booked last.
    pub fn booked_block(&self) -> Option<u64> {
        self.lock().cursor
    }

    /// What may be served to a payer now, in worth; nothing where nothing was agreed, or the disk failed.
    pub fn allowance(&self, payer: Account) -> Amount {
        let inner = self.lock();
        if inner.failed {
            return Amount::ZERO;
        }
        inner.payees.get(&payer).map_or(Amount::ZERO, Payee::allowance)
    }

    /// What a payer owes us, what is covered by kept vouchers, and how much it may owe.
    pub fn stands(&self, payer: Account) -> Option<Stands> {
        let inner = self.lock();
        let payee = inner.payees.get(&payer)?;
        let PayeeState { newest, delivered } = payee.state();
        let paid = newest.map_or(Amount::ZERO, |newest| newest.voucher.cumulative);
        Some(Stands { total: delivered, paid, owed: payee.owed(), window: payee.window() })
    }

    /// What we owe a payee and what we signed.
    pub fn owes(&self, payee: Account) -> Option<Stands> {
        let inner = self.lock();
        let payer = inner.payers.get(&payee)?;
        let state = payer.state();
        let (total, paid) = (state.verified, state.signed);
        Some(Stands { total, paid, owed: payer.owed(), window: Amount::ZERO })
    }

    /// What to tell a payer that has another count.
    ///
    /// # Errors
    /// [`PurseError::Unknown`].
    pub fn answer(&self, payer: Account) -> Result<wire::VoucherAnswer, PurseError> {
        Ok(self.lock().payees.get(&payer).ok_or(PurseError::Unknown(payer))?.answer())
    }

    /// The newest voucher of each of our payers.
    pub fn vouchers(&self) -> Vec<SignedVoucher> {
        self.lock().payees.values().filter_map(|payee| payee.newest().copied()).collect()
    }

    /// The vouchers that we watch for others.
    pub fn guarded(&self) -> Vec<SignedVoucher> {
        self.lock().guarded.values().copied().collect()
    }

    /// Keys that may sign for a payer, if the chain says so: those it told us of, and the one that signed last.
    pub fn signers_told(&self, payer: Account) -> BTreeSet<Account> {
        let inner = self.lock();
        let mut signers = inner.told.get(&payer).cloned().unwrap_or_default();
        let newest = inner.payees.get(&payer).and_then(Payee::newest);
        let last = newest.and_then(|newest| newest.signer(&self.separator)).map(|key| key.account());
        signers.extend(last.filter(|signer| *signer != payer));
        signers
    }

    /// Everybody we deal with over a channel.
    pub fn channels(&self) -> Vec<(Direction, Account)> {
        let inner = self.lock();
        let payers = inner.payees.keys().map(|payer| (Direction::In, *payer));
        let payees = inner.payers.keys().map(|payee| (Direction::Out, *payee));
        payers
            .chain(payees)
            .chain(inner.booked.keys().copied())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Jobs that we pay for and that are not over.
    pub fn open_jobs(&self) -> BTreeSet<Word> {
        let inner = self.lock();
        let job = |(book, _)| if let Book::Escrow(job) = book { Some(job) } else { None };
        inner.ledger.balances().filter_map(job).collect()
    }

    /// Epochs to look for, and whether each is booked already. Those that are done with are left out.
    pub fn payouts(&self) -> Vec<(u64, Arc<Payout>, bool)> {
        let inner = self.lock();
        let open = inner.watched.iter().filter_map(|(epoch, payout)| {
            let unclaimed = inner.unclaimed.get(epoch);
            let done = unclaimed.is_some_and(BTreeMap::is_empty);
            (!done).then(|| (*epoch, Arc::clone(payout), unclaimed.is_some()))
        });
        open.collect()
    }

    // ── The world speaks ──

    /// We sent so many units to a payer; tells whether they have a price.
    ///
    /// # Errors
    /// [`PurseError::Unknown`].
    pub fn handle_sent(
        &self,
        now: Instant,
        payer: Account,
        unit: Unit,
        units: u64,
    ) -> Result<bool, PurseError> {
        let mut inner = self.lock();
        let payee = inner.payees.get_mut(&payer).ok_or(PurseError::Unknown(payer))?;
        Ok(payee.handle_sent(now, unit, units))
    }

    /// We verified so many units of a payee; tells whether they have a price.
    ///
    /// # Errors
    /// [`PurseError::Unknown`].
    pub fn handle_verified(
        &self,
        now: Instant,
        payee: Account,
        unit: Unit,
        units: u64,
    ) -> Result<bool, PurseError> {
        let mut inner = self.lock();
        let payer = inner.payers.get_mut(&payee).ok_or(PurseError::Unknown(payee))?;
        Ok(payer.handle_verified(now, unit, units))
    }

    /// What a payer got since ever, by evidence that is on the disk. Tells what it comes to: what was paid counts without.
    ///
    /// # Errors
    /// [`PurseError::Unknown`].
    pub fn handle_delivered(
        &self,
        now: Instant,
        payer: Account,
        total: Amount,
    ) -> Result<Amount, PurseError> {
        let mut inner = self.lock();
        let payee = inner.payees.get_mut(&payer).ok_or(PurseError::Unknown(payer))?;
        Ok(payee.handle_evidence(now, total))
    }

    /// What we got of a payee since ever, likewise.
    ///
    /// # Errors
    /// [`PurseError::Unknown`].
    pub fn handle_received(&self, now: Instant, payee: Account, total: Amount) -> Result<Amount, PurseError> {
        let mut inner = self.lock();
        let payer = inner.payers.get_mut(&payee).ok_or(PurseError::Unknown(payee))?;
        Ok(payer.handle_evidence(now, total))
    }

    /// A payer's voucher came. When this returns it is on the disk, and more may be served.
    ///
    /// # Errors
    /// [`PurseError`]; where it is refused nothing has changed.
    pub fn handle_voucher(
        &self,
        now: Instant,
        unix: UnixSeconds,
        signed: &SignedVoucher,
    ) -> Result<Accepted, PurseError> {
        let mut guard = self.working()?;
        let inner = &mut *guard;
        let payer = signed.voucher.payer;
        let payee = inner.payees.get_mut(&payer).ok_or(PurseError::Unknown(payer))?;
        let accepted = payee.handle_voucher(signed)?;
        let Accepted::Newer { amount } = accepted else { return Ok(accepted) };
        let mut entries = Entries::of(&mut inner.ledger, unix, signed.voucher.digest(&self.separator));
        let posted = entries.post(Posting::VoucherAccepted(payer), amount);
        let change =
            Change { payees: vec![(payer, payee.state())], entries: entries.close(), ..Change::default() };
        let kept = posted.map_err(PurseError::from).and_then(|()| Ok(self.store.keep(&change)?));
        inner.failed = kept.is_err();
        kept?;
        payee.handle_kept(now, signed.voucher.cumulative);
        Ok(accepted)
    }

    /// A payer of ours says that this key signs for it.
    ///
    /// # Errors
    /// [`PurseError::Unknown`], or [`PurseError::Full`] after [`SIGNERS_MAX`] of them.
    pub fn handle_signer(&self, payer: Account, signer: Account) -> Result<(), PurseError> {
        let mut inner = self.lock();
        if !inner.payees.contains_key(&payer) {
            return Err(PurseError::Unknown(payer));
        }
        let told = inner.told.entry(payer).or_default();
        if told.len() >= SIGNERS_MAX && !told.contains(&signer) {
            return Err(PurseError::Full);
        }
        told.insert(signer);
        Ok(())
    }

    /// A payee answered that it has another count.
    ///
    /// # Errors
    /// [`PurseError`].
    pub fn handle_answer(
        &self,
        payee: Account,
        answer: &wire::VoucherAnswer,
    ) -> Result<Agreement, PurseError> {
        let mut inner = self.working()?;
        let payer = inner.payers.get_mut(&payee).ok_or(PurseError::Unknown(payee))?;
        Ok(payer.handle_answer(answer, &self.key.public())?)
    }

    /// The chain's word on a payer's channel; without a chain the operator's credit.
    pub fn handle_view(&self, payer: Account, view: ChannelView) {
        if let Some(payee) = self.lock().payees.get_mut(&payer) {
            payee.set_view(view);
        }
    }

    /// What is locked for a payee, or the credit that we may take.
    pub fn handle_ceiling(&self, payee: Account, ceiling: Amount) {
        if let Some(payer) = self.lock().payers.get_mut(&payee) {
            payer.set_ceiling(ceiling);
        }
    }

    // ── Our services speak ──

    /// A price was agreed for what we serve.
    ///
    /// # Errors
    /// [`PurseError::Full`].
    pub fn sell(&self, payer: Account, unit: Unit, price: Price) -> Result<(), PurseError> {
        let mut inner = self.lock();
        if inner.payees.len() >= PEERS_MAX && !inner.payees.contains_key(&payer) {
            return Err(PurseError::Full);
        }
        let new = || Payee::new(self.account(), payer, self.separator, self.start, Default::default());
        inner.payees.entry(payer).or_insert_with(new).set_price(unit, price);
        Ok(())
    }

    /// A price was agreed for what we get.
    ///
    /// # Errors
    /// [`PurseError::Full`].
    pub fn buy(&self, payee: Account, unit: Unit, price: Price) -> Result<(), PurseError> {
        let mut inner = self.lock();
        if inner.payers.len() >= PEERS_MAX && !inner.payers.contains_key(&payee) {
            return Err(PurseError::Full);
        }
        let new = || Payer::new(self.account(), payee, self.separator, self.start, Default::default());
        inner.payers.entry(payee).or_insert_with(new).set_price(unit, price);
        Ok(())
    }

    /// The voucher that is due for a payee, on the disk already; `settle` for any sum.
    ///
    /// # Errors
    /// [`PurseError`].
    pub fn issue(
        &self,
        now: Instant,
        unix: UnixSeconds,
        payee: Account,
        settle: bool,
    ) -> Result<Option<SignedVoucher>, PurseError> {
        let mut guard = self.working()?;
        let inner = &mut *guard;
        let payer = inner.payers.get_mut(&payee).ok_or(PurseError::Unknown(payee))?;
        let before = payer.state().signed;
        let Some(voucher) = payer.poll_voucher(now, settle) else { return Ok(None) };
        let more = voucher.cumulative.less(before);
        let mut entries = Entries::of(&mut inner.ledger, unix, voucher.digest(&self.separator));
        let posted = entries.promise(payee, more);
        let change =
            Change { payers: vec![(payee, payer.state())], entries: entries.close(), ..Change::default() };
        let kept = posted.map_err(PurseError::from).and_then(|()| Ok(self.store.keep(&change)?));
        inner.failed = kept.is_err();
        kept?;
        Ok(Some(voucher.sign(&self.separator, &self.key)))
    }

    /// An epoch of earners may come to the chain: its shares are to be booked then.
    pub fn watch_payout(&self, epoch: u64, payout: Arc<Payout>) {
        self.lock().watched.insert(epoch, payout);
    }

    /// Watches a voucher for another payee: where its payer leaves, it is claimed.
    ///
    /// # Errors
    /// [`PurseError`]; a voucher that nobody signed is refused.
    pub fn guard(&self, signed: &SignedVoucher) -> Result<(), PurseError> {
        if signed.signer(&self.separator).is_none() {
            return Err(VoucherRefused::Signature.into());
        }
        let mut inner = self.working()?;
        let key = (signed.voucher.payee, signed.voucher.payer);
        match inner.guarded.get(&key) {
            Some(known) if known.voucher.cumulative >= signed.voucher.cumulative => return Ok(()),
            None if inner.guarded.len() >= GUARDED_MAX => return Err(PurseError::Full),
            _ => {}
        }
        self.store.keep(&Change { guarded: vec![*signed], ..Change::default() })?;
        inner.guarded.insert(key, *signed);
        Ok(())
    }

    /// Keeps the counts of what was served and verified since the last vouchers: what a crash loses of them is what was
    /// counted since.
    ///
    /// # Errors
    /// [`PurseError::Store`].
    pub fn checkpoint(&self) -> Result<(), PurseError> {
        let inner = self.working()?;
        let payees = inner.payees.iter().map(|(payer, payee)| (*payer, payee.state())).collect();
        let payers = inner.payers.iter().map(|(payee, payer)| (*payee, payer.state())).collect();
        self.store.keep(&Change { payees, payers, ..Change::default() })?;
        Ok(())
    }

    /// Books what the chain has in a final block. Tells whether anything was new.
    ///
    /// # Errors
    /// [`PurseError`].
    pub fn reconcile(&self, unix: UnixSeconds, state: &FinalState) -> Result<bool, PurseError> {
        let mut guard = self.working()?;
        let inner = &mut *guard;
        let mut entries = Entries::of(&mut inner.ledger, unix, state.block);
        let mut unclaimed = inner.unclaimed.clone();
        let posted = entries.book(&inner.booked, &mut unclaimed, state);
        let (first, written) = entries.close();
        let channels: Vec<_> = state
            .channels
            .iter()
            .filter(|(key, channel)| inner.booked.get(key) != Some(channel))
            .map(|((direction, other), channel)| (*direction, *other, *channel))
            .collect();
        let new = !written.is_empty();
        let change = Change {
            channels: channels.clone(),
            entries: (first, written),
            cursor: Some(state.number),
            epochs: state.payouts.keys().map(|epoch| (*epoch, unclaimed.get(epoch).cloned())).collect(),
            ..Change::default()
        };
        let kept = posted.map_err(PurseError::from).and_then(|()| Ok(self.store.keep(&change)?));
        inner.failed = kept.is_err();
        kept?;
        inner.cursor = Some(state.number);
        inner.unclaimed = unclaimed;
        inner.booked.extend(channels.into_iter().map(|(way, other, channel)| ((way, other), channel)));
        Ok(new)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in the middle leaves memory ahead of the disk; the flag says so.
        self.inner.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut inner = poisoned.into_inner();
            inner.failed = true;
            inner
        })
    }

    fn working(&self) -> Result<MutexGuard<'_, Inner>, PurseError> {
        let inner = self.lock();
        if inner.failed { Err(PurseError::Failed) } else { Ok(inner) }
    }
}
