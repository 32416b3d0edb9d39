//! Pays tabs: opens epochs on the chain for those who are owed enough, and takes back what nobody claimed.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use chain::{At, Billing, Chain, ChargeTabs, Money};
use shared::{economy::payout::Epoch, economy::payout::Payout, identity::Account};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::blocking;

/// How often it is looked whether something is to be done: an epoch that could not be opened is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const DAY_SECONDS: u64 = 86_400;

/// See the module's head.
pub(super) struct Payouts {
    config: ChargeTabs,
    money: Arc<Money>,
    billing: Arc<Billing>,
}

impl Payouts {
    pub(super) fn new(config: &ChargeTabs, money: Arc<Money>, billing: Arc<Billing>) -> Self {
        Self { config: config.clone(), money, billing }
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let Some(contract) = self.money.pays_out() else {
            tracing::info!("tabs are owed what they earn; to pay it, [chain] needs `rpc` and `payouts`");
            return shutdown.cancelled().await;
        };
        let mut looks = time::interval(LOOK_EVERY.min(Duration::from_secs(self.config.payout_seconds)));
        looks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            match shutdown.run_until_cancelled(self.look(contract)).await {
                Some(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "tabs are not paid yet; it is tried again");
                }
                Some(Ok(())) => {}
                // What was begun is gone on with at the next start.
                None => return,
            }
        }
    }

    async fn look(&self, contract: Account) -> anyhow::Result<()> {
        self.plan(contract).await?;
        let Some(chain) = self.money.chain() else { return Ok(()) };
        if let Some((epoch, payout)) = self.billing.planned() {
            self.open(&chain, epoch, &payout).await?;
        }
        // What is not final yet a chain may lose.
        for (epoch, payout) in self.billing.opened_since(runtime::unix_now().0.saturating_sub(DAY_SECONDS)) {
            if chain.payout(epoch.payer, epoch.number, At::Latest).await?.is_none() {
                tracing::warn!(epoch = epoch.number, "the chain lost an epoch; it is opened again");
                self.open(&chain, epoch, &payout).await?;
            }
        }
        let now = chain.time().await?;
        for (epoch, payout) in self.billing.expired(now) {
            self.close(&chain, epoch, &payout).await?;
        }
        Ok(())
    }

    /// An epoch is named by the second in which it was planned.
    async fn plan(&self, contract: Account) -> anyhow::Result<()> {
        let now = runtime::unix_now().0;
        if now < self.billing.newest_epoch().saturating_add(self.config.payout_seconds) {
            return Ok(());
        }
        let (billing, least) = (Arc::clone(&self.billing), self.config.least);
        if let Some(total) = blocking(move || billing.plan_payout(contract, now, least)).await?? {
            tracing::info!(epoch = now, %total, "tabs are to be paid");
        }
        Ok(())
    }

    /// Has the chain open an epoch, unless it has it.
    async fn open(&self, chain: &Chain, epoch: Epoch, payout: &Payout) -> anyhow::Result<()> {
        let (own, number) = (epoch.payer, epoch.number);
        if chain.payout(own, number, At::Latest).await?.is_none() {
            self.provide(chain, payout).await?;
            let expires = chain.time().await?.saturating_add(self.config.claim_days * DAY_SECONDS);
            chain.open_payout(number, payout, expires).await?;
        }
        let known = chain.payout(own, number, At::Latest).await?.context("the chain lost an epoch again")?;
        let billing = Arc::clone(&self.billing);
        if known.root == payout.root() {
            let expires = known.expires_at;
            blocking(move || billing.handle_opened(number, expires)).await??;
            tracing::info!(epoch = number, total = %payout.total(), shares = payout.count(), "tabs can claim");
        } else {
            tracing::warn!(
                epoch = number,
                "another epoch of this account has this number; it is planned anew"
            );
            let all: Vec<Account> = payout.shares().map(|share| share.account).collect();
            blocking(move || billing.handle_closed(number, &all)).await??;
        }
        Ok(())
    }

    /// Sees to it that the account has what an epoch locks: vouchers are claimed into the free balance.
    async fn provide(&self, chain: &Chain, payout: &Payout) -> anyhow::Result<()> {
        let own = chain.account();
        let missing = payout.total().less(chain.wallet(own, At::Latest).await?);
        if missing.is_zero() {
            return Ok(());
        }
        let free = chain.free(own, At::Latest).await?;
        anyhow::ensure!(
            missing <= free,
            "the account lacks {} base units for them: they come when vouchers are claimed, or by a transfer to it",
            missing.less(free)
        );
        Ok(chain.withdraw(own, missing).await?)
    }

    /// Takes back what nobody claimed of an epoch whose time is over.
    async fn close(&self, chain: &Chain, epoch: Epoch, payout: &Payout) -> anyhow::Result<()> {
        let (own, number) = (epoch.payer, epoch.number);
        let mut unclaimed = Vec::new();
        for share in payout.shares() {
            if !chain.is_paid(own, number, share.index).await? {
                unclaimed.push(share.account);
            }
        }
        let left = chain.payout(own, number, At::Latest).await?.map(|state| state.left);
        if left.is_some_and(|left| !left.is_zero()) {
            chain.reclaim_payout(number).await?;
        }
        tracing::info!(epoch = number, unclaimed = unclaimed.len(), "an epoch is over");
        let billing = Arc::clone(&self.billing);
        Ok(blocking(move || billing.handle_closed(number, &unclaimed)).await??)
    }
}
