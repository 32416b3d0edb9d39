//! Epochs: what accounts are owed for what their tabs gave, locked for them under one root, and claimed by them.
//!
//! ```text
//! credited ─ plan: on the disk ─► planned ─ on the chain ─► open ─ its time is over ─► closed
//!    ▲                               └ its number was taken ────────┐    │
//!    └──────────────── what nobody claimed is owed anew ◄───────────┴────┘
//! ```
//! What an epoch has of an account is on the disk as such before any money moves, so a crash in between opens the same
//! epoch again, which the contract does once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shared::{
    economy::{
        Amount,
        payout::{Epoch, Payout, PayoutError, Share},
    },
    identity::Account,
};

use super::{
    billing::{Billing, BillingError},
    store::Change,
    tab_store::{Earned, EarnerKey, EpochStage, KeptEpoch, TabChange},
};
use crate::{Settlement, StoreError};

/// Epochs that are planned or open: a year of them, one a week. Each has its tree in memory.
const EPOCHS_MAX: usize = 64;
/// Shares of one epoch: a tree of some megabyte. Those who are owed most come first.
const SHARES_MAX: usize = 10_000;

/// An epoch that is planned or open.
#[derive(Clone, Debug)]
struct Known {
    epoch: Epoch,
    payout: Arc<Payout>,
    stage: EpochStage,
}

/// What is known of epochs.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    known: BTreeMap<u64, Known>,
    newest: u64,
}

/// How an epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStands {
    /// Its number.
    pub number: u64,
    /// How far it has come.
    pub stage: EpochStage,
    /// What it locks.
    pub total: Amount,
    /// How many accounts have a share.
    pub shares: usize,
}

/// How tabs are paid.
#[derive(Clone, Debug, Default)]
pub struct TabsStand {
    /// Earned by all accounts, since ever.
    pub earned: Amount,
    /// Of that, in no epoch yet.
    pub due: Amount,
    /// How many accounts that is.
    pub accounts: u64,
    /// Those that are planned or open.
    pub epochs: Vec<EpochStands>,
}

/// How an account stands.
#[derive(Clone, Debug, Default)]
pub struct EarnerStands {
    /// Earned since ever, and paid for.
    pub earned: Amount,
    /// Of that, in no epoch yet.
    pub due: Amount,
    /// Its shares in epochs that are planned or open.
    pub shares: Vec<(Epoch, EpochStage, Share)>,
}

impl Billing {
    // ── What is known ──

    /// When the newest epoch was planned, in seconds since 1970; 0 where none was.
    pub fn newest_epoch(&self) -> u64 {
        self.lock().epochs.newest
    }

    /// The epoch that waits to be opened.
    pub fn planned(&self) -> Option<(Epoch, Arc<Payout>)> {
        let state = self.lock();
        let mut known = state.epochs.known.values();
        known
            .find(|known| known.stage == EpochStage::Planned)
            .map(|known| (known.epoch, known.payout.clone()))
    }

    /// Epochs that were planned since then and are open.
    pub fn opened_since(&self, unix: u64) -> Vec<(Epoch, Arc<Payout>)> {
        let state = self.lock();
        let young = state.epochs.known.range(unix..).map(|(_, known)| known);
        let open = young.filter(|known| matches!(known.stage, EpochStage::Open { .. }));
        open.map(|known| (known.epoch, known.payout.clone())).collect()
    }

    /// Epochs whose time is over, by the chain's.
    pub fn expired(&self, chain_time: u64) -> Vec<(Epoch, Arc<Payout>)> {
        let over =
            |known: &&Known| matches!(known.stage, EpochStage::Open { expires } if expires <= chain_time);
        let state = self.lock();
        state.epochs.known.values().filter(over).map(|known| (known.epoch, known.payout.clone())).collect()
    }

