//! Looks at the chain from time to time: tells the purse what its channels hold, claims what is due, and books what is
//! final.
//!
//! It has no memory of its own that a crash could take. Whether a claim went through is asked of the chain each time: one
//! that a re-organisation undid is due again, one that went through twice is not possible. While the chain's node
//! is away nothing is lost but time, of which a thaw leaves hours.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use shared::{
    base::UnixSeconds,
    economy::{
        Amount,
        payee::ChannelView,
        settlement::{BATCH_VOUCHERS_MAX, ClaimRule, Claimable},
        voucher::SignedVoucher,
    },
    identity::{Account, eip712::Word},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{At, Chain, ChainError},
    purse::{FinalState, PayoutSeen, Purse, PurseError, StakeState},
    store::{BookedChannel, Direction},
};

/// Whoever wants a look soon waits so long since the last: each asks the chain's node some questions.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so many failures in a row the wait stays where it is: `poll` times 2⁴.
const BACK_OFF_MAX: u32 = 4;

/// What an operator wants of it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When to claim.
    pub rule: ClaimRule,
    /// What a whole coin of the chain is worth, in base units of the token.
    pub coin_price: u64,
    /// How often to look.
    pub poll: Duration,
    /// Nodes whose stake is ours.
    pub stakes: Vec<Word>,
}

/// What one look brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Vouchers that were claimed, for us or others.
    pub claimed: usize,
    /// Whether a final block had something new for the books.
    pub booked: bool,
}

/// Why a look ended early. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum SettlerError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The purse.
    #[error(transparent)]
    Purse(#[from] PurseError),
}

/// It looks.
#[derive(Debug)]
pub struct Settler {
    chain: Arc<Chain>,
    purse: Arc<Purse>,
    terms: Terms,
}

impl Settler {
    /// For one account's purse.
    pub const fn new(chain: Arc<Chain>, purse: Arc<Purse>, terms: Terms) -> Self {
        Self { chain, purse, terms }
    }

