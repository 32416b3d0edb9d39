//! The side that is paid: takes receipts, bills them on the streams of payers, and stops and goes on serving.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use cdn::{Cdn, Withheld};
use chain::{Billing, Delivered};
use prost::Message as _;
use shared::{
    base::SiteId,
    cdn::manifest::Pin,
    economy::{Amount, agreement::Agreement},
    wire::{Refusal, economy as wire},
};
use tokio::{sync::Notify, sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;
use wire::payment::Message;

use super::{Incoming, Means, blocking, frames::Frames};

/// Streams of payers at a time: one a site is what is needed.
const SESSIONS_MAX: usize = 1024;
/// Taken at once from what links reported: one write to the disk.
const NEWS_AT_ONCE: usize = 1024;
/// How often it is looked whether sites may be served: what the chain says of a channel comes by no event.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A payer says who it is by then.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// It verifies 200 receipts and writes twice to its disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Small sums wait so long for more of them.
const GATHER: Duration = Duration::from_secs(1);
/// What is owed is said so often, though nothing new came: a payer's channel may have been filled meanwhile.
const REMIND_EVERY: Duration = Duration::from_secs(10);
/// Who says when to come back is not asked before, and at least once an hour.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The sites with these names.
///
/// # Errors
/// Names one that this node does not serve.
pub(super) fn required(cdn: &Cdn, names: &[String]) -> anyhow::Result<BTreeSet<SiteId>> {
    let of = |name: &String| {
        let named = |site: &SiteId| cdn.pin(*site).is_some_and(|pin| pin.site == *name);
        let found: Vec<SiteId> = cdn.site_ids().filter(named).collect();
        if found.is_empty() {
            bail!("[payments.charge] required names {name:?}, which is none of [[cdn.sites]]");
        }
        Ok(found)
    };
    let found: Vec<_> = names.iter().map(of).collect::<anyhow::Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// What is shared by the streams. Cheap to clone.
#[derive(Clone)]
pub(super) struct Payee {
    billing: Arc<Billing>,
    means: Means,
    cdn: Cdn,
    required: Arc<BTreeSet<SiteId>>,
    sites: Arc<Mutex<BTreeMap<SiteId, Session>>>,
}

/// The stream by which a site is paid for.
struct Session {
    /// Told of each receipt.
    news: Arc<Notify>,
    /// Ended when a newer one takes its place.
    end: CancellationToken,
    /// Whether its last answer brought no money: what is owed is then not on its way.
    fruitless: bool,
}

impl Payee {
    pub(super) fn new(billing: Arc<Billing>, means: Means, cdn: Cdn, required: BTreeSet<SiteId>) -> Self {
        Self { billing, means, cdn, required: Arc::new(required), sites: Arc::default() }
    }

    /// Runs until `shutdown`; then what links reported last is written.
    pub(super) async fn run(
        self,
        mut inbox: mpsc::Receiver<Delivered>,
        mut streams: mpsc::Receiver<Incoming>,
        shutdown: CancellationToken,
    ) {
        let mut sessions = JoinSet::new();
        let mut looks = time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(first) = inbox.recv() => {
                    if let Err(error) = self.take(first, &mut inbox).await {
                        tracing::error!(%error, "nothing is billed any more");
                        self.look();
                        return shutdown.cancelled().await;
                    }
                }
                Some(incoming) = streams.recv(), if sessions.len() < SESSIONS_MAX => {
                    let (payee, shutdown) = (self.clone(), shutdown.clone());
                    sessions.spawn(async move {
                        let peer = incoming.peer.clone();
                        let ended = shutdown.run_until_cancelled(payee.serve(incoming)).await;
                        if let Some(Err(error)) = ended {
                            let error = format!("{error:#}");
                            tracing::debug!(%peer, error, "a payer's stream ended");
                        }
                    });
                }
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                _ = looks.tick() => self.look(),
            }
        }
        sessions.shutdown().await;
        inbox.close();
        if let Some(first) = inbox.recv().await
            && let Err(error) = self.take(first, &mut inbox).await
        {
            tracing::error!(%error, "the last receipts were not kept");
        }
    }

    async fn take(&self, first: Delivered, inbox: &mut mpsc::Receiver<Delivered>) -> anyhow::Result<()> {
        let mut news = vec![first];
        while news.len() < NEWS_AT_ONCE
            && let Ok(more) = inbox.try_recv()
        {
            news.push(more);
        }
        let (billing, clock) = (Arc::clone(&self.billing), self.means.clock);
        let sites =
            blocking(move || billing.handle_delivered(clock.now(), runtime::unix_now(), news)).await??;
        for site in sites {
            self.look_at(site);
            if let Some(session) = self.sessions().get(&site) {
                session.news.notify_one();
            }
        }
        Ok(())
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<SiteId, Session>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        for site in self.cdn.site_ids() {
            self.look_at(site);
        }
    }

    /// Whether a site may be served at this moment.
    fn look_at(&self, site: SiteId) {
        let agreed = self.billing.is_agreed(runtime::unix_now(), site);
        let withheld = if agreed { self.billing.is_overdue(site) } else { self.required.contains(&site) };
        let is_coming = || self.sessions().get(&site).is_some_and(|session| !session.fruitless);
        let why = if is_coming() { Withheld::Billed } else { Withheld::Unpaid };
        let withheld = withheld.then_some(why);
        if self.cdn.withhold(site, withheld) {
            match withheld {
                Some(Withheld::Unpaid) => {
                    tracing::info!(%site, agreed, "a site is not served: nobody pays for it");
                }
                Some(Withheld::Billed) => tracing::debug!(%site, "a site's visitors wait for a voucher"),
                None => tracing::debug!(%site, agreed, "a site is served"),
            }
        }
    }

    async fn serve(self, incoming: Incoming) -> anyhow::Result<()> {
        let mut frames = Frames::new(incoming.stream, self.means.sent.clone());
        let Message::Open(open) = frames.next_within(OPEN_WITHIN).await? else {
            frames.refuse(Refusal::Malformed).await;
            bail!("it does not say for what it pays");
        };
        let signed = open.agreement.context("it shows no agreement")?;
        let site = match Agreement::open(&signed) {
            Ok(agreement) => {
                Pin { publisher: agreement.publisher, site: agreement.site, min_delegation: 0 }.site_id()
            }
            Err(error) => {
                frames.refuse(Refusal::Malformed).await;
                return Err(error.into());
            }
        };
        if self.cdn.pin(site).is_none() {
            frames.refuse(Refusal::NotFound).await;
            bail!("it pays for {site}, which is not served here");
        }
        let (billing, clock, from) = (Arc::clone(&self.billing), self.means.clock, incoming.peer.clone());
        let tabs = Amount::from_bytes(&open.tabs_total).unwrap_or(Amount::ZERO);
        let agreed = blocking(move || {
            billing.handle_agreement(clock.now(), runtime::unix_now(), &from, site, &signed, tabs)
        })
        .await??;
        if let Err(refusal) = agreed {
            tracing::warn!(%site, peer = %incoming.peer, ?refusal, "an agreement to pay is refused");
            frames.refuse(refusal).await;
            bail!("its agreement is refused: {refusal:?}");
        }
        let (price, tabs) = (self.billing.price_of(site), self.billing.tab_price_of(site));
        let terms = wire::PaymentTerms {
            payee: self.billing.payee().0.to_vec(),
            amount: price.amount,
            per: price.per.get(),
            tabs_amount: tabs.map_or(0, |price| price.amount),
            tabs_per: tabs.map_or(0, |price| price.per.get()),
        };
        frames.send(Message::Terms(terms)).await?;
        tracing::info!(%site, payer = %incoming.peer, "a site's payer is here");
        let (news, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let session = Session { news: Arc::clone(&news), end: end.clone(), fruitless: false };
        {
            let mut sessions = self.sessions();
            if let Some(before) = sessions.insert(site, session) {
                before.end.cancel();
            }
        }
        self.look_at(site);
        if self.billing.is_overdue(site) {
            // Of a payer that is new here it is not known yet what its channel holds.
            self.means.money.look_soon();
        }
        let ended = end.run_until_cancelled(self.bill(site, &mut frames, &news)).await;
        {
            let mut sessions = self.sessions();
            // Else a newer one has taken the place.
            if !end.is_cancelled() {
                sessions.remove(&site);
            }
        }
        self.look_at(site);
        ended.unwrap_or(Ok(()))
    }

    /// Bills what is new until the stream ends.
    async fn bill(&self, site: SiteId, frames: &mut Frames, news: &Notify) -> anyhow::Result<()> {
        let mut number = 0;
        loop {
            number += 1;
            let billing = Arc::clone(&self.billing);
            let mut pause = Duration::ZERO;
            if let Some(billed) = blocking(move || billing.bill(site, number)).await?? {
                frames.send(Message::Bill(billed.bill.clone())).await?;
                let paid = match frames.next_within(ANSWER_WITHIN).await? {
                    Message::Paid(paid) if paid.number == number => paid,
                    Message::Refused(refused) => {
                        bail!("it refuses: {:?}", Refusal::from_code(refused.refusal))
                    }
                    other => bail!(
                        "it answers a bill by {} bytes of something else",
                        wire::Payment { message: Some(other) }.encoded_len()
                    ),
                };
                if paid.refusal != 0 {
                    pause = Duration::from_millis(paid.retry_after_ms).clamp(RETRY.0, RETRY.1);
                }
                let more = billed.more;
                let (billing, clock) = (Arc::clone(&self.billing), self.means.clock);
                let handled =
                    move || billing.handle_paid(clock.now(), runtime::unix_now(), site, &billed, &paid);
                let gained = blocking(handled).await??;
                if let Some(session) = self.sessions().get_mut(&site) {
                    session.fruitless = !gained;
                }
                self.look_at(site);
                if more && pause.is_zero() {
                    continue;
                }
            }
            tokio::select! {
                message = frames.next() => {
                    message?;
                    bail!("it speaks without being asked");
                }
                () = self.gather(site, news, pause) => {}
            }
        }
    }

    /// Waits until there is something to bill: at once where much is owed, else a little longer for more.
    async fn gather(&self, site: SiteId, news: &Notify, pause: Duration) {
        if !pause.is_zero() {
            return time::sleep(pause).await;
        }
        if time::timeout(REMIND_EVERY, news.notified()).await.is_err() {
            return;
        }
        let until = time::Instant::now() + GATHER;
        while !self.billing.is_pressing(site) {
            if time::timeout_at(until, news.notified()).await.is_err() {
                return;
            }
        }
    }
}