    /// How tabs are paid. Reads the disk.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn tabs_stand(&self) -> Result<TabsStand, BillingError> {
        let epochs = {
            let state = self.lock();
            let stands = state.epochs.known.iter().map(|(number, known)| EpochStands {
                number: *number,
                stage: known.stage,
                total: known.payout.total(),
                shares: known.payout.count(),
            });
            stands.collect()
        };
        let (mut stands, mut accounts) = (TabsStand { epochs, ..TabsStand::default() }, BTreeSet::new());
        for ((account, ..), earned) in self.store.earned(None)? {
            stands.earned = stands.earned.plus(earned.tally.total());
            stands.due = stands.due.plus(earned.due());
            accounts.insert(account);
        }
        stands.accounts = accounts.len() as u64;
        Ok(stands)
    }

    /// How an account stands. Reads the disk.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn earner(&self, account: Account) -> Result<EarnerStands, BillingError> {
        let mut stands = EarnerStands::default();
        for (_, earned) in self.store.earned(Some(account))? {
            stands.earned = stands.earned.plus(earned.tally.total());
            stands.due = stands.due.plus(earned.due());
        }
        let state = self.lock();
        let shares = state.epochs.known.values();
        let shares = shares
            .filter_map(|Known { epoch, payout, stage }| Some((*epoch, *stage, payout.share_of(account)?)));
        stands.shares = shares.collect();
        Ok(stands)
    }

    // ── Commands ──

    /// Plans an epoch for those who are owed `least` or more. Tells what it comes to; nothing where nobody is, or
    /// another one has not been opened yet.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn plan_payout(
        &self,
        contract: Account,
        number: u64,
        least: Amount,
    ) -> Result<Option<Amount>, BillingError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let known = &state.epochs.known;
        let waits = known.values().any(|known| known.stage == EpochStage::Planned);
        if waits || known.len() >= EPOCHS_MAX || number <= state.epochs.newest {
            return Ok(None);
        }
        let earned = self.store.earned(None)?;
        let mut owed: BTreeMap<Account, Amount> = BTreeMap::new();
        for ((account, ..), earned) in &earned {
            let sum = owed.entry(*account).or_default();
            *sum = sum.plus(earned.due());
        }
        let mut most: Vec<(Account, Amount)> =
            owed.into_iter().filter(|(_, amount)| *amount >= least).collect();
        most.sort_by_key(|(_, amount)| core::cmp::Reverse(*amount));
        most.truncate(SHARES_MAX);
        let epoch = self.epoch(contract, number);
        let payout = match Payout::net(&epoch, &most.into_iter().collect(), least) {
            Ok((payout, _)) => payout,
            Err(PayoutError::Nobody) => return Ok(None),
            Err(error) => {
                tracing::error!(%error, "what tabs are owed cannot be paid out");
                return Ok(None);
            }
        };
        let shares: Vec<_> = payout.shares().map(|share| (number, share.account, share.amount)).collect();
        let whole = earned
            .into_iter()
            .filter(|((account, ..), earned)| payout.share_of(*account).is_some() && !earned.due().is_zero());
        let earners = whole
            .map(|(key, earned)| (key, Earned { in_epochs: earned.in_epochs.plus(earned.due()), ..earned }));
        let kept = KeptEpoch { number, contract, root: payout.root(), stage: EpochStage::Planned };
        let tabs =
            TabChange { earners: earners.collect(), epoch: Some(kept), shares, ..TabChange::default() };
        self.store.keep(&Change { tabs, ..Change::default() }).inspect_err(|_| state.failed = true)?;
        let total = payout.total();
        let payout = Arc::new(payout);
        self.purse.watch_payout(number, Arc::clone(&payout));
        state.epochs.newest = number;
        state.epochs.known.insert(number, Known { epoch, payout, stage: EpochStage::Planned });
        Ok(Some(total))
    }

    /// The chain has an epoch.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn handle_opened(&self, number: u64, expires: u64) -> Result<(), BillingError> {
        self.set_stage(number, EpochStage::Open { expires }, Vec::new())
    }

    /// An epoch is over: what these accounts did not claim is owed anew.
    ///
    /// # Errors
    /// [`BillingError`].
    pub fn handle_closed(&self, number: u64, unclaimed: &[Account]) -> Result<(), BillingError> {
        let Some(payout) = self.lock().epochs.known.get(&number).map(|known| known.payout.clone()) else {
            return Ok(());
        };
        let mut earners: Vec<(EarnerKey, Earned)> = Vec::new();
        for account in unclaimed {
            let mut back = payout.share_of(*account).map_or(Amount::ZERO, |share| share.amount);
            for (key, earned) in self.store.earned(Some(*account))? {
                let part = back.min(earned.in_epochs);
                back = back.less(part);
                earners.push((key, Earned { in_epochs: earned.in_epochs.less(part), ..earned }));
            }
        }
        self.set_stage(number, EpochStage::Closed, earners)
    }

    fn set_stage(
        &self,
        number: u64,
        stage: EpochStage,
        earners: Vec<(EarnerKey, Earned)>,
    ) -> Result<(), BillingError> {
        let mut guard = self.working()?;
        let state = &mut *guard;
        let Some(known) = state.epochs.known.get_mut(&number) else { return Ok(()) };
        let (contract, root) = (known.epoch.contract, known.payout.root());
        let tabs = TabChange {
            earners,
            epoch: Some(KeptEpoch { number, contract, root, stage }),
            forget_shares: (stage == EpochStage::Closed).then_some(number),
            ..TabChange::default()
        };
        self.store.keep(&Change { tabs, ..Change::default() }).inspect_err(|_| state.failed = true)?;
        known.stage = stage;
        if stage == EpochStage::Closed {
            state.epochs.known.remove(&number);
        }
        Ok(())
    }

    // ── Below ──

    pub(super) fn resume_epochs(&self, kept: Vec<KeptEpoch>) -> Result<(), BillingError> {
        let mut state = self.lock();
        for KeptEpoch { number, contract, root, stage } in kept {
            state.epochs.newest = state.epochs.newest.max(number);
            if stage == EpochStage::Closed {
                continue;
            }
            let epoch = self.epoch(contract, number);
            let owed = self.store.shares(number)?.into_iter().collect();
            let payout = Payout::net(&epoch, &owed, Amount::ZERO).map(|(payout, _)| Arc::new(payout));
            let payout = payout.ok().filter(|payout| payout.root() == root);
            let payout = payout.ok_or(StoreError::Damaged("an epoch's shares"))?;
            self.purse.watch_payout(number, Arc::clone(&payout));
            state.epochs.known.insert(number, Known { epoch, payout, stage });
        }
        Ok(())
    }

    fn epoch(&self, contract: Account, number: u64) -> Epoch {
        let (Settlement::Unsettled(channels) | Settlement::Chain(channels)) = self.purse.settlement();
        Epoch { chain_id: channels.chain_id, contract, payer: self.purse.account(), number }
    }
}