    /// Looks until it is told to stop; less often while the chain's node is away, and sooner when `wanted` says so. Tells
    /// `seen` what each look brought.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        wanted: &Notify,
        mut seen: impl FnMut(&Result<Looked, SettlerError>) + Send,
    ) {
        let mut failures = 0;
        loop {
            let Some(looked) = shutdown.run_until_cancelled(self.look(runtime::unix_now())).await else {
                return;
            };
            seen(&looked);
            match looked {
                Ok(looked) => {
                    failures = 0;
                    tracing::debug!(claimed = looked.claimed, booked = looked.booked, "looked at the chain");
                }
                Err(SettlerError::Purse(error)) => {
                    tracing::error!(%error, "the books cannot go on");
                    return;
                }
                Err(SettlerError::Chain(error)) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "the chain could not be looked at");
                }
            }
            let wait = self.terms.poll * 2_u32.pow(failures.min(BACK_OFF_MAX));
            let waited = async {
                let sooner = async {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    wanted.notified().await;
                };
                let _ = tokio::time::timeout(wait, sooner).await;
            };
            if shutdown.run_until_cancelled(waited).await.is_none() {
                return;
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`SettlerError`].
    pub async fn look(&self, unix: UnixSeconds) -> Result<Looked, SettlerError> {
        self.ceilings().await?;
        let claimed = self.claims().await?;
        let booked = self.book(unix).await?;
        Ok(Looked { claimed, booked })
    }

    /// What we locked for others.
    async fn ceilings(&self) -> Result<(), SettlerError> {
        let own = self.purse.account();
        for (direction, other) in self.purse.channels() {
            if direction == Direction::Out {
                let channel = self.chain.channel(own, other, At::Latest).await?;
                // Of money that we are taking back nothing more is promised.
                let ceiling = if channel.thawed_at == 0 { channel.ceiling } else { channel.claimed };
                self.purse.handle_ceiling(other, ceiling);
            }
        }
        Ok(())
    }

    /// Claims what is due, each payee's in batches. A batch that fails does not hold up the others.
    async fn claims(&self) -> Result<usize, SettlerError> {
        let own = self.purse.account();
        for (direction, payer) in self.purse.channels() {
            if direction == Direction::In {
                self.view(payer, own).await?;
            }
        }
        let (gas_price, chain_time) = (self.gas_price().await?, self.chain.time().await?);
        let mut claimed = 0;
        let mut failure = None;
        let mut by_payee: BTreeMap<Account, Vec<SignedVoucher>> = BTreeMap::new();
        by_payee.insert(own, self.purse.vouchers());
        for guarded in self.purse.guarded() {
            by_payee.entry(guarded.voucher.payee).or_default().push(guarded);
        }
        for (payee, vouchers) in by_payee {
            let mut claimables = Vec::with_capacity(vouchers.len());
            for voucher in &vouchers {
                let mut claimable = self.claimable(voucher, chain_time).await?;
                // For others we only see to it that nothing is lost.
                if payee != own && !claimable.leaving {
                    claimable.amount = Amount::ZERO;
                }
                claimables.push(claimable);
            }
            let due = self.terms.rule.due(&claimables, gas_price);
            for places in due.chunks(BATCH_VOUCHERS_MAX) {
                let batch: Vec<SignedVoucher> = places.iter().map(|place| vouchers[*place]).collect();
                match self.chain.claim(payee, &batch).await {
                    Ok(()) => claimed += batch.len(),
                    Err(error) => failure = Some(error),
                }
            }
        }
        // Claims that went through are seen at the next look, whatever failed.
        failure.map_or(Ok(claimed), |error| Err(error.into()))
    }

    /// Tells the purse what a payer's channel holds.
    async fn view(&self, payer: Account, payee: Account) -> Result<(), SettlerError> {
        let channel = self.chain.channel(payer, payee, At::Latest).await?;
        let mut view = ChannelView {
            ceiling: channel.ceiling,
            claimed: channel.claimed,
            thawing: channel.thawed_at != 0,
            signers: BTreeSet::new(),
        };
        // A key that is being revoked signs nothing new.
        for signer in self.purse.signers_told(payer) {
            if self.chain.signer_good_until(payer, signer).await? == u64::MAX {
                view.signers.insert(signer);
            }
        }
        self.purse.handle_view(payer, view);
        Ok(())
    }

    /// What a voucher would bring, and whether its time is running.
    async fn claimable(&self, signed: &SignedVoucher, chain_time: u64) -> Result<Claimable, SettlerError> {
        let voucher = signed.voucher;
        let channel = self.chain.channel(voucher.payer, voucher.payee, At::Latest).await?;
        let amount = voucher.cumulative.min(channel.ceiling).less(channel.claimed);
        let mut leaving = channel.thawed_at != 0;
        let signer = signed.signer(&self.chain.contract().separator()).map(|key| key.account());
        let mut good = signer.is_some();
        if let Some(hot) = signer.filter(|signer| *signer != voucher.payer) {
            let until = self.chain.signer_good_until(voucher.payer, hot).await?;
            good = until > chain_time;
            leaving |= until != u64::MAX;
        }
        Ok(Claimable { amount: if good { amount } else { Amount::ZERO }, leaving })
    }

    /// In 10⁻¹² base units of the token for a unit of gas.
    async fn gas_price(&self) -> Result<u64, SettlerError> {
        let wei = self.chain.gas_price().await?;
        let price = wei.saturating_mul(self.terms.coin_price.into()) / 1_000_000;
        Ok(u64::try_from(price).unwrap_or(u64::MAX))
    }

    /// Books what the newest final block has.
    async fn book(&self, unix: UnixSeconds) -> Result<bool, SettlerError> {
        let block = self.chain.finalized().await?;
        let booked = self.purse.booked_block();
        if booked.is_some_and(|booked| booked >= block.number) {
            return Ok(false);
        }
        let (own, at) = (self.purse.account(), At::Block(block.number));
        let mut state = FinalState {
            number: block.number,
            block: block.hash,
            wallet: self.chain.wallet(own, at).await?,
            free: self.chain.free(own, at).await?,
            ..FinalState::default()
        };
        for (direction, other) in self.purse.channels() {
            let (payer, payee) = match direction {
                Direction::In => (other, own),
                Direction::Out => (own, other),
            };
            let channel = self.chain.channel(payer, payee, at).await?;
            let booked = BookedChannel { ceiling: channel.ceiling, claimed: channel.claimed };
            state.channels.insert((direction, other), booked);
        }
        for node in &self.terms.stakes {
            let amount = self.chain.stake_of(*node, at).await?;
            // Before the books began nothing is of interest.
            let since = booked.map_or(block.number, |booked| booked) + 1;
            let withdrawn = self.chain.stake_withdrawn(*node, since, block.number).await?;
            state.stakes.insert(*node, StakeState { amount, withdrawn });
        }
        let since = booked.unwrap_or(block.number) + 1;
        (state.jobs, state.jobs_earned) =
            self.chain.job_moves(self.purse.open_jobs(), since, block.number).await?;
        for (epoch, payout, is_booked) in self.purse.payouts() {
            let Some(found) = self.chain.payout(own, epoch, at).await? else { continue };
            if found.root != payout.root() {
                continue;
            }
            // It was opened after the block that was booked last, or is booked.
            let since = booked.map_or(block.number, |booked| booked + 1);
            let paid = self.chain.shares_paid(own, epoch, (since, block.number)).await?;
            let returned = is_booked && found.left.is_zero();
            let opened = (!is_booked).then_some(payout);
            state.payouts.insert(epoch, PayoutSeen { opened, paid, returned });
        }
        let purse = self.purse.clone();
        let booked = tokio::task::spawn_blocking(move || purse.reconcile(unix, &state)).await;
        Ok(booked.map_err(|_| PurseError::Failed)??)
    }
}
