//! How one thing that happened becomes entries of the books, all of them or none.

use std::collections::BTreeMap;

use shared::{
    base::UnixSeconds,
    economy::{
        Amount,
        ledger::{Book, Ledger, LedgerError, Posting},
    },
    identity::{Account, eip712::Word},
};

use crate::{
    purse::{FinalState, JobMoves},
    store::{BookedChannel, Direction},
};

/// Entries that are written together.
pub(crate) struct Entries<'a> {
    ledger: &'a mut Ledger,
    unix: UnixSeconds,
    evidence: Word,
    first: u64,
    written: Vec<Vec<u8>>,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(ledger: &'a mut Ledger, unix: UnixSeconds, evidence: Word) -> Self {
        let first = ledger.entries();
        Self { ledger, unix, evidence, first, written: Vec::new() }
    }

    pub(crate) fn close(self) -> (u64, Vec<Vec<u8>>) {
        (self.first, self.written)
    }

    pub(crate) fn post(&mut self, posting: Posting, amount: Amount) -> Result<(), LedgerError> {
        if !amount.is_zero() {
            self.written.push(self.ledger.append(self.unix, posting, amount, &self.evidence)?);
        }
        Ok(())
    }

    /// What an account has, or with its sign turned owes.
    fn has(&self, book: Book) -> Amount {
        Amount::new(self.ledger.balance(book).unsigned_abs()).unwrap_or(Amount::MAX)
    }

    /// Signs for a payee: of what is locked, and beyond that on credit.
    pub(crate) fn promise(&mut self, payee: Account, amount: Amount) -> Result<(), LedgerError> {
        let locked = self.has(Book::Reserved(payee)).min(amount);
        self.post(Posting::VoucherIssued(payee), locked)?;
        self.post(Posting::VoucherUnsecured(payee), amount.less(locked))
    }

    /// From what is booked to what the chain has: money first comes in, then moves, then goes out, so that no account
    /// is ever short on the way.
    pub(crate) fn book(
        &mut self,
        booked: &BTreeMap<(Direction, Account), BookedChannel>,
        unclaimed: &mut BTreeMap<u64, BTreeMap<Account, Amount>>,
        state: &FinalState,
    ) -> Result<(), LedgerError> {
        let before = |key: &(Direction, Account)| booked.get(key).copied().unwrap_or_default();
        // What the channels did to the free balance.
        let (mut gained, mut spent) = (Amount::ZERO, Amount::ZERO);
        for (key, channel) in &state.channels {
            let known = before(key);
            match key.0 {
                Direction::In => gained = gained.plus(channel.claimed.less(known.claimed)),
                Direction::Out => {
                    spent = spent.plus(channel.ceiling.less(known.ceiling));
                    gained = gained.plus(known.ceiling.less(channel.ceiling));
                }
            }
        }
        let free = self.has(Book::Free).plus(gained);
        let deposited = state.free.plus(spent).less(free);
        let withdrawn = free.less(state.free.plus(spent));
        // What stakes did to the wallet.
        let (mut staked, mut unstaked) = (Amount::ZERO, Amount::ZERO);
        for (node, stake) in &state.stakes {
            let known = self.has(Book::Stake(*node));
            staked = staked.plus(stake.amount.plus(stake.withdrawn).less(known));
            unstaked = unstaked.plus(stake.withdrawn);
        }
        let sum = |of: fn(&JobMoves) -> Amount| state.jobs.values().map(of).sum::<Amount>();
        let back = sum(|job| job.refunded).plus(state.jobs_earned).plus(self.returned(unclaimed, state));
        let opened: Amount = state.payouts.values().flat_map(|seen| &seen.opened).map(|it| it.total()).sum();
        let locked = sum(|job| job.locked).plus(opened);
        let wallet = self.has(Book::Wallet).plus(withdrawn).plus(unstaked).plus(back);
        let used = state.wallet.plus(deposited).plus(staked).plus(locked);
        self.post(Posting::Received, used.less(wallet))?;
        self.post(Posting::EscrowEarned, state.jobs_earned)?;
        self.jobs(state, |moves| moves.locked.is_zero())?;
        self.came_back(unclaimed, state)?;
        self.post(Posting::Deposited, deposited)?;
        for (node, stake) in &state.stakes {
            let known = self.has(Book::Stake(*node));
            let target = stake.amount.plus(stake.withdrawn);
            self.post(Posting::Staked(*node), target.less(known))?;
            self.post(Posting::Slashed(*node), known.less(target))?;
            self.post(Posting::Unstaked(*node), stake.withdrawn)?;
        }
        for ((direction, other), channel) in &state.channels {
            let known = before(&(*direction, *other));
            match direction {
                Direction::In => self.claimed(*other, channel.claimed.less(known.claimed))?,
                Direction::Out => self.paid(*other, known, *channel)?,
            }
        }
        for ((direction, other), channel) in &state.channels {
            if *direction == Direction::Out {
                let more = channel.ceiling.less(before(&(*direction, *other)).ceiling);
                self.reserved(*other, more)?;
            }
        }
        self.claimed_from_us(booked, state)?;
        self.post(Posting::Withdrawn, withdrawn)?;
        self.jobs(state, |moves| !moves.locked.is_zero())?;
        self.opened(unclaimed, state)?;
        self.post(Posting::Sent, wallet.less(used))
    }

    /// What happened to jobs that we pay for, of those that are `meant`.
    fn jobs(&mut self, state: &FinalState, meant: impl Fn(&JobMoves) -> bool) -> Result<(), LedgerError> {
        for (job, moves) in state.jobs.iter().filter(|(_, moves)| meant(moves)) {
            self.post(Posting::Escrowed(*job), moves.locked)?;
            self.post(Posting::EscrowPaid(*job), moves.paid)?;
            self.post(Posting::EscrowRefunded(*job), moves.refunded)?;
        }
        Ok(())
    }

    /// What comes back of epochs that are over.
    fn returned(&self, unclaimed: &BTreeMap<u64, BTreeMap<Account, Amount>>, state: &FinalState) -> Amount {
        let over = state.payouts.iter().filter(|(_, seen)| seen.returned);
        over.map(|(epoch, seen)| {
            let left: Amount = unclaimed.get(epoch).into_iter().flatten().map(|(_, amount)| *amount).sum();
            left.less(seen.paid.iter().map(|(_, amount)| *amount).sum())
        })
        .sum()
    }

    /// Shares that were taken of epochs that are booked, and what came back of them.
    fn came_back(
        &mut self,
        unclaimed: &mut BTreeMap<u64, BTreeMap<Account, Amount>>,
        state: &FinalState,
    ) -> Result<(), LedgerError> {
        for (epoch, seen) in state.payouts.iter().filter(|(_, seen)| seen.opened.is_none()) {
            let Some(shares) = unclaimed.get_mut(epoch) else { continue };
            self.taken(*epoch, &seen.paid, shares)?;
            if seen.returned {
                for (account, amount) in core::mem::take(shares) {
                    self.post(Posting::PayoutReturned(*epoch), amount)?;
                    self.post(Posting::ShareLapsed(account), amount)?;
                }
            }
        }
        Ok(())
    }

    /// Epochs that came to the chain.
    fn opened(
        &mut self,
        unclaimed: &mut BTreeMap<u64, BTreeMap<Account, Amount>>,
        state: &FinalState,
    ) -> Result<(), LedgerError> {
        for (epoch, seen) in &state.payouts {
            let Some(payout) = &seen.opened else { continue };
            let mut shares: BTreeMap<Account, Amount> =
                payout.shares().map(|share| (share.account, share.amount)).collect();
            for (account, amount) in &shares {
                self.post(Posting::ShareOwed(*account), *amount)?;
            }
            self.post(Posting::PayoutOpened(*epoch), payout.total())?;
            self.taken(*epoch, &seen.paid, &mut shares)?;
            unclaimed.insert(*epoch, shares);
        }
        Ok(())
    }

    fn taken(
        &mut self,
        epoch: u64,
        paid: &[(Account, Amount)],
        shares: &mut BTreeMap<Account, Amount>,
    ) -> Result<(), LedgerError> {
        for (account, amount) in paid {
            // Each share is paid once, and whole.
            if shares.remove(account).is_some() {
                self.post(Posting::SharePaid(*account, epoch), *amount)?;
            }
        }
        Ok(())
    }

    /// A payer's money arrived. More than we knew of was promised to a disk that we lost.
    fn claimed(&mut self, payer: Account, amount: Amount) -> Result<(), LedgerError> {
        let known = self.has(Book::Receivable(payer));
        self.post(Posting::VoucherAccepted(payer), amount.less(known))?;
        self.post(Posting::VoucherClaimed(payer), amount)
    }

    /// The ceiling fell: what was promised below it and never claimed comes back with it.
    fn paid(
        &mut self,
        payee: Account,
        known: BookedChannel,
        channel: BookedChannel,
    ) -> Result<(), LedgerError> {
        let back = known.ceiling.less(channel.ceiling);
        let unclaimed = back.less(self.has(Book::Reserved(payee))).min(self.has(Book::Signed(payee)));
        self.post(Posting::VoucherUnclaimed(payee), unclaimed)?;
        self.post(Posting::Unreserved(payee), back)
    }

    /// More is locked: first it stands behind what was promised on credit.
    fn reserved(&mut self, payee: Account, amount: Amount) -> Result<(), LedgerError> {
        self.post(Posting::Reserved(payee), amount)?;
        let debt = self.has(Book::Debt(payee)).min(amount);
        self.post(Posting::Secured(payee), debt)
    }

    /// Payees claimed from us. More than we remember to have signed, our signature promised before we lost a disk.
    fn claimed_from_us(
        &mut self,
        booked: &BTreeMap<(Direction, Account), BookedChannel>,
        state: &FinalState,
    ) -> Result<(), LedgerError> {
        for (key, channel) in state.channels.iter().filter(|(key, _)| key.0 == Direction::Out) {
            let known = booked.get(key).copied().unwrap_or_default();
            let amount = channel.claimed.less(known.claimed);
            let forgotten = amount.less(self.has(Book::Signed(key.1)));
            self.promise(key.1, forgotten)?;
            self.post(Posting::VoucherClaimedFromUs(key.1), amount)?;
        }
        Ok(())
    }
}
